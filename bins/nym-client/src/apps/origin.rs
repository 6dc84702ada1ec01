//! Which web pages may connect (RFC 6454).

use std::net::Ipv4Addr;

use axum::http::{HeaderMap, header};

/// Whether a page of the `Origin` in these headers may connect: none at all (a program), `null`
/// (a local file), one of this machine, or one that the configuration allows.
pub(super) fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    if origins.next().is_some() {
        return false;
    }
    origin == "null" || is_local(origin) || allowed.iter().any(|allowed| allowed == origin)
}

/// Whether an origin is `http(s)://` on `localhost` or a loopback address, with any port.
fn is_local(origin: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(is_local_authority)
}

/// Whether `host` or `host:port` is `localhost` or a loopback address.
pub(super) fn is_local_authority(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix("[::1]") {
        return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
    let is_loopback = host
        .parse::<Ipv4Addr>()
        .is_ok_and(|address| address.is_loopback());
    is_port(port) && (host.eq_ignore_ascii_case("localhost") || is_loopback)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        is_allowed(&headers, &["https://chat.example".to_owned()])
    }

    #[test]
    fn pages_of_this_machine_and_allowed_ones_may_connect() {
        assert!(is_allowed(&HeaderMap::new(), &[]));
        for origin in [
            "null",
            "http://localhost",
            "https://localhost:3000",
            "http://LOCALHOST:80",
            "http://127.0.0.1:8000",
            "http://127.1.2.3",
            "http://[::1]",
            "https://[::1]:5173",
            "https://chat.example",
        ] {
            assert!(allowed(origin), "{origin}");
        }
    }

    #[test]
    fn pages_of_other_sites_may_not() {
        for origin in [
            "http://evil.example",
            "http://localhost.evil.example",
            "http://evil.example:1977",
            "http://localhost@evil.example",
            "http://localhost:80@evil.example",
            "http://127.0.0.1.evil.example",
            "http://[::1].evil.example",
            "http://128.0.0.1",
            "http://chat.example",
            "https://chat.example:444",
            "ftp://localhost",
            "localhost",
            "",
        ] {
            assert!(!allowed(origin), "{origin}");
        }
    }

    #[test]
    fn several_origins_are_none_that_is_allowed() {
        let mut headers = HeaderMap::new();
        headers.append(header::ORIGIN, "http://localhost".parse().unwrap());
        headers.append(header::ORIGIN, "http://evil.example".parse().unwrap());
        assert!(!is_allowed(&headers, &[]));
    }
}
