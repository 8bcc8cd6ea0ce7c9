//! The commands, one file each.

pub(crate) mod change_secret;
pub(crate) mod check;
pub(crate) mod clear_sessions;
pub(crate) mod copy;
pub(crate) mod count;
pub(crate) mod create_table;
pub(crate) mod decode;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod encode;
#[cfg(unix)]
#[cfg(feature = "gate")]
pub(crate) mod gate;
pub(crate) mod list;
pub(crate) mod move_rest;
pub(crate) mod ping;
pub(crate) mod print_settings;
pub(crate) mod revoke;
pub(crate) mod shell;
pub(crate) mod show;
pub(crate) mod signed_text;
pub(crate) mod user_sessions;
