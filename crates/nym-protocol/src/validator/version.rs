//! Which versions can work with each other.

use semver::Version;

/// Whether a node that announces `node` can be used by a program that requires `required`.
///
/// Both must be semantic versions (surrounding blanks are tolerated, a leading `v` is not) with
/// the same major and the same minor number. Patch, pre-release and build do not matter.
#[must_use]
pub fn is_compatible(node: &str, required: &str) -> bool {
    match (parse(node), parse(required)) {
        (Some(node), Some(required)) => {
            (node.major, node.minor) == (required.major, required.minor)
        }
        _ => false,
    }
}

/// Whether a text is a semantic version.
#[must_use]
pub fn is_version(text: &str) -> bool {
    parse(text).is_some()
}

fn parse(text: &str) -> Option<Version> {
    Version::parse(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_major_and_minor_count() {
        assert!(is_compatible(" 0.11.7-rc.1+build", "0.11.0"));
        assert!(!is_compatible("0.12.0", "0.11.0"));
        assert!(!is_compatible("1.11.0", "0.11.0"));
    }

    proptest! {
        #[test]
        fn any_texts_are_compared(node in ".{0,20}", required in ".{0,20}") {
            prop_assert_eq!(is_compatible(&node, &required), is_compatible(&required, &node));
        }
    }
}
