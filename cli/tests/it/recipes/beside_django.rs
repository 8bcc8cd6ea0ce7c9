//! The recipe of docs/from-django.md for production: one host name, on which nginx sends some paths to Rust.

use super::people::{Habit, Noticed, People};
use super::site::{self, Site};
use crate::support::documents::document;
use crate::support::project;
use crate::support::servers::nginx;

#[tokio::test(flavor = "multi_thread")]
async fn one_host_name_for_both_sides() {
    let text = document("from-django.md");
    let location = text.split('`').find(|code| code.starts_with("location /whoami")).unwrap();
    for python in project::pythons() {
        let (mut site, deployment) = Site::new(python, site::sqlite);
        site.deploy(&deployment).await;
        let django = format!("location / {{ proxy_pass http://127.0.0.1:{}; }}", site.django_port);
        let rust = location.replace("/whoami", "/rust/").replace(":3000", &format!(":{}", site.rust_port));
        let nginx = nginx::with_site(&format!("{rust}\n{django}")).await;
        let address = format!("http://127.0.0.1:{}", nginx.port);
        let addresses = [address.clone(), format!("{address}/rust")];
        let everybody =
            [("ann", Habit::Both), ("bob", Habit::Rust), ("carol", Habit::Django), ("dora", Habit::Both)];
        let mut people = People::arrive_at(addresses, &everybody);
        people.go_on().await;
        people.log_out("dora", 1).await;
        people.go_on().await;
        // As a new release of either side does it.
        site.deploy_django(&deployment);
        people.go_on().await;
        site.deploy_rust(&deployment).await;
        people.go_on().await;
        assert_eq!(people.go_home().await, Noticed::default());
    }
}
