//! `cargo xtask soak`: the crash tests at length. A scenario is a test target that reads its seed
//! and its number of kills from the environment.

use std::path::Path;

use crate::process;

/// A test target: its package, its name, and which of its tests to run.
type Target = (&'static str, &'static str, &'static str);

/// The scenarios, and the test target of each.
const SCENARIOS: [(&str, Target); 2] = [
    ("client", ("nym-tests", "client_crash", "")),
    ("gateway", ("nym-gateway", "gateway", "kill::")),
];

/// The variables that those tests read.
const SEED_VARIABLE: &str = "NYM_SOAK_SEED";
const INSTANTS_VARIABLE: &str = "NYM_SOAK_INSTANTS";

/// What is run when nothing else is said.
#[derive(Debug, PartialEq, Eq)]
struct Soak {
    targets: Vec<Target>,
    seed: u64,
    instants: u64,
}

/// Runs `[SCENARIO] [--seed N] [--instants N]`: all scenarios, seed 1 and 200 kills by default.
///
/// # Errors
/// What is wrong with the arguments, or that a scenario failed.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let Soak {
        targets,
        seed,
        instants,
    } = parse(arguments)?;
    for (package, target, filter) in targets {
        let mut test = process::cargo();
        test.current_dir(root)
            .args(["test", "--package", package, "--test", target, filter])
            .args(["--", "--nocapture"])
            .env(SEED_VARIABLE, seed.to_string())
            .env(INSTANTS_VARIABLE, instants.to_string());
        process::run(&mut test)?;
    }
    Ok(())
}

fn parse(arguments: &[&str]) -> Result<Soak, String> {
    let mut soak = Soak {
        targets: SCENARIOS.map(|(_, target)| target).to_vec(),
        seed: 1,
        instants: 200,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || {
            let value = rest.next().copied().unwrap_or_default();
            value
                .parse()
                .map_err(|_| format!("{argument} takes a number, not `{value}`"))
        };
        match *argument {
            "--seed" => soak.seed = number()?,
            "--instants" => soak.instants = number()?,
            name => {
                let found = SCENARIOS.iter().find(|(scenario, _)| *scenario == name);
                let names = SCENARIOS.map(|(scenario, _)| scenario).join("|");
                let (_, target) = found.ok_or_else(|| {
                    format!("usage: cargo xtask soak [{names}] [--seed N] [--instants N]")
                })?;
                soak.targets = vec![*target];
            }
        }
    }
    Ok(soak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenario_seed_and_instants_are_read_in_any_order() {
        let soak = parse(&["--instants", "7", "client", "--seed", "3"]).unwrap();
        let (targets, seed, instants) = (vec![SCENARIOS[0].1], 3, 7);
        let expected = Soak {
            targets,
            seed,
            instants,
        };
        assert_eq!(soak, expected);
        let all = parse(&[]).unwrap();
        assert_eq!((all.targets.len(), all.instants), (SCENARIOS.len(), 200));
    }

    #[test]
    fn wrong_arguments_are_refused_with_what_is_right() {
        for (wrong, said) in [
            (&["sun"][..], "client"),
            (&["--seed"], "takes a number"),
            (&["--seed", "x"], "not `x`"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
