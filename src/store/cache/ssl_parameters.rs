//! redis-py's parameters of TLS, in the URLs of caches. memcached's Python clients take an `ssl.SSLContext` and
//! name nothing, so that they are used there too.

use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::tls::{RootCertificates, TlsMode, TlsOptions};
use crate::store::url::{Parameters, invalid};

/// The names, for an error.
pub(super) const NAMES: [&str; 6] =
    ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version"];

/// redis-py's parameters that cannot be obeyed, and why or what to do instead.
pub(super) const REFUSED: [(&str, &str); 8] = [
    ("ssl_ca_path", "a folder of certificates is not read; name one PEM file in `ssl_ca_certs`"),
    ("ssl_ca_data", "certificates are read from a file; name it in `ssl_ca_certs`"),
    ("ssl_password", "an encrypted key is not read; decrypt the file that `ssl_keyfile` names"),
    ("ssl_ciphers", "the cipher suites of TLS 1.2 and 1.3 that are considered safe are used"),
    ("ssl_validate_ocsp", "OCSP is not asked"),
    ("ssl_validate_ocsp_stapled", "OCSP is not asked"),
    ("ssl_include_verify_flags", "OpenSSL's flags have no counterpart"),
    ("ssl_exclude_verify_flags", "OpenSSL's flags have no counterpart"),
];

/// Refuses those of [`REFUSED`].
pub(super) fn refuse(parameters: &mut Parameters, store: &'static str) -> Result<(), StoreError> {
    for (name, why) in REFUSED {
        if parameters.take(name)?.is_some() {
            let message = format!("the URL's parameter `{name}` cannot be obeyed: {why}");
            return Err(StoreError::new(store, StoreErrorKind::Misconfigured, message));
        }
    }
    Ok(())
}

/// Takes those of [`NAMES`] with this prefix; `None` if the URL has none. `encryption` is whether the
/// connection is encrypted, and how it would be.
pub(super) fn take(
    parameters: &mut Parameters,
    store: &'static str,
    prefix: &str,
    encryption: (bool, &str),
) -> Result<Option<TlsOptions>, StoreError> {
    let name = |name: &str| format!("{prefix}{name}");
    let root_certificates = parameters.take(&name("ssl_ca_certs"))?;
    let client_certificate = parameters.take(&name("ssl_certfile"))?;
    let client_key = parameters.take(&name("ssl_keyfile"))?;
    let verifies = match parameters.take(&name("ssl_cert_reqs"))?.as_deref() {
        // `CERT_…` is how Celery writes it, and Heroku's guide.
        Some("none" | "CERT_NONE") => Some(false),
        // For a client OpenSSL knows no difference.
        Some("optional" | "required" | "CERT_OPTIONAL" | "CERT_REQUIRED") => Some(true),
        Some(_) => {
            let name = name("ssl_cert_reqs");
            return Err(invalid(store, &name, "has no such value", "none, optional or required"));
        }
        None => None,
    };
    let checks_host = boolean(parameters, store, &name("ssl_check_hostname"))?;
    let version: Option<i32> =
        parameters.take_parsed(&name("ssl_min_version"), "Python's number, such as 771 for TLS 1.2")?;
    // `ssl.TLSVersion.TLSv1_2`: there is nothing older here.
    if version.is_some_and(|version| version > 771) {
        return Err(invalid(store, &name("ssl_min_version"), "demands more than TLS 1.2", "771, or nothing"));
    }
    let given = [
        ("ssl_ca_certs", root_certificates.is_some()),
        ("ssl_certfile", client_certificate.is_some()),
        ("ssl_keyfile", client_key.is_some()),
        ("ssl_cert_reqs", verifies.is_some()),
        ("ssl_check_hostname", checks_host.is_some()),
        ("ssl_min_version", version.is_some()),
    ];
    let Some((first, _)) = given.into_iter().find(|(_, is_given)| *is_given) else { return Ok(None) };
    let (is_encrypted, how) = encryption;
    if !is_encrypted {
        return Err(invalid(store, &name(first), "needs an encrypted connection", how));
    }
    if client_key.is_some() && client_certificate.is_none() {
        let what = format!("lacks the certificate to this key in `{}`", name("ssl_certfile"));
        return Err(invalid(store, &name("ssl_keyfile"), &what, "both"));
    }
    let verifies = verifies.unwrap_or(true);
    let mut tls = TlsOptions::new(match (verifies, checks_host.unwrap_or(true)) {
        (true, true) => TlsMode::VerifyFull,
        (true, false) => TlsMode::VerifyCa,
        (false, _) => TlsMode::Require,
    });
    // Nothing is compared with them where nothing is verified. In libpq's words, which the mode is in, they
    // would make `require` verify.
    tls.root_certificates =
        root_certificates.filter(|_| verifies).map(|path| RootCertificates::File(path.into()));
    tls.client_certificate = client_certificate.map(Into::into);
    tls.client_key = client_key.map(Into::into);
    Ok(Some(tls))
}

/// Takes a truth value in one of redis-py's spellings, of which redis-py takes every unknown one for true.
pub(super) fn boolean(
    parameters: &mut Parameters,
    store: &'static str,
    name: &str,
) -> Result<Option<bool>, StoreError> {
    let Some(value) = parameters.take(name)? else { return Ok(None) };
    match value.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" => Ok(Some(true)),
        "0" | "f" | "false" | "n" | "no" => Ok(Some(false)),
        _ => Err(invalid(store, name, "is neither true nor false", "true or false")),
    }
}
