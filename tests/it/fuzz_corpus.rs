//! The fuzz targets on the stable toolchain: over the corpus that real Djangos wrote, and over texts that a small mutator
//! with a fixed seed makes of it. `scripts/fuzz` goes on for as long as one likes, led by coverage.
#![allow(unreachable_pub, reason = "the fuzz crate shares these files")]

#[path = "../../fuzz/src/corpus.rs"]
pub(crate) mod corpus;
#[path = "../../fuzz/src/oracle.rs"]
mod oracle;
#[path = "../../fuzz/src/targets.rs"]
pub(crate) mod targets;

use crate::vectors::python;
use corpus::run;

#[test]
fn cookie_headers() {
    run("cookie_header", targets::cookie_header);
}

#[test]
fn signed_text() {
    run("signed_text", targets::signed_text);
}

#[test]
fn legacy_text() {
    run("legacy_text", targets::legacy_text);
}

#[test]
fn json() {
    run("json", targets::json);
}

#[test]
fn pickles() {
    run("pickle", targets::pickle);
}

#[test]
fn expiry() {
    run("expiry", targets::expiry);
}

#[cfg(feature = "fuzzing")]
#[test]
fn urls_of_stores() {
    run("urls", targets::urls);
}
