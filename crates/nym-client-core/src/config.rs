//! What the engine can be told: the traffic pattern and the bounds of its tables.

use std::time::Duration;

/// The client's traffic pattern and bounds; [`EngineConfig::default`] is the network's.
///
/// The pattern is what hides a user: two clients whose patterns differ can be told apart, so
/// everybody on a network should use the same values.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// Mean of the exponential delay that each mix node adds to a data packet. Default 50 ms.
    pub average_packet_delay: Duration,
    /// Mean of the exponential delay that each mix node adds to an acknowledgement. Default 50 ms.
    pub average_ack_delay: Duration,
    /// Mean gap of the loop cover stream. Default 200 ms.
    pub loop_cover_traffic_average_delay: Duration,
    /// Mean gap of the main stream: a slot carries the next real packet, or loop cover.
    /// Default 20 ms.
    pub message_sending_average_delay: Duration,
    /// Factor on the expected round trip before a fragment is sent again. Default 1.5.
    pub ack_wait_multiplier: f64,
    /// Constant added to the expected round trip before a fragment is sent again.
    /// Default 1,500 ms.
    pub ack_wait_addition: Duration,
    /// Send at once, without cover traffic and without delays. Default off: it gives up the
    /// protection against an observer of the network.
    pub vpn_mode: bool,
    /// How often one fragment is sent before its message is given up. Default 1,000.
    pub fragment_attempts_max: u32,
    /// How long a message may stay unacknowledged before it is given up. Default 24 h.
    pub message_age_max: Duration,
    /// Bytes of messages that may wait for acknowledgement; a send beyond it is refused.
    /// Default 64 MiB: two messages of the app socket's largest size.
    pub unacknowledged_bytes_max: usize,
    /// Reply keys kept for reply SURBs that were handed out. Default 100,000, which at 120 bytes
    /// each are 12 MB; the oldest goes when one more is needed.
    pub reply_keys_max: usize,
    /// How long a reply key is kept. Default 30 days.
    pub reply_key_age_max: Duration,
    /// Reply SURBs of others kept to answer by sender tag. Default 10,000, which at 1,164 bytes
    /// each are 12 MB; those of the peer first heard of go when more are needed.
    pub sender_surbs_max: usize,
    /// How long a sender tag is kept. Default 30 days: later its sender cannot read an answer.
    pub sender_surb_age_max: Duration,
    /// How long a message that no app has taken is kept over restarts. Default 30 days.
    pub arrived_age_max: Duration,
    /// Receipts kept of messages that have ended, until their app asks. Default 10,000, which at
    /// 200 bytes each are 2 MB; the oldest goes when one more is needed.
    pub receipts_max: usize,
    /// How long such a receipt is kept. Default 7 days.
    pub receipt_age_max: Duration,
    /// Report each packet that carries a message as a [`crate::Event::Sent`], route included.
    /// Default off; for the person at the client and for tests, never for a log.
    pub trace_journeys: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            average_packet_delay: Duration::from_millis(50),
            average_ack_delay: Duration::from_millis(50),
            loop_cover_traffic_average_delay: Duration::from_millis(200),
            message_sending_average_delay: Duration::from_millis(20),
            ack_wait_multiplier: 1.5,
            ack_wait_addition: Duration::from_millis(1_500),
            vpn_mode: false,
            fragment_attempts_max: 1_000,
            message_age_max: Duration::from_secs(24 * 60 * 60),
            unacknowledged_bytes_max: 64 << 20,
            reply_keys_max: 100_000,
            reply_key_age_max: Duration::from_secs(30 * 24 * 60 * 60),
            sender_surbs_max: 10_000,
            sender_surb_age_max: Duration::from_secs(30 * 24 * 60 * 60),
            arrived_age_max: Duration::from_secs(30 * 24 * 60 * 60),
            receipts_max: 10_000,
            receipt_age_max: Duration::from_secs(7 * 24 * 60 * 60),
            trace_journeys: false,
        }
    }
}

impl EngineConfig {
    /// Mean gap of the main stream in fast mode.
    const FAST_MESSAGE_SENDING: Duration = Duration::from_millis(4);
    /// Mean packet delay in fast mode.
    const FAST_PACKET_DELAY: Duration = Duration::from_millis(10);
    /// Mean gap of the loop cover stream in fast mode: practically none.
    const FAST_LOOP_COVER: Duration = Duration::from_secs(2_000);

    /// The pattern of `init --fastmode`: less delay, more packets, nearly no loop cover.
    #[must_use]
    pub fn with_fast_mode(mut self) -> Self {
        self.average_packet_delay = Self::FAST_PACKET_DELAY;
        self.loop_cover_traffic_average_delay = Self::FAST_LOOP_COVER;
        self.message_sending_average_delay = Self::FAST_MESSAGE_SENDING;
        self
    }

    /// The mean delays that packets are built with: nothing in vpn mode.
    pub(crate) fn packet_delay_mean(&self) -> Duration {
        if self.vpn_mode {
            Duration::ZERO
        } else {
            self.average_packet_delay
        }
    }

    /// The mean delays that acknowledgements are built with: nothing in vpn mode.
    pub(crate) fn ack_delay_mean(&self) -> Duration {
        if self.vpn_mode {
            Duration::ZERO
        } else {
            self.average_ack_delay
        }
    }
}
