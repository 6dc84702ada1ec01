//! What a request path asks for.
//!
//! Clients of the network append fixed suffixes to whatever URL they are configured with, so any
//! prefix is possible and slashes double. The base64 of a query stands in the path as it is, with
//! its own slashes.

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Where nodes announce themselves.
    Announce,
    /// Something to read.
    Document(Document),
}

/// Something to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    /// All gateways.
    Gateways,
    /// Whether this program works.
    Health,
    /// All mix nodes.
    Mixnodes,
    /// The answer to a contract query.
    Query {
        /// The query, in base64.
        base64: String,
    },
}

impl Target {
    /// What a path names, if it names anything.
    pub(super) fn parse(path: &str) -> Option<Self> {
        if let Some(base64) = query_of(path) {
            return Some(Self::Document(Document::Query { base64 }));
        }
        let mut segments = path.split('/').filter(|segment| !segment.is_empty()).rev();
        match (segments.next()?, segments.next()) {
            ("announce", Some("v1")) => Some(Self::Announce),
            ("gateways", Some("v1")) => Some(Self::Document(Document::Gateways)),
            ("health", _) => Some(Self::Document(Document::Health)),
            ("mixnodes", Some("v1")) => Some(Self::Document(Document::Mixnodes)),
            _ => None,
        }
    }
}

/// The part after `/wasm/contract/<contract>/smart/`. Which contract is asked does not matter,
/// there is one registry. A query begins with `{`, whose base64 begins with `e`, so slashes before
/// it are not its own.
fn query_of(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/wasm/contract/")?;
    let (contract, base64) = rest.trim_start_matches('/').split_once("/smart/")?;
    let is_contract = !contract.is_empty() && !contract.contains('/');
    is_contract.then(|| decode_percent(base64.trim_start_matches('/')))
}

/// Undoes percent-encoding of the three characters of base64 that some clients encode.
fn decode_percent(text: &str) -> String {
    text.replace("%2B", "+")
        .replace("%2b", "+")
        .replace("%2F", "/")
        .replace("%2f", "/")
        .replace("%3D", "=")
        .replace("%3d", "=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_and_doubled_slashes_do_not_matter() {
        for prefix in ["", "/", "/some/path", "/some/path/", "//x//"] {
            for (suffix, target) in [
                ("/v1/announce", Target::Announce),
                ("/v1/gateways", Target::Document(Document::Gateways)),
                ("/v1/mixnodes", Target::Document(Document::Mixnodes)),
                ("/v1/mixnodes/", Target::Document(Document::Mixnodes)),
                ("/v1//mixnodes", Target::Document(Document::Mixnodes)),
                ("/health", Target::Document(Document::Health)),
            ] {
                let path = format!("{prefix}{suffix}");
                assert_eq!(Target::parse(&path), Some(target), "{path}");
            }
        }
    }

    #[test]
    fn the_base64_of_a_query_may_have_slashes() {
        for (path, base64) in [
            ("/wasm/contract/c/smart/eyJ9", "eyJ9"),
            ("//wasm/contract/punk1abc/smart/e//+a==", "e//+a=="),
            ("/some/path/wasm/contract/c/smart//eyJ9", "eyJ9"),
            ("/wasm/contract/c/smart/ey%2F%2b%3D", "ey/+="),
            ("/wasm/contract/c/smart/e/v1/mixnodes", "e/v1/mixnodes"),
        ] {
            assert_eq!(
                Target::parse(path),
                Some(Target::Document(Document::Query {
                    base64: base64.to_owned()
                })),
                "{path}"
            );
        }
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "",
            "/",
            "/v1",
            "/mixnodes",
            "/v2/mixnodes",
            "/v1/mixnodes/x",
            "/wasm/contract/",
        ] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_names_a_document_or_nothing(path in "(/|[a-z%=+]|v1|smart|wasm|contract){0,40}") {
            let _ = Target::parse(&path);
        }
    }
}
