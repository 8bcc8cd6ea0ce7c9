//! The recipes of docs/stores.md for a SQLite file.

use super::people::{Habit, Noticed, People};
use super::site::{self, Site};
use super::{follow, place};
use crate::support::documents::{blocks, document};
use crate::support::project;

/// The commands of the paragraph that begins with these words.
fn paragraph(beginning: &str) -> String {
    let text = document("stores.md");
    let (_, after) = text.split_once(beginning).unwrap_or_else(|| panic!("{beginning}"));
    blocks(after, "sh").into_iter().next().unwrap()
}

/// A copy is made while everybody clicks, and holds all of them. Then Django stands still while the file is replaced; the
/// Rust service runs on.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_copied_and_replaced() {
    for python in project::pythons() {
        for journal in ["DELETE", "WAL"] {
            let (mut site, deployment) = Site::new(python.clone(), site::sqlite);
            let pragma = format!("sqlite3 db.sqlite3 'PRAGMA journal_mode = {journal}'\n");
            let place = place(&site, &deployment).await;
            follow(&place, &pragma);
            site.deploy(&deployment).await;
            let busy = People::arrive(&site, &[("ann", Habit::Both), ("bob", Habit::Rust)]);
            let people = People::arrive(&site, &[("carol", Habit::Django), ("dora", Habit::Sleeps)]);
            follow(&place, &paragraph("**Copying the file.**"));
            let listed =
                follow(&place, "cloakroom list --store sqlite:copy.sqlite3 --secret-key-file secret.txt");
            assert_eq!(listed.matches("  live  ").count(), 4, "{listed}");
            people.go_on().await;
            assert_eq!(busy.go_home().await, Noticed::default(), "{journal}");

            site.stop_django();
            follow(&place, &paragraph("**Copying the file.**"));
            follow(&place, &paragraph("**Replacing the file**"));
            site.deploy_django(&deployment);
            people.go_on().await;
            assert_eq!(people.go_home().await, Noticed::default(), "{journal}");
        }
    }
}
