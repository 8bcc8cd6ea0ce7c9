//! The built command, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod change_secret;
mod copying;
mod copying_again;
mod dead_cache;
mod demo;
mod documents;
mod ending;
mod from_django;
mod fuzz_corpus;
mod gate;
mod maintenance;
mod manners;
mod million;
mod moving;
mod output;
mod passwords;
mod pasted;
mod poolers;
mod provider_urls;
mod recipes;
mod redis_cluster;
mod revoking;
mod sessions;
mod settings;
mod shipped;
mod signed_text;
mod stored_ids;
mod support;
mod user_sessions;
mod vectors;
mod whole_files;
mod wrong_secret;
