//! Session keys from the operator: as arguments, or one per line on standard input.

use std::io;

use anyhow::Context;
use clap::Args;
use cloakroom::SessionKey;

use crate::ending::usage;

/// Why keys should come from standard input.
pub(crate) const CAREFUL: &str = "Anyone who knows a session key can act as that session's user. A key among the arguments \
    stays in the shell's history, and other users see it in the process list: prefer - and the key on \
    standard input.";

/// The sessions that a command works on.
#[derive(Args)]
pub(crate) struct KeyOptions {
    /// The session keys, or - to read them from standard input, which keeps them out of the shell's history
    #[arg(value_name = "KEY", required_unless_present = "id")]
    keys: Vec<String>,
}

impl KeyOptions {
    /// The keys among the arguments; `-` is replaced by the lines of standard input.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<SessionKey>> {
        let mut keys = Vec::new();
        for argument in &self.keys {
            if argument == "-" {
                for line in io::stdin().lines() {
                    keys.push(line.context("cannot read the session keys on standard input")?);
                }
            } else {
                keys.push(argument.clone());
            }
        }
        keys.retain(|key| !key.trim().is_empty());
        // An empty pipe means that there is nothing to do.
        if keys.is_empty() && !self.keys.iter().any(|key| key == "-") {
            return Err(usage(
                "no session key: give one, or - and the keys on standard input, a line each; or --id ID",
            ));
        }
        Ok(keys.iter().map(|key| SessionKey::from_trusted(key.trim())).collect())
    }
}
