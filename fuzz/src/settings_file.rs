//! The command's settings file.

use std::path::Path;

#[path = "../../cli/src/site/settings_file.rs"]
#[allow(dead_code, unreachable_pub)]
mod file;

/// What the file under test calls where a command would end.
#[allow(dead_code)]
fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::msg(message.into())
}

/// Any text is a settings file or an error in one of its lines, which holds nothing of the store's URL.
pub fn target(data: &[u8]) {
    const PASSWORD: &str = "s3cr3t-passw0rd";
    let Ok(text) = std::str::from_utf8(data) else { return };
    match file::parse(text, Path::new("/etc/site")) {
        Ok(file) => {
            for path in file.secret_key_file.iter().chain(&file.secret_key_fallback_files) {
                assert!(path.is_absolute(), "paths are relative to the file's folder");
            }
        }
        Err((line, message)) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "line {line}");
            // Where it stands as a password does, and not in a setting's name too.
            let is_password = text.matches(PASSWORD).count() == 1 && text.contains(&format!(":{PASSWORD}@"));
            assert!(!is_password || !message.contains(PASSWORD), "the message shows the password");
        }
    }
}
