//! A relay that peels one layer, waits, and forwards.

fn main() {}
