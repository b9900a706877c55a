//! Addresses that no call goes to: a machine's metadata server hands its identity to whoever can make it answer.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Metadata servers outside the link-local ranges: those of Alibaba and Oracle, and over IPv6 of AWS and Google.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Whether no call may go to `address`: link-local, a metadata server, or nobody's in particular.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_this_network = v4.octets()[0] == 0;
            v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || is_this_network || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified() || METADATA_V6.contains(&v6)
        }
    }
}

/// Resolves names as the system does, and leaves out forbidden addresses. Asked at every new connection: a name that
/// was checked once may resolve to something else by then.
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| !is_forbidden(address.ip())).collect();
            if allowed.is_empty() {
                let text = "the name resolves to a link-local or metadata address only";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_resolves_to_a_forbidden_address_is_not_resolved() {
        // The system's resolver takes a literal address for a name of that address.
        let resolve = |name: &str| Resolver.resolve(name.parse().unwrap());
        assert!(resolve("169.254.169.254").await.is_err());
        assert_eq!(resolve("127.0.0.1").await.unwrap().count(), 1);
    }

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden() {
        let check = |address: &str, want: bool| {
            assert_eq!(is_forbidden(address.parse().unwrap()), want, "{address}");
        };
        for forbidden in [
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::",
            "ff02::1",
        ] {
            check(forbidden, true);
        }
        for allowed in ["127.0.0.1", "::1", "10.0.0.1", "199.36.153.8", "2607:f8b0::1"] {
            check(allowed, false);
        }
    }
}
