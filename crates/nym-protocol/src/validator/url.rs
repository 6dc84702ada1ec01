//! Where the documents are.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::{Host, Url};

use super::query::Query;

/// The port on which the cache in front of a validator listens, unless told otherwise.
pub const API_PORT_DEFAULT: u16 = 8080;

/// Where nodes announce themselves, below the base URL.
pub const ANNOUNCE_PATH: &str = "/v1/announce";

/// The base URL of a validator, as it stands in configuration files: `http://host:1317`.
///
/// Two services share it: contract queries at the port that it names, and the complete lists at
/// the *API port* of the same host, which is 8080 for every program of the 0.11 network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ValidatorUrl {
    rest: Url,
    api_port: u16,
}

/// Which complete list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CachedList {
    /// All bonds of mix nodes.
    Mixnodes,
    /// All bonds of gateways.
    Gateways,
}

impl ValidatorUrl {
    /// Names another API port than 8080.
    #[must_use]
    pub fn with_api_port(self, api_port: u16) -> Self {
        Self {
            rest: self.rest,
            api_port,
        }
    }

    /// Whether it is to be asked by https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.rest.scheme() == "https"
    }

    /// Whether somebody on the way can change what it says: it is asked by plain HTTP, and is not on
    /// this machine.
    #[must_use]
    pub fn is_forgeable(&self) -> bool {
        let is_here = match self.rest.host() {
            Some(Host::Domain(name)) => is_localhost(name),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
            None => false,
        };
        !self.is_https() && !is_here
    }

    /// The URL of a contract query.
    #[must_use]
    pub fn contract_query(&self, contract: &str, query: &Query) -> String {
        let base = self.rest.as_str();
        let query = query.to_base64();
        format!("{base}/wasm/contract/{contract}/smart/{query}?encoding=base64")
    }

    /// The URL of a complete list.
    #[must_use]
    pub fn cached_list(&self, list: CachedList) -> String {
        let list = match list {
            CachedList::Mixnodes => "mixnodes",
            CachedList::Gateways => "gateways",
        };
        format!("{}/v1/{list}", self.api_base())
    }

    /// The URL to which nodes post their announcements: at the port that the base URL names.
    #[must_use]
    pub fn announce(&self) -> String {
        format!("{}{ANNOUNCE_PATH}", self.rest.as_str())
    }

    fn api_base(&self) -> Url {
        let mut base = self.rest.clone();
        base.set_port(Some(self.api_port))
            .expect("the scheme was checked to be one that has ports");
        base
    }
}

/// `localhost` and the names below it, which always mean this machine (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

impl FromStr for ValidatorUrl {
    type Err = ValidatorUrlError;

    fn from_str(text: &str) -> Result<Self, ValidatorUrlError> {
        let mut rest = Url::parse(text).map_err(|source| ValidatorUrlError::Malformed {
            text: text.to_owned(),
            source,
        })?;
        let scheme_is_known = matches!(rest.scheme(), "http" | "https");
        if !scheme_is_known || !rest.has_host() {
            return Err(ValidatorUrlError::NotHttp {
                text: text.to_owned(),
            });
        }
        rest.set_query(None);
        rest.set_fragment(None);
        Ok(Self {
            rest,
            api_port: API_PORT_DEFAULT,
        })
    }
}

impl fmt::Display for ValidatorUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rest.fmt(formatter)
    }
}

/// A text is not the base URL of a validator.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ValidatorUrlError {
    /// Not a URL.
    #[error("`{text}` is not a URL: {source}")]
    Malformed {
        /// What was given.
        text: String,
        /// What is wrong.
        source: url::ParseError,
    },
    /// A URL of another kind.
    #[error("`{text}` is not an http or https URL")]
    NotHttp {
        /// What was given.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> ValidatorUrl {
        text.parse().unwrap()
    }

    #[test]
    fn lists_are_at_the_api_port_whatever_port_is_named() {
        for base in ["http://host:1317", "http://host", "http://host:1317/"] {
            let list = url(base).cached_list(CachedList::Mixnodes);
            assert_eq!(list, "http://host:8080//v1/mixnodes");
        }
        let list = url("https://host/some/path")
            .with_api_port(9)
            .cached_list(CachedList::Gateways);
        assert_eq!(list, "https://host:9/some/path/v1/gateways");
    }

    #[test]
    fn announcements_go_to_the_named_port() {
        assert_eq!(
            url("http://host:1317").announce(),
            "http://host:1317//v1/announce"
        );
    }

    #[test]
    fn what_plain_http_says_can_be_forged_unless_it_comes_from_this_machine() {
        for base in [
            "http://host:1317",
            "http://10.0.0.1",
            "http://[2001:db8::1]",
            "http://localhost.example",
            "http://notlocalhost",
        ] {
            assert!(url(base).is_forgeable(), "{base}");
        }
        for base in [
            "https://host",
            "http://localhost:1317",
            "http://LOCALHOST.",
            "http://validator.localhost",
            "http://127.9.9.9",
            "http://[::1]:1317",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(!url(base).is_forgeable(), "{base}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_text() {
        for text in ["", "host:1317", "ftp://host", "http://", "unix:/run/x"] {
            let error = text.parse::<ValidatorUrl>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_url_or_an_error(text in ".{0,80}", host in "[a-z0-9.:@\\[\\]/?#]{0,40}") {
            for text in [text, format!("http://{host}")] {
                if let Ok(url) = text.parse::<ValidatorUrl>() {
                    let _ = url.cached_list(CachedList::Mixnodes);
                }
            }
        }
    }
}
