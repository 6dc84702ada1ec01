//! Programs of this workspace that run beside a chore.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A running program; ended when dropped.
pub(crate) struct Program {
    child: Child,
    lines: Vec<String>,
}

impl Program {
    /// Starts a program and waits until it has printed a line that begins with `last`.
    ///
    /// # Errors
    /// A line that names the program when it does not start, or ends before that line.
    pub(crate) fn start(command: &mut Command, last: &str) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let failed = |error| format!("{name}: {error}");
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut program = Self {
            child,
            lines: Vec::new(),
        };
        let stdout = program.child.stdout.take();
        let stdout = stdout.ok_or_else(|| format!("{name} has no output"))?;
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(failed)?;
            let is_last = line.starts_with(last);
            program.lines.push(line);
            if is_last {
                return Ok(program);
            }
        }
        Err(format!("{name} ended before it said `{last}`"))
    }

    /// What it has printed behind these words.
    ///
    /// # Errors
    /// A line with the words, when it has not printed them.
    pub(crate) fn said(&self, words: &str) -> Result<&str, String> {
        let mut found = self.lines.iter().filter_map(|line| {
            let (_, rest) = line.split_once(words)?;
            Some(rest.trim())
        });
        found
            .next()
            .ok_or_else(|| format!("a program did not say `{words}`"))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
