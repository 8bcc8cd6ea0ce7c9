//! The login: verified users, what pages require of them, and the one place for errors, on every adapter.

mod django;
mod error_hook;
mod members;
mod read_only;
mod require;
mod site;
mod users;

use std::sync::Arc;

use cloakroom::{MemoryStore, SessionStore, Settings, StoreErrorKind};

use self::members::{Member, Members};
use self::site::{Hook, Parts, Running};
use crate::support::browser::{Browser, Reply};
use crate::support::web::{Adapter, on_every_adapter};

/// A site with a store in memory and these users.
async fn memory(on: Adapter, members: &Arc<Members>, hook: Hook) -> Running {
    let (store, settings) = (Arc::new(MemoryStore::new()), Settings::new("secret"));
    Parts { store, settings, members: Arc::clone(members), hook }.serve(on).await
}

fn location(reply: &Reply) -> &str {
    reply.headers["location"].to_str().unwrap()
}
