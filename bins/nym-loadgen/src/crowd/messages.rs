//! The packets that bring messages to a crowd, built beforehand.

use std::io;
use std::thread;
use std::time::Duration;

use nym_packet::address::HopAddress;
use nym_packet::frame::{FrameHeader, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_transport::stream::Stream;
use rand_core::CryptoRng;
use sphinx::{Delay, Destination, Hop, Version};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep_until};

use super::Crowd;
use super::client::Client;

/// Length in bytes of the message in a regular packet.
const MESSAGE_LEN: usize = 1643;

/// Length in bytes of the acknowledgement before it. It is noise here: what the gateway releases
/// is lost at its next hop.
const ACK_LEN: usize = 386;

/// What a push of this program begins with, before its number of four bytes.
const MARK: &[u8; 8] = b"a crowd!";

/// One frame for each message, to one client after the other.
pub(super) fn build(crowd: &Crowd, clients: &[Client]) -> Vec<Vec<u8>> {
    let recipients = clients.iter().cycle();
    let all: Vec<_> = (0..crowd.messages.get()).zip(recipients).collect();
    let workers = thread::available_parallelism().map_or(1, Into::into);
    let per_worker = all.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = all
            .chunks(per_worker)
            .map(|part| {
                scope.spawn(move || {
                    let mut rng = nym_daemon::entropy();
                    let build =
                        |(number, client): &(u32, &Client)| frame(crowd, client, *number, &mut rng);
                    part.iter().map(build).collect::<Vec<_>>()
                })
            })
            .collect();
        let frames = workers.into_iter().flat_map(|worker| {
            worker
                .join()
                .expect("the workers build packets that fit, and do nothing else")
        });
        frames.collect()
    })
}

fn frame<R: CryptoRng>(crowd: &Crowd, client: &Client, number: u32, rng: &mut R) -> Vec<u8> {
    let header = FrameHeader {
        size: PacketSize::Regular,
        mode: PacketMode::Mix,
    };
    let gateway = HopAddress::new(crowd.packets_at);
    let mut message = [0; MESSAGE_LEN];
    let (mark, rest) = message.split_at_mut(MARK.len());
    mark.copy_from_slice(MARK);
    if let Some(place) = rest.first_chunk_mut() {
        *place = number.to_be_bytes();
    }
    let ack_hop = gateway.to_padded19();
    let plaintext = [&ack_hop[..], &[0; ACK_LEN], &message].concat();
    let route = [Hop {
        address: gateway.to_node_address(),
        public_key: crowd.sphinx_key,
    }];
    let destination = Destination {
        address: *client.identity.public_key().as_bytes(),
        identifier: [0; 16],
    };
    let packet = sphinx::build(
        Version::NYM_0_11,
        &route,
        &[Delay::ZERO],
        &destination,
        &plaintext,
        PacketSize::Regular.payload_len(),
        rng,
    )
    .expect("one hop, one delay and this message fit into a regular packet");
    [&header.to_bytes()[..], &packet].concat()
}

/// The number in a push, `None` if it is not of this program.
pub(super) fn number_of(push: &[u8]) -> Option<u32> {
    let rest = push.strip_prefix(MARK)?;
    rest.first_chunk().copied().map(u32::from_be_bytes)
}

/// Sends the frames at their pace; those that are late leave at once. Tells when each left.
pub(super) async fn send(
    link: &mut Stream,
    frames: &[Vec<u8>],
    start: Instant,
    interval: Duration,
) -> io::Result<Vec<Instant>> {
    let mut departures = Vec::with_capacity(frames.len());
    for (index, frame) in (0..).zip(frames) {
        sleep_until(start + interval.saturating_mul(index)).await;
        departures.push(Instant::now());
        link.write_all(frame).await?;
        link.flush().await?;
    }
    Ok(departures)
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU8, NonZeroU32};

    use nym_packet::keys::{IdentityKeyPair, PrivateKey};

    use super::*;

    #[test]
    fn message_opens_at_the_gateway_for_its_client_and_shows_its_number() {
        let key = PrivateKey::from_bytes([7; 32]);
        let one = NonZeroU32::MIN;
        let crowd = Crowd {
            clients_at: "127.0.0.1:1".parse().unwrap(),
            identity: IdentityKeyPair::from_seed(&[1; 32]).public_key(),
            packets_at: "127.0.0.1:2".parse().unwrap(),
            sphinx_key: key.public_key(),
            clients: NonZeroU32::new(2).unwrap(),
            sources: NonZeroU8::MIN,
            at_once: one,
            messages: NonZeroU32::new(3).unwrap(),
            rate: one,
            idle: Duration::ZERO,
            patience: Duration::ZERO,
            pid: None,
            plain: true,
        };
        let clients = [Client::new(), Client::new()];
        for (index, frame) in build(&crowd, &clients).into_iter().enumerate() {
            let mut packet = frame[FrameHeader::LEN..].to_vec();
            let peeled = sphinx::process(Version::NYM_0_11, &key, &mut packet).unwrap();
            let sphinx::Peeled::Final { destination, .. } = peeled else {
                panic!("the gateway is the last hop");
            };
            let client = &clients[index % 2];
            assert_eq!(
                destination.address,
                *client.identity.public_key().as_bytes()
            );
            let plaintext = sphinx::recover_plaintext(&packet[sphinx::HEADER_LEN..]).unwrap();
            let message = &plaintext[plaintext.len() - MESSAGE_LEN..];
            assert_eq!(number_of(message), Some(u32::try_from(index).unwrap()));
        }
        assert_eq!(number_of(b"something else"), None);
    }
}
