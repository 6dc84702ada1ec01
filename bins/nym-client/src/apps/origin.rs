//! Which web pages may connect (RFC 6454).

use std::net::Ipv4Addr;

use axum::http::{HeaderMap, header};

use crate::config::AppsConfig;

/// What browsers send for a page that has no origin: a local file, a document of a `data:` URL, or
/// a sandboxed frame, which any page can open.
const NULL: &str = "null";

/// Whether a page of the `Origin` in these headers may connect: none at all (a program), one of
/// this machine, or one that the configuration allows.
pub(super) fn is_allowed(headers: &HeaderMap, config: &AppsConfig) -> bool {
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
    if origin == NULL {
        return config.allow_null_origin;
    }
    is_local(origin)
        || config
            .allowed_origins
            .iter()
            .any(|allowed| allowed == origin)
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

    fn allowed_by(config: &AppsConfig, origin: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        is_allowed(&headers, config)
    }

    fn allowed(origin: &str) -> bool {
        let config = AppsConfig {
            allowed_origins: vec!["https://chat.example".to_owned()],
            ..AppsConfig::default()
        };
        allowed_by(&config, origin)
    }

    #[test]
    fn pages_of_this_machine_and_allowed_ones_may_connect() {
        assert!(is_allowed(&HeaderMap::new(), &AppsConfig::default()));
        for origin in [
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
        assert!(!is_allowed(&headers, &AppsConfig::default()));
    }

    #[test]
    fn pages_without_an_origin_may_connect_unless_that_is_switched_off() {
        let strict = AppsConfig {
            allow_null_origin: false,
            ..AppsConfig::default()
        };
        assert!(allowed_by(&AppsConfig::default(), "null"));
        assert!(!allowed_by(&strict, "null"));
        assert!(allowed_by(&strict, "http://localhost"));
        assert!(is_allowed(&HeaderMap::new(), &strict), "a program");
        for config in [AppsConfig::default(), strict] {
            assert!(!allowed_by(&config, "NULL"));
        }
    }
}
