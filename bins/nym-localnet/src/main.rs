//! A complete private mixnet in one process.

fn main() {}
