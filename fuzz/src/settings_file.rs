//! The settings file.

use std::path::Path;

use cloakroom::GivenSettings;

/// Any text is a settings file or an error in one of its lines, which holds nothing of the store's URL.
pub fn target(data: &[u8]) {
    const PASSWORD: &str = "s3cr3t-passw0rd";
    let Ok(text) = std::str::from_utf8(data) else { return };
    match GivenSettings::from_toml(text, Path::new("/etc/site")) {
        Ok(given) => {
            for path in given.secret_key_file.iter().chain(given.secret_key_fallback_files.iter().flatten()) {
                assert!(path.is_absolute(), "paths are relative to the file's folder");
            }
        }
        Err(error) => {
            let line = error.line().unwrap_or_default();
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "line {line}");
            // Where it stands as a password does, and not in a setting's name too.
            let is_password = text.matches(PASSWORD).count() == 1 && text.contains(&format!(":{PASSWORD}@"));
            assert!(!is_password || !error.reason().contains(PASSWORD), "the message shows the password");
        }
    }
}
