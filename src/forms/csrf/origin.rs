//! Which site's page sent a request: `Origin`, `Referer` and `Sec-Fetch-Site`, compared as Django does.

use cloakroom_formats::private::Url;

use super::{CsrfReason, CsrfRequest, CsrfSettings, RequestHeaders, Scheme};

/// Checks where an unsafe request comes from. `session_domain` is `SESSION_COOKIE_DOMAIN`.
pub(crate) fn check(
    request: &CsrfRequest<'_>,
    settings: &CsrfSettings,
    session_domain: Option<&str>,
) -> Result<(), CsrfReason> {
    let headers = request.headers;
    let is_secure = is_secure(request, settings);
    let origin = text(headers, "origin");
    let is_verified = origin.as_deref().map(|origin| is_trusted(origin, request, settings, is_secure));
    match (origin, is_verified) {
        (Some(origin), Some(false)) => return Err(CsrfReason::BadOrigin(origin)),
        (None, _) if is_secure => check_referer(request, settings, session_domain, is_secure)?,
        _ => {}
    }
    if settings.check_sec_fetch_site
        && is_verified != Some(true)
        && let Some(site) = text(headers, "sec-fetch-site")
        && !matches!(site.as_str(), "same-origin" | "none")
    {
        return Err(CsrfReason::OtherSite(site));
    }
    Ok(())
}

/// A header as WSGI decodes it.
fn text(headers: &(dyn RequestHeaders + Sync), name: &str) -> Option<String> {
    Some(headers.get(name)?.iter().map(|byte| char::from(*byte)).collect())
}

fn is_secure(request: &CsrfRequest<'_>, settings: &CsrfSettings) -> bool {
    match &settings.scheme {
        Scheme::Https => true,
        Scheme::OfConnection => request.is_secure,
        Scheme::OfHeader(name, value) => match text(request.headers, name) {
            Some(header) => header.split(',').next().is_some_and(|first| first.trim() == value),
            None => request.is_secure,
        },
    }
}

fn is_trusted(origin: &str, request: &CsrfRequest<'_>, settings: &CsrfSettings, is_secure: bool) -> bool {
    let scheme = if is_secure { "https" } else { "http" };
    if host(request, settings).is_some_and(|host| origin == format!("{scheme}://{host}")) {
        return true;
    }
    if settings.trusted_origins.iter().any(|trusted| !trusted.contains('*') && trusted == origin) {
        return true;
    }
    let Some(origin) = Url::parse(origin) else { return false };
    settings.trusted_origins.iter().filter(|trusted| trusted.contains('*')).any(|trusted| {
        Url::parse(trusted).is_some_and(|trusted| {
            trusted.scheme == origin.scheme
                && is_same_domain(&origin.netloc, trusted.netloc.trim_start_matches('*'))
        })
    })
}

fn check_referer(
    request: &CsrfRequest<'_>,
    settings: &CsrfSettings,
    session_domain: Option<&str>,
    is_secure: bool,
) -> Result<(), CsrfReason> {
    let referer = text(request.headers, "referer").ok_or(CsrfReason::NoReferer)?;
    let referer = Url::parse(&referer).ok_or(CsrfReason::MalformedReferer)?;
    if referer.scheme.is_empty() || referer.netloc.is_empty() {
        return Err(CsrfReason::MalformedReferer);
    }
    if referer.scheme != "https" {
        return Err(CsrfReason::InsecureReferer);
    }
    let is_of = |trusted: &String| {
        Url::parse(trusted)
            .is_some_and(|trusted| is_same_domain(&referer.netloc, trusted.netloc.trim_start_matches('*')))
    };
    if settings.trusted_origins.iter().any(is_of) {
        return Ok(());
    }
    let domain = if settings.use_sessions { session_domain } else { settings.cookie_domain.as_deref() };
    let good = match domain {
        None => host(request, settings),
        Some(domain) => Some(match port(request, settings, is_secure) {
            port if port == "443" || port == "80" => domain.to_owned(),
            port => format!("{domain}:{port}"),
        }),
    };
    match good {
        Some(good) if is_same_domain(&referer.netloc, &good) => Ok(()),
        _ => Err(CsrfReason::BadReferer(referer.text())),
    }
}

/// Django's `get_host`: the host with its port, if it is allowed.
fn host(request: &CsrfRequest<'_>, settings: &CsrfSettings) -> Option<String> {
    let forwarded =
        settings.use_x_forwarded_host.then(|| text(request.headers, "x-forwarded-host")).flatten();
    let host = forwarded.or_else(|| text(request.headers, "host"))?;
    let (domain, _) = split_host(&host)?;
    let is_allowed = |pattern: &String| pattern == "*" || is_same_domain(&domain, pattern);
    settings.allowed_hosts.iter().any(is_allowed).then_some(host)
}

/// Django's `get_port`.
fn port(request: &CsrfRequest<'_>, settings: &CsrfSettings, is_secure: bool) -> String {
    let forwarded =
        settings.use_x_forwarded_port.then(|| text(request.headers, "x-forwarded-port")).flatten();
    forwarded.or_else(|| request.port.map(|port| port.to_string())).unwrap_or_else(|| {
        let of_host = text(request.headers, "host").and_then(|host| split_host(&host)?.1);
        of_host.unwrap_or_else(|| if is_secure { "443" } else { "80" }.to_owned())
    })
}

/// Django's `split_domain_port`; `None` for an invalid host.
fn split_host(host: &str) -> Option<(String, Option<String>)> {
    let host = host.to_lowercase();
    let (domain, rest) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let (first, others) = address.split_once(':')?;
            let is_valid = first.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !others.is_empty()
                && others.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            (is_valid.then(|| format!("[{address}]"))?, rest)
        }
        None => {
            let end = host.find(':').unwrap_or(host.len());
            let (domain, rest) = host.split_at(end);
            let is_valid =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
            ((!domain.is_empty() && domain.bytes().all(is_valid)).then(|| domain.to_owned())?, rest)
        }
    };
    let port = match rest.strip_prefix(':') {
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.to_owned())
        }
        None if rest.is_empty() => None,
        _ => return None,
    };
    let domain = domain.strip_suffix('.').map_or(domain.clone(), str::to_owned);
    (!domain.is_empty()).then_some((domain, port))
}

/// Django's `is_same_domain`.
fn is_same_domain(host: &str, pattern: &str) -> bool {
    let pattern = pattern.to_lowercase();
    match pattern.strip_prefix('.') {
        Some(domain) => host.ends_with(&pattern) || host == domain,
        None => !pattern.is_empty() && pattern == host,
    }
}
