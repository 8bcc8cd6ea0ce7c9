//! Lists of paths in settings.

/// Whether a list has this path: exactly, or by the beginning that an entry with `*` at its end names.
pub(crate) fn has(list: &[String], path: &str) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(begin) => path.starts_with(begin),
        None => path == entry,
    })
}
