//! What the operator says about the node: `config/description.toml`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use nym_daemon::config::{self, ConfigError};
use nym_daemon::home::ProgramHome;
use nym_node::http::Description;

/// Where it is.
pub(crate) fn path(files: &ProgramHome) -> PathBuf {
    files.config_dir().join("description.toml")
}

/// What the file says; without a file, the defaults.
pub(crate) fn load(path: &Path) -> Result<Description, ConfigError> {
    if path.exists() {
        config::load(path).map(|loaded| loaded.value)
    } else {
        Ok(Description::default())
    }
}

/// Asks for every part; an empty answer keeps what is there. Questions go to a terminal only.
pub(crate) fn ask(
    description: &mut Description,
    answers: &mut impl BufRead,
    questions: &mut impl Write,
) -> io::Result<()> {
    for (what, value) in [
        ("name", &mut description.name),
        ("description", &mut description.description),
        ("link", &mut description.link),
        ("location", &mut description.location),
    ] {
        write!(questions, "{what} [{value}]: ")?;
        questions.flush()?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        let answer = answer.trim();
        if !answer.is_empty() {
            answer.clone_into(value);
        }
    }
    Ok(())
}

/// As [`ask`], at the terminal that the program was started from.
pub(crate) fn ask_at_terminal(description: &mut Description) -> io::Result<()> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        ask(description, &mut stdin.lock(), &mut io::stderr())
    } else {
        ask(description, &mut stdin.lock(), &mut io::sink())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_replace_and_empty_ones_keep() {
        let mut description = Description::default();
        let location = description.location.clone();
        let mut questions = Vec::new();
        let mut answers = "one\n\n https://a.b \n".as_bytes();
        ask(&mut description, &mut answers, &mut questions).unwrap();
        assert_eq!(
            (description.name.as_str(), description.link.as_str()),
            ("one", "https://a.b")
        );
        assert_eq!(description.location, location);
        assert_eq!(
            String::from_utf8(questions).unwrap().matches(": ").count(),
            4
        );
    }

    #[test]
    fn a_missing_file_gives_the_defaults_and_a_written_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("description.toml");
        assert_eq!(load(&path).unwrap(), Description::default());
        let description = Description {
            name: "a \"b\"".to_owned(),
            ..Description::default()
        };
        config::save(&path, &description).unwrap();
        assert_eq!(load(&path).unwrap(), description);
    }
}
