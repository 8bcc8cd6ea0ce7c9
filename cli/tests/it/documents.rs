//! The documents, tried as a new user would: each command line in them runs, in order, in one folder.

use std::path::Path;

use crate::support::command::{SECRET, with_secret};
use crate::support::documents::{Place, blocks, document, executable, root};
use crate::support::pasted::Pasted;
use crate::support::project::Project;
use crate::support::servers;
use crate::support::sessions::{create, open};

/// A new project, a user in it, and the page: in the end Rust knows who logged in to Django.
#[tokio::test(flavor = "multi_thread")]
async fn from_django() {
    let text = document("from-django.md");
    let example = std::fs::read_to_string(root().join("examples/whoami.rs")).unwrap();
    let code = blocks(&text, "rust").into_iter().next().unwrap();
    let (_, runs) = example.split_once("\n\n").unwrap();
    assert_eq!(code.trim_end(), runs.trim_end(), "the page's code is that of examples/whoami.rs");

    let project = Project::new("");
    let code = "from django.contrib.auth.models import User; \
        User.objects.create_superuser('ada', password='correct-horse')";
    project.manage(&["shell", "-c", code]);
    let mut place = Place::new(project.path()).await;
    let [django, rust] = [servers::free_port(), servers::free_port()].map(|port| port.to_string());
    place.here.extend([("8000", django), ("3000", rust.clone())]);
    // What `cargo run` in the reader's own project does.
    let pasted = Pasted::build(&text, "whoami");
    let example = format!("#!/bin/sh\nLISTEN=127.0.0.1:{rust} exec {}\n", pasted.program.display());
    executable(&place.bin.path().join("cargo"), &example);
    let output = place.follow(&text);
    assert!(output.contains("user 1, visit 1\nuser 1, visit 2\n"), "{output}");
    let listed = output.lines().last().unwrap();
    assert!(listed.contains("live") && listed.ends_with("user 1"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path()).await;
    std::fs::write(folder.path().join("secret.txt"), format!("{SECRET}\n")).unwrap();
    let url = &place.here[0].1;
    assert_eq!(with_secret(&["create-table", "--store", url], "").code, 0);
    let store = open(url).await;
    create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    create(&*store, r#"{"visits":1}"#, 5).await;
    create(&*store, r#"{"visits":1}"#, -5).await;
    let output = place.follow(&document("operations.md"));
    assert!(output.contains("1 deleted\n") && output.contains("1 expired session removed"), "{output}");
    assert!(output.contains("no session depends on an old secret: it may go"), "{output}");
    assert!(output.contains("May it go? yes"), "{output}");
    assert!(output.contains("1 copied, 0 were there"), "{output}");
    assert!(!output.contains("is another one\n"), "in the end the secret is the right one: {output}");
    let man = std::fs::read_to_string(folder.path().join("man/man1/cloakroom-revoke.1")).unwrap();
    assert!(man.contains("Exit codes"), "{man}");
}

/// A session that was revoked after the backup is live again after the restore, as the page says, until its recipe ends it.
#[tokio::test(flavor = "multi_thread")]
async fn backup() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path()).await;
    std::fs::write(folder.path().join("secret.txt"), format!("{SECRET}\n")).unwrap();
    let url = place.here[0].1.clone();
    std::fs::write(
        folder.path().join("cloakroom.toml"),
        format!("store = {url:?}\nsecret_key_file = \"secret.txt\"\n"),
    )
    .unwrap();
    assert_eq!(with_secret(&["create-table", "--store", &url], "").code, 0);
    let store = open(&url).await;
    create(&*store, r#"{"_auth_user_id":"7"}"#, 5).await;
    create(&*store, r#"{"_auth_user_id":"8"}"#, 5).await;
    create(&*store, r#"{"visits":1}"#, -5).await;
    let [end_all, restore] = <[String; 2]>::try_from(blocks(&document("backup.md"), "sh")).unwrap();
    let (dump, restore) = restore.split_once('\n').unwrap();
    let run = |script: &str| {
        let ran = place.run(script);
        let output = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{script}: {output}{}", String::from_utf8_lossy(&ran.stderr));
        output
    };
    run(dump);
    assert!(run("cloakroom revoke --user 7").contains("1 session of user 7 revoked"));
    assert!(run(restore).contains("2 live, 1 expired"));
    assert!(run("cloakroom list --user 7").contains("user 7"), "it is live again");
    let output = run(&end_all);
    assert!(output.contains("3 deleted\n0 live, 0 expired"), "{output}");
    assert_eq!(run(&end_all).lines().last(), Some("0 live, 0 expired"), "and once more");

    // Where nothing can be deleted, the recipe fails.
    let read_only = format!("sqlite:{}", folder.path().join("read-only.sqlite3").display());
    assert_eq!(with_secret(&["create-table", "--store", &read_only], "").code, 0);
    create(&*open(&read_only).await, "{}", 5).await;
    let ran = place.run(&format!("export CLOAKROOM_STORE='{read_only}?mode=ro'\n{end_all}"));
    assert!(!ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn stores() {
    let folder = tempfile::tempdir().unwrap();
    let output = Place::new(folder.path()).await.follow(&document("stores.md"));
    assert_eq!(output.matches("0 live, 0 expired").count(), 6, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_tower_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let output = Place::new(folder.path()).await.follow(&document("from-tower-sessions.md"));
    assert!(output.contains("made the table"), "{output}");
}

/// A table that names each setting is right only as long as it has each.
#[test]
fn the_table_of_settings_is_whole() {
    let (table, settings) =
        (document("from-django.md"), std::fs::read_to_string(root().join("src/site/settings.rs")).unwrap());
    for field in settings.lines().filter_map(|line| line.strip_prefix("    pub ")) {
        let Some((name, _)) = field.split_once(':').filter(|(name, _)| !name.contains('(')) else { continue };
        let is_ours = [
            "auth_hash_algorithm",
            "accept_sha1_auth_hash",
            "compression",
            "max_decompressed_bytes",
            "session_key_format",
            "concurrent_changes",
            "save_timeout",
            "interrupted",
            "secret_key",
            "secret_check",
            // Of the hardened profile and the header transport.
            "absolute_lifetime",
            "renew_after",
            "reject_duplicate_cookies",
            "send_no_store",
            "cookie_partitioned",
            "full_removal_cookie",
            "transport",
        ];
        assert!(
            is_ours.contains(&name) || table.contains(&format!("`{name}")),
            "{name} is missing in the table"
        );
    }
}

/// The parameters that a store's URL takes are told by the error about another. Each is in the store's section.
#[test]
fn each_parameter_of_a_url_is_on_the_page() {
    // Of the caches, which other sections refer to.
    let shared =
        ["key_prefix", "version", "entry_prefix", "engine", "serializer", "compressor", "cache_table"];
    let page = document("stores.md");
    let words = |text: &str| -> std::collections::BTreeSet<String> {
        let code = text.split('`').skip(1).step_by(2);
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        code.flat_map(|code| code.split(move |letter| !is_part(letter))).map(str::to_owned).collect()
    };
    let on_the_page = words(&page);
    let mut count = 0;
    for (heading, url) in [
        ("SQLite", "sqlite:db.sqlite3"),
        ("PostgreSQL", "postgres://db/site"),
        ("MySQL and MariaDB", "mysql://db/site"),
        ("Redis and Valkey", "redis+sentinel://cache/service"),
        ("memcached", "memcached://cache"),
    ] {
        let ran = with_secret(&["count", "--store", &format!("{url}?no_such_parameter=1")], "");
        let (_, known) = ran.stderr.split_once("is not known; there are ").unwrap();
        let known: Vec<&str> = known.split('.').next().unwrap().split(", ").collect();
        assert!(known.len() > 5, "{known:?}");
        let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
        let in_section = words(section.split("\n## ").next().unwrap());
        for name in known {
            let place = if shared.contains(&name) { &on_the_page } else { &in_section };
            // The sentinels' are those of the server, with a prefix.
            let is_there = place.contains(name) || place.contains(name.trim_start_matches("sentinel_"));
            assert!(is_there, "{heading}: {name} is missing");
            count += 1;
        }
    }
    println!("documents: {count} parameters of URLs are on the page");
}

#[test]
fn the_examples_that_documents_name_exist() {
    let documents = [
        "from-django.md",
        "operations.md",
        "stores.md",
        "from-tower-sessions.md",
        "backup.md",
        "../README.md",
    ];
    let mut named = std::collections::BTreeSet::new();
    for text in documents.map(document) {
        named.extend(
            text.split("examples/").skip(1).filter_map(|rest| Some(rest.split_once(".rs")?.0.to_owned())),
        );
    }
    for name in &named {
        assert!(
            root().join(format!("examples/{name}.rs")).is_file(),
            "examples/{name}.rs is named and not there"
        );
    }
    assert!(named.contains("django_login") && named.contains("actix"), "{named:?}");
}

#[test]
fn few_blocks_are_left_out() {
    let documents =
        ["from-django.md", "operations.md", "stores.md", "from-tower-sessions.md", "backup.md"].map(document);
    let left_out =
        documents.iter().map(|text| text.matches("<!-- not run in the test: ").count()).sum::<usize>();
    assert_eq!(left_out, 1);
}

/// Each test that a document names is there, so that a claim does not outlive what shows it.
#[test]
fn the_tests_that_documents_name_exist() {
    fn functions(folder: &Path, found: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                functions(&entry, found);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&entry).unwrap();
                let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
                found.extend(names.map(str::to_owned));
                // A document may mean a whole module.
                found.insert(entry.file_stem().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut all = std::collections::BTreeSet::new();
    for folder in ["tests/it", "cli/tests/it", "src", "formats/src", "cli/src"] {
        functions(&root().join(folder), &mut all);
    }
    let mut checked = 0;
    for name in ["comparison.md", "reliability.md"] {
        let text = document(name);
        for path in text.split('`').skip(1).step_by(2).filter(|path| path.contains("::")) {
            let is_test = |part: &str| part.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
            let part = path.trim_end_matches('…').rsplit("::").next().unwrap();
            if part.is_empty() || !is_test(part) || part.contains(|letter: char| letter.is_uppercase()) {
                continue;
            }
            // Of a name that is cut short, the beginning.
            let is_there = all.range(part.to_owned()..).next().is_some_and(|name| name.starts_with(part));
            assert!(is_there, "{name} names the test {path}, which is not there");
            checked += 1;
        }
    }
    println!("documents: {checked} tests that they name are there");
    assert!(checked > 80, "{checked}");
}
