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
use cloakroom::auth::{self, UserId};
use cloakroom::{Session, SessionLayer, Settings, SqliteStore};
use djangohashers::{Django, DjangoVersion, check_password_tolerant, is_password_usable};
use rusqlite::{Connection, OptionalExtension};
use tokio::net::TcpListener;

/// Django's users: the table `auth_user` in this file.
#[derive(Clone)]
struct Users {
    database: PathBuf,
}

/// Of a row of `auth_user` what a login needs.
struct User {
    id: String,
    username: String,
    /// The encoded hash.
    password: String,
}

impl Users {
    /// The user whose `column` is `value`. As in Django, one who is not active cannot log in, nor stay so.
    fn find(&self, column: &'static str, value: &str) -> rusqlite::Result<Option<User>> {
        let sql = format!(
            "SELECT CAST(id AS TEXT), username, password FROM auth_user WHERE {column} = ?1 AND is_active"
        );
        Connection::open(&self.database)?
            .query_row(&sql, [value], |row| {
                Ok(User { id: row.get(0)?, username: row.get(1)?, password: row.get(2)? })
            })
            .optional()
    }

    /// Django's `authenticate` with its `ModelBackend`, for passwords in PBKDF2; the other hashers of
    /// `PASSWORD_HASHERS` are features of djangohashers. Takes as long for a name that nobody has, so that the time
    /// does not tell which names there are.
    fn authenticate(&self, username: &str, password: &str) -> rusqlite::Result<Option<User>> {
        let found = self.find("username", username)?.filter(|user| is_password_usable(&user.password));
        let Some(user) = found else {
            Django { version: DjangoVersion::V5_2 }.make_password(password);
            return Ok(None);
        };
        Ok(check_password_tolerant(password, &user.password).then_some(user))
    }

    /// As Django at each login. Links for resetting the password that were sent before are void from then on.
    fn update_last_login(&self, id: &str) -> rusqlite::Result<()> {
        let sql = "UPDATE auth_user SET last_login = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = ?1";
        Connection::open(&self.database)?.execute(sql, [id]).map(|_| ())
    }

    /// Asks on a thread of its own: SQLite blocks, and a password takes its time on purpose.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Users) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let users = self.clone();
        match tokio::task::spawn_blocking(move || question(&users)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                eprintln!("auth_user: {error}");
                Err(StatusCode::INTERNAL_SERVER_ERROR.into())
            }
            Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR.into()),
        }
    }
}

impl User {
    fn for_session(&self) -> auth::User<'_> {
        auth::User { id: &self.id, password: &self.password, backend: auth::MODEL_BACKEND }
    }
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
        && let Some(user) = users.ask(move |users| users.find("id", &id)).await?
        // Ends the login when the password was changed since.
        && auth::verify_user(&session, user.for_session()).await?
    {
        let name = user.username.replace('&', "&amp;").replace('<', "&lt;");
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
    State(users): State<Users>,
    session: Session,
    Form(Credentials { username, password }): Form<Credentials>,
) -> Result<Response> {
    let Some(user) = users.ask(move |users| users.authenticate(&username, &password)).await? else {
        return Ok((StatusCode::UNAUTHORIZED, LOGIN_FORM).into_response());
    };
    auth::login(&session, user.for_session()).await?;
    users.ask(move |users| users.update_last_login(&user.id)).await?;
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
    let router = Router::new()
        .route("/", get(home))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(SessionLayer::new(store, settings)?)
        .with_state(Users { database });
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
