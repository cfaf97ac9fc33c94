//! The address of `--metrics`: the loopback's unless another is said in full.

use std::net::{Ipv4Addr, SocketAddr};

/// `9469`, `127.0.0.1:9469` or `[::1]:9469`.
///
/// # Errors
/// One line that says what is taken.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    let address = text
        .parse::<u16>()
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .or_else(|_| text.parse::<SocketAddr>());
    match address {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err("a port, or an address and a port: 9469, 127.0.0.1:9469, [::1]:9469".to_owned()),
    }
}

/// What to know of an address that others reach.
pub fn warning(address: SocketAddr) -> Option<String> {
    (!address.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "--metrics {address}: whoever reaches this address can read which rules drop, without a password and in clear text"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_the_loopbacks() {
        assert_eq!(parse("9469"), Ok(SocketAddr::from(([127, 0, 0, 1], 9469))));
        assert_eq!(
            parse("[::1]:9469").map(|it| it.to_string()),
            Ok("[::1]:9469".into())
        );
    }

    #[test]
    fn every_address_must_be_said_in_full() {
        for text in [
            "",
            "0",
            ":9469",
            "*:9469",
            "localhost:9469",
            "10.0.0.1",
            "127.0.0.1:0",
            "70000",
            "::1:9469",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_that_others_reach_is_warned_of() {
        for (text, is_warned) in [
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("10.0.0.1:1", true),
        ] {
            assert_eq!(parse(text).ok().and_then(warning).is_some(), is_warned, "{text}");
        }
    }
}
