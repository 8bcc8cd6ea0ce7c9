//! The gate: answers a proxy's question whether a request may pass, and who makes it, from the Django session.
//!
//! Data goes one way. A proxy's question becomes an [`asked::Asked`], whatever the [`kind`] of the proxy
//! ([`questions`]). [`service::Gate`] decides it by the [`rules`], which it judges in all [`readings`] of the path, and
//! by the [`identity`]. [`answer`] turns the [`decision`] into headers and a status; [`assertion`] signs who the user is.

pub(crate) mod access;
pub(crate) mod answer;
pub(crate) mod asked;
pub(crate) mod assertion;
pub(crate) mod assertion_config;
pub(crate) mod config;
pub(crate) mod decision;
#[cfg(feature = "gate-grpc")]
pub(crate) mod grpc;
pub(crate) mod identity;
pub(crate) mod journal;
pub(crate) mod kind;
pub(crate) mod listener;
pub(crate) mod login_page;
pub(crate) mod notify;
pub(crate) mod patience;
pub(crate) mod questions;
pub(crate) mod readings;
pub(crate) mod rules;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod signing_keys;
pub(crate) mod users_config;
