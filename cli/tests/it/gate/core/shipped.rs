//! The shipped unit and configuration, and the page that explains them.

use std::process::Command;

use super::running::Site;
use crate::support::command::run;
use crate::support::documents::{blocks, document, root};
use crate::support::servers;

fn contrib(name: &str) -> String {
    std::fs::read_to_string(root().join("contrib").join(name)).unwrap()
}

/// Whether `--check` takes it.
fn check(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.toml");
    std::fs::write(&path, text).unwrap();
    let ran = run(Site::shared().command(&path, &["--check"]), b"");
    assert_eq!(ran.code, 0, "{ran:?}: {text}");
}

/// The settings that are commented out, as if they were not; of two for one key, the last.
fn uncommented(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix('#').filter(|setting| !setting.starts_with(' ')).unwrap_or(line);
        let key = line.split_once(" = ").map(|(key, _)| key).filter(|key| !key.starts_with('#'));
        match lines.last_mut() {
            Some(last) if key.is_some_and(|key| last.starts_with(&format!("{key} = "))) => {
                *last = line.to_owned()
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

#[test]
fn the_example_is_right_with_and_without_its_defaults() {
    let text = contrib("gate.toml");
    check(&text);
    let all = uncommented(&text);
    assert!(
        all.contains("\nlisten = \"unix:/run/cloakroom/gate.sock\"\n") && all.contains("\n[users]\n"),
        "{all}"
    );
    check(&all);
}

#[test]
fn the_page_explains_each_key_and_its_examples_are_right() {
    let page = document("gate.md");
    for example in blocks(&page, "toml") {
        check(&example);
    }
    let start = blocks(&page, "sh").into_iter().next().unwrap();
    let (_, config) = start.split_once("END'\n").unwrap();
    check(config.split_once("END\n").unwrap().0);

    let mut table = "";
    let example = uncommented(&contrib("gate.toml"));
    for line in example.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_matches(['[', ']']);
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = match table {
                "assertion" => format!("| `assertion.{key}` |"),
                "users" => continue,
                _ => format!("| `{key}` |"),
            };
            assert!(page.contains(&key), "docs/gate.md does not explain {key}");
        }
    }
}

#[test]
fn the_unit_is_valid_and_its_reload_checks_first() {
    let folder = tempfile::tempdir().unwrap();
    let text = contrib("cloakroom-gate.service");
    let unit = folder.path().join("cloakroom-gate.service");
    std::fs::write(&unit, text.replace("/usr/local/bin/cloakroom", env!("CARGO_BIN_EXE_cloakroom"))).unwrap();
    let verified = Command::new(servers::program("systemd-analyze", &[]))
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let about_it: Vec<&str> = said.lines().filter(|line| line.contains("cloakroom-gate")).collect();
    assert!(verified.status.success() && about_it.is_empty(), "{said}");
    let reload: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("ExecReload=")).collect();
    let start =
        text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/cloakroom gate ")).unwrap();
    assert_eq!(reload[0].strip_prefix("/usr/local/bin/cloakroom gate --check "), Some(start));
}
