//! Sessions in requests and responses: the rules, and the frameworks that follow them.

#[cfg(feature = "actix")]
pub(crate) mod actix;
#[cfg(feature = "axum")]
mod axum;
pub mod middleware;
#[cfg(feature = "tower")]
pub(crate) mod tower;
