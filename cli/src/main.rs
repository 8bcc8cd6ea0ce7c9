//! The `cloakroom` command.

mod commands;
mod ending;
#[cfg(unix)]
#[cfg(feature = "gate")]
mod gate;
mod interrupted;
mod output;
mod sessions;
#[cfg_attr(
    not(feature = "gate"),
    allow(dead_code, unused_imports, reason = "the gate alone asks for a site's users")
)]
mod site;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[cfg(unix)]
#[cfg(feature = "gate")]
use self::commands::gate as gate_command;
use self::commands::{
    change_secret, check, clear_sessions, copy, count, create_table, decode, delete, demo, encode, list,
    move_rest, ping, print_settings, revoke, shell, show, user_sessions,
};
use self::ending::{Ending, UsageError};
use self::interrupted::{asked_to_stop, interrupted};
use self::output::{lines, wrong_usage};

const EXIT_CODES: &str = "\
Stores for --store; a password follows the user, as in any URL:
  sqlite:PATH                       a Django site's database; ?mode=ro is read-only
  postgres://USER@HOST/DATABASE     also mysql://; ?sslmode=require for TLS to PostgreSQL
                                    ?cache_table=NAME for Django's DatabaseCache in one of these
  redis://HOST:PORT/NUMBER          ?key_prefix=...&version=... as in the site's CACHES; rediss:// for TLS
  redis+cluster://HOST1,HOST2       redis+sentinel://HOST1,HOST2/SERVICE/NUMBER behind sentinels
  memcached://HOST1,HOST2
  file:FOLDER                       filecache:FOLDER for Django's FileBasedCache
  cached_db:DATABASE|CACHE          two of the above, in quotes
  moving:OLD|NEW                    two stores of a moving site; || if one is a cached_db

The store and the settings are read from these places, in this order of precedence:
  1. options: --store, --secret-key-file and so on
  2. the Django project that --from-django names
  3. the environment: CLOAKROOM_STORE, CLOAKROOM_SECRET_KEY, CLOAKROOM_SECRET_KEY_FILE,
     CLOAKROOM_COOKIE_NAME, CLOAKROOM_COOKIE_AGE, CLOAKROOM_NAIVE_TIME_ZONE, CLOAKROOM_SESSION_CLASS
  4. the settings file: --settings, $CLOAKROOM_SETTINGS, or cloakroom.toml in the working folder:
       store = \"sqlite:/srv/site/db.sqlite3\"
       secret_key_file = \"secret.txt\"
       secret_key_fallback_files = [\"old-secret.txt\"]
       cookie_name = \"sessionid\"
       cookie_age = 1209600
       naive_time_zone = \"Europe/Zurich\"
       session_class = \"SessionStore\"

Exit codes: 0 all went well, 1 something failed (see standard error), 2 wrong usage, 3 some sessions need \
attention (check, change-secret, copy, user-sessions rebuild), 130 or 143 stopped by Ctrl-C or SIGTERM; the work done until \
then stays. Output that cannot be written, as on a full disk, is a failure; a closed reader, such as `head`, \
is not.

Text from sessions, browsers and servers is shown with control characters escaped (\\u001b), with --json too.

`cloakroom COMMAND --help` has examples. To see a session at work: cloakroom demo";

/// Django sessions from the shell: inspect, end, move and clear them, or try a demo.
#[derive(Parser)]
#[command(name = "cloakroom", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    /// Print only errors and requested output: no progress, no notes, no summaries
    #[arg(long, short, global = true, display_order = 1000)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::Options),
    Show(show::Options),
    Count(count::Options),
    Check(check::Options),
    Delete(delete::Options),
    Revoke(revoke::Options),
    UserSessions(user_sessions::Options),
    Copy(copy::Options),
    ChangeSecret(change_secret::Options),
    Move(move_rest::Options),
    #[command(name = "clearsessions", alias = "clear-sessions")]
    ClearSessions(clear_sessions::Options),
    CreateTable(create_table::Options),
    Decode(decode::Options),
    Encode(encode::Options),
    Ping(ping::Options),
    Settings(print_settings::Options),
    #[cfg(unix)]
    #[cfg(feature = "gate")]
    Gate(gate_command::Options),
    Demo(demo::Options),
    Completions(shell::CompletionsOptions),
    Man(shell::ManOptions),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return wrong_usage::tell(error),
    };
    lines::set_quiet(arguments.quiet);
    log_to_standard_error();
    let outcome = match arguments.command {
        Command::List(options) => wait_for(list::run(options)),
        Command::Show(options) => wait_for(show::run(options)),
        Command::Count(options) => wait_for(count::run(options)),
        Command::Check(options) => wait_for(check::run(options)),
        Command::Delete(options) => wait_for(delete::run(options)),
        Command::Revoke(options) => wait_for(revoke::run(options)),
        Command::UserSessions(options) => wait_for(user_sessions::run(options)),
        Command::Copy(options) => wait_for(copy::run(options)),
        Command::ChangeSecret(options) => wait_for(change_secret::run(options)),
        Command::Move(options) => wait_for(move_rest::run(options)),
        Command::ClearSessions(options) => wait_for(clear_sessions::run(options)),
        Command::CreateTable(options) => wait_for(create_table::run(options)),
        Command::Decode(options) => decode::run(&options),
        Command::Encode(options) => encode::run(&options),
        Command::Ping(options) => wait_for(ping::run(options)),
        Command::Settings(options) => print_settings::run(&options),
        #[cfg(unix)]
        #[cfg(feature = "gate")]
        Command::Gate(options) => runtime().and_then(|runtime| runtime.block_on(gate_command::run(options))),
        Command::Demo(options) => runtime().and_then(|runtime| runtime.block_on(demo::run(options))),
        Command::Completions(options) => shell::completions(&options, Arguments::command()),
        Command::Man(options) => shell::man(&options, Arguments::command()),
    };
    match outcome {
        Ok(Ending::Well) => ExitCode::SUCCESS,
        Ok(Ending::WithFailures) => ExitCode::from(1),
        Ok(Ending::WithFindings) => ExitCode::from(3),
        Ok(Ending::Interrupted(code)) => ExitCode::from(code),
        Err(error) => {
            // Line ends in another program's message must not start a line of their own.
            let message = told(&error);
            for (number, line) in message.split('\n').enumerate() {
                let start = if number == 0 { "cloakroom: " } else { "  " };
                lines::complain(&format!("{start}{line}"));
            }
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

/// The error and its causes, except those that it already quotes.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.contains(&cause) => text,
        cause if text.is_empty() => cause,
        cause => format!("{text}: {cause}"),
    })
}

/// How long a stopping command may take to finish its batch, to report and to close its stores.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a command to its end, or until the program is asked to stop. A command that goes through many
/// sessions then ends after its batch ([`interrupted::asked_to_stop`]). A command that does not end within
/// [`PATIENCE`], or before the second request to stop, is aborted.
fn wait_for(command: impl Future<Output = anyhow::Result<Ending>>) -> anyhow::Result<Ending> {
    let runtime = runtime()?;
    runtime.spawn(async {
        let code = interrupted().await;
        tokio::time::sleep(PATIENCE * 2).await;
        std::process::exit(code.into());
    });
    runtime.block_on(async {
        let mut command = std::pin::pin!(command);
        tokio::select! {
            // The command may have seen the signal first.
            ended = &mut command => ended.map(|ending| asked_to_stop().map_or(ending, Ending::Interrupted)),
            code = interrupted() => tokio::select! {
                ended = command => ended.map(|_| Ending::Interrupted(code)),
                () = tokio::time::sleep(PATIENCE) => Ok(Ending::Interrupted(code)),
                code = interrupted() => Ok(Ending::Interrupted(code)),
            },
        }
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Runtime::new()?)
}

/// Logs the library's warnings and errors; `RUST_LOG=debug` shows more. They contain neither keys nor
/// secrets.
fn log_to_standard_error() {
    // Levels by target are enough here. `EnvFilter` also looks at spans and fields, and needs a regex engine for it.
    let levels: Option<Targets> = std::env::var("RUST_LOG").ok().and_then(|levels| levels.parse().ok());
    let levels = levels.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(|| lines::LogLines);
    lines.finish().with(levels).init();
}
