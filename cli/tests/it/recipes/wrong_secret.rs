//! A service with another secret than the site: "At three in the morning" of docs/operations.md.

use cloakroom::SecretCheck;

use super::people::{Habit, Noticed, People};
use super::site::{self, Site};
use super::{follow, on_postgres, place, section, write_secret};
use crate::support::project;

/// The service refuses to start. Started all the same, it takes users for strangers, and their cookies stay: with the right
/// secret they are logged in as before.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_a_login_to_a_wrong_secret() {
    for python in project::pythons() {
        for on_sqlite in [true, false] {
            let (mut site, right) = match on_sqlite {
                true => Site::new(python.clone(), site::sqlite),
                false => Site::new(python.clone(), on_postgres().await),
            };
            site.deploy(&right).await;
            let everybody = [
                ("ann", Habit::Django),
                ("bob", Habit::Sleeps),
                ("carol", Habit::Sleeps),
                ("dora", Habit::Sleeps),
            ];
            let people = People::arrive(&site, &everybody);
            let mut wrong = right.clone();
            wrong.secret = "another site's".to_owned();
            let refused = site.start_rust(&wrong, SecretCheck::Refuse).await.unwrap_err().to_string();
            assert!(refused.contains("stored sessions were not signed with this secret"), "{refused}");
            site.start_rust(&wrong, SecretCheck::Warn).await.unwrap();
            for name in ["bob", "carol"] {
                assert_eq!(people.look(name, 1).await, None);
            }
            people.go_on().await;

            let place = place(&site, &right).await;
            follow(&place, &section("operations.md", "Settings, once")[0]);
            write_secret(&site.path(), "secret.txt", &wrong.secret);
            let blocks = section("operations.md", "At three in the morning");
            let check = blocks.iter().find(|block| block.starts_with("cloakroom check")).unwrap();
            let told = follow(&place, check);
            assert!(told.contains("the secret, or the name of the session class, is another one"), "{told}");
            write_secret(&site.path(), "secret.txt", &right.secret);
            let told = follow(&place, check);
            assert!(!told.contains("is another one"), "{told}");

            site.deploy_rust(&right).await;
            assert_eq!(people.look("bob", 1).await.as_deref(), Some("bob"));
            people.go_on().await;
            assert_eq!(people.go_home().await, Noticed::default());
        }
    }
}
