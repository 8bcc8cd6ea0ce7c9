//! Test vectors: cases that real Django made, and the rules by which this library means to differ from it.
//!
//! The cases are those of `tests/vectors`, or of the folder that `CLOAKROOM_VECTORS` names, in the same format. A check
//! and a rule see what is in a case but for its `id` and its `note`, so that cases with other names run as well.

pub(crate) mod signature;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde_json::Value as Json;

/// Names a folder of vectors to run in place of `tests/vectors`.
const FOLDER: &str = "CLOAKROOM_VECTORS";

/// The files of a folder.
const FILES: [&str; 13] = [
    "auth",
    "cache_values",
    "codec_legacy",
    "codec_modern",
    "csrf",
    "db_rows",
    "expiry",
    "file_sessions",
    "messages",
    "middleware",
    "next",
    "signed_cookies",
    "signing",
];

/// How a case was reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reproduced {
    Exactly,
    /// This library means to do something else, and did.
    Differently,
}

/// A declared difference: which cases differ from Django, and why.
pub(crate) struct Rule {
    reason: &'static str,
    applies: Box<dyn Fn(&Json) -> bool>,
    /// Whether `tests/vectors` has such cases.
    occurs: bool,
}

impl Rule {
    pub(crate) fn new(reason: &'static str, applies: impl Fn(&Json) -> bool + 'static) -> Rule {
        Rule { reason, applies: Box::new(applies), occurs: true }
    }

    /// A rule for cases that `tests/vectors` does not have, and another folder may.
    pub(crate) fn for_other_folders(reason: &'static str, applies: impl Fn(&Json) -> bool + 'static) -> Rule {
        Rule::new(reason, applies).unless_in_own_vectors()
    }

    /// The same rule for a file of `tests/vectors` that has no such cases.
    pub(crate) fn unless_in_own_vectors(self) -> Rule {
        Rule { occurs: false, ..self }
    }
}

/// A case without its name and its note.
pub(crate) struct Case {
    /// For messages alone.
    pub(crate) id: String,
    pub(crate) content: Json,
}

/// The cases of one file.
pub(crate) struct Vectors {
    pub(crate) name: &'static str,
    pub(crate) cases: Vec<Case>,
    /// Whether they are those of this repository.
    pub(crate) own: bool,
}

impl Vectors {
    /// Reads a file, which another folder may lack.
    pub(crate) fn read(name: &'static str) -> Vectors {
        assert!(FILES.contains(&name), "{name} is not among the files of a folder");
        let (folder, own) = folder();
        let path = folder.join(name).with_extension("json");
        if !own && !path.exists() {
            return Vectors { name, cases: Vec::new(), own };
        }
        let path = path.display();
        let text =
            std::fs::read_to_string(path.to_string()).unwrap_or_else(|error| panic!("{path}: {error}"));
        let cases: Vec<Json> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let cases = cases.into_iter().map(|mut content| {
            let fields = content.as_object_mut().unwrap_or_else(|| panic!("{path}: a case is no object"));
            fields.remove("note");
            let id = fields.remove("id").map_or_else(String::new, |id| id.to_string());
            Case { id, content }
        });
        Vectors { name, cases: cases.collect(), own }
    }

    /// Keeps only the cases that a test is about; another test counts the rest.
    pub(crate) fn only(mut self, keep: impl Fn(&Json) -> bool) -> Vectors {
        self.cases.retain(|case| keep(&case.content));
        self
    }

    /// Runs each case; an assertion that fails is one case failed. So is a difference that no rule declares, and a rule
    /// that declares one where there is none.
    #[track_caller]
    pub(crate) fn run(self, rules: &[Rule], run: impl Fn(&Json) -> Reproduced) {
        let (mut differences, mut failures) = (0, Vec::new());
        let mut applied = vec![0; rules.len()];
        for Case { id, content } in &self.cases {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let declared: Vec<bool> = rules.iter().map(|rule| (rule.applies)(content)).collect();
                (run(content), declared)
            }));
            match outcome {
                Ok((reproduced, declared)) => {
                    declared
                        .iter()
                        .zip(&mut applied)
                        .for_each(|(applies, count)| *count += u32::from(*applies));
                    let rule = declared.iter().position(|applies| *applies).map(|at| rules[at].reason);
                    match (reproduced, rule) {
                        (Reproduced::Exactly, None) => {}
                        (Reproduced::Differently, Some(_)) => differences += 1,
                        (Reproduced::Differently, None) => {
                            failures.push(format!("{id}: differs from Django, and no rule declares it"));
                        }
                        (Reproduced::Exactly, Some(reason)) => {
                            failures.push(format!("{id}: does as Django, though a rule declares: {reason}"));
                        }
                    }
                }
                Err(panic) => {
                    let message = panic.downcast_ref::<String>().cloned();
                    let message = message.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                    failures.push(format!("{id}: {}", message.unwrap_or_default()));
                }
            }
        }
        let (name, total) = (self.name, self.cases.len());
        println!(
            "vectors {name}: {} of {total} passed, {differences} of them as declared differences",
            total - failures.len()
        );
        if self.own {
            assert!(total > 0, "vectors {name}: no case");
            for (rule, count) in rules.iter().zip(applied) {
                if (count > 0) != rule.occurs {
                    failures.push(format!("{count} cases for the rule: {}", rule.reason));
                }
            }
        }
        assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    }
}

/// The folder to run, and whether it is this repository's.
fn folder() -> (PathBuf, bool) {
    match std::env::var_os(FOLDER) {
        Some(folder) => (folder.into(), false),
        None => {
            // The command's tests are one folder further down.
            let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            let own =
                here.ancestors().map(|folder| folder.join("tests/vectors")).find(|folder| folder.is_dir());
            (own.expect("tests/vectors is in the repository"), true)
        }
    }
}

/// Each file of the folder is one that a test reads, and there are cases: nobody takes a run of nothing for a success.
pub(crate) fn assert_that_the_folder_has_cases() {
    let (folder, _) = folder();
    let shown = folder.display();
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        assert!(FILES.contains(&&*name), "{shown}: no test reads {name}.json");
    }
    let cases: usize = FILES.iter().map(|name| Vectors::read(name).cases.len()).sum();
    assert!(cases > 0, "{shown} has no case");
    println!("vectors: {cases} cases in {shown}");
}
