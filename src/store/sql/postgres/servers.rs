//! The servers of a URL, of which the first that answers is used: libpq's list of hosts.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

/// A configuration for each server, in the order in which they are tried.
pub(super) fn each(config: &Config) -> Vec<Config> {
    let count = count(config);
    if count <= 1 && !config.get_hosts().is_empty() {
        return vec![config.clone()];
    }
    let first = match config.get_load_balance_hosts() {
        LoadBalanceHosts::Random => random_below(count),
        _ => 0,
    };
    (0..count).map(|index| one(config, (first + index) % count)).collect()
}

/// How many servers there are.
pub(super) fn count(config: &Config) -> usize {
    config.get_hosts().len().max(config.get_hostaddrs().len())
}

fn random_below(count: usize) -> usize {
    // Without randomness the list's order is as good as any.
    getrandom::u32().map_or(0, |number| number as usize % count.max(1))
}

/// The configuration for one server alone.
fn one(config: &Config, index: usize) -> Config {
    let mut one = without_servers(config);
    let address = config.get_hostaddrs().get(index);
    match (config.get_hosts().get(index), address) {
        (Some(Host::Tcp(name)), _) => one.host(name),
        #[cfg(unix)]
        (Some(Host::Unix(folder)), _) => one.host_path(folder),
        // The certificate is compared with the address then.
        (None, Some(address)) => one.host(address.to_string()),
        (None, None) => &mut one,
    };
    if let Some(address) = address {
        one.hostaddr(*address);
    }
    let ports = config.get_ports();
    if let Some(port) = ports.get(index).or(ports.first()) {
        one.port(*port);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    one
}

/// A copy without its `options`.
pub(super) fn without_options(config: &Config) -> Config {
    let mut copy = without_servers(config);
    for host in config.get_hosts() {
        match host {
            Host::Tcp(name) => copy.host(name),
            #[cfg(unix)]
            Host::Unix(folder) => copy.host_path(folder),
        };
    }
    config.get_hostaddrs().iter().for_each(|address| _ = copy.hostaddr(*address));
    config.get_ports().iter().for_each(|port| _ = copy.port(*port));
    copy
}

/// The driver's configuration has no way to take something out.
fn without_servers(config: &Config) -> Config {
    let mut copy = Config::new();
    if let Some(user) = config.get_user() {
        copy.user(user);
    }
    if let Some(password) = config.get_password() {
        copy.password(password);
    }
    if let Some(database) = config.get_dbname() {
        copy.dbname(database);
    }
    if let Some(name) = config.get_application_name() {
        copy.application_name(name);
    }
    if let Some(limit) = config.get_connect_timeout() {
        copy.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        copy.tcp_user_timeout(*limit);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        copy.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        copy.keepalives_retries(retries);
    }
    copy.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    copy
}

/// How long one server may take: what `connect_timeout` says, or its share of the time that is left, so that a
/// server that does not answer leaves time for the next.
pub(super) fn share(config: &Config, left: Duration, servers: usize) -> Duration {
    let share = left / u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
    config.get_connect_timeout().map_or(share, |limit| *limit.min(&left))
}
