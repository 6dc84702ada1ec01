//! `cargo xtask fuzz`: the targets of `fuzz/`, one after the other, each for a while.
//!
//! They start from `fuzz/corpus`, and what they add goes to `target/fuzz-corpus`: what is worth keeping
//! is copied by hand.

use std::fs;
use std::path::Path;

use crate::process;

/// The targets, which `fuzz/README.md` describes.
const TARGETS: [&str; 3] = ["products_agree", "batches_agree", "parsers_take_anything"];

/// Runs `[TARGET] [--secs N]`: all targets, a minute each by default.
///
/// # Errors
/// What is wrong with the arguments, or that a target found something: the input is then in
/// `fuzz/artifacts`, and its name on the terminal.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let (targets, secs) = parse(arguments)?;
    for target in targets {
        let grown = crate::target_dir(root).join("fuzz-corpus").join(target);
        fs::create_dir_all(&grown).map_err(|error| format!("{}: {error}", grown.display()))?;
        let mut fuzz = process::nightly();
        fuzz.current_dir(root)
            .args(["fuzz", "run", target])
            .arg(grown)
            .arg(Path::new("fuzz/corpus").join(target))
            .arg("--")
            .arg(format!("-max_total_time={secs}"));
        process::run(&mut fuzz)?;
    }
    Ok(())
}

fn parse<'a>(arguments: &[&'a str]) -> Result<(Vec<&'a str>, u32), String> {
    let usage = || {
        let names = TARGETS.join("|");
        format!("usage: cargo xtask fuzz [{names}] [--secs N]")
    };
    let (mut targets, mut secs) = (TARGETS.to_vec(), 60);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if *argument == "--secs" {
            let value = rest.next().copied().unwrap_or_default();
            secs = value
                .parse()
                .map_err(|_| format!("--secs takes a number, not `{value}`"))?;
        } else if TARGETS.contains(argument) {
            targets = vec![argument];
        } else {
            return Err(usage());
        }
    }
    Ok((targets, secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_targets_run_for_a_minute_unless_told_otherwise() {
        assert_eq!(parse(&[]), Ok((TARGETS.to_vec(), 60)));
        assert_eq!(
            parse(&["--secs", "5", "batches_agree"]),
            Ok((vec!["batches_agree"], 5))
        );
    }

    #[test]
    fn unknown_targets_and_bad_numbers_are_refused() {
        let usage = "usage: cargo xtask fuzz \
                     [products_agree|batches_agree|parsers_take_anything] [--secs N]";
        assert_eq!(parse(&["no_such"]), Err(usage.to_owned()));
        assert_eq!(
            parse(&["--secs", "long"]),
            Err("--secs takes a number, not `long`".to_owned())
        );
    }

    #[test]
    fn every_target_of_the_fuzz_package_is_known() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
        let mut found: Vec<_> = fs::read_dir(package)
            .expect("the fuzz package has targets")
            .map(|entry| entry.expect("the folder can be listed").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        found.sort();
        let mut known = TARGETS.to_vec();
        known.sort_unstable();
        assert_eq!(found, known);
    }
}
