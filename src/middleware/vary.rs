//! The `Vary` header, which keeps caches from giving one user's page to another.

/// The `Vary` header with `Cookie` in it, from what was there. Django's `patch_vary_headers`.
///
/// ```
/// use cloakroom::middleware::patch_vary;
///
/// assert_eq!(patch_vary(None), "Cookie");
/// assert_eq!(patch_vary(Some("Accept-Language")), "Accept-Language, Cookie");
/// assert_eq!(patch_vary(Some("accept, cookie")), "accept, cookie");
/// assert_eq!(patch_vary(Some("Accept, *")), "*");
/// ```
pub fn patch_vary(existing: Option<&str>) -> String {
    let Some(existing) = existing else { return "Cookie".to_owned() };
    let mut fields: Vec<&str> = existing.split(',').map(str::trim).collect();
    if fields.contains(&"*") {
        return "*".to_owned();
    }
    if !fields.iter().any(|field| field.eq_ignore_ascii_case("cookie")) {
        fields.push("Cookie");
    }
    fields.join(", ")
}
