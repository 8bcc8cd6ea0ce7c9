//! A site of two services that share their sessions: a Django project, and a Rust service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::routing::post;
use axum::{Json, Router};
use cloakroom::{SecretCheck, Session, SessionLayer, Settings, auth};
use serde_json::{Value, json};

use crate::support::project::Project;
use crate::support::servers::free_port;

/// A deployment: each side reads it when it starts.
#[derive(Clone)]
pub(crate) struct Deployment {
    pub(crate) secret: String,
    pub(crate) fallbacks: Vec<String>,
    /// The last part of Django's `SESSION_ENGINE`.
    pub(crate) engine: &'static str,
    /// Django's `CACHES`.
    pub(crate) caches: Value,
    /// An entry of Django's `DATABASES` for the sessions, if they are not in the project's own.
    pub(crate) sessions_database: Value,
    /// The store of the Rust service.
    pub(crate) store: String,
}

/// The names of those who have a password, in the order of their ids: 1, 2 and so on.
pub(crate) const USERS: [&str; 8] = ["ann", "bob", "carol", "dora", "emil", "fay", "gus", "hal"];

pub(crate) struct Site {
    pub(crate) project: Project,
    pub(crate) django_port: u16,
    pub(crate) rust_port: u16,
    django: Option<Child>,
    rust: Option<(tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
}

impl Site {
    /// A new project with its users, of which nothing runs yet. `deploy` says where the sessions are.
    pub(crate) fn new(python: PathBuf, deployment: impl FnOnce(&Path) -> Deployment) -> (Site, Deployment) {
        let settings = "import site_pages\n_found = site_pages.settings(BASE_DIR)\nglobals().update(_found)\n\
            if 'SESSIONS_DATABASE' in _found:\n    DATABASES['sessions'] = _found['SESSIONS_DATABASE']\n";
        let project = Project::unmigrated(python, settings);
        std::fs::write(project.path().join("site_pages.py"), include_str!("site.py")).unwrap();
        let (django_port, rust_port) = (free_port(), free_port());
        let deployment = deployment(project.path());
        let site = Site { project, django_port, rust_port, django: None, rust: None };
        site.make_table(&deployment);
        let users = format!(
            "from django.contrib.auth.models import User\n\
             for name in {USERS:?}:\n    User.objects.create_user(name, password='correct-horse')"
        );
        site.project.manage(&["shell", "-c", &users]);
        (site, deployment)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.project.path().to_owned()
    }

    /// Runs Django's migrations as this deployment has them.
    pub(crate) fn make_table(&self, deployment: &Deployment) {
        self.write(deployment);
        self.project.manage(&["migrate", "--verbosity", "0"]);
        if !deployment.sessions_database.is_null() {
            self.project.manage(&["migrate", "--verbosity", "0", "--database", "sessions"]);
        }
    }

    pub(crate) fn write(&self, deployment: &Deployment) {
        let site = json!({
            "secret": deployment.secret,
            "fallbacks": deployment.fallbacks,
            "engine": deployment.engine,
            "caches": deployment.caches,
            "sessions_database": deployment.sessions_database,
            "file_path": self.path().join("sessions"),
        });
        std::fs::write(self.project.path().join("site.json"), site.to_string()).unwrap();
    }

    /// Starts both sides, or starts them again.
    pub(crate) async fn deploy(&mut self, deployment: &Deployment) {
        self.deploy_django(deployment);
        self.deploy_rust(deployment).await;
    }

    /// The addresses of the two sides, Django's first.
    pub(crate) fn addresses(&self) -> [String; 2] {
        [self.django_port, self.rust_port].map(|port| format!("http://127.0.0.1:{port}"))
    }

    pub(crate) fn stop_django(&mut self) {
        if let Some(mut django) = self.django.take() {
            django.kill().unwrap();
            django.wait().unwrap();
        }
    }

    pub(crate) async fn stop_rust(&mut self) {
        if let Some((stop, stopped)) = self.rust.take() {
            drop(stop);
            stopped.await.unwrap();
        }
    }

    pub(crate) fn deploy_django(&mut self, deployment: &Deployment) {
        self.stop_django();
        self.write(deployment);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.project.path().join("django.log"))
            .unwrap();
        let address = format!("127.0.0.1:{}", self.django_port);
        let django = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&self.project.python)
            .args(["manage.py", "runserver", "--noreload", &address])
            .current_dir(self.project.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("DJANGO_SETTINGS_MODULE")
            .env_remove("PYTHONPATH")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.django = Some(django);
        let start = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "Django does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) async fn deploy_rust(&mut self, deployment: &Deployment) {
        self.start_rust(deployment, SecretCheck::default()).await.unwrap();
    }

    /// Starts the service again, unless it refuses to start.
    pub(crate) async fn start_rust(
        &mut self,
        deployment: &Deployment,
        secret_check: SecretCheck,
    ) -> Result<(), cloakroom::StoreError> {
        self.stop_rust().await;
        let mut settings = Settings::new(deployment.secret.as_str());
        settings.secret_key_fallbacks =
            deployment.fallbacks.iter().map(|secret| secret.as_str().into()).collect();
        settings.secret_check = secret_check;
        let store = cloakroom::connect(&deployment.store, &settings).await?;
        let layer = SessionLayer::new(store, settings).unwrap();
        let pages = Router::new()
            .route("/click", post(click))
            .route("/look", post(look))
            .route("/logout", post(log_out));
        // Behind a proxy the paths say which side answers.
        let app = pages.clone().nest("/rust", pages).layer(layer);
        let address = SocketAddr::from(([127, 0, 0, 1], self.rust_port));
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
        self.rust = Some((stop, tokio::spawn(async { server.await.unwrap() })));
        Ok(())
    }

    /// Django's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.project.path().join("django.log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop_django();
    }
}

async fn look(session: Session) -> Result<Json<Value>, cloakroom::Error> {
    let user = auth::user_id(&session)?.and_then(|id| id.parse::<usize>().ok());
    let count = |name: &str| session.get::<u64>(name).map(Option::unwrap_or_default);
    Ok(Json(json!({
        "user": user.map(|id| USERS[id - 1]),
        "django": count("django")?,
        "rust": count("rust")?,
    })))
}

async fn click(session: Session) -> Result<Json<Value>, cloakroom::Error> {
    if auth::user_id(&session)?.is_some() {
        session.modify::<u64>("rust", |count| count.unwrap_or(0) + 1)?;
    }
    look(session).await
}

async fn log_out(session: Session) -> Result<Json<Value>, cloakroom::Error> {
    auth::logout(&session).await?;
    Ok(Json(json!({})))
}

/// The entry of Django's `DATABASES` for a PostgreSQL URL of the tests.
pub(crate) fn postgres_database(url: &str) -> Value {
    let (place, name) = url.rsplit_once('/').unwrap();
    let (user, password) =
        (crate::support::servers::postgres::USER, crate::support::servers::postgres::PASSWORD);
    json!({
        "ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": user, "PASSWORD": password,
        "HOST": "127.0.0.1", "PORT": place.rsplit(':').next().unwrap().parse::<u16>().unwrap(),
    })
}

/// Django's `CACHES` for a Redis URL of the tests.
pub(crate) fn redis_caches(url: &str) -> Value {
    let (address, query) = url.split_once('?').unwrap();
    json!({ "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": address,
        "KEY_PREFIX": query.strip_prefix("key_prefix=").unwrap(),
    } })
}

/// A store that nobody else uses, for the deployment above.
pub(crate) fn sqlite(folder: &Path) -> Deployment {
    Deployment {
        secret: "the secret of the site, old".to_owned(),
        fallbacks: Vec::new(),
        engine: "db",
        caches: Value::Null,
        sessions_database: Value::Null,
        store: format!("sqlite:{}", folder.join("db.sqlite3").display()),
    }
}

/// A site whose sessions are files.
pub(crate) fn files(folder: &Path) -> Deployment {
    std::fs::create_dir_all(folder.join("sessions")).unwrap();
    let store = format!("file:{}", folder.join("sessions").display());
    Deployment { engine: "file", store, ..sqlite(folder) }
}
