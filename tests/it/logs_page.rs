//! docs/logs.md: its table is what the source logs, and its examples show what they say.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cloakroom::{MemoryStore, SessionMiddleware, Settings, auth};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::log::Log;
use crate::support::source_files::rust_files;

/// One event: level, target, message, and the names of its fields.
type Event = (String, String, String, BTreeSet<String>);

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs.md")).unwrap()
}

/// The parts of a macro's arguments, at the commas that are in no text and in no brackets, and what follows the macro.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    let (mut parts, mut part) = (Vec::new(), String::new());
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            '(' | '[' | '{' if !in_text => depth += 1,
            ')' | ']' | '}' if !in_text && depth == 0 => break,
            ')' | ']' | '}' if !in_text => depth -= 1,
            ',' if !in_text && depth == 0 => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            _ => {}
        }
        part.push(character);
    }
    parts.push(part.trim().to_owned());
    parts.retain(|part| !part.is_empty());
    parts
}

/// A literal as the compiler reads it, for what texts in the source hold.
fn literal(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut joined = String::new();
    for (number, line) in inner.split("\\\n").enumerate() {
        joined.push_str(if number == 0 { line } else { line.trim_start() });
    }
    Some(joined.replace("\\\"", "\""))
}

fn events_of(path: &Path, root: &Path) -> Vec<Event> {
    let source = std::fs::read_to_string(path).unwrap();
    let module = path.strip_prefix(root).unwrap().with_extension("");
    let module: Vec<_> = module.iter().map(|part| part.to_str().unwrap()).collect();
    let module = format!("cloakroom::{}", module.join("::"));
    let mut events = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace"] {
        for call in source.split(&format!("tracing::{level}!(")).skip(1) {
            let mut target = module.clone();
            let (mut message, mut fields) = (None, BTreeSet::new());
            for argument in arguments(call) {
                if let Some(text) = argument.strip_prefix("target:") {
                    target = literal(text.trim()).unwrap();
                } else if let Some(text) = literal(&argument) {
                    message = Some(text);
                } else {
                    let name = argument.split('=').next().unwrap().trim();
                    fields.insert(name.trim_start_matches(['%', '?']).to_owned());
                }
            }
            let message = message.unwrap_or_else(|| panic!("{}: an event without a message", path.display()));
            events.push((level.to_uppercase(), target, message, fields));
        }
    }
    events
}

#[test]
fn the_table_is_what_the_source_logs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let in_source: BTreeSet<Event> = files.iter().flat_map(|file| events_of(file, &root)).collect();
    assert!(in_source.len() > 30, "{in_source:#?}");

    let page = page();
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let is_level = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(cells.first()?);
        (is_level && cells.len() == 6).then(|| {
            let fields = cells[3].split(',').map(|field| field.trim().trim_matches('`').to_owned());
            let fields = fields.filter(|field| !field.is_empty()).collect();
            assert!(!cells[4].is_empty(), "{line}: nothing is said of its meaning");
            (cells[0].to_owned(), cells[1].trim_matches('`').to_owned(), cells[2].to_owned(), fields)
        })
    });
    let on_page: BTreeSet<Event> = rows.collect();
    let missing: Vec<_> = in_source.difference(&on_page).collect();
    let unknown: Vec<_> = on_page.difference(&in_source).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not on the page: {missing:#?}\nnot in src: {unknown:#?}"
    );
}

/// A login and a logout, and what is shown of them.
async fn shown(levels: &str) -> Vec<String> {
    let log =
        Log::with(|builder| builder.with_env_filter(EnvFilter::new(levels)).with_span_events(FmtSpan::CLOSE));
    let middleware = SessionMiddleware::new(Arc::new(MemoryStore::new()), Settings::new("secret")).unwrap();
    let session = middleware.begin([]).load().await.unwrap();
    auth::login(&session, auth::User { id: "7", password: "hash", backend: auth::MODEL_BACKEND })
        .await
        .unwrap();
    session.save().await.unwrap();
    auth::logout(&session).await.unwrap();
    tracing::info!(target: "another_crate", "cloakroom is not the only one");
    log.lines()
}

#[tokio::test(flavor = "current_thread")]
async fn the_levels_of_the_page_show_what_it_says() {
    let page = page();
    let of_page: Vec<_> = page
        .lines()
        .skip_while(|line| !line.starts_with("| `RUST_LOG`"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('`').nth(1).unwrap())
        .collect();
    let expected = [
        ("info", [true, false, true]),
        ("warn,cloakroom::auth=info", [true, false, false]),
        ("info,cloakroom::auth=off", [false, false, true]),
        ("info,cloakroom=debug", [true, true, true]),
        ("error", [false, false, false]),
    ];
    assert_eq!(of_page, expected.map(|(levels, _)| levels));
    for (levels, expected) in expected {
        let lines = shown(levels).await.join("\n");
        let seen = ["user logged in", "session.save{", "not the only one"].map(|text| lines.contains(text));
        assert_eq!(seen, expected, "{levels}: {lines}");
    }
    let lines = shown("info,cloakroom=debug").await;
    let span = lines.iter().find(|line| line.contains("session.save{")).unwrap();
    assert!(
        span.contains("close") && span.contains("time.busy=") && span.contains("outcome=\"created\""),
        "{span}"
    );
}
