//! The recipes of the pages, followed word by word on a site where people click all the time: nobody is logged out,
//! nothing that they did is lost, and nobody comes back who had logged out.

mod before;
mod beside_django;
mod changing_the_secret;
mod dead_cache;
mod every_day;
mod files;
mod moving;
mod people;
mod site;
mod wrong_secret;

use std::path::Path;

use self::site::{Deployment, Site};
use crate::support::documents::{Place, blocks, document};
use crate::support::servers;

/// The commands of a section of a page, a text for each block.
pub(crate) fn section(page: &str, heading: &str) -> Vec<String> {
    let text = document(page);
    let (_, after) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    let section = after.split("\n## ").next().unwrap();
    blocks(section, "sh")
}

/// A place where the page's commands run: the project's folder, with the secret in a file and the site's store in
/// `cloakroom.toml`.
async fn place(site: &Site, deployment: &Deployment) -> Place {
    let folder = site.path();
    write_secret(&folder, "secret.txt", &deployment.secret);
    let mut place = Place::new(&folder).await;
    place.here.insert(0, ("postgres://site:password@db.example/site", deployment.store.clone()));
    place
}

fn write_secret(folder: &Path, name: &str, secret: &str) {
    std::fs::write(folder.join(name), format!("{secret}\n")).unwrap();
}

/// Runs commands of a page, of which none may fail; gives what they print.
fn follow(place: &Place, script: &str) -> String {
    let ran = place.run(script);
    let (output, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{script}\n{output}{errors}");
    assert!(ran.status.success(), "{script}\nprinted:\n{output}\nand said:\n{errors}");
    format!("{output}{errors}")
}

/// A site whose sessions are in a PostgreSQL database of their own.
async fn on_postgres() -> impl FnOnce(&Path) -> Deployment {
    let url = servers::postgres::database().await;
    move |folder| Deployment {
        sessions_database: site::postgres_database(&url),
        store: url,
        ..site::sqlite(folder)
    }
}

/// A site whose sessions are in Redis.
async fn on_redis() -> impl FnOnce(&Path) -> Deployment {
    let url = servers::redis::url().await;
    move |folder| Deployment {
        engine: "cache",
        caches: site::redis_caches(&url),
        store: url,
        ..site::sqlite(folder)
    }
}
