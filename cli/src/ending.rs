//! How a command ends: its exit code.

/// How a command ended, apart from errors that end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Well,
    /// Some of the input failed; what and why was said already.
    WithFailures,
    /// All was done, and something was found that wants a look.
    WithFindings,
    /// Somebody asked the program to stop; with the exit code for that.
    Interrupted(u8),
}

/// The caller gave what cannot be used: exit code 2, as clap has for its own.
#[derive(Debug)]
pub(crate) struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}
