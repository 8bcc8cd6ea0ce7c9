//! The `cloakroom` command.

mod clear_sessions;
mod create_table;
mod decode;
mod demo;
mod encode;
mod lines;
mod secrets;
mod signed_text;
mod store_url;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes: 0 all went well, 1 something failed (it is on standard error), 2 wrong usage.

`cloakroom COMMAND --help` has examples. To see a session at work: cloakroom demo";

/// Django sessions from the shell: look into them, write them, clean up, try them out.
#[derive(Parser)]
#[command(name = "cloakroom", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Options),
    Decode(decode::Options),
    Encode(encode::Options),
    #[command(name = "clearsessions", alias = "clear-sessions")]
    ClearSessions(clear_sessions::Options),
    CreateTable(create_table::Options),
}

/// How a command ended, apart from errors that end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Well,
    /// Some of the input failed; what and why was said already.
    WithFailures,
}

/// The caller gave what cannot be used: exit code 2, as clap has for its own.
#[derive(Debug)]
struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_standard_error();
    let outcome = match arguments.command {
        Command::Demo(options) => wait_for(demo::run(options)),
        Command::Decode(options) => decode::run(&options),
        Command::Encode(options) => encode::run(&options),
        Command::ClearSessions(options) => wait_for(clear_sessions::run(options)),
        Command::CreateTable(options) => wait_for(create_table::run(options)),
    };
    match outcome {
        Ok(Ending::Well) => ExitCode::SUCCESS,
        Ok(Ending::WithFailures) => ExitCode::from(1),
        Err(error) => {
            lines::complain(&format!("cloakroom: {error:#}"));
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

fn wait_for(command: impl Future<Output = anyhow::Result<Ending>>) -> anyhow::Result<Ending> {
    tokio::runtime::Runtime::new()?.block_on(command)
}

/// Warnings and errors of the library; `RUST_LOG=debug` shows more. Neither keys nor secrets are in them.
fn log_to_standard_error() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
