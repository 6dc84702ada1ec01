//! Who may come in: what the headers of a request have to say.

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::apps::origin::is_local_authority;
use crate::config::AppToken;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// It is addressed to a name that is not this machine's.
    Host,
    /// It is from a web page of another site.
    Origin,
    /// It shows no token, or not the right one.
    Token,
}

impl Refused {
    pub(super) fn into_response(self) -> Response {
        match self {
            Self::Host => {
                let said = "The client is asked for by a name that is not this machine's. Allow \
                            it in the configuration: apps.allowed_hosts.\n";
                (StatusCode::FORBIDDEN, said).into_response()
            }
            Self::Origin => {
                let said = "This page may not use the client. Allow its origin in the \
                            configuration: apps.allowed_origins.\n";
                (StatusCode::FORBIDDEN, said).into_response()
            }
            Self::Token => {
                let said = "Show the token of the configuration: in a header, \
                            `Authorization: Bearer <token>`, or in the URL, `?token=<token>`.\n";
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
                (StatusCode::UNAUTHORIZED, challenge, said).into_response()
            }
        }
    }
}

/// Whether a request is addressed to this machine: a loopback address, `localhost`, or a host
/// that the configuration names, with any port or with the one it names.
///
/// A page whose name was made to resolve to 127.0.0.1 after it had been loaded counts as local by
/// its address; the name in `Host` still gives it away.
pub(super) fn is_allowed_host(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let is = |allowed: &String| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name)
    };
    is_local_authority(host) || allowed.iter().any(is)
}

/// Whether a request shows the token, if there is one to show.
pub(super) fn shows_token(parts: &Parts, token: Option<&AppToken>) -> bool {
    let Some(token) = token else {
        return true;
    };
    let in_header = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, shown)| shown.trim());
    let query = parts.uri.query().unwrap_or_default();
    let in_url = query
        .split('&')
        .find_map(|member| member.strip_prefix("token="));
    in_header.or(in_url).is_some_and(|shown| token.is(shown))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn allowed(host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        let configured = ["box.example".to_owned(), "one.example:1977".to_owned()];
        is_allowed_host(&headers, &configured)
    }

    #[test]
    fn names_of_this_machine_and_configured_ones_are_served() {
        for host in [
            "localhost",
            "LOCALHOST:1977",
            "127.0.0.1:1977",
            "127.9.9.9",
            "[::1]:1977",
            "box.example",
            "Box.Example:80",
            "one.example:1977",
        ] {
            assert!(allowed(host), "{host}");
        }
    }

    #[test]
    fn rebound_and_missing_names_are_not() {
        for host in [
            "evil.example:1977",
            "localhost.evil.example",
            "127.0.0.1.evil.example:1977",
            "one.example:1978",
            "one.example",
            "localhost@evil.example",
            "10.0.0.1:1977",
            "",
        ] {
            assert!(!allowed(host), "{host}");
        }
        let mut headers = HeaderMap::new();
        assert!(!is_allowed_host(&headers, &[]));
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "evil.example".parse().unwrap());
        assert!(!is_allowed_host(&headers, &[]));
    }

    fn shows(uri: &str, authorization: Option<&str>) -> bool {
        let mut request = Request::builder().uri(uri);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        shows_token(&parts, AppToken::new("s3cret").as_ref())
    }

    #[test]
    fn the_token_is_taken_from_the_header_or_the_url() {
        for (uri, authorization) in [
            ("/", Some("Bearer s3cret")),
            ("/", Some("bearer s3cret")),
            ("/?token=s3cret", None),
            ("/?a=b&token=s3cret", None),
            ("/?token=s3cret", Some("Basic eDp5")),
        ] {
            assert!(shows(uri, authorization), "{uri} {authorization:?}");
        }
        for (uri, authorization) in [
            ("/", None),
            ("/", Some("s3cret")),
            ("/", Some("Basic s3cret")),
            ("/", Some("Bearer s3cre")),
            ("/?token=", None),
            ("/?xtoken=s3cret", None),
            ("/s3cret", None),
        ] {
            assert!(!shows(uri, authorization), "{uri} {authorization:?}");
        }
    }

    #[test]
    fn without_a_token_none_is_asked_for() {
        let (parts, ()) = Request::new(()).into_parts();
        assert!(shows_token(&parts, None));
    }
}
