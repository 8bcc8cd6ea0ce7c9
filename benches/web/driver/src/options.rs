//! The arguments of the program.

use std::path::PathBuf;
use std::time::Duration;

use crate::contenders::{self, STORES, Store};
use crate::error::Result;

/// What was asked for, and where things are.
pub(crate) struct Options {
    /// The programs of the sites.
    pub(crate) site: PathBuf,
    pub(crate) peers: PathBuf,
    /// Valkey's server.
    pub(crate) valkey: PathBuf,
    /// The Python that has Django, and the site's file.
    pub(crate) python: PathBuf,
    pub(crate) django_site: PathBuf,
    /// For servers and databases; the caller removes it.
    pub(crate) folder: PathBuf,
    /// Where results go.
    pub(crate) results: PathBuf,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) connections: usize,
    pub(crate) stores: Vec<Store>,
    /// Only these contenders; empty for all.
    pub(crate) only: Vec<String>,
}

impl Options {
    pub(crate) fn parse() -> Result<Options> {
        let mut options = Options {
            site: PathBuf::new(),
            peers: PathBuf::new(),
            valkey: PathBuf::new(),
            python: PathBuf::new(),
            django_site: PathBuf::new(),
            folder: PathBuf::new(),
            results: PathBuf::new(),
            rounds: 5,
            seconds: 2.0,
            connections: 32,
            stores: STORES.to_vec(),
            only: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--quick" {
                (options.rounds, options.seconds) = (1, 1.0);
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--site" => options.site = value.into(),
                "--peers" => options.peers = value.into(),
                "--valkey" => options.valkey = value.into(),
                "--python" => options.python = value.into(),
                "--django-site" => options.django_site = value.into(),
                "--folder" => options.folder = value.into(),
                "--results" => options.results = value.into(),
                "--rounds" => options.rounds = positive(&name, &value)?,
                "--seconds" => options.seconds = positive(&name, &value)?,
                "--connections" => options.connections = positive(&name, &value)?,
                "--store" => {
                    let store = STORES.into_iter().find(|store| store.name() == value);
                    options.stores = vec![store.ok_or_else(|| {
                        format!("--store is one of {}, not {value}", STORES.map(Store::name).join(", "))
                    })?];
                }
                "--only" => {
                    options.only = value.split(',').map(str::to_owned).collect();
                    contenders::check_names(&options.only)?;
                }
                _ => return Err(format!("there is no option {name}").into()),
            }
        }
        Ok(options)
    }
}

fn positive<T: std::str::FromStr + PartialOrd + Default>(name: &str, value: &str) -> Result<T> {
    let number = value.parse().ok().filter(|number| *number > T::default());
    number.ok_or_else(|| format!("{name} is a number above 0, not {value}").into())
}

impl Options {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}
