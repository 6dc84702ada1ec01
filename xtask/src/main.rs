//! Chores of the repository: the test command, tidy checks, soak runs.

fn main() {}
