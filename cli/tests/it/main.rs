//! The built command, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;
mod demo;
mod maintenance;
mod signed_text;
mod vectors;
