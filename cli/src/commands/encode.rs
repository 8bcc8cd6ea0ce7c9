//! `cloakroom encode`: JSON in, signed text out.

use clap::Args;
use cloakroom::signing::Compression;
use cloakroom::{Kind, Value};

use crate::commands::signed_text::SignedTextOptions;
use crate::ending::Ending;
use crate::output::lines::{Converted, Remark, convert_lines};

const EXAMPLES: &str = "\
Examples:
  echo '{\"visits\":1}' | cloakroom encode --secret-key-file secret.txt
  # From one secret to another:
  cloakroom decode --secret-key-file old.txt < old-sessions.txt \\
    | cloakroom encode --secret-key-file new.txt > new-sessions.txt

Each input line gives one output line. The JSON may use Python's dialect (NaN, Infinity, integers of any size); it is \
written as it is, except that non-ASCII characters are escaped and white space around it is dropped. For a line \
that is not JSON, an empty line is written to standard output, and its number and the reason to standard error.

Exit codes: 0 every line was written, 1 some were not, 2 wrong usage or no secret.";

/// Sign sessions: one JSON text per line in, one signed text per line out
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Compress modern text with zlib if that is shorter: always (as Django), never, or from this many bytes
    /// on
    #[arg(long, value_name = "always|never|BYTES", default_value = "1024", value_parser = compression)]
    compress: Compression,
    #[command(flatten)]
    signed_text: SignedTextOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Ending> {
    let codec = options.signed_text.codec(|settings| settings.compression = options.compress)?;
    convert_lines("", |text| match Value::from_stored_json(text) {
        Ok(json) => match codec.encode_json(&json, options.signed_text.now()) {
            Ok(output) => Converted {
                output,
                remark: (json.kind() != Kind::Dict).then(|| {
                    let kind = json.kind();
                    Remark::Warning(format!(
                        "holds {kind}; signed as it is, but a session must be a dictionary"
                    ))
                }),
            },
            Err(why) => Converted { output: String::new(), remark: Some(Remark::Failed(why.to_string())) },
        },
        Err(why) => Converted { output: String::new(), remark: Some(Remark::Failed(why.to_string())) },
    })
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "always" => Ok(Compression::Always),
        "never" => Ok(Compression::Never),
        bytes => bytes
            .parse()
            .map(Compression::AtLeast)
            .map_err(|_| "write `always`, `never`, or a number of bytes such as 1024".to_owned()),
    }
}
