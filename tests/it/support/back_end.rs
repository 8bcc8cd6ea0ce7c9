//! Each back end as both sites are told of it, with a real server behind it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::django::{Django, Project};

/// One back end, as both sites are told of it.
pub(crate) struct BackEnd {
    pub(crate) name: &'static str,
    /// Of Django.
    pub(crate) engine: &'static str,
    /// Of this library.
    pub(crate) url: String,
    /// Of Django: without one, it has users in a file of SQLite.
    pub(crate) database: Option<Value>,
    pub(crate) cache: Option<Value>,
    /// Whether Django pickles the session, so that it may hold any object.
    pub(crate) pickles: bool,
    /// Whether Django writes the session as MessagePack, which has no integers beyond 64 bits and no text
    /// that is not Unicode.
    pub(crate) is_message_pack: bool,
}

#[cfg(feature = "redis")]
const REDIS: &str = "django.core.cache.backends.redis.RedisCache";
#[cfg(feature = "redis")]
const DJANGO_REDIS: &str = "django_redis.cache.RedisCache";

const DATABASE_CACHE: &str = "django.core.cache.backends.db.DatabaseCache";

impl BackEnd {
    /// A site of this Django on it, with its tables and its one user.
    pub(crate) fn project(&self, django: Django, folder: &Path) -> Project {
        let mut project = match &self.database {
            Some(database) => {
                let project = Project::on(django, database.clone());
                project.migrate();
                project
            }
            None => Project::with_user(django, &folder.join("db.sqlite3")),
        };
        project.variables.push(("SITE_SESSION_ENGINE", self.engine.to_owned()));
        project.variables.push(("SITE_SESSION_FILE_PATH", folder.to_str().unwrap().to_owned()));
        if let Some(cache) = &self.cache {
            project.variables.push(("SITE_CACHE", cache.to_string()));
            if cache["BACKEND"] == DATABASE_CACHE {
                project.manage(&["createcachetable"]);
            }
        }
        project
    }

    /// A back end of Django that keeps sessions as signed text.
    fn text(name: &'static str, engine: &'static str, url: impl Into<String>) -> BackEnd {
        BackEnd {
            name,
            engine,
            url: url.into(),
            database: None,
            cache: None,
            pickles: false,
            is_message_pack: false,
        }
    }

    pub(crate) async fn sqlite(folder: &Path) -> BackEnd {
        BackEnd::text("SQLite", "db", format!("sqlite:{}/db.sqlite3", folder.display()))
    }

    /// Django's `DatabaseCache` in this back end's own database.
    pub(crate) fn in_cache_table(self, name: &'static str) -> BackEnd {
        // Django removes a part of the entries beyond this number, sessions too.
        let cache = json!({ "BACKEND": DATABASE_CACHE, "LOCATION": "my_cache_table", "KEY_PREFIX": "a_b",
            "VERSION": 2, "OPTIONS": { "MAX_ENTRIES": 1_000_000 } });
        let url = format!("{}?cache_table=my_cache_table&key_prefix=a_b&version=2", self.url);
        BackEnd { name, engine: "cache", url, cache: Some(cache), pickles: true, ..self }
    }

    /// Django's `cached_db` in this back end's own database, with the copies in its `DatabaseCache`.
    pub(crate) fn behind_cache_table(self, name: &'static str) -> BackEnd {
        let database = self.url.clone();
        let back_end = self.in_cache_table(name);
        let url = format!("cached_db:{database}|{}", back_end.url);
        BackEnd { engine: "cached_db", url, pickles: false, ..back_end }
    }

    pub(crate) async fn files(folder: &Path) -> BackEnd {
        BackEnd::text("files", "file", format!("file:{}", folder.display()))
    }

    pub(crate) async fn file_based_cache(folder: &Path) -> BackEnd {
        let place = folder.join("cache");
        std::fs::create_dir(&place).unwrap();
        let cache = json!({
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": place, "KEY_PREFIX": "site1", "VERSION": 2, "OPTIONS": { "MAX_ENTRIES": 100_000 },
        });
        let url = format!("filecache:{}?key_prefix=site1&version=2", place.display());
        BackEnd { cache: Some(cache), pickles: true, ..BackEnd::text("FileBasedCache", "cache", url) }
    }

    pub(crate) async fn signed_cookies(_: &Path) -> BackEnd {
        BackEnd::text("signed cookies", "signed_cookies", "cookie:")
    }

    #[cfg(feature = "postgres")]
    pub(crate) async fn postgres(_: &Path) -> BackEnd {
        let url = crate::support::servers::postgres::database().await;
        BackEnd { database: Some(postgres_database(&url)), ..BackEnd::text("PostgreSQL", "db", url) }
    }

    #[cfg(feature = "mysql")]
    pub(crate) async fn mariadb(_: &Path) -> BackEnd {
        let url = crate::support::servers::mariadb::database().await;
        BackEnd { database: Some(mariadb_database(&url)), ..BackEnd::text("MariaDB", "db", url) }
    }

    #[cfg(feature = "redis")]
    pub(crate) async fn redis(_: &Path) -> BackEnd {
        BackEnd::redis_cache("Redis", REDIS, json!({}), "").await
    }

    #[cfg(feature = "redis")]
    pub(crate) async fn django_redis(name: &'static str, options: Value, query: &str) -> BackEnd {
        BackEnd::redis_cache(name, DJANGO_REDIS, options, query).await
    }

    /// django-valkey, on a server of Valkey.
    #[cfg(feature = "redis")]
    pub(crate) async fn django_valkey(name: &'static str, options: Value, query: &str) -> BackEnd {
        let url = crate::support::servers::redis::valkey_url().await;
        let cache = Some(cache("django_valkey.cache.ValkeyCache", &url, &options));
        let pickles = !query.contains("json");
        BackEnd { cache, pickles, ..BackEnd::text(name, "cache", format!("{url}{query}")) }
    }

    #[cfg(feature = "redis")]
    async fn redis_cache(name: &'static str, cache_back_end: &str, options: Value, query: &str) -> BackEnd {
        let url = crate::support::servers::redis::url().await;
        let cache = Some(cache(cache_back_end, &url, &options));
        let is_message_pack = query.contains("msgpack");
        let pickles = !query.contains("json") && !is_message_pack;
        BackEnd { cache, pickles, is_message_pack, ..BackEnd::text(name, "cache", format!("{url}{query}")) }
    }

    #[cfg(feature = "memcached")]
    pub(crate) async fn memcached(_: &Path) -> BackEnd {
        let url = crate::support::servers::memcached::url().await;
        let cache = cache("django.core.cache.backends.memcached.PyMemcacheCache", &url, &json!({}));
        BackEnd { cache: Some(cache), pickles: true, ..BackEnd::text("memcached", "cache", url) }
    }

    #[cfg(all(feature = "postgres", feature = "redis"))]
    pub(crate) async fn cached_db(_: &Path) -> BackEnd {
        let url = crate::support::servers::postgres::database().await;
        BackEnd::behind_redis("PostgreSQL and Redis", postgres_database(&url), &url).await
    }

    #[cfg(all(feature = "mysql", feature = "redis"))]
    pub(crate) async fn cached_db_of_mariadb(_: &Path) -> BackEnd {
        let url = crate::support::servers::mariadb::database().await;
        BackEnd::behind_redis("MariaDB and Redis", mariadb_database(&url), &url).await
    }

    /// The `cached_db` engine on this database behind Redis.
    #[cfg(all(any(feature = "postgres", feature = "mysql"), feature = "redis"))]
    async fn behind_redis(name: &'static str, database: Value, database_url: &str) -> BackEnd {
        let redis = crate::support::servers::redis::url().await;
        let cache = Some(cache(REDIS, &redis, &json!({})));
        let url = format!("cached_db:{database_url}|{redis}&engine=cached_db");
        BackEnd { database: Some(database), cache, ..BackEnd::text(name, "cached_db", url) }
    }
}

/// `DATABASES["default"]` for a URL of the tests' servers.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn database(engine: &str, user: &str, password: &str, url: &str) -> Value {
    let (address, name) = url.rsplit_once('/').unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    json!({
        "ENGINE": format!("django.db.backends.{engine}"),
        "HOST": "127.0.0.1",
        "PORT": port,
        "USER": user,
        "PASSWORD": password,
        "NAME": name,
    })
}

#[cfg(feature = "postgres")]
pub(crate) fn postgres_database(url: &str) -> Value {
    use crate::support::servers::postgres::{PASSWORD, USER};
    database("postgresql", USER, PASSWORD, url)
}

#[cfg(feature = "mysql")]
pub(crate) fn mariadb_database(url: &str) -> Value {
    use crate::support::servers::mariadb::{PASSWORD, USER};
    database("mysql", USER, PASSWORD, url)
}

/// `CACHES["default"]` for a URL of the tests' servers.
#[cfg(any(feature = "redis", feature = "memcached"))]
fn cache(back_end: &str, url: &str, options: &Value) -> Value {
    let (address, prefix) = url.split_once("?key_prefix=").unwrap();
    let location = address.strip_prefix("memcached://").unwrap_or(address);
    json!({ "BACKEND": back_end, "LOCATION": location, "KEY_PREFIX": prefix, "OPTIONS": options })
}
