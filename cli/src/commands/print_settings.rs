//! `cloakroom settings`: the result of merging the options, the Django project, the environment and the file.

use clap::Args;
use cloakroom::{TextFormat, TimeZone};
use serde_json::json;

use crate::ending::Ending;
use crate::output::lines::say;
use crate::site::SiteOptions;

const EXAMPLES: &str = "\
Examples:
  cloakroom settings --from-django manage.py
  cloakroom settings --json

Prints the store's URL without passwords, and the settings without any secret, as TOML. Use them for the \
Rust service, or, with the hidden parts filled in, as cloakroom.toml (the lines in comments are for the service \
alone). Each part of the URL that is or may be a secret is hidden (…), including `options=`.

Exit codes: 0 all went well, 1 the Django project does not run, 2 wrong usage or a setting that has no counterpart.";

/// Print the store and the settings that the other commands would use, without secrets
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Ending> {
    let site = options.site.read()?;
    let url = site.url()?.to_string();
    let settings = site.settings_without_secret();
    let zone = match settings.time_zone {
        TimeZone::Naive(zone) => Some(zone.name()),
        TimeZone::NaiveUtc => Some("UTC"),
        _ => None,
    };
    let same_site = settings.cookie_samesite.map(|same_site| same_site.as_str());
    let text_format = if settings.text_format == TextFormat::Legacy { "legacy" } else { "modern" };
    let values = json!({
        "store": url,
        "cookie_name": settings.cookie_name,
        "cookie_age": settings.cookie_age.num_seconds(),
        "naive_time_zone": zone,
        "session_class": settings.session_class,
        "secret_key": if site.settings().is_ok() { "given" } else { "none" },
        "secret_key_fallbacks": settings.secret_key_fallbacks.len(),
        "cookie_domain": settings.cookie_domain,
        "cookie_path": settings.cookie_path,
        "cookie_secure": settings.cookie_secure,
        "cookie_httponly": settings.cookie_httponly,
        "cookie_samesite": same_site,
        "save_every_request": settings.save_every_request,
        "expire_at_browser_close": settings.expire_at_browser_close,
        "text_format": text_format,
    });
    if options.json {
        say(&values.to_string())?;
        return Ok(Ending::Well);
    }
    const OF_THE_FILE: usize = 5;
    for (index, (name, value)) in values.as_object().into_iter().flatten().enumerate() {
        let comment = if index < OF_THE_FILE { "" } else { "# " };
        if !value.is_null() {
            say(&format!("{comment}{name} = {value}"))?;
        }
    }
    Ok(Ending::Well)
}
