//! A timer for a deadline that moves with everything that happens.
//!
//! A connection that may be silent for an hour has another deadline after every packet, and none
//! of them ever comes. To set a timer for each would take two locks of the runtime a packet.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set anew only when its deadline comes nearer, or when it went off too early.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits until `deadline`, whatever earlier calls waited for.
    ///
    /// Cancel-safe.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn wait_until(&mut self, deadline: Instant) {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            sleep.as_mut().await;
            if deadline <= Instant::now() {
                return;
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_deadline_is_met_whether_it_moves_away_or_comes_nearer() {
        let mut alarm = Alarm::default();
        for secs in [5, 3600, 1, 0, 30, 30, 7200] {
            let deadline = Instant::now() + Duration::from_secs(secs);
            alarm.wait_until(deadline).await;
            // Tokio's timers are a millisecond coarse.
            let late = Instant::now() - deadline;
            assert!(late <= Duration::from_millis(1), "{late:?} after {secs} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_given_up_does_not_shorten_the_next() {
        let mut alarm = Alarm::default();
        let soon = Instant::now() + Duration::from_secs(2);
        assert!(
            timeout(Duration::from_secs(1), alarm.wait_until(soon))
                .await
                .is_err()
        );
        let later = Instant::now() + Duration::from_secs(60);
        alarm.wait_until(later).await;
        assert!(Instant::now() >= later);
        alarm.wait_until(soon).await;
        assert!(Instant::now() - later <= Duration::from_millis(1));
    }
}
