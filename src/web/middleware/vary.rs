//! The `Vary` header, which keeps caches from giving one user's page to another.

/// Adds this field to an existing `Vary` header. Django's `patch_vary_headers`.
///
/// ```
/// use cloakroom::middleware::patch_vary;
///
/// assert_eq!(patch_vary(None, "Cookie"), "Cookie");
/// assert_eq!(patch_vary(Some("Accept-Language"), "Cookie"), "Accept-Language, Cookie");
/// assert_eq!(patch_vary(Some("accept, cookie"), "Cookie"), "accept, cookie");
/// assert_eq!(patch_vary(Some("Accept, *"), "Cookie"), "*");
/// ```
pub fn patch_vary(existing: Option<&str>, field: &str) -> String {
    let Some(existing) = existing else { return field.to_owned() };
    let mut fields: Vec<&str> = existing.split(',').map(str::trim).collect();
    if fields.contains(&"*") {
        return "*".to_owned();
    }
    if !fields.iter().any(|other| other.eq_ignore_ascii_case(field)) {
        fields.push(field);
    }
    fields.join(", ")
}
