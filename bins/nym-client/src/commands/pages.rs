//! `nym-client completions` and `nym-client man`: both are made from the definition of the flags,
//! so they are complete and never stale.

use std::fs;

use clap::CommandFactory as _;
use clap_mangen::Man;
use nym_daemon::exit::{ExitCode, Failure, cannot};

use super::{note, print_text};
use crate::cli::{Cli, CompletionsArgs, ManArgs};

pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nym-client", &mut script);
    print_text(&String::from_utf8_lossy(&script))
}

pub(crate) fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        let written = Man::new(Cli::command()).render(&mut page);
        written.map_err(cannot("make the man page"))?;
        return print_text(&String::from_utf8_lossy(&page));
    };
    let shown = dir.display();
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(cannot(&format!("write man pages to {shown}")))?;
    note(&format!("man pages of all commands are in {shown}"));
    Ok(ExitCode::Success)
}

#[cfg(test)]
mod tests {
    use clap::{Command, ValueEnum as _};
    use clap_complete::Shell;

    use super::*;

    /// The words that lead to each command, the commands that explain left out.
    fn commands(command: &Command, name: &str) -> Vec<(String, Command)> {
        let mut found = vec![(name.to_owned(), command.clone())];
        for sub in command.get_subcommands() {
            found.extend(commands(sub, &format!("{name}-{}", sub.get_name())));
        }
        found
    }

    fn all_commands() -> Vec<(String, Command)> {
        commands(&Cli::command(), "nym-client")
    }

    /// The long flags of a command that people are shown.
    fn flags(command: &Command) -> Vec<&str> {
        command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set())
            .filter_map(|argument| argument.get_long())
            .collect()
    }

    #[test]
    fn there_is_a_man_page_for_every_command_with_every_flag() {
        let dir = tempfile::tempdir().unwrap();
        let args = ManArgs {
            dir: Some(dir.path().join("man1")),
        };
        assert_eq!(man(&args).unwrap(), ExitCode::Success);
        let all = all_commands();
        assert!(all.len() > 14, "{}", all.len());
        for (name, command) in &all {
            let page = dir.path().join("man1").join(format!("{name}.1"));
            let page = fs::read_to_string(page).unwrap_or_else(|error| panic!("{name}: {error}"));
            for flag in flags(command) {
                let written = format!("\\-\\-{}", flag.replace('-', "\\-"));
                assert!(page.contains(&written), "{name} without --{flag}: {page}");
            }
        }
        let first = fs::read_to_string(dir.path().join("man1/nym-client.1")).unwrap();
        assert!(first.contains("not delivered in time"), "{first}");
    }

    #[test]
    fn completions_know_every_command_and_flag_in_every_shell() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "nym-client", &mut script);
            let script = String::from_utf8(script).unwrap();
            for (name, command) in all_commands() {
                assert!(script.contains(command.get_name()), "{shell}: {name}");
                for flag in flags(&command) {
                    assert!(script.contains(flag), "{shell}: {name} --{flag}");
                }
            }
        }
    }
}
