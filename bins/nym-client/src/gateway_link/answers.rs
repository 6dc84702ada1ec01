//! The answers to the gateway's pings: when they may leave, and with what.
//!
//! ```text
//!           safe                     a packet leaves, or time is up, or four are due
//!  asked ──────────► due ──────────────────────────────────────────────────────────► answered
//! ```
//!
//! A ping may be answered when what was pushed before it cannot be lost any more. The answer then
//! waits for the next packet and leaves in one write with it, which costs both sides half the work:
//! an idle client has as many answers to give as packets to send.

use std::time::Duration;

use nym_transport::websocket::Ping;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Pings that wait for their answer; with more, nothing is read. A gateway has 8 under way.
const UNANSWERED_MAX: usize = 32;

/// How long an answer waits for a packet: by default, one of sixteen waits in vain. Senders wait
/// for acknowledgements, which the gateway lets go for the answer, 1.5 s longer than expected.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// With so many due, half of what a gateway has under way, it would soon hold back messages.
const DUE_MAX: usize = 4;

/// A ping whose answer may leave when `is_safe` is told.
#[derive(Debug)]
struct Unanswered {
    ping: Ping,
    is_safe: oneshot::Receiver<()>,
}

/// Whoever has to answer is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// Where pings are handed in, in their order.
#[derive(Debug)]
pub(super) struct Questions(mpsc::Sender<Unanswered>);

impl Questions {
    /// Hands in a ping, to be answered after `is_safe` was told; waits while too many are.
    pub(super) async fn put(&self, ping: Ping, is_safe: oneshot::Receiver<()>) -> Result<(), Gone> {
        let unanswered = Unanswered { ping, is_safe };
        self.0.send(unanswered).await.map_err(|_| Gone)
    }
}

/// What is to be answered.
#[derive(Debug)]
pub(super) struct Answers {
    unanswered: mpsc::Receiver<Unanswered>,
    /// The first that is not due.
    first: Option<Unanswered>,
    due: Option<Due>,
}

/// The last of the pings that are due. Its answer answers those before it as well (RFC 6455,
/// section 5.5.3).
#[derive(Debug)]
struct Due {
    ping: Ping,
    count: usize,
    at_last: Instant,
}

/// Both ends of the queue of a link.
pub(super) fn answers() -> (Questions, Answers) {
    let (questions, unanswered) = mpsc::channel(UNANSWERED_MAX);
    let answers = Answers {
        unanswered,
        first: None,
        due: None,
    };
    (Questions(questions), answers)
}

impl Answers {
    /// The answer to write with a packet that leaves now, if one is due.
    pub(super) fn take_due(&mut self) -> Option<Ping> {
        self.due.take().map(|due| due.ping)
    }

    /// Waits until an answer has to leave without a packet. Cancel-safe.
    pub(super) async fn overdue(&mut self) -> Result<Ping, Gone> {
        loop {
            let at_last = match self.due.take_if(|due| due.count >= DUE_MAX) {
                Some(due) => return Ok(due.ping),
                None => self.due.as_ref().map(|due| due.at_last),
            };
            // Both branches are cancel-safe.
            tokio::select! {
                became_due = next_due(&mut self.first, &mut self.unanswered) => {
                    let ping = became_due?;
                    let (count, at_last) = match &self.due {
                        Some(due) => (due.count + 1, due.at_last),
                        None => (1, Instant::now() + WAIT_MAX),
                    };
                    self.due = Some(Due { ping, count, at_last });
                }
                () = sleep_until(at_last.unwrap_or_else(Instant::now)), if at_last.is_some() => {
                    if let Some(due) = self.due.take() {
                        return Ok(due.ping);
                    }
                }
            }
        }
    }
}

/// The next ping whose answer is due. Cancel-safe: one that is not due yet is kept in `first`.
async fn next_due(
    first: &mut Option<Unanswered>,
    unanswered: &mut mpsc::Receiver<Unanswered>,
) -> Result<Ping, Gone> {
    if first.is_none() {
        *first = Some(unanswered.recv().await.ok_or(Gone)?);
    }
    let waiting = first.as_mut().ok_or(Gone)?;
    (&mut waiting.is_safe).await.map_err(|_| Gone)?;
    let answered = first.take().ok_or(Gone)?;
    Ok(answered.ping)
}
