//! Redis Sentinel: finds the primary.

use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult};

pub(super) struct Sentinels(SentinelClient);

impl Sentinels {
    /// Parses the text after `redis+sentinel://`: `[user:password@]host:port,host2:port/service[/database]`.
    pub(super) fn new(url: &str) -> RedisResult<Sentinels> {
        let invalid = || RedisError::from((ErrorKind::InvalidClientConfig, "not a URL of sentinels"));
        let (login, rest) = url.rsplit_once('@').unwrap_or(("", url));
        let (hosts, service) = rest.split_once('/').ok_or_else(invalid)?;
        let (service, database) = service.split_once('/').unwrap_or((service, ""));
        if service.is_empty() {
            return Err(invalid());
        }
        // The login and the database are those of the server, whose address the sentinels report.
        let at = if login.is_empty() { "" } else { "@" };
        let server = format!("redis://{login}{at}sentinel/{database}").into_connection_info()?;
        let server =
            SentinelNodeConnectionInfo::default().set_redis_connection_info(server.redis_settings().clone());
        let sentinels = hosts.split(',').map(|host| match host.rsplit_once(':') {
            Some(_) => format!("redis://{host}"),
            None => format!("redis://{host}:26379"),
        });
        let kind = SentinelServerType::Master;
        SentinelClient::build(sentinels.collect(), service.to_owned(), Some(server), kind).map(Sentinels)
    }

    /// Asks the sentinels for the primary's address.
    pub(super) async fn primary(&mut self) -> RedisResult<ConnectionInfo> {
        Ok(self.0.async_get_client().await?.get_connection_info().clone())
    }
}
