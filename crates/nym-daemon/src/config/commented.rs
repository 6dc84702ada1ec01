//! Writing a configuration file for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::ConfigError;

/// What keys mean. A section goes by its name in brackets; a comment may have several lines.
pub type Comments = &'static [(&'static str, &'static str)];

/// The text of a configuration file: `head`, and then every key of `file` below its comment.
///
/// ```
/// use nym_daemon::config::{Comments, commented};
///
/// #[derive(serde::Serialize)]
/// struct Kettle {
///     litres: u32,
/// }
///
/// let comments: Comments = &[("litres", "How much water to boil.")];
/// let text = commented("A kettle.", &Kettle { litres: 1 }, &[comments])?;
/// assert_eq!(text, "# A kettle.\n\n# How much water to boil.\nlitres = 1\n");
/// # Ok::<(), nym_daemon::config::ConfigError>(())
/// ```
///
/// # Errors
///
/// [`ConfigError::Unwritable`] when TOML has no form for a value, as a path that is not UTF-8.
pub fn commented<T: Serialize>(
    head: &str,
    file: &T,
    comments: &[Comments],
) -> Result<String, ConfigError> {
    let toml = toml::to_string(file).map_err(|error| ConfigError::Unwritable {
        path: "the configuration".into(),
        problem: error.to_string(),
    })?;
    let mut text = String::new();
    let comment = |text: &mut String, comment: &str| {
        for line in comment.lines() {
            let _ = writeln!(text, "# {line}");
        }
    };
    comment(&mut text, head);
    text.push('\n');
    for line in toml.lines() {
        let key = line.split(" = ").next().unwrap_or_default();
        let mut known = comments.iter().copied().flatten();
        if let Some((_, meaning)) = known.find(|(known, _)| *known == key) {
            comment(&mut text, meaning);
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}
