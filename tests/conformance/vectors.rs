//! Reads vector files and runs each case in them; one `#[test]` per file.
//!
//! A file is run by a function that takes a [`VectorFile`] and says for each top-level member what
//! to do with it. Nothing is skipped silently: a member that nobody asked for, a list without cases,
//! a file that no function claims, all of these fail. So does each case whose check panics; the
//! failing cases of a file are reported together.
//!
//! With `VECTORS_DIR` set (absolute, or relative to the root of the repository) the files there are
//! run, which need not be all; the schema is the same.

use std::{
    collections::BTreeSet,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use serde_json::Value;

mod app_api;
mod case;
mod gateway;
mod packet;
mod sphinx;
mod validator;

/// Declares the files of a folder and how to run each: `"folder": test_name => "file.json", run;`
///
/// Makes one `#[test]` for each file, and the constant `FILES` by which
/// [`every_file_is_claimed`] knows it. `run` is a `fn(&mut VectorFile)`.
macro_rules! vector_files {
    ($folder:literal: $($test:ident => $file:literal, $run:expr;)*) => {
        pub(super) const FILES: &[(&str, &str)] = &[$(($folder, $file)),*];
        $(
            #[test]
            fn $test() {
                $crate::vectors::run_file($folder, $file, $run);
            }
        )*
    };
}
use vector_files;

/// One vector file being run.
struct VectorFile {
    members: serde_json::Map<String, Value>,
    used: BTreeSet<String>,
    case_count: usize,
    failures: Vec<String>,
}

impl VectorFile {
    /// Runs `check` for each case of the list `member`; it panics (asserts) on a failing one.
    #[track_caller]
    fn each(&mut self, member: &str, check: impl Fn(&Value)) {
        let cases = self.member(member);
        let cases = cases
            .as_array()
            .unwrap_or_else(|| panic!("`{member}` is not a list"));
        assert!(!cases.is_empty(), "`{member}` has no case");
        for (index, case) in cases.iter().enumerate() {
            let name = ["id", "name"]
                .iter()
                .find_map(|key| case.get(key)?.as_str());
            let name = name.map_or_else(|| format!("{member}[{index}]"), str::to_owned);
            self.case(&name, || check(case));
        }
    }

    /// Runs one case that is not an element of a list.
    fn case(&mut self, name: &str, check: impl FnOnce()) {
        self.case_count += 1;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(check)) {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("panicked without a text");
            self.failures.push(format!("{name}: {text}"));
        }
    }

    /// The value of a top-level member, which counts as understood from now on.
    #[track_caller]
    fn member(&mut self, name: &str) -> Value {
        self.used.insert(name.to_owned());
        self.members
            .get(name)
            .unwrap_or_else(|| panic!("member `{name}` is missing"))
            .clone()
    }

    fn finish(self) {
        let unknown: Vec<_> = self
            .members
            .keys()
            .filter(|name| !self.used.contains(*name) && !PROSE.contains(&name.as_str()))
            .collect();
        assert!(unknown.is_empty(), "nobody runs these members: {unknown:?}");
        assert!(self.case_count > 0, "the file has no case");
        assert!(
            self.failures.is_empty(),
            "{} of {} cases fail:\n{}",
            self.failures.len(),
            self.case_count,
            self.failures.join("\n")
        );
    }
}

/// The bytes that a JSON string gives in hexadecimal.
#[track_caller]
fn hex(value: &Value) -> Vec<u8> {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("`{value}` is not a string"));
    hex::decode(text).unwrap_or_else(|error| panic!("`{text}` is not hexadecimal: {error}"))
}

/// As [`hex`], for a value of known length.
#[track_caller]
fn hex_array<const LEN: usize>(value: &Value) -> [u8; LEN] {
    let bytes = hex(value);
    let found = bytes.len();
    bytes
        .try_into()
        .unwrap_or_else(|_| panic!("{found} bytes where {LEN} are wanted"))
}

/// Reads and runs one file; called by the tests that `vector_files` makes.
///
/// A file that a directory given by `VECTORS_DIR` lacks is passed over.
fn run_file(folder: &str, file: &str, run: impl FnOnce(&mut VectorFile)) {
    let directory = Directory::chosen();
    let path = directory.path.join(folder).join(file);
    if directory.may_be_partial && !path.exists() {
        return;
    }
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let value: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("cannot parse {}: {error}", path.display()));
    let Value::Object(members) = value else {
        panic!("{} is not an object", path.display())
    };
    let mut file = VectorFile {
        members,
        used: BTreeSet::new(),
        case_count: 0,
        failures: Vec::new(),
    };
    run(&mut file);
    file.finish();
}

/// Members that describe a file and hold no cases.
const PROSE: &[&str] = &["dialect", "note", "recorded_from", "source", "topic"];

struct Directory {
    path: PathBuf,
    may_be_partial: bool,
}

impl Directory {
    fn chosen() -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        match env::var_os("VECTORS_DIR") {
            Some(path) => {
                let root = tests
                    .parent()
                    .expect("the package is a folder of the repository");
                Self {
                    path: root.join(path),
                    may_be_partial: true,
                }
            }
            None => Self {
                path: tests.join("vectors"),
                may_be_partial: false,
            },
        }
    }

    /// Folder and name of each JSON file, at whatever depth.
    fn files(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
            for entry in entries {
                let path = entry.expect("a directory can be listed").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path
                    .extension()
                    .is_some_and(|extension| extension == "json")
                {
                    let inside = folder
                        .strip_prefix(&self.path)
                        .expect("it was found inside");
                    let name = path.file_name().unwrap_or_default();
                    let folder = inside.to_string_lossy().replace('\\', "/");
                    found.insert((folder, name.to_string_lossy().into_owned()));
                }
            }
        }
        found
    }
}

#[test]
fn every_file_is_claimed() {
    let claimed: BTreeSet<(String, String)> = [
        app_api::FILES,
        gateway::FILES,
        packet::FILES,
        sphinx::FILES,
        validator::FILES,
    ]
    .concat()
    .into_iter()
    .map(|(folder, file)| (folder.to_owned(), file.to_owned()))
    .collect();
    let directory = Directory::chosen();
    let found = directory.files();
    assert!(
        !found.is_empty(),
        "no vector file in {}",
        directory.path.display()
    );
    let unclaimed: Vec<_> = found.difference(&claimed).collect();
    assert!(
        unclaimed.is_empty(),
        "no test runs these files: {unclaimed:?}"
    );
}

#[test]
fn cases_that_fail_are_listed_and_the_others_still_run() {
    let members = serde_json::json!({ "vectors": [{ "id": "good" }, { "id": "bad" }, {}] });
    let Value::Object(members) = members else {
        panic!("an object was written above")
    };
    let mut file = VectorFile {
        members,
        used: BTreeSet::new(),
        case_count: 0,
        failures: Vec::new(),
    };
    file.each("vectors", |case| {
        assert!(case.get("id").is_none_or(|id| id == "good"), "is {case}");
    });
    assert_eq!(file.case_count, 3);
    assert_eq!(file.failures, [r#"bad: is {"id":"bad"}"#]);
    assert!(catch_unwind(AssertUnwindSafe(|| file.finish())).is_err());
}

#[test]
fn member_that_nobody_runs_is_a_failure() {
    let members = serde_json::json!({ "note": "fine", "cases": [1], "more_cases": [2] });
    let Value::Object(members) = members else {
        panic!("an object was written above")
    };
    let mut file = VectorFile {
        members,
        used: BTreeSet::new(),
        case_count: 0,
        failures: Vec::new(),
    };
    file.each("cases", |_| ());
    assert!(catch_unwind(AssertUnwindSafe(|| file.finish())).is_err());
}
