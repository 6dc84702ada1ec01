//! A mix node: the processor, replay filter and delay queue that ship.

use nym_node::delay_queue::{DelayQueue, QueueLimits};
use nym_node::processor::{MAX_DELAY, Processed, Processor};
use nym_node::replay::{ReplayFilter, ReplayLimits};
use nym_packet::address::HopAddress;
use nym_packet::frame::Frame;
use nym_packet::time::Timestamp;
use rand_chacha::ChaCha20Rng;
use sphinx::PrivateKey;

pub(crate) struct SimMixnode {
    processor: Processor,
    replay: ReplayFilter,
    waiting: DelayQueue,
    /// The moment for which a timer is already scheduled.
    pub(crate) armed: Option<Timestamp>,
    pub(crate) rejected: u64,
}

impl SimMixnode {
    pub(crate) fn new(key: PrivateKey, rng: &mut ChaCha20Rng) -> Self {
        Self {
            processor: Processor::new(key, MAX_DELAY),
            replay: ReplayFilter::new(ReplayLimits::default(), Timestamp::ZERO, rng),
            waiting: DelayQueue::new(QueueLimits::default()),
            armed: None,
            rejected: 0,
        }
    }

    /// Takes a frame in; what comes out waits for its delay.
    pub(crate) fn handle_frame(&mut self, now: Timestamp, frame: Frame) {
        let replay = &mut self.replay;
        let mut is_queued = true;
        match self.processor.process(frame, |tag| replay.check(now, tag)) {
            Ok(Processed::Forward(forward)) => {
                let deadline = now + forward.delay;
                self.waiting
                    .insert(deadline, forward.next_hop, &forward.frame, |_| {
                        is_queued = false;
                    });
            }
            Ok(Processed::Final(_)) | Err(_) => is_queued = false,
        }
        self.rejected += u64::from(!is_queued);
    }

    /// The next frame that has waited long enough.
    pub(crate) fn poll_transmit(&mut self, now: Timestamp) -> Option<(HopAddress, Frame)> {
        self.waiting.pop_due(now, |_| Vec::new())
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.waiting.next_turn()
    }
}
