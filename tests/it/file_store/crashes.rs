//! What crashed writers left behind, and what is on the disk when a save is acknowledged.

use std::time::Duration;

use cloakroom::FileStore;

use super::*;

fn key(number: usize) -> SessionKey {
    SessionKey::from_trusted(format!("session{number:020}"))
}

#[tokio::test]
async fn what_others_left_behind_is_reaped_when_it_is_old_enough() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let store = open(folder).await;
    create(&store, &session_key(), "{}").await;
    let names = [
        ".cloakroom-0123456789abcdef",
        "sessionidabcdefgh12345678abcdefgh12345678_out_k3j2h1_x",
        "sessionid-not-ours_out_12345678",
        "sessionidabcdefgh_out_short",
        "another",
    ];
    for name in names {
        std::fs::write(folder.join(name), "x").unwrap();
    }
    assert_eq!(store.clear_expired(now()).await.unwrap(), 0);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 6, "all of them are young");
    let mut options = FileStore::at(folder);
    options.leftover_age = Duration::ZERO;
    options.open(&settings()).await.unwrap().clear_expired(now()).await.unwrap();
    let mut left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "another",
            "sessionid-not-ours_out_12345678",
            "sessionidabcdefgh12345678abcdefgh12345678",
            "sessionidabcdefgh_out_short"
        ]
    );
}

/// What a save asks of the system, in order: the names of calls with a word on what they are about.
fn calls_of(traced: &str, folder: &Path) -> Vec<String> {
    let folder_shown = format!("<{}>", folder.display());
    let mut calls = Vec::new();
    for line in traced.lines() {
        let line = line
            .trim_start_matches("[pid ")
            .trim_start_matches(|c: char| c.is_ascii_digit() || " ]".contains(c));
        let (about_folder, temporary) = (line.contains(&folder_shown), line.contains(".cloakroom-"));
        let call = match line.split('(').next().unwrap_or_default() {
            "fsync" if temporary => "fsync of the file",
            "fsync" if about_folder => "fsync of the folder",
            "renameat2" if line.contains("RENAME_EXCHANGE") => "exchange",
            "renameat2" if line.contains("RENAME_NOREPLACE") => "rename",
            "unlink" | "unlinkat" if temporary => "unlink of the temporary file",
            "unlink" | "unlinkat" if line.contains("sessionid") => "unlink of the session",
            _ => continue,
        };
        calls.push(call.to_owned());
    }
    calls
}

#[tokio::test]
async fn a_durable_save_is_on_the_disk_before_it_is_named() {
    const TEST: &str = "crashes::a_durable_save_is_on_the_disk_before_it_is_named";
    if let Some(folder) = restarted::folder_given() {
        let mut options = FileStore::at(&folder);
        options.durable = folder.ends_with("durable");
        let store: Arc<dyn SessionStore> = Arc::new(options.open(&settings()).await.unwrap());
        // A mark between opening and saving, which the trace shows.
        let _ = std::fs::remove_file(folder.join("sessionid-mark"));
        let version = create(&store, &session_key(), "{}").await;
        store.update(&session_key(), Some(&version), record(&data(r#"{"a":1}"#))).await.unwrap();
        store.rotate(&session_key(), None, &key(1), record(&data(r#"{"a":2}"#))).await.unwrap();
        store.delete(&key(1)).await.unwrap();
        return;
    }
    for (name, expected) in [
        (
            "durable",
            &[
                "fsync of the file",
                "rename",
                "fsync of the folder",
                "fsync of the file",
                "exchange",
                "fsync of the folder",
                "unlink of the temporary file",
                "fsync of the file",
                "rename",
                "exchange",
                "fsync of the folder",
                "unlink of the temporary file",
                "unlink of the session",
                "fsync of the folder",
            ][..],
        ),
        (
            "fast",
            &[
                "rename",
                "exchange",
                "unlink of the temporary file",
                "rename",
                "exchange",
                "unlink of the temporary file",
                "unlink of the session",
            ],
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        let (folder, trace) = (place.path().join(name), place.path().join("trace"));
        std::fs::create_dir(&folder).unwrap();
        let strace = [
            "strace",
            "-f",
            "-y",
            "-s",
            "500",
            "-e",
            "trace=fsync,renameat2,unlink,unlinkat",
            "-o",
            trace.to_str().unwrap(),
        ];
        restarted::run(&strace, TEST, &folder);
        let trace = std::fs::read_to_string(trace).unwrap();
        let calls = calls_of(trace.split_once("sessionid-mark").unwrap().1, &folder);
        // A new file that took its name is gone from its temporary one: removing that does nothing.
        let unneeded = |calls: &[String]| -> Vec<String> {
            let mut kept: Vec<String> = Vec::new();
            for call in calls {
                let follows_rename = kept.iter().rev().find(|call| *call != "fsync of the folder");
                if call == "unlink of the temporary file"
                    && follows_rename.is_some_and(|call| call == "rename")
                {
                    continue;
                }
                kept.push(call.clone());
            }
            kept
        };
        assert_eq!(unneeded(&calls), expected, "{name}:\n{trace}");
    }
}
