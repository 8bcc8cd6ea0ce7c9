//! The fuzz target of the settings file, over its corpus; see the library's tests of this name.
#![allow(unreachable_pub, dead_code, reason = "the fuzz crate shares these files")]

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/settings_file.rs"]
mod settings_file;

#[test]
fn settings_files() {
    corpus::run("settings_file", settings_file::target);
}
