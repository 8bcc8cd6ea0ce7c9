//! The folder tree is the architecture: imports go down, and a test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The rooms of the library, from the floor up. Each imports from those before it alone. The formats are a crate below
/// all of them, which the compiler guards.
const LIBRARY: [&str; 14] = [
    "site",
    "store",
    "telemetry",
    "login_keys",
    "events",
    "user_sessions",
    "cleaner",
    "session",
    "login",
    "forms",
    "web",
    "watcher",
    "testing",
    "conformance",
];

/// The rooms of the crate of formats.
const FORMATS: [&str; 11] = [
    "compression",
    "value",
    "session_data",
    "pickle",
    "signing",
    "csrf",
    "messages",
    "url",
    "session_text",
    "time_zone",
    "expiry",
];

/// The rooms of the command.
const COMMAND: [&str; 7] = ["ending", "interrupted", "output", "site", "sessions", "gate", "commands"];

/// Further folders without a ring of rooms.
const WITHOUT_RINGS: [&str; 8] = [
    "src/store",
    "src/store/sql",
    "src/store/cache",
    "src/web",
    "cli/src/output",
    "cli/src/sessions",
    "cli/src/commands",
    "benches/web/driver/src",
];

#[test]
fn imports_go_down() {
    assert_layers("src", &LIBRARY);
    assert_layers("formats/src", &FORMATS);
    assert_layers("cli/src", &COMMAND);
}

#[test]
fn no_two_rooms_import_each_other() {
    let mut faults = Vec::new();
    for root in ["src", "formats/src", "cli/src", "benches/web/driver/src"] {
        let imports = imports(root);
        faults.extend(mutual(&imports));
        let folders = WITHOUT_RINGS
            .iter()
            .filter(|folder| folder.starts_with(root) && !folder[root.len()..].contains("src"));
        for folder in folders {
            let inside = folder.strip_prefix(root).unwrap_or_default().trim_start_matches('/');
            faults.extend(
                ring(&between_rooms(&imports, inside)).map(|ring| format!("{folder}: {}", ring.join(" -> "))),
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The imports between the files of a crate, each by its path without `.rs`.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn assert_layers(root: &str, layers: &[&str]) {
    let imports = between_rooms(&imports(root), "");
    let rank = |room: &str| layers.iter().position(|layer| *layer == room);
    let mut faults = Vec::new();
    for (room, below) in &imports {
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let Some(own) = rank(room) else {
            faults.push(format!("{root}/{room} is in no layer; name it in tests/it/layers.rs"));
            continue;
        };
        let upward = below.iter().filter(|other| {
            matches!(other.as_str(), "lib" | "main") || rank(other).is_some_and(|rank| rank > own)
        });
        faults.extend(upward.map(|other| format!("{root}/{room} imports {other}, which is above it")));
    }
    let missing = layers.iter().filter(|layer| !imports.contains_key(**layer));
    faults.extend(missing.map(|layer| format!("{root} has no room {layer}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Two files that import each other must lie in one folder, or one of them be the other's folder.
fn mutual(imports: &Imports) -> Vec<String> {
    let folder = |file: &str| file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let are_near =
        |one: &str, other: &str| folder(one) == folder(other) || folder(one) == other || folder(other) == one;
    let mut faults = Vec::new();
    for (one, others) in imports {
        for other in others.iter().filter(|other| one < *other) {
            if imports.get(other).is_some_and(|back| back.contains(one)) && !are_near(one, other) {
                faults.push(format!("{one} and {other} import each other"));
            }
        }
    }
    faults
}

/// The imports between the rooms of a folder: its files and folders, each with all that is in it.
fn between_rooms(imports: &Imports, folder: &str) -> Imports {
    let room = |file: &str| {
        let inside = if folder.is_empty() { file } else { file.strip_prefix(folder)?.strip_prefix('/')? };
        Some(inside.split('/').next().unwrap_or_default().to_owned())
    };
    let mut rooms = Imports::new();
    for (file, others) in imports {
        let Some(own) = room(file) else { continue };
        let others = others.iter().filter_map(|other| room(other)).filter(|other| *other != own);
        rooms.entry(own.clone()).or_default().extend(others);
    }
    rooms
}

/// A ring of imports, if there is one.
fn ring(imports: &Imports) -> Option<Vec<String>> {
    fn search<'a>(
        imports: &'a Imports,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        let last = *path.last()?;
        for next in imports.get(last).into_iter().flatten() {
            if let Some(begin) = path.iter().position(|room| room == next) {
                return Some(
                    path[begin..].iter().map(|room| (*room).to_owned()).chain([next.clone()]).collect(),
                );
            }
            if !done.contains(next.as_str()) {
                path.push(next);
                if let Some(ring) = search(imports, path, done) {
                    return Some(ring);
                }
                path.pop();
            }
        }
        done.insert(last);
        None
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|room| search(imports, &mut vec![room], &mut done))
}

fn imports(root: &str) -> Imports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let files: BTreeSet<String> = rust_files(&root)
        .iter()
        .map(|path| {
            let path = path.strip_prefix(&root).unwrap().with_extension("");
            path.to_str().unwrap().to_owned()
        })
        .filter(|file| !file.ends_with("tests"))
        .collect();
    assert!(files.len() > 5, "no files in {}", root.display());
    let read = |file: &String| {
        let path = root.join(file).with_extension("rs");
        let code = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let is_root = matches!(file.as_str(), "lib" | "main");
        let module = if is_root { Vec::new() } else { file.split('/').map(str::to_owned).collect() };
        let mut paths = Paths { module, found: BTreeSet::new(), exported: BTreeMap::new() };
        paths.visit_file(&code);
        (file.clone(), paths)
    };
    let read: BTreeMap<String, Paths> = files.iter().map(read).collect();
    // What a map exports is where it comes from.
    let exported: BTreeMap<_, _> = read.values().flat_map(|paths| paths.exported.clone()).collect();
    let origin = |path: &Vec<String>| {
        let mut path = path.clone();
        for _ in 0..4 {
            let Some(length) = (1..=path.len()).find(|length| exported.contains_key(&path[..*length])) else {
                break;
            };
            path = [&exported[&path[..length]][..], &path[length..]].concat();
        }
        path
    };
    let of_file = |(file, paths): (&String, &Paths)| {
        let others = paths.found.iter().filter_map(|path| file_of(&files, &origin(path)));
        (file.clone(), others.filter(|other| other != file).collect())
    };
    read.iter().map(of_file).collect()
}

/// The file of the module in which an item is: the longest part of its path that is a file.
fn file_of(files: &BTreeSet<String>, path: &[String]) -> Option<String> {
    let file =
        (1..=path.len()).rev().map(|length| path[..length].join("/")).find(|file| files.contains(file));
    // An item of the crate's root.
    file.or_else(|| ["lib", "main"].iter().find(|root| files.contains(**root)).map(|root| (*root).to_owned()))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Collects the paths that begin with `crate`, `super` or `self`, in imports and elsewhere, but not in tests. They are
/// given from the crate's root.
struct Paths {
    module: Vec<String>,
    found: BTreeSet<Vec<String>>,
    /// What the file exports under a name of its own, and the item that it is.
    exported: BTreeMap<Vec<String>, Vec<String>>,
}

impl Paths {
    /// The path from the crate's root; none when it leads out of the crate.
    fn to_root(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => self.module.clone(),
            _ => return None,
        };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                part => base.push(part.to_owned()),
            }
        }
        Some(base)
    }

    fn add(&mut self, path: &[String]) {
        self.found.extend(self.to_root(path));
    }

    fn add_tree(&mut self, before: &[String], tree: &syn::UseTree, exports: bool) {
        let joined = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let path = match tree {
            syn::UseTree::Path(path) => return self.add_tree(&joined(&path.ident), &path.tree, exports),
            syn::UseTree::Name(name) => joined(&name.ident),
            syn::UseTree::Rename(rename) => joined(&rename.ident),
            syn::UseTree::Glob(_) => before.to_vec(),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.add_tree(before, tree, exports));
            }
        };
        if !exports {
            return self.add(&path);
        }
        // In a map, a path may begin with one of its modules.
        let is_from_here = !matches!(path.first().map(String::as_str), Some("crate" | "super" | "self"));
        let path = if is_from_here { [vec!["self".to_owned()], path].concat() } else { path };
        let mut target = self.to_root(&path).unwrap_or_default();
        if target.last() == path.last() && path.last().is_some_and(|last| last == "self") {
            target.pop();
        }
        if let Some(name) = target.last() {
            let exported = [&self.module[..], std::slice::from_ref(name)].concat();
            if exported != target {
                self.exported.insert(exported, target);
            }
        }
    }
}

impl<'a> Visit<'a> for Paths {
    fn visit_item(&mut self, item: &'a syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string().contains("test"))
        };
        if !attributes.iter().any(is_test) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if module.content.is_some() {
            self.module.push(module.ident.to_string());
            syn::visit::visit_item_mod(self, module);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let exports = !matches!(item.vis, syn::Visibility::Inherited);
        self.add_tree(&[], &item.tree, exports);
    }

    /// `pub(super)` is no import.
    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        let path_parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&path_parts);
        syn::visit::visit_path(self, path);
    }
}
