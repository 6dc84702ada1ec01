//! What a slot carries: the packet is built now, over the topology of now, together with those of all
//! other slots that have fallen due.

use nym_packet::build::{BuildError, Content, DelayMeans, Order, Prepared, Routes, Sender};
use nym_packet::fragment::FragmentId;
use nym_packet::frame::PacketMode;
use nym_packet::reply::ReplySurb;
use nym_packet::route::Route;
use nym_packet::time::Timestamp;
use rand_core::CryptoRng;

use super::sending::{Next, QueuedReply};
use super::{Engine, SendError};
use crate::event::{Event, FailureReason, Journey, MessageId};

/// What a slot carries, and the ways of it.
#[derive(Debug)]
pub(super) struct Due {
    /// `None`: loop cover.
    fragment: Option<DueFragment>,
    route: Route,
    ack_route: Route,
}

#[derive(Debug)]
struct DueFragment {
    id: FragmentId,
    message: MessageId,
    attempt: u32,
}

impl<R: CryptoRng> Engine<R> {
    /// Sends the packet whose turn it is; `false` if none waits or none can be routed.
    pub(super) fn transmit_waiting(&mut self, now: Timestamp) -> bool {
        let Some(ack_route) = self.own_route() else {
            return false;
        };
        match self.unacknowledged.pop() {
            None => false,
            Some(Next::Reply { message, reply }) => {
                self.transmit_reply(now, message, *reply, &ack_route)
            }
            Some(Next::Fragment {
                id,
                message,
                attempt,
                recipient,
            }) => {
                let topology = self.topology.as_ref();
                let route = topology
                    .and_then(|known| known.random_route(&mut self.rng, &recipient.gateway).ok());
                let Some(route) = route else {
                    // The recipient's gateway has left the topology; it may come back.
                    self.unacknowledged.requeue(id);
                    return false;
                };
                let fragment = Some(DueFragment {
                    id,
                    message,
                    attempt,
                });
                self.due.push(Due {
                    fragment,
                    route,
                    ack_route,
                });
                true
            }
        }
    }

    /// Sends a packet that comes back to us; nothing if none can be routed.
    pub(super) fn transmit_loop_cover(&mut self) {
        let Some((route, ack_route)) = self.own_route().zip(self.own_route()) else {
            return;
        };
        self.due.push(Due {
            fragment: None,
            route,
            ack_route,
        });
    }

    /// Builds the packets of the slots that have fallen due, in their order.
    pub(super) fn build_due(&mut self, now: Timestamp) {
        // A slot whose packet cannot be built carries cover, which is due then.
        while !self.due.is_empty() {
            let due = std::mem::take(&mut self.due);
            for (due, built) in due.iter().zip(self.build_all(&due)) {
                match (&due.fragment, built) {
                    (None, Ok(prepared)) => {
                        self.stats.packets_sent += 1;
                        self.stats.cover_packets_sent += 1;
                        if let Some(ephemeral) = prepared.ephemeral {
                            self.receiver.expect_cover(ephemeral);
                        }
                        self.transmits.push_back(prepared.mix_packet);
                    }
                    // Our own keys are weak: there is nothing to cover.
                    (None, Err(_)) => {}
                    (Some(fragment), Ok(prepared)) => {
                        let DueFragment {
                            id,
                            message,
                            attempt,
                        } = *fragment;
                        self.stats.retransmissions += u64::from(attempt > 1);
                        self.trace(message, attempt, Some(&due.route), &prepared);
                        self.hand_over_fragment(now, id, prepared);
                    }
                    (Some(fragment), Err(error)) => {
                        self.give_up(now, fragment.message, &error);
                        if !self.config.vpn_mode {
                            self.transmit_loop_cover();
                        }
                    }
                }
            }
        }
    }

    fn build_all(&mut self, due: &[Due]) -> Vec<Result<Prepared, BuildError>> {
        let orders: Vec<_> = due
            .iter()
            .map(|due| {
                let fragment = due.fragment.as_ref();
                let fragment = fragment.and_then(|due| self.unacknowledged.fragment(due.id));
                let content = match fragment {
                    Some((fragment, recipient)) => Content::Fragment {
                        fragment,
                        recipient,
                    },
                    None => Content::LoopCover,
                };
                let routes = Routes {
                    packet: &due.route,
                    ack: &due.ack_route,
                };
                Order { content, routes }
            })
            .collect();
        let sender = sender(&self.keys, &self.config);
        sender.prepare_all(&orders, &mut self.builder, &mut self.rng)
    }

    /// Makes a SURB that leads here, and keeps its key.
    pub(super) fn new_reply_surb(&mut self, now: Timestamp) -> Result<ReplySurb, SendError> {
        let route = self.own_route().ok_or(SendError::OwnGatewayUnknown)?;
        let delays = route.sample_delays(self.config.ack_delay_mean(), &mut self.rng);
        let owner = self.keys.recipient.sphinx_destination();
        let surb = ReplySurb::build(&route, &delays, &owner, &mut self.rng)
            .expect("one delay was drawn for each hop of the route");
        self.reply_keys
            .insert(now, surb.reply_key(), &mut self.journal);
        Ok(surb)
    }

    /// A fresh route to our own gateway: the way of acknowledgements, cover and replies.
    fn own_route(&mut self) -> Option<Route> {
        let topology = self.topology.as_ref()?;
        topology
            .random_route(&mut self.rng, &self.keys.recipient.gateway)
            .ok()
    }

    fn transmit_reply(
        &mut self,
        now: Timestamp,
        message: MessageId,
        reply: QueuedReply,
        ack_route: &Route,
    ) -> bool {
        // What is due came first.
        self.build_due(now);
        let first_hop = reply.surb.first_hop();
        let sender = sender(&self.keys, &self.config);
        let QueuedReply {
            surb,
            ack_id,
            message: content,
            ..
        } = reply;
        let builder = &mut self.builder;
        match sender.prepare_reply(surb, ack_id, &content, ack_route, builder, &mut self.rng) {
            Ok(prepared) => {
                if self.config.trace_journeys
                    && let Ok(first_hop) = first_hop
                {
                    let hops = vec![first_hop];
                    let journey = Journey {
                        message,
                        attempt: 1,
                        hops,
                        delays: Vec::new(),
                    };
                    self.journeys.push_back(Event::Sent(journey));
                }
                self.unacknowledged.sent(ack_id, now + Self::REPLY_WAIT);
                self.stats.packets_sent += 1;
                self.transmits.push_back(prepared.mix_packet);
                true
            }
            Err(error) => self.give_up(now, message, &error),
        }
    }

    fn hand_over_fragment(&mut self, now: Timestamp, id: FragmentId, prepared: Prepared) {
        let expected = prepared.total_delay.as_secs_f64() * self.config.ack_wait_multiplier;
        let wait = std::time::Duration::try_from_secs_f64(expected)
            .unwrap_or(self.config.message_age_max)
            .saturating_add(self.config.ack_wait_addition);
        self.unacknowledged.sent(id, now + wait);
        self.stats.packets_sent += 1;
        self.transmits.push_back(prepared.mix_packet);
    }

    /// Ends a message that no packet can be built for; the slot is then free for cover.
    fn give_up(&mut self, now: Timestamp, message: MessageId, error: &BuildError) -> bool {
        let reason = match error {
            BuildError::Reply(_) => FailureReason::UnusableSurb,
            _ => FailureReason::UnusableRecipient,
        };
        let journal = &mut self.journal;
        let ended = self.unacknowledged.give_up(message, reason, journal);
        self.conclude(now, ended);
        false
    }

    fn trace(
        &mut self,
        message: MessageId,
        attempt: u32,
        route: Option<&Route>,
        prepared: &Prepared,
    ) {
        if !self.config.trace_journeys {
            return;
        }
        let hops = route.map(|route| route.hops().iter().map(|hop| hop.address).collect());
        let delays = prepared
            .packet_delays
            .split_last()
            .map_or(&[][..], |(_, mixes)| mixes);
        self.journeys.push_back(Event::Sent(Journey {
            message,
            attempt,
            hops: hops.unwrap_or_default(),
            delays: delays.to_vec(),
        }));
    }
}

fn sender<'a>(keys: &'a super::ClientKeys, config: &crate::config::EngineConfig) -> Sender<'a> {
    Sender {
        own: &keys.recipient,
        ack_key: &keys.ack_key,
        delays: DelayMeans {
            packet: config.packet_delay_mean(),
            ack: config.ack_delay_mean(),
        },
        mode: if config.vpn_mode {
            PacketMode::Vpn
        } else {
            PacketMode::Mix
        },
    }
}
