//! The check of the secret at the start is the services': a command works on what it finds, and says what that is.

use crate::support::command::with_secret;
use crate::support::sessions::{create, open, sqlite};

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_on_a_store_of_another_secret() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    let store = open(&url).await;
    for _ in 0..5 {
        create(&*store, r#"{"a":1}"#, 5).await;
    }
    let run = |command: &str| with_secret(&[command, "--store", &url, "--secret-key", "another"], "");
    let check = run("check");
    assert!(check.code == 3 && check.stdout.contains("5 not genuine"), "{check:?}");
    for command in ["count", "list", "clearsessions"] {
        let ran = run(command);
        assert!(ran.code != 1 && !ran.stderr.contains("the service was not started"), "{ran:?}");
    }
}
