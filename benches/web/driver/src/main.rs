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

/// Waking a processor that sleeps takes microseconds, and whoever writes to a socket would pay for it: the faster the site,
/// the more often. Real clients are woken by their own machine.
async fn never_sleep() {
    loop {
        tokio::task::yield_now().await;
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let options = Options::parse()?;
        process::keep_to_the_first_processor()?;
        tokio::spawn(never_sleep());
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
