//! The operator's commands on a million rows: how far they are can be seen, and their memory does not grow.

use crate::support::command::{SECRET, cloakroom, run, with_secret};
use crate::support::terminal;

/// Much less than the rows themselves take.
const MEMORY: u64 = 64 << 10;

#[test]
fn a_million_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    let url = format!("sqlite:{}", path.display());
    assert_eq!(run(cloakroom(&["create-table", "--store", &url]), b"").code, 0);
    fill(&path);
    assert!(path.metadata().unwrap().len() > 4 * (MEMORY << 10), "memory for all rows would be noticed");
    let on_terminal = |arguments: &[&str]| {
        let mut command = cloakroom(arguments);
        command.env("CLOAKROOM_SECRET_KEY", SECRET).env("CLOAKROOM_STORE", &url);
        let ran = terminal::run(command);
        assert!(ran.peak > 0 && ran.peak < MEMORY, "{arguments:?} took {} KiB", ran.peak);
        println!("{arguments:?}: {} KiB", ran.peak);
        ran
    };

    let count = on_terminal(&["count"]);
    assert_eq!(count.stdout, "750000 live, 250000 expired\n", "{}", count.shown);

    let check = on_terminal(&["check", "--json"]);
    assert_eq!(check.code, 0);
    assert!(check.stdout.starts_with(r#"{"live":750000,"modern":750000,"#), "{}", check.stdout);
    let bar = check.shown;
    assert!(bar.contains("/1,000,000 sessions checked") && bar.contains("left"), "{:.500}", bar);
    let steps = bar.matches("/1,000,000").count();
    assert!(steps > 10, "the bar moved {steps} times");

    let listed = on_terminal(&["list", "--user", "7"]);
    assert_eq!(listed.stdout.lines().count(), 75);
    assert!(listed.shown.contains("/1,000,000 sessions"), "{:.500}", listed.shown);

    assert_eq!(run(cloakroom(&["create-table", "--user-sessions", "--store", &url]), b"").code, 0);
    let rebuilt = on_terminal(&["user-sessions", "rebuild"]);
    assert_eq!(
        rebuilt.stdout,
        "1000000 sessions looked at, 75 with a user are in the index, 0 entries removed\n"
    );
    assert!(rebuilt.shown.contains("/1,000,000 sessions looked at"), "{:.500}", rebuilt.shown);
    let known = on_terminal(&["user-sessions", "list", "--user", "7"]);
    assert_eq!(known.stdout.lines().count(), 75);

    let cleared = on_terminal(&["clearsessions"]);
    assert_eq!(cleared.stdout, "250000 expired sessions removed\n");
    assert!(cleared.shown.contains("sessions removed"), "{:.500}", cleared.shown);

    let target = format!("sqlite:{}", folder.path().join("target.sqlite3").display());
    assert_eq!(run(cloakroom(&["create-table", "--store", &target]), b"").code, 0);
    let copied = on_terminal(&["copy", "--to", &target]);
    assert!(copied.stdout.starts_with("750000 copied, 0 were there"), "{}", copied.stdout);
    assert!(copied.shown.contains("/750,000 sessions copied"), "{:.500}", copied.shown);
    let count = with_secret(&["count", "--store", &target], "");
    assert_eq!(count.stdout, "750000 live, 0 expired\n");

    // Without a terminal: a line now and then.
    let revoked = with_secret(&["revoke", "--user", "7", "--store", &url], "");
    assert_eq!((revoked.code, revoked.stdout.as_str()), (0, "75 sessions of user 7 revoked\n"));
    let line = revoked.stderr.lines().next().expect("it takes longer than the first line");
    assert!(line.ends_with(" of about 750000 sessions looked at"), "{line}");
    assert!(!revoked.stderr.contains('\r'), "no bar");
}

/// A quarter has expired, and each 10,000th is of user 7; of those a quarter, too.
fn fill(path: &std::path::Path) {
    let data = [
        format!(r#"{{"_auth_user_id":"7","basket":"{}"}}"#, "wool ".repeat(20)),
        format!(r#"{{"basket":"{}"}}"#, "wool ".repeat(25)),
    ];
    let encoded = with_secret(&["encode"], &data.join("\n"));
    let texts = encoded.lines();
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = "INSERT INTO django_session \
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000000) \
        SELECT printf('%032d', n), CASE WHEN n % 10000 = 0 THEN ?1 ELSE ?2 END, \
        CASE WHEN (n / 10000 + n) % 4 = 0 THEN '2001-01-01 00:00:00' ELSE '2999-01-01 00:00:00' END FROM numbers";
    assert_eq!(connection.execute(sql, [texts[0], texts[1]]).unwrap(), 1_000_000);
}
