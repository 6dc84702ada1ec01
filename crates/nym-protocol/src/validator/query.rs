//! Contract queries: what is asked, how it is wrapped, and how long lists come in pages.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::bond::{Bond, BondList, Layer, MixNodeBond};

/// The standard alphabet; written with padding, read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many nodes a page has when the query does not say.
pub const PAGE_LEN_DEFAULT: usize = 50;

/// How many nodes a page has at most.
pub const PAGE_LEN_MAX: usize = 100;

/// A question to the contract that keeps the bonds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// A page of mix nodes.
    GetMixNodes {
        /// How many at most.
        limit: Option<u32>,
        /// The identity key after which the page starts.
        start_after: Option<String>,
    },
    /// A page of gateways.
    GetGateways {
        /// The identity key after which the page starts.
        start_after: Option<String>,
        /// How many at most.
        limit: Option<u32>,
    },
    /// How many nodes each layer has.
    LayerDistribution {},
}

impl Query {
    /// The page of mix nodes after the given one.
    #[must_use]
    pub const fn mix_nodes(start_after: Option<String>) -> Self {
        Self::GetMixNodes {
            limit: None,
            start_after,
        }
    }

    /// The page of gateways after the given one.
    #[must_use]
    pub const fn gateways(start_after: Option<String>) -> Self {
        Self::GetGateways {
            start_after,
            limit: None,
        }
    }

    /// The exact JSON text of the query.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always have a JSON form")
    }

    /// The query as it stands in a URL: base64, *not* percent-encoded.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.to_json())
    }

    /// Reads a query from a URL.
    ///
    /// # Errors
    ///
    /// See [`QueryError`].
    pub fn from_base64(text: &str) -> Result<Self, QueryError> {
        Ok(serde_json::from_slice(&BASE64.decode(text)?)?)
    }
}

/// A URL does not hold a query.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Not base64 of the standard alphabet.
    #[error("the query is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not a query that is known.
    #[error("the query is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// Wraps the answer to a query: `{"height":"…","result":{"smart":"<base64>"}}`.
#[must_use]
pub fn wrap_answer(height: i64, answer: &impl Serialize) -> String {
    let answer = serde_json::to_string(answer).expect("answers always have a JSON form");
    let smart = BASE64.encode(answer);
    format!(r#"{{"height":"{height}","result":{{"smart":"{smart}"}}}}"#)
}

/// Unwraps the answer to a query and returns its JSON text. The HTTP status does not matter.
///
/// # Errors
///
/// See [`EnvelopeError`].
pub fn unwrap_answer(body: &str) -> Result<String, EnvelopeError> {
    let answer = match serde_json::from_str(body)? {
        Envelope::Answer { height, result } => {
            height.parse::<i64>().map_err(|_| EnvelopeError::Height)?;
            BASE64.decode(result.smart)?
        }
        Envelope::Error { error } => return Err(EnvelopeError::Refused { message: error }),
        Envelope::CodedError { code, message } => {
            return Err(EnvelopeError::Refused {
                message: format!("{message} (code {code})"),
            });
        }
    };
    String::from_utf8(answer).map_err(|_| EnvelopeError::NotText)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Envelope {
    Answer { height: String, result: Smart },
    Error { error: String },
    CodedError { code: i64, message: String },
}

#[derive(Deserialize)]
struct Smart {
    smart: String,
}

/// A body is not the answer to a query.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The answer is not base64 of the standard alphabet.
    #[error("the answer is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The height is not a decimal number of 64 bits with sign.
    #[error("the height is not a number")]
    Height,
    /// The body has none of the shapes of an answer.
    #[error("the body is not an answer: {0}")]
    Json(#[from] serde_json::Error),
    /// The answer is not UTF-8.
    #[error("the answer is not text")]
    NotText,
    /// The validator refused.
    #[error("the validator refuses: {message}")]
    Refused {
        /// Its words.
        message: String,
    },
}

/// One page of a list, as a client reads it.
#[derive(Clone, Debug)]
pub struct Page<B> {
    /// Its bonds.
    pub list: BondList<B>,
    /// What to ask for next; `None` after the last page, which is always empty.
    pub start_next_after: Option<String>,
}

impl<B: Bond> Page<B> {
    /// Parses an unwrapped answer.
    ///
    /// # Errors
    ///
    /// The text is not a page. Malformed bonds are no error but listed.
    pub fn parse(answer: &str) -> Result<Self, PageError> {
        let page: RawPage<'_> = serde_json::from_str(answer)?;
        Ok(Self {
            list: BondList::from_items(&page.nodes),
            start_next_after: page.start_next_after,
        })
    }
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(borrow)]
    nodes: Vec<&'a RawValue>,
    #[serde(rename = "per_page")]
    _per_page: u64,
    start_next_after: Option<String>,
}

/// An answer is not a page of a list.
#[derive(Debug, Error)]
#[error("the answer is not a page: {0}")]
pub struct PageError(#[from] serde_json::Error);

/// One page of a list, as a validator writes it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PageAnswer<'a, B> {
    /// At most `per_page` bonds, sorted by the bytes of their identity key's text.
    pub nodes: Vec<&'a B>,
    /// How many a page has at most.
    pub per_page: usize,
    /// The last identity key of the page; `None` when it is empty.
    pub start_next_after: Option<&'a str>,
}

impl<'a, B: Bond> PageAnswer<'a, B> {
    /// Cuts a page out of a list in any order.
    ///
    /// The limit is [`PAGE_LEN_DEFAULT`] when absent and never more than [`PAGE_LEN_MAX`].
    #[must_use]
    pub fn cut(bonds: &'a [B], limit: Option<u32>, start_after: Option<&str>) -> Self {
        let limit = limit.map_or(PAGE_LEN_DEFAULT, |limit| {
            usize::try_from(limit).unwrap_or(PAGE_LEN_MAX)
        });
        let per_page = limit.min(PAGE_LEN_MAX);
        let mut nodes: Vec<&B> = bonds
            .iter()
            .filter(|bond| start_after.is_none_or(|after| bond.identity_key() > after))
            .collect();
        nodes.sort_by(|a, b| a.identity_key().cmp(b.identity_key()));
        nodes.truncate(per_page);
        let start_next_after = nodes.last().map(|bond| bond.identity_key());
        Self {
            nodes,
            per_page,
            start_next_after,
        }
    }
}

/// How many nodes of each kind there are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LayerDistribution {
    /// Gateways.
    pub gateways: u64,
    /// Mix nodes of layer 1.
    pub layer1: u64,
    /// Mix nodes of layer 2.
    pub layer2: u64,
    /// Mix nodes of layer 3.
    pub layer3: u64,
}

impl LayerDistribution {
    /// Parses an unwrapped answer.
    ///
    /// # Errors
    ///
    /// The text is not an object with the four counts.
    pub fn parse(answer: &str) -> Result<Self, PageError> {
        Ok(serde_json::from_str(answer)?)
    }

    /// Counts bonds.
    #[must_use]
    pub fn count<'a>(
        mixnodes: impl IntoIterator<Item = &'a MixNodeBond>,
        gateway_count: u64,
    ) -> Self {
        let mut distribution = Self {
            gateways: gateway_count,
            ..Self::default()
        };
        for bond in mixnodes {
            match bond.layer {
                Layer::One => distribution.layer1 += 1,
                Layer::Two => distribution.layer2 += 1,
                Layer::Three => distribution.layer3 += 1,
                Layer::Gateway => {}
            }
        }
        distribution
    }

    /// The layer that a new mix node joins: the one with the fewest nodes, the first of several.
    #[must_use]
    pub fn least_filled_layer(&self) -> Layer {
        let counts = [
            (self.layer1, Layer::One),
            (self.layer2, Layer::Two),
            (self.layer3, Layer::Three),
        ];
        counts
            .into_iter()
            .min_by_key(|(count, _)| *count)
            .map_or(Layer::One, |(_, layer)| layer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bond::{Coin, Gateway, GatewayBond};
    use super::*;

    fn gateway(identity_key: &str) -> GatewayBond {
        GatewayBond {
            bond_amount: Coin::zero(),
            total_delegation: Coin::zero(),
            owner: String::new(),
            gateway: Gateway {
                host: "10.0.0.1".into(),
                mix_port: 1789,
                clients_port: 9000,
                location: "here".into(),
                sphinx_key: String::new(),
                identity_key: identity_key.into(),
                version: "0.11.0".into(),
                tls: None,
            },
        }
    }

    #[test]
    fn queries_have_the_recorded_texts() {
        let texts = [
            (
                Query::mix_nodes(None),
                r#"{"get_mix_nodes":{"limit":null,"start_after":null}}"#,
            ),
            (
                Query::gateways(None),
                r#"{"get_gateways":{"start_after":null,"limit":null}}"#,
            ),
            (Query::LayerDistribution {}, r#"{"layer_distribution":{}}"#),
        ];
        for (query, text) in texts {
            assert_eq!(query.to_json(), text);
            assert_eq!(Query::from_base64(&query.to_base64()).unwrap(), query);
        }
    }

    #[test]
    fn pages_follow_each_other_to_an_empty_one() {
        let bonds: Vec<_> = ["c", "a", "d", "b"].into_iter().map(gateway).collect();
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let page = PageAnswer::cut(&bonds, Some(3), after);
            let answer = unwrap_answer(&wrap_answer(7, &page)).unwrap();
            let read = Page::<GatewayBond>::parse(&answer).unwrap();
            assert_eq!(read.start_next_after.as_deref(), page.start_next_after);
            seen.extend(read.list.strict().unwrap());
            after = page.start_next_after;
            if after.is_none() {
                assert!(page.nodes.is_empty());
                break;
            }
        }
        let names: Vec<_> = seen.iter().map(Bond::identity_key).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }

    #[test]
    fn page_has_fifty_nodes_unless_asked_and_never_more_than_a_hundred() {
        let bonds: Vec<_> = (100..250)
            .map(|number| gateway(&number.to_string()))
            .collect();
        let len = |limit| PageAnswer::cut(&bonds, limit, None).nodes.len();
        assert_eq!((len(None), len(Some(100)), len(Some(101))), (50, 100, 100));
        assert_eq!(len(Some(0)), 0);
    }

    #[test]
    fn new_node_joins_the_least_filled_layer_and_the_first_on_a_tie() {
        let layer = |layer1, layer2, layer3| {
            let distribution = LayerDistribution {
                gateways: 9,
                layer1,
                layer2,
                layer3,
            };
            distribution.least_filled_layer()
        };
        assert_eq!(layer(0, 0, 0), Layer::One);
        assert_eq!(layer(1, 0, 0), Layer::Two);
        assert_eq!(layer(1, 1, 0), Layer::Three);
        assert_eq!(layer(2, 1, 1), Layer::Two);
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer_or_an_error(text in ".{0,200}") {
            let _ = unwrap_answer(&text);
            let _ = Page::<GatewayBond>::parse(&text);
            let _ = LayerDistribution::parse(&text);
            let _ = Query::from_base64(&text);
        }

        #[test]
        fn wrapped_text_is_unwrapped(height: i64, answer in ".{0,100}") {
            let text = unwrap_answer(&wrap_answer(height, &answer)).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), answer);
        }
    }
}
