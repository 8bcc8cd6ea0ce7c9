//! A login form in axum for the users of a Django site: who logs in here is logged in to Django, its admin included.
//!
//!     python manage.py runserver 8000 &
//!     SECRET_KEY=… DATABASE=db.sqlite3 cargo run --example django_login
//!
//! Log in at <http://127.0.0.1:3000/>, then open <http://127.0.0.1:8000/admin/> in the same browser.
//!
//! One thing is left to you, as in Django: a limit on attempts.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use cloakroom::auth::{
    self, CredentialSource, CurrentUser, DjangoUser, DjangoUsers, PasswordAlgorithm, PasswordHasher,
    UserModel,
};
use cloakroom::csrf::{Csrf, CsrfSettings};
use cloakroom::{AuthLayer, CsrfLayer, Error, Session, SessionLayer, Settings, SqliteStore};
use tokio::net::TcpListener;

/// Django's users, and how their passwords are checked.
#[derive(Clone)]
struct Users {
    source: DjangoUsers,
    hasher: PasswordHasher,
}

fn login_form(csrf: &Csrf) -> Result<Html<String>, Error> {
    let token = csrf.field()?;
    Ok(Html(format!(
        r#"<form method="post" action="/login">{token}
  <input name="username" autocomplete="username" required>
  <input name="password" type="password" autocomplete="current-password" required>
  <button>Log in</button>
</form>"#
    )))
}

/// Greets who is logged in, on whichever side; shows everybody else the form.
async fn home(user: Option<CurrentUser<DjangoUser>>, csrf: Csrf) -> Result<Html<String>, Error> {
    let Some(user) = user else { return login_form(&csrf) };
    let (name, token) = (user.username().replace('&', "&amp;").replace('<', "&lt;"), csrf.field()?);
    let logout = format!(r#"<form method="post" action="/logout">{token}<button>Log out</button></form>"#);
    Ok(Html(format!("<p>Hello, {name}</p>{logout}")))
}

#[derive(serde::Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

async fn login(
    State(Users { source, hasher }): State<Users>,
    (session, csrf): (Session, Csrf),
    Form(Credentials { username, password }): Form<Credentials>,
) -> Result<Response, Error> {
    let Some(user) = auth::authenticate(&source, &hasher, &username, &password).await? else {
        return Ok((StatusCode::UNAUTHORIZED, login_form(&csrf)?).into_response());
    };
    auth::login_user(&session, &user).await?;
    source.record_login(&user).await?;
    Ok(Redirect::to("/").into_response())
}

async fn logout(session: Session) -> Result<Redirect, Error> {
    auth::logout(&session).await.map(|()| Redirect::to("/"))
}

/// The site, on the database of a Django site with these settings.
pub(crate) async fn site(
    database: PathBuf,
    settings: Settings,
) -> Result<Router, Box<dyn std::error::Error>> {
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
        .layer(AuthLayer::new(users.source.clone()))
        .layer(CsrfLayer::new(&settings, CsrfSettings::default())?)
        .layer(SessionLayer::new(store, settings)?)
        .with_state(users);
    Ok(router)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::from_env()?;
    let database =
        env::var("DATABASE").map_err(|_| "DATABASE is not set: it is the path of the site's db.sqlite3")?;
    let site = site(database.into(), settings).await?;
    Ok(serve(TcpListener::bind("127.0.0.1:3000").await?, site).await?)
}
