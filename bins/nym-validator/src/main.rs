//! The directory: nodes announce themselves, everybody reads the topology.

fn main() {}
