//! What an observer of a client's link sees: the same, whether the client sends or not. The short
//! form of `cargo run --release -p nym-tests --bin pacing`.

use std::time::Duration;

use nym_tests::pacing::Watched;

/// About 660 packets in each state: a difference of a fifth in pace shows.
const SPAN: Duration = Duration::from_secs(12);

/// Idle and busy are called different when this many comparisons in a row say so. One alone says
/// so by chance once in a hundred times, and more often on a machine that has other work to do.
const COMPARISONS: usize = 3;

#[test]
fn an_observer_of_the_link_cannot_tell_a_busy_client_from_an_idle_one() {
    let mut seen = Vec::new();
    for _ in 0..COMPARISONS {
        let observed = Watched::start().compare(SPAN);
        let (idle, busy) = (observed.idle.len(), observed.busy.len());
        assert!(
            idle > 100 && busy > 100,
            "{idle} and {busy} packets were seen"
        );
        if observed.test.p > 0.01 {
            return;
        }
        seen.push((observed.test, idle, busy));
    }
    panic!("idle and busy differ each time: {seen:?}");
}
