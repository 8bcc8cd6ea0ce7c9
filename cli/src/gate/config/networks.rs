//! The networks of trusted proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

/// Addresses and networks, such as `127.0.0.1` and `10.0.0.0/8`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Networks(Vec<Network>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Network {
    address: IpAddr,
    /// How many leading bits count.
    prefix: u32,
}

impl Networks {
    pub(crate) fn loopback() -> Networks {
        Networks(vec![
            Network { address: Ipv4Addr::LOCALHOST.into(), prefix: 32 },
            Network { address: Ipv6Addr::LOCALHOST.into(), prefix: 128 },
        ])
    }

    pub(crate) fn has(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.has(peer))
    }
}

impl Network {
    fn has(&self, peer: IpAddr) -> bool {
        match (self.address, peer) {
            (IpAddr::V4(network), IpAddr::V4(peer)) => {
                (network.to_bits() ^ peer.to_bits()).leading_zeros() >= self.prefix
            }
            (IpAddr::V6(network), IpAddr::V6(peer)) => {
                (network.to_bits() ^ peer.to_bits()).leading_zeros() >= self.prefix
            }
            _ => false,
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        let unreadable = || {
            format!("{text:?} is no address of a proxy; write an IP address or a network, such as 10.0.0.0/8")
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| unreadable())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), |prefix| prefix.parse().map_err(|_| unreadable()))?;
        if prefix > longest {
            return Err(unreadable());
        }
        Ok(Network { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_all_sorts() {
        let networks = |texts: &[&str]| {
            Networks(texts.iter().map(|text| Network::try_from((*text).to_owned()).unwrap()).collect())
        };
        let ours = networks(&["10.1.0.0/16", "192.168.7.9", "fd00::/8", "::1"]);
        for (peer, is_ours) in [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("192.168.7.9", true),
            ("192.168.7.8", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.2.2.3", false),
            ("fdab::1", true),
            ("fe80::1", false),
            ("::1", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(ours.has(peer.parse().unwrap()), is_ours, "{peer}");
        }
        assert!(networks(&["0.0.0.0/0"]).has("8.8.8.8".parse().unwrap()));
        assert!(!networks(&["0.0.0.0/0"]).has("2001:db8::1".parse().unwrap()));
        assert!(!networks(&[]).has("127.0.0.1".parse().unwrap()));
        assert!(Networks::loopback().has("127.0.0.1".parse().unwrap()));
        assert!(!Networks::loopback().has("127.0.0.2".parse().unwrap()));
        for wrong in
            ["", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "10.0.0.0/-1", "1.2.3.4:80"]
        {
            assert!(Network::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
