//! How a command ends: its exit code.

/// How a command ended, apart from errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Well,
    /// Some of the input failed; the details have already been reported.
    WithFailures,
    /// All work was done, but something was found that needs attention.
    WithFindings,
    /// The program was asked to stop; with the exit code for that.
    Interrupted(u8),
}

/// The caller's input is unusable: exit code 2, as clap uses for its own.
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
