//! A login form in axum for the users of a Django site: who logs in here is logged in to Django, its admin included.
//!
//!     python manage.py runserver 8000 &
//!     SECRET_KEY=… DATABASE=db.sqlite3 cargo run --example django_login
//!
//! Log in at <http://127.0.0.1:3000/>, then open <http://127.0.0.1:8000/admin/> in the same browser.
//!
//! Two things of Django's own form are left to you. A CSRF check: `SameSite=Lax` keeps other sites from logging
//! anybody out, but not from logging them in; tower-http has a layer for it. And a limit on attempts, as in Django.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response, Result};
use axum::routing::{get, post};
use axum::{Router, serve};
use cloakroom::auth::{
    self, AuthUser, CredentialSource, DjangoUser, DjangoUsers, PasswordAlgorithm, PasswordHasher, UserId,
    UserModel, UserSource,
};
use cloakroom::{Error, Session, SessionLayer, Settings, SqliteStore};
use tokio::net::TcpListener;

/// Django's users, and how their passwords are checked.
#[derive(Clone)]
struct Users {
    source: DjangoUsers,
    hasher: PasswordHasher,
}

/// What the session needs of a user.
fn for_session<'a>(id: &'a str, user: &'a DjangoUser) -> auth::User<'a> {
    auth::User { id, password: user.password(), backend: auth::MODEL_BACKEND }
}

const LOGIN_FORM: Html<&str> = Html(
    r#"<form method="post" action="/login">
  <input name="username" autocomplete="username" required>
  <input name="password" type="password" autocomplete="current-password" required>
  <button>Log in</button>
</form>"#,
);

/// Greets who is logged in, on whichever side; shows everybody else the form.
async fn home(State(users): State<Users>, session: Session, user_id: Option<UserId>) -> Result<Response> {
    if let Some(UserId(id)) = user_id
        && let Some(user) = users.source.find(&id).await.map_err(Error::from)?
        && user.is_active()
        // Ends the login when the password was changed since.
        && auth::verify_user(&session, for_session(&id, &user)).await?
    {
        let name = user.username().replace('&', "&amp;").replace('<', "&lt;");
        let logout = r#"<form method="post" action="/logout"><button>Log out</button></form>"#;
        return Ok(Html(format!("<p>Hello, {name}</p>{logout}")).into_response());
    }
    Ok(LOGIN_FORM.into_response())
}

#[derive(serde::Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

async fn login(
    State(Users { source, hasher }): State<Users>,
    session: Session,
    Form(Credentials { username, password }): Form<Credentials>,
) -> Result<Response> {
    let Some(user) = auth::authenticate(&source, &hasher, &username, &password).await? else {
        return Ok((StatusCode::UNAUTHORIZED, LOGIN_FORM).into_response());
    };
    auth::login(&session, for_session(&user.id(), &user)).await?;
    source.record_login(&user).await.map_err(Error::from)?;
    Ok(Redirect::to("/").into_response())
}

async fn logout(session: Session) -> Result<Redirect> {
    auth::logout(&session).await?;
    Ok(Redirect::to("/"))
}

/// The site, on the database of a Django site with these settings.
pub(crate) async fn site(
    database: PathBuf,
    settings: Settings,
) -> std::result::Result<Router, Box<dyn std::error::Error>> {
    let store = Arc::new(SqliteStore::at(&database).open(&settings).await?);
    let url = format!("sqlite:{}", database.display());
    let users = Users {
        source: DjangoUsers::open(&url, UserModel::default()).await?,
        // Django 5.2's. With another number each side would rewrite the other's hashes.
        hasher: PasswordHasher::new(PasswordAlgorithm::Pbkdf2Sha256 { iterations: 1_000_000 })?,
    };
    let router = Router::new()
        .route("/", get(home))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(SessionLayer::new(store, settings)?)
        .with_state(users);
    Ok(router)
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::from_env()?;
    let database =
        env::var("DATABASE").map_err(|_| "DATABASE is not set: it is the path of the site's db.sqlite3")?;
    let site = site(database.into(), settings).await?;
    Ok(serve(TcpListener::bind("127.0.0.1:3000").await?, site).await?)
}
