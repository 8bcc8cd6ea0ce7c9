//! Who takes part, with which store, and what each calls its table.

use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Postgres,
    Redis,
    Valkey,
    Sqlite,
}

pub(crate) const STORES: [Store; 5] =
    [Store::Memory, Store::Postgres, Store::Redis, Store::Valkey, Store::Sqlite];

impl Store {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Store::Memory => "memory",
            Store::Postgres => "postgres",
            Store::Redis => "redis",
            Store::Valkey => "valkey",
            Store::Sqlite => "sqlite",
        }
    }

    /// With a name of the floor in its tables.
    pub(crate) fn floor(self) -> &'static str {
        match self {
            Store::Memory => "axum alone",
            Store::Postgres => "axum, deadpool, tokio-postgres",
            Store::Redis | Store::Valkey => "axum, redis-rs",
            Store::Sqlite => "axum, rusqlite",
        }
    }
}

/// Which program runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Site,
    Peers,
    Django,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    /// On the command line of its program, in `--only`, and in the tables.
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) stores: &'static [Store],
    pub(crate) table: Table,
}

impl Contender {
    /// Whether its sessions are in the browsers' cookies, with this store.
    pub(crate) fn is_in_cookie(&self, store: Store) -> bool {
        store == Memory && matches!(self.name, "cloakroom-cookie" | "actix-session")
    }
}

/// The table of its sessions in a database: for the rows that make the index a real one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
    pub(crate) others: &'static str,
}

const DJANGO: Table =
    Table { name: "django_session", key: "session_key", others: "session_data, expire_date" };
const TOWER_SESSIONS: Table = Table { name: "tower_sessions", key: "id", others: "data, expiry_date" };
const AXUM_SESSION: Table = Table { name: "sessions", key: "id", others: "expires, session" };

use Store::{Memory, Postgres, Redis, Sqlite, Valkey};

/// The first is the floor.
pub(crate) const CONTENDERS: [Contender; 10] = [
    Contender {
        name: "floor",
        program: Program::Site,
        stores: &[Memory, Postgres, Redis, Valkey, Sqlite],
        table: DJANGO,
    },
    Contender {
        name: "cloakroom",
        program: Program::Site,
        stores: &[Memory, Postgres, Redis, Valkey, Sqlite],
        table: DJANGO,
    },
    Contender {
        name: "cloakroom-actix",
        program: Program::Site,
        stores: &[Memory, Postgres, Redis, Valkey, Sqlite],
        table: DJANGO,
    },
    Contender { name: "cloakroom-cookie", program: Program::Site, stores: &[Memory], table: DJANGO },
    Contender {
        name: "tower-sessions",
        program: Program::Peers,
        stores: &[Memory, Postgres, Redis, Valkey, Sqlite],
        table: TOWER_SESSIONS,
    },
    Contender {
        name: "tower-sessions-no-ping",
        program: Program::Peers,
        stores: &[Postgres],
        table: TOWER_SESSIONS,
    },
    Contender {
        name: "axum_session",
        program: Program::Peers,
        stores: &[Memory, Postgres, Redis, Valkey],
        table: AXUM_SESSION,
    },
    Contender {
        name: "axum_session-cached",
        program: Program::Peers,
        stores: &[Postgres],
        table: AXUM_SESSION,
    },
    Contender {
        name: "actix-session",
        program: Program::Peers,
        stores: &[Memory, Redis, Valkey],
        table: DJANGO,
    },
    Contender { name: "django", program: Program::Django, stores: &[Postgres], table: DJANGO },
];

/// Those that take part with this store; the floor always does.
pub(crate) fn of(store: Store, only: &[String]) -> Vec<Contender> {
    let wanted = |contender: &Contender| {
        only.is_empty() || contender.name == "floor" || only.iter().any(|name| name == contender.name)
    };
    CONTENDERS.into_iter().filter(|one| one.stores.contains(&store) && wanted(one)).collect()
}

pub(crate) fn check_names(names: &[String]) -> Result<()> {
    let known = CONTENDERS.map(|contender| contender.name);
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("--only takes {}, not {name}", known.join(", ")).into()),
        None => Ok(()),
    }
}
