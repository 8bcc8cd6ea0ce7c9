//! `cloakroom decode`: signed text in, JSON out.

use clap::Args;
use cloakroom::chrono::TimeDelta;
use cloakroom::{DecodeError, Value};

use crate::commands::signed_text::SignedTextOptions;
use crate::ending::Ending;
use crate::output::lines::{Converted, Remark, convert_lines, json_on_one_line};

const EXAMPLES: &str = "\
Examples:
  sqlite3 db.sqlite3 'SELECT session_data FROM django_session' \\
    | cloakroom decode --secret-key-file secret.txt
  cloakroom decode --secret-key-file secret.txt < sessions.txt > sessions.json
  # A cookie of the signed_cookies back end, with Django's age check:
  cloakroom decode --key-salt django.contrib.sessions.backends.signed_cookies --max-age 1209600

Each input line gives one output line: the JSON exactly as it is stored, in Python's dialect (NaN and Infinity are \
possible). For an unreadable session, {} is written to standard output, and its line number and the reason to \
standard error; the other lines continue. Line ends within the JSON become spaces; on a terminal, control \
characters are escaped (\\u007f).

If no signature matches, the secret is wrong, or the text was cut.

Exit codes: 0 every line was read, 1 some were not, 2 wrong usage or no secret.";

/// Decode sessions to JSON: one signed text per line in, one JSON text per line out
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Refuse modern text that was signed longer ago than this; legacy text carries no time
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u32>,
    #[command(flatten)]
    signed_text: SignedTextOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Ending> {
    let codec = options.signed_text.codec(|_| ())?;
    let format = options.signed_text.format.only();
    let max_age = options.max_age.map(|seconds| TimeDelta::seconds(seconds.into()));
    convert_lines("{}", |text| {
        let json = codec.decode_json_as(text, format, options.signed_text.now(), max_age).and_then(|json| {
            // A signed text is genuine even if its JSON cannot be read.
            Value::from_stored_json(&json).map_err(|error| DecodeError::Unreadable(error.to_string()))?;
            Ok(json)
        });
        match json {
            Ok(json) => Converted { output: json_on_one_line(json), remark: None },
            Err(why) => Converted { output: "{}".to_owned(), remark: Some(Remark::Failed(why.to_string())) },
        }
    })
}
