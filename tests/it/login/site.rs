//! A site with users, on each adapter.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::{ServerHandle, ServiceRequest};
use actix_web::http::StatusCode as ActixStatus;
use actix_web::middleware::{DefaultHeaders, Next as ActixNext, from_fn};
use actix_web::{App, HttpResponse, HttpServer, web};
use axum::Router;
use axum::body::Body;
use axum::extract::{Form, Query, Request};
use axum::response::Response;
use axum::routing::get;
use cloakroom::auth::{self, CurrentUser, LazyUser, Next, Requirement};
use cloakroom::messages::{MessageSettings, Messages};
use cloakroom::{
    AuthLayer, AuthTransform, Error, LoginRedirect, MessagesLayer, MessagesTransform, RequestHead,
    RequireLayer, RequireTransform, Session, SessionLayer, SessionStore, SessionTransform, Settings, Value,
};

use super::{Member, Members};
use crate::support::browser::serve;
use crate::support::web::Adapter;

/// What a site is made of.
pub(super) struct Parts {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) settings: Settings,
    pub(super) members: Arc<Members>,
    pub(super) hook: Hook,
}

/// What is done about errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Default,
    /// A function that answers with JSON.
    Json,
    /// The redirect to the login page, for all requests.
    Login,
    /// The redirect for pages, and JSON for everything else.
    Both,
}

impl Hook {
    fn has_json(self) -> bool {
        matches!(self, Hook::Json | Hook::Both)
    }

    fn login(self) -> Option<LoginRedirect> {
        match self {
            Hook::Default | Hook::Json => None,
            Hook::Login => Some(LoginRedirect::to("/login")),
            Hook::Both => Some(LoginRedirect::to("/login").for_pages_only()),
        }
    }
}

/// The body of the application's own answer.
fn json_of(error: &Error, request: &RequestHead<'_>) -> String {
    let agent = request.header("x-agent").unwrap_or_default();
    format!("{} {} {agent} {} {error:?}", request.method(), request.full_path(), error.status())
}

impl Parts {
    pub(super) async fn serve(self, on: Adapter) -> Running {
        match on {
            Adapter::Axum => Running { address: on_axum(self).await, server: None },
            Adapter::Actix => on_actix(self).await,
        }
    }
}

/// A site that listens.
pub(super) struct Running {
    pub(super) address: String,
    server: Option<ServerHandle>,
}

impl Running {
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            drop(server.stop(false));
        }
    }
}

type Fields = HashMap<String, String>;

#[derive(serde::Deserialize)]
struct LoginForm {
    id: String,
    #[serde(default)]
    next: Next,
}

fn name(user: Option<CurrentUser<Member>>) -> String {
    user.map_or("nobody".to_owned(), |user| user.name.clone())
}

async fn whoami(user: CurrentUser<Member>) -> String {
    user.name.clone()
}

/// Loads again and again, at the same time too.
async fn often(user: LazyUser<Member>, other: CurrentUser<Member>) -> Result<String, Error> {
    let (one, two) = tokio::join!(user.load(), user.load());
    Ok(format!("{} {} {}", name(one?), name(two?), other.name))
}

async fn maybe(user: LazyUser<Member>) -> Result<String, Error> {
    Ok(name(user.load().await?))
}

/// Logs in, by the id in the query.
async fn log_in(session: &Session, members: &Members, fields: &Fields) -> Result<String, Error> {
    let member = members.of(&fields["id"]);
    if fields.contains_key("new_key") {
        let user = auth::User { id: &member.id, password: &member.password, backend: auth::MODEL_BACKEND };
        auth::login_with_new_key(session, user).await?;
    } else if let Some(backend) = fields.get("backend") {
        let user = auth::User { id: &member.id, password: &member.password, backend };
        auth::login(session, user).await?;
    } else {
        auth::login_user(session, &member).await?;
    }
    Ok(String::new())
}

/// Who the user is before a login as another, after it, and after a logout.
async fn relogin(
    session: &Session,
    user: &LazyUser<Member>,
    members: &Members,
    fields: &Fields,
) -> Result<String, Error> {
    let before = name(user.load().await?);
    log_in(session, members, fields).await?;
    let after = name(user.load().await?);
    auth::logout(session).await?;
    Ok(format!("{before} {after} {}", name(user.load().await?)))
}

/// Puts any JSON under a key.
fn put(session: &Session, fields: &Fields) {
    for (key, json) in fields {
        session.set_value(key.as_str(), Value::from_json(json).unwrap());
    }
}

async fn visit(session: Session) -> Result<&'static str, Error> {
    session.edit("visits", |visits: &mut u32| *visits += 1)?;
    Ok("")
}

/// A page whose session is deleted under it.
async fn interrupted(session: Session) -> Result<&'static str, Error> {
    session.set("visits", 1)?;
    session.save().await?;
    session.delete().await?;
    session.set("visits", 2)?;
    Ok("done")
}

async fn failing(session: Session) -> Result<&'static str, Error> {
    session.set("unsaved", true)?;
    session.set("name", "Ada")?;
    session.get::<u32>("name")?;
    Ok("unreachable")
}

/// A result with a message for the next page, which is an error all the same.
async fn said(messages: Messages) -> Result<&'static str, Error> {
    messages.info("said");
    Err(Error::Forbidden)
}

/// An error of the application's own, which may be one of the session's.
enum OwnError {
    Session(Error),
    Other,
}

impl From<Error> for OwnError {
    fn from(error: Error) -> OwnError {
        OwnError::Session(error)
    }
}

impl axum::response::IntoResponse for OwnError {
    fn into_response(self) -> Response {
        match self {
            OwnError::Session(error) => error.into_response(),
            OwnError::Other => Response::builder().status(418).body(Body::from("own")).unwrap(),
        }
    }
}

impl std::fmt::Debug for OwnError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OwnError")
    }
}

impl std::fmt::Display for OwnError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OwnError")
    }
}

impl actix_web::ResponseError for OwnError {
    fn error_response(&self) -> HttpResponse {
        match self {
            OwnError::Session(error) => error.error_response(),
            OwnError::Other => HttpResponse::build(ActixStatus::IM_A_TEAPOT).body("own"),
        }
    }
}

async fn own(session: Session, fields: &Fields) -> Result<&'static str, OwnError> {
    if fields.contains_key("other") {
        return Err(OwnError::Other);
    }
    session.set("name", "Ada")?;
    session.get::<u32>("name")?;
    Ok("unreachable")
}

fn requirements() -> [(&'static str, Requirement); 6] {
    [
        ("/staff", Requirement::staff()),
        ("/superuser", Requirement::superuser()),
        ("/group", Requirement::group("editors")),
        ("/permission", Requirement::permission("shop.add_order")),
        ("/all", Requirement::all_of([Requirement::staff(), Requirement::permission("shop.add_order")])),
        ("/any", Requirement::any_of([Requirement::staff(), Requirement::group("editors")])),
    ]
}

/// In a handler, twice: the grants are asked for once.
async fn in_handler(user: CurrentUser<Member>) -> Result<String, Error> {
    user.require(&Requirement::permission("shop.add_order")).await?;
    Ok(format!("{}", user.meets(&Requirement::group("editors")).await?))
}

async fn asks_for_a_user(_: CurrentUser<Member>, request: Request, next: axum::middleware::Next) -> Response {
    next.run(request).await
}

async fn on_axum(parts: Parts) -> String {
    let members = Arc::clone(&parts.members);
    let [for_login, for_form, for_relogin] = [(); 3].map(|()| Arc::clone(&members));
    let form = move |session: Session, Form(form): Form<LoginForm>| {
        let members = Arc::clone(&for_form);
        async move {
            auth::login_user(&session, &members.of(&form.id)).await?;
            let response = Response::builder().status(303).header("location", form.next.or("/home"));
            Ok::<_, Error>(response.body(Body::empty()).unwrap())
        }
    };
    let mut router = Router::new()
        .route("/whoami", get(whoami))
        .route("/maybe", get(maybe))
        .route("/option", get(async |user: Option<CurrentUser<Member>>| name(user)))
        .route("/often", get(often))
        .route("/handler", get(in_handler))
        .route("/guarded", get(async || "guarded").layer(RequireLayer::login()))
        .route("/middleware", get(async || "let through").layer(axum::middleware::from_fn(asks_for_a_user)))
        .route(
            "/relogin",
            get(async move |session: Session, user: LazyUser<Member>, Query(fields): Query<Fields>| {
                relogin(&session, &user, &for_relogin, &fields).await
            }),
        );
    for (path, requirement) in requirements() {
        router = router.route(path, get(async || "welcome").layer(RequireLayer::new(requirement)));
    }
    let scope = Router::new()
        .route("/scope/inside", get(async || "inside"))
        .route("/scope/open", get(async || "open"))
        .layer(RequireLayer::login().except(["/scope/open"]));
    let router = router
        .merge(scope)
        .layer(AuthLayer::new(Arc::clone(&members)))
        .route("/said", get(said))
        .layer(MessagesLayer::new(&parts.settings, MessageSettings::default()))
        .route("/without", get(whoami))
        .route("/without/guard", get(async || "unreachable").layer(RequireLayer::login()))
        .route("/without/messages", get(async |_: Messages| "unreachable"))
        .route("/interrupted", get(interrupted))
        .route("/failing", get(failing))
        .route(
            "/own",
            get(async |session: Session, Query(fields): Query<Fields>| own(session, &fields).await),
        )
        .route("/put", get(async |session: Session, Query(fields): Query<Fields>| put(&session, &fields)))
        .route("/visit", get(visit))
        .route("/untouched", get(async || "untouched"))
        .route("/form", axum::routing::post(form))
        .route(
            "/login",
            get(async move |session: Session, Query(fields): Query<Fields>| {
                log_in(&session, &for_login, &fields).await
            }),
        )
        .route("/logout", get(async |session: Session| auth::logout(&session).await))
        .layer(axum::middleware::map_response(async |mut response: Response| {
            response.headers_mut().insert("x-between", "a layer".parse().unwrap());
            response
        }));
    let sessions = SessionLayer::new(parts.store, parts.settings).unwrap();
    let json = |error: &Error, request: &RequestHead<'_>| {
        let response = Response::builder().status(error.status()).header("content-type", "application/json");
        response.body(Body::from(json_of(error, request))).unwrap()
    };
    // The order in which both are set does not matter.
    let router = match (parts.hook.has_json(), parts.hook.login()) {
        (false, None) => router.layer(sessions),
        (false, Some(login)) => router.layer(sessions.redirect_to_login(login)),
        (true, None) => router.layer(sessions.on_error(json)),
        (true, Some(login)) => router.layer(sessions.redirect_to_login(login).on_error(json)),
    };
    serve(router).await
}

async fn on_actix(parts: Parts) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (send, started) = tokio::sync::oneshot::channel();
    let users = AuthTransform::new(Arc::clone(&parts.members));
    let messages = MessagesTransform::new(&parts.settings, MessageSettings::default());
    let mut sessions = SessionTransform::new(parts.store, parts.settings).unwrap();
    if parts.hook.has_json() {
        sessions = sessions.on_error(|error, request| {
            let mut response = HttpResponse::build(ActixStatus::from_u16(error.status()).unwrap());
            response.content_type("application/json").body(json_of(error, request))
        });
    }
    if let Some(login) = parts.hook.login() {
        sessions = sessions.redirect_to_login(login);
    }
    let members = web::Data::from(parts.members);
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let application = move || {
                let mut with_users = web::scope("")
                    .route("/whoami", web::get().to(whoami))
                    .route("/maybe", web::get().to(maybe))
                    .route("/option", web::get().to(maybe))
                    .route("/often", web::get().to(often))
                    .route("/handler", web::get().to(in_handler))
                    .service(web::resource("/guarded").wrap(RequireTransform::login()).to(async || "guarded"))
                    .route("/relogin", web::get().to(actix_relogin));
                for (path, requirement) in requirements() {
                    let page = web::resource(path).wrap(RequireTransform::new(requirement));
                    with_users = with_users.service(page.to(async || "welcome"));
                }
                let scope = web::scope("/scope")
                    .route("/inside", web::get().to(async || "inside"))
                    .route("/open", web::get().to(async || "open"))
                    .wrap(RequireTransform::login().except(["/scope/open"]));
                let guard = web::resource("/without/guard").wrap(RequireTransform::login());
                App::new()
                    .app_data(members.clone())
                    .route("/without", web::get().to(whoami))
                    .service(guard.to(async || "unreachable"))
                    .route(
                        "/without/messages",
                        web::get().to(async |messages: Result<Messages, Error>| messages.map(|_| "")),
                    )
                    .route("/interrupted", web::get().to(interrupted))
                    .route("/failing", web::get().to(failing))
                    .route("/own", web::get().to(actix_own))
                    .route("/put", web::get().to(actix_put))
                    .route("/visit", web::get().to(visit))
                    .route("/untouched", web::get().to(async || "untouched"))
                    .route("/form", web::post().to(actix_form))
                    .route("/login", web::get().to(actix_login))
                    .route(
                        "/logout",
                        web::get().to(async |session: Session| auth::logout(&session).await.map(|()| "")),
                    )
                    .service(web::resource("/said").wrap(messages.clone()).to(said))
                    .service(
                        web::resource("/middleware")
                            .wrap(from_fn(asks_for_the_user))
                            .wrap(users.clone())
                            .to(async || "let through"),
                    )
                    .service(with_users.service(scope).wrap(users.clone()))
                    .wrap(DefaultHeaders::new().add(("x-between", "a layer")))
                    .wrap(sessions.clone())
            };
            let server = HttpServer::new(application).workers(1).disable_signals().shutdown_timeout(1);
            let server = server.listen(listener).unwrap().run();
            send.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    Running { address, server: Some(started.await.unwrap()) }
}

type Data = web::Data<Members>;

/// A middleware of the application's own that fails with an argument's error.
async fn asks_for_the_user(
    mut request: ServiceRequest,
    next: ActixNext<actix_web::body::BoxBody>,
) -> Result<actix_web::dev::ServiceResponse, actix_web::Error> {
    request.extract::<CurrentUser<Member>>().await?;
    next.call(request).await
}

async fn actix_relogin(
    session: Session,
    user: LazyUser<Member>,
    members: Data,
    fields: web::Query<Fields>,
) -> Result<String, Error> {
    relogin(&session, &user, &members, &fields).await
}

async fn actix_login(session: Session, members: Data, fields: web::Query<Fields>) -> Result<String, Error> {
    log_in(&session, &members, &fields).await
}

async fn actix_form(
    session: Session,
    members: Data,
    form: web::Form<LoginForm>,
) -> Result<HttpResponse, Error> {
    auth::login_user(&session, &members.of(&form.id)).await?;
    Ok(HttpResponse::SeeOther().insert_header(("location", form.next.or("/home"))).finish())
}

async fn actix_own(session: Session, fields: web::Query<Fields>) -> Result<&'static str, OwnError> {
    own(session, &fields).await
}

async fn actix_put(session: Session, fields: web::Query<Fields>) -> &'static str {
    put(&session, &fields);
    ""
}
