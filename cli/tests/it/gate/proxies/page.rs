//! docs/gate-proxies.md has the shipped files as they are.

use super::proxy::{KINDS, shipped};
use crate::support::documents::document;

#[test]
fn the_page_shows_the_shipped_files() {
    let page = document("gate-proxies.md");
    let mut shown = 0;
    for name in KINDS.into_iter().flat_map(|kind| kind.files()) {
        let (_, after) = page
            .split_once(&format!("`contrib/gate/{name}`"))
            .unwrap_or_else(|| panic!("contrib/gate/{name} is not on the page"));
        let (_, block) = after.split_once("\n```").unwrap();
        let (_, block) = block.split_once('\n').unwrap();
        let block = block.split("\n```").next().unwrap();
        if *name == "envoy-grpc.yaml" {
            // The lines that differ from Envoy's other file.
            let (file, other) = (shipped(name), shipped("envoy-http.yaml"));
            let differing: Vec<&str> =
                file.lines().filter(|line| !other.lines().any(|same| same == *line)).collect();
            assert_eq!(block.lines().collect::<Vec<_>>(), differing, "{name} on the page is another");
        } else {
            assert_eq!(format!("{block}\n"), shipped(name), "{name} on the page is another");
        }
        shown += 1;
    }
    println!("{shown} files are on the page");
}
