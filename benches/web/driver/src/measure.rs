//! The order of things: all contenders are started anew for each round, in which they take turns. One process
//! of a program may be a little faster than the next for all its life.

use crate::contenders::{self, Contender, Store};
use crate::error::Result;
use crate::load::{SCENARIOS, Scenario};
use crate::locked_row;
use crate::options::Options;
use crate::runs::Runs;
use crate::servers::Server;
use crate::site::Site;

/// Measures all contenders of a store.
pub(crate) async fn store(options: &Options, store: Store) -> Result<Runs> {
    let server = Server::start(options, store).await?;
    let mut sites = Vec::new();
    for (number, contender) in contenders::of(store, &options.only).into_iter().enumerate() {
        let site = Site::start(options, &server, contender, number, store).await;
        sites.push(site.map_err(|error| format!("{} with {}: {error}", contender.name, store.name()))?);
    }
    let mut runs = Runs { runs: Vec::new(), locked: Vec::new() };
    let many = SCENARIOS.map(|scenario| (scenario, options.connections));
    let one = SCENARIOS.map(|scenario| (scenario, 1));
    for round in 0..options.rounds {
        if round > 0 {
            for site in &mut sites {
                let restarted = site.restart(options, store).await;
                restarted
                    .map_err(|error| format!("{} with {}: {error}", site.contender.name, store.name()))?;
            }
        }
        for (scenario, connections) in many.into_iter().chain(one) {
            for turn in 0..sites.len() {
                // Who comes first changes, so that nobody always follows the same one.
                let index = (turn + round as usize) % sites.len();
                let site = &mut sites[index];
                if !takes_part(&site.contender, store, scenario, connections) {
                    continue;
                }
                let run = site.measure(options, &server, scenario, connections, round).await;
                let run =
                    run.map_err(|error| format!("{} with {}: {error}", site.contender.name, store.name()))?;
                eprintln!(
                    "{:8} {:14} {:2} {:22} {:8.0}/s  p50 {:7.2} ms  p99 {:7.2} ms  cpu {:6.3}  server {}",
                    store.name(),
                    scenario.name(),
                    connections,
                    run.contender,
                    run.per_second,
                    run.p50,
                    run.p99,
                    run.application,
                    run.server.map_or("-".to_owned(), |server| format!("{server:.3}")),
                );
                runs.runs.push(run);
            }
        }
        if store == Store::Postgres {
            for site in sites.iter_mut().filter(|site| ["floor", "cloakroom"].contains(&site.contender.name))
            {
                let browsers = std::mem::take(&mut site.browsers);
                let (locked, browsers) = locked_row::measure(options, site, &server, browsers, round).await?;
                site.browsers = browsers;
                eprintln!("{locked:?}");
                runs.locked.push(locked);
            }
        }
    }
    Ok(runs)
}

fn takes_part(contender: &Contender, store: Store, scenario: Scenario, connections: usize) -> bool {
    match store {
        // A session that is not looked at costs the same with every store.
        Store::Memory if scenario == Scenario::Untouched => connections > 1,
        Store::Memory => contender.name != "floor",
        _ => scenario != Scenario::Untouched,
    }
}
