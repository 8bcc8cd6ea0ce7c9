//! `cloakroom gate`: answers a proxy's questions about the Django user of a request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use cloakroom::telemetry;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::ending::{Ending, usage};
use crate::gate::assertion::Assertions;
use crate::gate::config::Config;
use crate::gate::identity::Identities;
use crate::gate::journal::Journal;
use crate::gate::listener::Listener;
use crate::gate::login_page::LoginPage;
use crate::gate::notify::notify;
use crate::gate::server::{Protocol, Server};
use crate::gate::service::Gate;
use crate::interrupted::interrupted;
use crate::output::lines::{note, say};
use crate::site::SiteOptions;
use crate::site::from_django::DjangoLogin;

/// Django's default of `LOGIN_URL`.
const LOGIN_URL: &str = "/accounts/login/";

/// `REDIRECT_FIELD_NAME`.
const REDIRECT_FIELD: &str = "next";

/// How often the measured times are put into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// The buckets of times, in seconds.
const BUCKETS: [f64; 11] = [0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

const EXAMPLES: &str = "\
Examples:
  cloakroom gate --config gate.toml --from-django /srv/site/manage.py
  cloakroom gate --config gate.toml --check && systemctl reload cloakroom-gate
  cloakroom gate --config gate.toml --store postgres://site@db.example/site --secret-key-file secret.txt

The shortest configuration, which lets logged-in users of the Django site into a wiki:
  [[rule]]
  host = \"wiki.example.com\"
  allow = \"login\"

A proxy asks at http://127.0.0.1:9180/auth/nginx, /auth/traefik, /auth/caddy, /auth/haproxy or /auth/envoy/ about each \
request. The answer is 200 with the headers X-User-Id, X-User-Name, X-User-Email, X-User-Groups, X-User-Staff, \
X-User-Superuser and the signed X-User-Assertion, or it is 302, 401, 403 or 503. The session is only read.

SIGHUP reads the configuration and the keys again; with a mistake in them, the gate keeps what it has. SIGTERM and \
Ctrl-C end it after the questions that were asked. The access log is on standard output.

Exit codes: 0 stopped, or the configuration is right; 1 something failed; 2 wrong usage or a wrong configuration.";

/// Answer a proxy's questions: may this request pass, and which Django user makes it?
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The gate's configuration in TOML: rules, addresses, assertions
    #[arg(long, value_name = "PATH")]
    config: PathBuf,
    /// Check the configuration and the site's settings, and end: nothing is opened
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let config = Config::from_file(&options.config)?;
    let site = options.site.read()?;
    site.url()?;
    site.settings()?;
    let project = options.site.settings.read_users()?;
    if options.check {
        note(&format!("{} is right.", options.config.display()));
        return Ok(Ending::Well);
    }
    // Heard before the greeting: a signal may come at once.
    let mut hangups = signal(SignalKind::hangup()).context("cannot hear SIGHUP")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        interrupted().await;
        stop.send_replace(true);
    });

    let metrics = record_metrics()?;
    let identities = Arc::new(Identities::open(&site, &config, project.as_ref()).await?);
    let assertions = Arc::new(Assertions::open(&config.assertion)?);
    let listener = Listener::bind(&config.listen).await?;
    say(&format!("Cloakroom gate: {}", listener.address()?))?;
    let grpc = grpc_listener(&config).await?;
    let gate = gate(config, project.as_ref(), identities, assertions, Arc::new(Journal::new()));
    let server = Arc::new(Server::new(gate, metrics));
    notify("READY=1");

    let http = Arc::clone(&server).serve(listener, Protocol::Http, until(stopped.clone()));
    let grpc = serve_grpc(&server, grpc, until(stopped));
    let mut serving = std::pin::pin!(async { tokio::join!(http, grpc) });
    loop {
        tokio::select! {
            _ = &mut serving => break,
            () = next(&mut hangups) => reload(&server, &options, project.as_ref()),
        }
    }
    notify("STOPPING=1");
    server.gate().journal.written().await;
    Ok(Ending::Well)
}

/// The listener for Envoy's gRPC, if the configuration has one.
async fn grpc_listener(config: &Config) -> anyhow::Result<Option<Listener>> {
    let Some(listen) = &config.listen_grpc else { return Ok(None) };
    if !cfg!(feature = "gate-grpc") {
        return Err(usage("listen_grpc: this build is without gRPC; it needs the feature `gate-grpc`"));
    }
    let listener = Listener::bind(listen).await?;
    say(&format!("Cloakroom gate, gRPC: {}", listener.address()?))?;
    Ok(Some(listener))
}

#[cfg(feature = "gate-grpc")]
async fn serve_grpc(server: &Arc<Server>, listener: Option<Listener>, stopped: impl Future<Output = ()>) {
    if let Some(listener) = listener {
        Arc::clone(server).serve(listener, Protocol::Grpc, stopped).await;
    }
}

#[cfg(not(feature = "gate-grpc"))]
async fn serve_grpc(_server: &Arc<Server>, _listener: Option<Listener>, _stopped: impl Future<Output = ()>) {}

fn gate(
    config: Config,
    project: Option<&DjangoLogin>,
    identities: Arc<Identities>,
    assertions: Arc<Assertions>,
    journal: Arc<Journal>,
) -> Gate {
    let login_url = config.login_url.as_deref().or(project.map(|project| &*project.login_url));
    let redirect_field = config.redirect_field.as_deref().or(project.map(|project| &*project.redirect_field));
    let login_page = LoginPage::new(
        login_url.unwrap_or(LOGIN_URL),
        redirect_field.unwrap_or(REDIRECT_FIELD),
        &config.scheme,
    );
    Gate { config, login_page, identities, assertions, journal }
}

/// Reads the configuration and the keys again. If one is wrong, all stays as it is.
fn reload(server: &Server, options: &Options, project: Option<&DjangoLogin>) {
    match reloaded(&server.gate(), options, project) {
        Ok(gate) => {
            server.replace_gate(gate);
            note("The configuration was read again.");
        }
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "the new configuration is not used, the old one stays"
            );
        }
    }
}

fn reloaded(old: &Gate, options: &Options, project: Option<&DjangoLogin>) -> anyhow::Result<Gate> {
    let config = Config::from_file(&options.config)?;
    if let Some(name) = config.differs_for_good(&old.config) {
        return Err(usage(format!("{name} cannot change while the gate runs; restart it")));
    }
    let assertions = Arc::new(old.assertions.reopen(&config.assertion)?);
    Ok(gate(config, project, Arc::clone(&old.identities), assertions, Arc::clone(&old.journal)))
}

/// Waits until the gate is to stop.
async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender says so, or is gone.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}

async fn next(signals: &mut Signal) {
    if signals.recv().await.is_none() {
        std::future::pending().await
    }
}

/// Collects this process' metrics, for `/metrics`.
fn record_metrics() -> anyhow::Result<PrometheusHandle> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS)?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("cannot collect metrics")?;
    telemetry::describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
