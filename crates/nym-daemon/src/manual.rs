//! Completion scripts and man pages. Both are made from the definition of a program's flags, so they
//! are complete and never stale.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::exit::{ExitCode, Failure, cannot, print, print_text};

/// `completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

/// `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write the page of each command into this directory, instead of printing the first
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Prints the script that completes `program` in a shell.
///
/// # Errors
///
/// A [`Failure`] when the script cannot be written.
pub fn completions(mut program: Command, args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let (name, mut script) = (program.get_name().to_owned(), Vec::new());
    clap_complete::generate(args.shell, &mut program, name, &mut script);
    print(&script)?;
    Ok(ExitCode::Success)
}

/// Prints the man page of `program`, or writes those of all its commands.
///
/// # Errors
///
/// A [`Failure`] when the page or the directory cannot be written.
pub fn man(program: Command, args: &ManArgs) -> Result<ExitCode, Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        let written = Man::new(program).render(&mut page);
        written.map_err(cannot("make the man page"))?;
        print(&page)?;
        return Ok(ExitCode::Success);
    };
    let shown = dir.display();
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(program, dir))
        .map_err(cannot(&format!("write man pages to {shown}")))?;
    print_text(&format!("Man pages of all commands written: {shown}\n"))
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ValueEnum as _};

    use super::*;

    fn program() -> Command {
        let flag = |name: &'static str| Arg::new(name).long(name);
        Command::new("nym-kettle")
            .after_help("Exit status: 3 not boiled in time")
            .arg(flag("home"))
            .subcommand(Command::new("boil").arg(flag("long-enough")))
            .subcommand(Command::new("cups").subcommand(Command::new("list").arg(flag("json"))))
    }

    #[test]
    fn there_is_a_man_page_for_every_command_with_every_flag() {
        let dir = tempfile::tempdir().unwrap();
        let man1 = dir.path().join("man1");
        let args = ManArgs {
            dir: Some(man1.clone()),
        };
        assert_eq!(man(program(), &args).unwrap(), ExitCode::Success);
        for (name, text) in [
            ("nym-kettle", "\\-\\-home"),
            ("nym-kettle", "not boiled in time"),
            ("nym-kettle-boil", "\\-\\-long\\-enough"),
            ("nym-kettle-cups-list", "\\-\\-json"),
        ] {
            let page = fs::read_to_string(man1.join(format!("{name}.1"))).unwrap();
            assert!(page.contains(text), "{name} without {text}: {page}");
        }
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let failure = man(program(), &ManArgs { dir: Some(file) }).unwrap_err();
        assert!(
            failure.what().starts_with("cannot write man pages to "),
            "{failure}"
        );
    }

    #[test]
    fn completions_know_every_command_and_flag_in_every_shell() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut program(), "nym-kettle", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["boil", "cups", "list", "home", "long-enough", "json"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
