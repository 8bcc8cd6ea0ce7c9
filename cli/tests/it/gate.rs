//! The gate, with the services that it is made for.

mod assertion;
mod browser;
mod core;
mod demo;
mod grpc;
mod identity;
mod process;
mod proxies;
