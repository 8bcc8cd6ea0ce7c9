//! Real proxies with the shipped configurations before a real gate, and raw requests of clients that forge.

mod advisories;
mod assertion;
mod back_end;
mod client;
mod corpus;
mod failures;
mod http2;
mod page;
mod proxy;
mod site;
