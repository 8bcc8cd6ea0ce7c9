//! The dependencies: licences, sources, duplicates, and no unsafe code.

use std::path::Path;
use std::process::{Command, Output};

fn check(arguments: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-dependencies");
    Command::new("python3").arg(script).args(arguments).output().unwrap()
}

#[test]
fn dependencies_are_as_allowed_and_unsafe_code_is_forbidden() {
    let checked = check(&[]);
    let shown = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{shown}{}", String::from_utf8_lossy(&checked.stderr));
    println!("t50: {}", shown.trim());
}

#[test]
fn the_check_notices_what_is_not_allowed() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("deny.toml");
    for (what, with, told) in [
        ("    \"ISC\",\n", "", "the licence ISC is not allowed"),
        ("    \"sha1@", "    \"sha1-of-another-name@", "bring them together"),
        ("rust-lang/crates.io-index", "another/index", "does not allow"),
    ] {
        let stricter = text.replace(what, with);
        assert_ne!(stricter, text, "{what}");
        std::fs::write(&changed, stricter).unwrap();
        let checked = check(&[&changed]);
        let shown = String::from_utf8_lossy(&checked.stdout);
        assert!(!checked.status.success() && shown.contains(told), "{what}: {shown}");
    }
}
