//! The documents that name tests: each test that docs/reliability.md or SECURITY.md names is there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::source_files::rust_files;

/// A test's function, and the modules that it is in as far as files tell: folders, the file, and modules inside of it.
struct Test {
    modules: BTreeSet<String>,
    name: String,
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "formats/src", "tests/it", "cli/src", "cli/tests/it"] {
        rust_files(&root.join(folder), &mut files);
    }
    let tests: Vec<Test> = files.iter().flat_map(|file| tests_in(root, file)).collect();
    assert!(tests.len() > 200, "{} tests found", tests.len());
    let (mut named, mut missing) = (0, Vec::new());
    for document in ["docs/reliability.md", "SECURITY.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for (path, count) in tests_named(&text) {
            named += 1;
            let (modules, name) = path.rsplit_once("::").unwrap_or(("", &path));
            let modules: Vec<&str> =
                modules.split("::").filter(|module| !matches!(*module, "tests" | "…")).collect();
            // Modules that were left out are a macro's, and so is how many tests it makes.
            let count = count.filter(|_| !path.contains("…::"));
            let found = tests.iter().filter(|test| {
                let fits = fits(name, &test.name);
                fits && modules.iter().all(|module| test.modules.contains(*module))
            });
            let found = found.count();
            if found == 0 || count.is_some_and(|count| count != found) {
                missing.push(format!("{document}: `{path}` {count:?}, found {found}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    println!("{named} of {named} tests that documents name are there");
}

/// Whether this is the name, in which `…` stands for what was left out.
fn fits(shortened: &str, name: &str) -> bool {
    let Some((start, rest)) = shortened.split_once('…') else { return shortened == name };
    let Some(after) = name.strip_prefix(start) else { return false };
    let mut ends = after.char_indices().map(|(place, _)| &after[place..]).chain([""]);
    ends.any(|end| fits(rest, end))
}

/// What stands between backticks in the columns called `test`, and the number in brackets behind it.
fn tests_named(text: &str) -> Vec<(String, Option<usize>)> {
    let mut column = None;
    let mut named = Vec::new();
    for line in text.lines() {
        // A bar inside of backticks is escaped.
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        if !line.starts_with('|') {
            column = None;
        } else if let Some(found) = cells.iter().position(|cell| *cell == "test") {
            column = Some(found);
        } else if let Some(cell) = column.and_then(|column| cells.get(column)) {
            let mut parts = cell.split('`').skip(1);
            while let Some(path) = parts.next() {
                let after = parts.next().unwrap_or_default().trim_start();
                let count = after.strip_prefix('(').and_then(|rest| rest.split_once(')'));
                named.push((path.to_owned(), count.and_then(|(count, _)| count.parse().ok())));
            }
        }
    }
    named
}

fn tests_in(root: &Path, file: &Path) -> Vec<Test> {
    let text = std::fs::read_to_string(file).unwrap();
    let inside = file.strip_prefix(root).unwrap().with_extension("");
    let mut modules: BTreeSet<String> =
        inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    modules.extend(text.lines().filter_map(|line| {
        let module = line.trim_start().strip_prefix("mod ")?.strip_suffix(" {")?;
        Some(module.to_owned())
    }));
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let is_test = |line: usize| {
        lines[..line].iter().rev().take_while(|above| above.starts_with('#')).any(|above| {
            ["#[test]", "#[tokio::test", "#[actix_web::test"].iter().any(|of| above.starts_with(of))
        })
    };
    // Cases that run on each adapter stand in a list.
    let mut listed = BTreeSet::new();
    for list in text.split("on_every_adapter!(").skip(1) {
        let names = list.split(')').next().unwrap_or_default();
        listed.extend(names.split([',', '\n', ' ']).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    let function = |line: &str| {
        let rest = line.strip_prefix("async fn ").or(line.strip_prefix("fn "))?;
        Some(rest.split(['(', '<']).next()?.to_owned())
    };
    let found = lines.iter().enumerate().filter_map(|(number, line)| Some((number, function(line)?)));
    found
        .filter(|(number, name)| is_test(*number) || listed.contains(name))
        .map(|(_, name)| Test { modules: modules.clone(), name })
        .collect()
}
