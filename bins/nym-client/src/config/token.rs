//! The secret that apps show.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// What an app has to show before the client serves it. Clones share one text, which is wiped
/// with the last of them.
#[derive(Clone)]
pub struct AppToken(Arc<Zeroizing<String>>);

impl AppToken {
    /// Takes a text of ASCII letters, digits and `-._~`, so that it stands in a URL as it is.
    /// `None` for any other text and for an empty one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        (!text.is_empty() && text.bytes().all(is_plain))
            .then(|| Self(Arc::new(Zeroizing::new(text.to_owned()))))
    }

    /// The text, for showing it to the client.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is this token. How long that takes tells at most its length.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for AppToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AppToken").finish_non_exhaustive()
    }
}

impl PartialEq for AppToken {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for AppToken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let token = AppToken::new("s3cret-._~").unwrap();
        assert!(token.is("s3cret-._~"));
        for other in ["", "s3cret-._", "s3cret-._~~", "S3cret-._~"] {
            assert!(!token.is(other), "{other}");
        }
    }

    #[test]
    fn a_text_that_does_not_stand_in_a_url_is_no_token() {
        for text in ["", "a b", "a&b", "a%20", "ä", "a\n", "\"a\""] {
            assert!(AppToken::new(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = AppToken::new("s3cret").unwrap();
        assert_eq!(format!("{token:?}"), "AppToken { .. }");
    }
}
