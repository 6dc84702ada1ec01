//! What apps want the engine to do.

use nym_client_core::{Lane, MessageId, SendError};
use nym_packet::address::Recipient;
use nym_packet::reply::{REPLY_SURB_LEN, ReplySurb};
use nym_protocol::app::SenderTag;
use tokio::sync::oneshot;

use super::EngineTask;
use crate::deliveries::{Author, MessageName, News};

/// What an app wants the engine to do; the answer says whether it was taken over, which means that
/// it is safe.
#[derive(Debug)]
pub(crate) struct AppOrder {
    pub(crate) order: Order,
    /// Who sends a message.
    pub(crate) author: Author,
    /// Where what is taken over is counted.
    pub(crate) lane: Option<Lane>,
    pub(crate) answer: oneshot::Sender<Result<Done, SendError>>,
}

/// An order was obeyed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Done {
    /// Unacknowledged packets of the order's lane, 0 without one.
    pub(crate) lane_queue_length: u64,
    /// The message that was taken over, if the order was to send one.
    pub(crate) message: Option<MessageId>,
}

/// What an app wants the engine to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Tell how many packets wait in the lane.
    CountLane,
    /// Answer whoever made this SURB.
    Reply {
        surb: Box<ReplySurb>,
        message: Vec<u8>,
    },
    /// Answer the anonymous peer of this name.
    ReplyToTag { tag: SenderTag, message: Vec<u8> },
    /// Send to an address.
    Send {
        recipient: Box<Recipient>,
        message: Vec<u8>,
        reply_surbs: u32,
    },
}

impl Order {
    /// Bytes that would wait for acknowledgement.
    fn len(&self) -> usize {
        match self {
            Self::CountLane => 0,
            Self::Reply { message, .. } | Self::ReplyToTag { message, .. } => message.len(),
            Self::Send {
                message,
                reply_surbs,
                ..
            } => usize::try_from(*reply_surbs)
                .unwrap_or(usize::MAX)
                .saturating_mul(REPLY_SURB_LEN)
                .saturating_add(message.len()),
        }
    }
}

/// Who is to be told that a message was accepted.
#[derive(Debug)]
pub(super) struct Obeyed {
    author: Author,
    lane: Option<Lane>,
    answer: oneshot::Sender<Result<Done, SendError>>,
}

impl EngineTask {
    /// Hands an order to the engine. When too much waits for acknowledgement and the network is
    /// there, the order waits, and with it all apps that want to send more.
    pub(super) fn obey(&mut self, order: AppOrder) {
        let len = order.order.len();
        let max = self.unacknowledged_bytes_max;
        let has_room = self.engine.unacknowledged_bytes().saturating_add(len) <= max;
        if !has_room && len <= max && self.state.link_up {
            self.state.waiting = Some(order);
            return;
        }
        let AppOrder {
            order,
            author,
            lane,
            answer,
        } = order;
        // The app may be gone; what was taken over is sent all the same.
        match self.hand_over(order) {
            Err(refusal) => {
                let _ = answer.send(Err(refusal));
            }
            Ok(None) => {
                let lane_queue_length = self.lane_queue_length(lane);
                let _ = answer.send(Ok(Done {
                    lane_queue_length,
                    message: None,
                }));
            }
            Ok(Some(message)) => {
                if let Some(lane) = lane {
                    self.engine.put_in_lane(message, lane);
                }
                if let MessageName::Id(id) = &author.name {
                    let now = self.clock.now();
                    self.engine.ask_receipt(now, message, id.clone());
                }
                let obeyed = Obeyed {
                    author,
                    lane,
                    answer,
                };
                self.state.obeyed.insert(message, obeyed);
            }
        }
    }

    /// Gives the message that was taken over, if the order was to send one.
    fn hand_over(&mut self, order: Order) -> Result<Option<MessageId>, SendError> {
        let (engine, now) = (&mut self.engine, self.clock.now());
        match order {
            Order::CountLane => Ok(None),
            Order::Reply { surb, message } => engine.reply(now, *surb, message).map(Some),
            Order::ReplyToTag { tag, message } => engine.reply_to_tag(now, tag, message).map(Some),
            Order::Send {
                recipient,
                message,
                reply_surbs,
            } => engine
                .send_anonymous(now, &recipient, &message, reply_surbs)
                .map(Some),
        }
    }

    /// A message that an app handed over is safe.
    pub(super) async fn accept(&mut self, message: MessageId) {
        let Some(obeyed) = self.state.obeyed.remove(&message) else {
            return;
        };
        let done = Done {
            lane_queue_length: self.lane_queue_length(obeyed.lane),
            message: Some(message),
        };
        self.say(News::Accepted(message, obeyed.author)).await;
        let _ = obeyed.answer.send(Ok(done));
    }

    /// A message that an app handed over could not be made safe.
    pub(super) fn refuse(&mut self, message: MessageId) {
        if let Some(obeyed) = self.state.obeyed.remove(&message) {
            let _ = obeyed.answer.send(Err(SendError::StoreDown));
        }
    }

    fn lane_queue_length(&self, lane: Option<Lane>) -> u64 {
        lane.map_or(0, |lane| self.engine.lane_queue_length(lane))
    }
}
