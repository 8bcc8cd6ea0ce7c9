//! The kinds of proxies.

/// The kinds of proxies, each with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Traefik,
    Caddy,
    EnvoyHttp,
    EnvoyGrpc,
    Haproxy,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Nginx, Kind::Traefik, Kind::Caddy, Kind::EnvoyHttp, Kind::EnvoyGrpc, Kind::Haproxy];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Traefik => "traefik",
            Kind::Caddy => "caddy",
            Kind::EnvoyHttp => "envoy",
            Kind::EnvoyGrpc => "envoy-grpc",
            Kind::Haproxy => "haproxy",
        }
    }

    /// Whether the proxy passes a redirect on. The others make an error of it; their configuration makes the redirect.
    pub(crate) const fn passes_redirects(self) -> bool {
        !matches!(self, Kind::Nginx | Kind::Haproxy)
    }
}
