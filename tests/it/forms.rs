//! Forms: messages and CSRF tokens, on every adapter and beside real Djangos.

mod csrf;
mod messages;
mod site;

use std::sync::Arc;

use cloakroom::messages::{MessageSettings, MessageStorage};
use cloakroom::{Error, MemoryStore, Settings, SqliteStore};
use serde_json::{Value as Json, json};

use self::site::Parts;
use crate::support::browser::Browser;
use crate::support::django::{Django, Project, SECRET, credentials};
use crate::support::web::{Adapter, on_every_adapter};
