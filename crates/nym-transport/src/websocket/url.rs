//! Websocket URLs, as gateways announce them.

use std::net::Ipv6Addr;

/// The port of a `ws` URL that names none (RFC 6455, section 3).
const PLAIN_PORT: u16 = 80;

/// The port of a `wss` URL that names none.
const TLS_PORT: u16 = 443;

/// Why a text is no URL to dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The host is empty or has characters that no host has.
    #[error("the host is missing or not valid")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// It begins with neither `ws://` nor `wss://`.
    #[error("it begins with neither ws:// nor wss://")]
    Scheme,
    /// It asks for TLS, and a plain connection was to be made.
    #[error("it asks for TLS, which this connection would not have")]
    Secure,
}

/// The parts of `ws://host[:port][/path]`, or of `wss://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WsUrl {
    /// Name or address, without brackets.
    host: String,
    port: u16,
    path: String,
    is_secure: bool,
}

impl WsUrl {
    pub(super) fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let (is_secure, default_port) = match scheme {
            "ws" => (false, PLAIN_PORT),
            "wss" => (true, TLS_PORT),
            _ => return Err(UrlError::Scheme),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        let (host, port) = split_port(authority, default_port)?;
        let is_ipv6 = host.parse::<Ipv6Addr>().is_ok();
        let is_name = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let path_is_clean = path.bytes().all(|b| b.is_ascii_graphic());
        if !(is_ipv6 || is_name) || !path_is_clean {
            return Err(UrlError::Host);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            path,
            is_secure,
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it says `wss`.
    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The URL of the upgrade request, inside of TLS if there is any, with an IPv6 host in
    /// brackets.
    pub(super) fn request_url(&self) -> String {
        let Self {
            host, port, path, ..
        } = self;
        if host.contains(':') {
            format!("ws://[{host}]:{port}{path}")
        } else {
            format!("ws://{host}:{port}{path}")
        }
    }
}

/// Host without brackets, and port. Of a bare IPv6 address the last group is the port, because
/// that is how 0.11 gateways announce themselves.
fn split_port(authority: &str, default: u16) -> Result<(&str, u16), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(UrlError::Host)?;
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, parse_port(port)?)),
            None if port.is_empty() => Ok((host, default)),
            None => Err(UrlError::Port),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => Ok((host, parse_port(port)?)),
        None => Ok((authority, default)),
    }
}

fn parse_port(text: &str) -> Result<u16, UrlError> {
    text.parse()
        .ok()
        .filter(|&port| port != 0)
        .ok_or(UrlError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request_url(url: &str) -> Result<String, UrlError> {
        WsUrl::parse(url).map(|url| url.request_url())
    }

    #[test]
    fn announced_urls_are_understood() {
        for (url, request) in [
            ("ws://10.0.0.9:9000", "ws://10.0.0.9:9000/"),
            ("ws://gateway.example:9000/", "ws://gateway.example:9000/"),
            ("ws://localhost", "ws://localhost:80/"),
            ("ws://[2001:db8::1]:9000", "ws://[2001:db8::1]:9000/"),
            ("ws://[::1]", "ws://[::1]:80/"),
            ("ws://2001:db8::1:9000", "ws://[2001:db8::1]:9000/"),
            ("ws://h:1/a?b=c", "ws://h:1/a?b=c"),
            ("wss://h", "ws://h:443/"),
        ] {
            assert_eq!(request_url(url).as_deref(), Ok(request), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_by_its_part() {
        for (url, error) in [
            ("http://h:1", UrlError::Scheme),
            ("h:1", UrlError::Scheme),
            ("", UrlError::Scheme),
            ("ws://", UrlError::Host),
            ("ws://:9000", UrlError::Host),
            ("ws://a b:1", UrlError::Host),
            ("ws://user@h:1", UrlError::Host),
            ("ws://h:1/a b", UrlError::Host),
            ("ws://[::1:9000", UrlError::Host),
            ("ws://h:0", UrlError::Port),
            ("ws://h:65536", UrlError::Port),
            ("ws://h:", UrlError::Port),
            ("ws://[::1]9000", UrlError::Port),
        ] {
            assert_eq!(request_url(url), Err(error), "{url}");
        }
        assert!(request_url("ws://h:65535").is_ok());
    }

    proptest! {
        #[test]
        fn a_request_url_is_a_fixed_point(url in "(ws://)?[a-z0-9:.\\[\\]/-]{0,30}") {
            if let Ok(request) = request_url(&url) {
                prop_assert_eq!(request_url(&request), Ok(request.clone()));
            }
        }
    }
}
