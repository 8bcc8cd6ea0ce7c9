//! `cloakroom demo`: a small site that shows a session at work.

mod actions;
mod answer;
mod devices;
mod headers;
mod json_tokens;
mod outcome;
mod private_file;
mod race;
mod secret_file;
mod view;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use clap::Args;
use cloakroom::store::StoreUrl;
use cloakroom::store::sqlite::{Mode, TableCreation};
use cloakroom::user_sessions::UserSessions;
use cloakroom::{
    SessionCodec, SessionLayer, SessionMiddleware, SessionStore, Settings, SettingsError, StoreErrorKind,
};
use tokio::net::TcpListener;

use self::secret_file::Secret;
use crate::ending::{Ending, usage};
use crate::interrupted::interrupted;
use crate::output::lines::say;
use crate::site::secrets::SecretOptions;
use crate::site::store_url::{StoreOption, sqlite};

const DEFAULT_STORE: &str = "sqlite:cloakroom.sqlite3";

/// How long requests may take to end when the demo is stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// No form here needs more.
const MAX_FORM: usize = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  cloakroom demo      # keeps its sessions in cloakroom.sqlite3 here, and creates that file
  cloakroom demo --store memory: --listen 127.0.0.1:0
  # Share the sessions of a Django site on this machine:
  cloakroom demo --store sqlite:db.sqlite3 --secret-key-file secret.txt

Scripts can use JSON: GET /session.json, and each form answers in JSON on request:
  curl -b jar -c jar -H 'Accept: application/json' \\
    -d 'key=coat&value=blue' http://127.0.0.1:8000/put

Without a given secret the demo generates one. For sqlite:PATH it is kept in PATH.secret, so that the sessions can \
be read at the next start. Only this user can read the files that the demo creates. The pages show session keys: \
listen on an address of this machine only.";

/// Run a small site that shows a session at work, in the browser and in the store
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The address to listen on; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    listen: String,
    #[command(flatten)]
    store: StoreOption,
    /// The name of the session cookie: SESSION_COOKIE_NAME. Sites on one host share cookies, even on
    /// different ports
    #[arg(long, value_name = "NAME", default_value = "sessionid", value_parser = cookie_name)]
    cookie_name: String,
    #[command(flatten)]
    secrets: SecretOptions,
}

/// The handlers' shared state.
struct Site {
    store: Arc<dyn SessionStore>,
    /// The store's URL, for display.
    store_name: String,
    /// For stores without text: encodes the text that a database's row would hold.
    codec: SessionCodec,
    /// How to get an index of user sessions, if there is none.
    index_hint: Option<String>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let url = StoreUrl::from(options.store.url_or(DEFAULT_STORE));
    let file = sqlite(&url)?;
    let listener = listen(&options.listen).await?;
    let made_table = match &file {
        Some(options) => {
            if options.mode == Mode::ReadWriteCreate {
                // SQLite treats an empty file as a new database, and gives its journals the same permissions.
                // If the file cannot be created, the next call reports the reason.
                let _ = private_file::create(&options.path);
            }
            options.create_table(Default::default()).await?
        }
        None => TableCreation::AlreadyThere,
    };
    let secret = match options.secrets.secret_key()? {
        Some(secret_key) => Secret::given(secret_key),
        None => secret_file::beside(file.as_ref().map(|options| options.path.as_path()))?,
    };
    let mut settings = options.secrets.settings_with(secret.key)?;
    settings.cookie_name = options.cookie_name;
    let (store, user_sessions, index_hint) =
        open(url.expose(), &settings, made_table == TableCreation::Created).await?;
    let store_name = url.to_string();

    // Heard before the greeting asks for it: a signal may come at once.
    let mut stopped = std::pin::pin!(interrupted());
    tokio::select! {
        biased;
        _ = &mut stopped => return Ok(Ending::Well),
        () = std::future::ready(()) => {}
    }

    let address = listener.local_addr()?;
    say(&format!("Cloakroom demo: http://{address}/"))?;
    let table = if made_table == TableCreation::Created { " (made the table django_session)" } else { "" };
    say(&format!("  Sessions: {store_name}{table}"))?;
    say(&format!("  Secret:   {}", secret.origin))?;
    if !address.ip().is_loopback() {
        say("  Careful:  other machines can reach this address, and the pages show session keys")?;
    }
    say("  Stop with Ctrl-C.")?;

    let site = Site { store, store_name, codec: SessionCodec::new(&settings), index_hint };
    let router = router(site, settings, user_sessions)?.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async { _ = interrupted().await });
    tokio::select! {
        ended = server.into_future() => ended.context("the server stopped")?,
        // Browsers keep connections open on which they have sent nothing yet.
        () = async { stopped.await; tokio::time::sleep(PATIENCE).await } => {}
    }
    say("Stopped. The sessions stay where they are.")?;
    Ok(Ending::Well)
}

/// Opens the store, with its index of user sessions if it keeps one, or a hint how to get one.
async fn open(
    url: &str,
    settings: &Settings,
    is_new: bool,
) -> anyhow::Result<(Arc<dyn SessionStore>, Option<UserSessions>, Option<String>)> {
    // In an existing database, creating a table is left to the operator.
    if is_new {
        cloakroom::store::create_user_session_table(url).await?;
    }
    let no_index = match UserSessions::connect(url, settings).await {
        Ok(user_sessions) => return Ok((user_sessions.store(), Some(user_sessions), None)),
        Err(error) => error,
    };
    // If the store itself cannot be opened, this reports it.
    let store = cloakroom::connect(url, settings).await?;
    let hint = match no_index.kind() {
        StoreErrorKind::Unsupported => {
            "This store keeps none; SQLite, PostgreSQL, MySQL, Redis and memory do."
        }
        _ => "Make its table with `cloakroom create-table --user-sessions` and start the demo again.",
    };
    Ok((store, None, Some(hint.to_owned())))
}

fn router(
    site: Site,
    settings: Settings,
    user_sessions: Option<UserSessions>,
) -> Result<Router, SettingsError> {
    let site = Arc::new(site);
    let race = race::router(&site, &settings)?;
    let mut middleware = SessionMiddleware::new(Arc::clone(&site.store), settings)?;
    if let Some(user_sessions) = user_sessions {
        middleware = middleware.with_user_sessions(user_sessions);
    }
    let router = Router::new()
        .route("/", get(actions::front_door))
        .route("/session.json", get(actions::session_json))
        .route("/bye", get(actions::bye))
        .route("/visit", post(actions::visit))
        .route("/put", post(actions::put))
        .route("/remove", post(actions::remove))
        .route("/login", post(actions::login))
        .route("/rotate", post(actions::rotate))
        .route("/logout", post(actions::logout))
        .route("/expiry", post(actions::expiry))
        .route("/test-cookie/set", post(actions::set_test_cookie))
        .route("/test-cookie/check", post(actions::check_test_cookie))
        .route("/test-cookie/delete", post(actions::delete_test_cookie))
        .route("/devices", get(devices::page))
        .route("/devices/revoke", post(devices::log_out_one))
        .route("/devices/others", post(devices::log_out_the_others))
        .layer(axum::middleware::from_fn(devices::note_client))
        .layer(SessionLayer::from(middleware))
        .merge(race)
        .route("/style.css", get(answer::style))
        .route("/demo.js", get(answer::script))
        .route("/race.js", get(answer::race_script))
        .fallback(answer::not_found)
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(axum::middleware::from_fn(headers::guard))
        .with_state(site);
    Ok(router)
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is in use by another program. Stop that one, or take another port: --listen 127.0.0.1:8001, \
             or --listen 127.0.0.1:0 for any free one"
        ),
        ErrorKind::PermissionDenied => anyhow::anyhow!(
            "{address}: no permission; ports below 1024 belong to the administrator. Try --listen 127.0.0.1:8000"
        ),
        ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "{address} is not an address of this machine. Try --listen 127.0.0.1:8000"
        ),
        _ => usage(format!("cannot listen on {address:?}: {error}. Write ADDRESS:PORT, such as 127.0.0.1:8000")),
    })
}

/// Checks for a token, as RFC 6265 requires: other characters would break the header.
fn cookie_name(name: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err("a cookie's name has letters, digits, `-` and `_`, and no spaces".to_owned());
    }
    Ok(name.to_owned())
}
