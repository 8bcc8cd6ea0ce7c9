//! Runs the sites of `scripts/bench web` side by side and in alternation, and writes what was measured.
//! `scripts/bench` builds all and says which files go where.

mod client;
mod contenders;
mod cpu;
mod error;
mod load;
mod locked_row;
mod measure;
mod options;
mod plot;
mod process;
mod report;
mod runs;
mod servers;
mod site;
mod targets;

use error::{Error, Result};
use options::Options;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let options = Options::parse()?;
        for &store in &options.stores {
            let runs = measure::store(&options, store).await?;
            report::write(&options, store, &runs)?;
        }
        Ok::<(), Error>(())
    });
    // One line, without the quotes of a `Result` that `main` returns.
    if let Err(error) = outcome {
        eprintln!("scripts/bench web: {error}");
        std::process::exit(1);
    }
    Ok(())
}
