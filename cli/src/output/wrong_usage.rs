//! clap's errors about arguments, without possible secrets.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use cloakroom::store::StoreUrl;

use crate::output::lines::{self, complain};
use crate::output::printable::printable;

/// Prints the error, or the requested help, and returns the exit code.
pub(crate) fn tell(mut error: clap::Error) -> ExitCode {
    hide_values(&mut error);
    // Requested help is output: failing to write it is an error, as for any other output.
    let printed = error.print().and_then(|()| io::stdout().flush());
    match (error.exit_code(), lines::still_read(printed)) {
        (0, Err(failure)) => {
            complain(&format!("cloakroom: {failure:#}"));
            ExitCode::from(1)
        }
        (code, _) => ExitCode::from(u8::try_from(code).unwrap_or(2)),
    }
}

/// Hides the arguments that clap repeats. An unexpected word may be a part of a secret with spaces, or a
/// session key; a value may be the URL of a store; and any of them may contain terminal escapes.
fn hide_values(error: &mut clap::Error) {
    let shown = |kind: ContextKind, value: &str| match kind {
        ContextKind::InvalidArg if error.kind() != ErrorKind::UnknownArgument || value.starts_with('-') => {
            printable(value).into_owned()
        }
        ContextKind::InvalidArg => "… (it may be a secret, and is not shown)".to_owned(),
        _ => printable(&StoreUrl::from(value).to_string()).into_owned(),
    };
    let of = |kind| match error.get(kind) {
        Some(ContextValue::String(value)) => {
            Some((kind, shown(kind, value))).filter(|(_, shown)| shown != value)
        }
        _ => None,
    };
    let kinds = [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand];
    for (kind, shown) in kinds.map(of).into_iter().flatten() {
        error.insert(kind, ContextValue::String(shown));
        // The suggestion would repeat the value.
        error.remove(ContextKind::Suggested);
    }
}
