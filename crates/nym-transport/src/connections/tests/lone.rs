//! Frames that their senders write themselves.

use super::*;
use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;

/// Connections to next hops in memory that take `room` bytes without reading, and those next hops.
fn connections_with_room(room: usize) -> (Connections, Receiver<DuplexStream>) {
    let (next_hops, dialled) = channel();
    let connections = connections_to(ConnectionsConfig::default(), move |_| {
        let (own, peer) = duplex(room);
        next_hops.send(peer).unwrap();
        Ok(own)
    });
    (connections, dialled)
}

/// Makes the connection, by a frame that its task writes.
async fn connect(connections: &Connections, dialled: &Receiver<DuplexStream>) -> DuplexStream {
    connections.send(next_hop(), frame(0)).unwrap();
    until(connections, |counts| counts.written == 1).await;
    // The task lays its writer down as soon as it runs again.
    sleep(Duration::from_millis(1)).await;
    dialled.try_recv().unwrap()
}

async fn frames_of(peer: DuplexStream, count: usize) -> Vec<Frame> {
    let mut reader = FrameReader::new(peer, ReadTimeouts::default());
    let mut frames = Vec::new();
    while frames.len() < count {
        frames.push(reader.next_frame().await.unwrap().unwrap());
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn a_lone_frame_is_written_before_its_sender_goes_on() {
    let (connections, dialled) = connections_with_room(4096);
    let peer = connect(&connections, &dialled).await;
    for fill in 1..=3 {
        connections.send_lone(next_hop(), frame(fill)).unwrap();
        // No task has run since.
        assert_eq!(connections.counts().written, u64::from(fill) + 1);
    }
    assert_eq!(connections.queued_bytes(), 0);
    assert_eq!(frames_of(peer, 4).await, [0, 1, 2, 3].map(frame));
    let counts = connections.counts();
    assert_eq!((counts.queued, counts.connected), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn frames_that_follow_each_other_closely_are_left_to_the_task() {
    let (connections, dialled) = connections_with_room(4096);
    let peer = connect(&connections, &dialled).await;
    connections.try_send(next_hop(), frame(1)).unwrap();
    assert_eq!(connections.counts().written, 2, "the link was quiet");
    connections.try_send(next_hop(), frame(2)).unwrap();
    connections
        .send_patiently(next_hop(), frame(3))
        .await
        .unwrap();
    assert_eq!(connections.counts().written, 2, "the link is busy");
    until(&connections, |counts| counts.written == 4).await;
    connections
        .send_patiently(next_hop(), frame(4))
        .await
        .unwrap();
    assert_eq!(connections.counts().written, 5, "the link is quiet again");
    assert_eq!(frames_of(peer, 5).await, [0, 1, 2, 3, 4].map(frame));
}

#[tokio::test(start_paused = true)]
async fn a_lone_frame_for_a_new_next_hop_is_queued_and_dials_it() {
    let (connections, dialled) = connections_with_room(4096);
    connections.send_lone(next_hop(), frame(1)).unwrap();
    assert_eq!(connections.counts().written, 0);
    until(&connections, |counts| counts.written == 1).await;
    assert_eq!(frames_of(dialled.try_recv().unwrap(), 1).await, [frame(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_lone_frame_waits_its_turn_behind_queued_ones() {
    let (connections, dialled) = connections_with_room(4096);
    let peer = connect(&connections, &dialled).await;
    connections.send(next_hop(), frame(1)).unwrap();
    connections.send_lone(next_hop(), frame(2)).unwrap();
    assert_eq!(connections.counts().written, 1);
    assert_eq!(frames_of(peer, 3).await, [0, 1, 2].map(frame));
}

#[tokio::test(start_paused = true)]
async fn a_lone_frame_that_the_peer_takes_in_part_is_finished_before_others() {
    // There is room for half of the second frame, or for none of it.
    for room in [FRAME_LEN * 3 / 2, FRAME_LEN] {
        let (connections, dialled) = connections_with_room(room);
        let peer = connect(&connections, &dialled).await;
        for fill in 1..=3 {
            connections.send_lone(next_hop(), frame(fill)).unwrap();
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(connections.counts().written, 1);
        assert_eq!(frames_of(peer, 4).await, [0, 1, 2, 3].map(frame));
        until(&connections, |counts| counts.written == 4).await;
        assert_eq!(connections.queued_bytes(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_frame_that_was_cut_off_is_written_whole_on_the_next_connection() {
    let (connections, dialled) = connections_with_room(FRAME_LEN * 3 / 2);
    let first = connect(&connections, &dialled).await;
    connections.send_lone(next_hop(), frame(1)).unwrap();
    drop(first);
    until(&connections, |counts| counts.connected == 2).await;
    let second = dialled.try_recv().unwrap();
    assert_eq!(frames_of(second, 1).await, [frame(1)]);
    let counts = connections.counts();
    assert_eq!((counts.written, counts.dropped()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_stuck_over_a_lone_frame_loses_its_connection_but_no_frame() {
    let (connections, dialled) = connections_with_room(FRAME_LEN * 3 / 2);
    let _stuck = connect(&connections, &dialled).await;
    connections.send_lone(next_hop(), frame(1)).unwrap();
    sleep(Duration::from_secs(29)).await;
    assert_eq!(connections.counts().lost, 0);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(connections.counts().lost, 1);
    let second = dialled.try_recv().unwrap();
    assert_eq!(frames_of(second, 1).await, [frame(1)]);
}

#[tokio::test(start_paused = true)]
async fn lone_frames_keep_their_connection_from_idling() {
    let (connections, dialled) = connections_with_room(4096);
    let _peer = connect(&connections, &dialled).await;
    for fill in 1..5 {
        sleep(Duration::from_secs(590)).await;
        connections.send_lone(next_hop(), frame(fill)).unwrap();
    }
    sleep(Duration::from_secs(590)).await;
    let counts = connections.counts();
    assert_eq!((counts.written, counts.connected), (5, 1));
    assert_eq!(connections.open_count(), 1);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(connections.open_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_finishes_a_lone_frame_and_takes_no_more() {
    let (connections, dialled) = connections_with_room(FRAME_LEN * 3 / 2);
    let peer = connect(&connections, &dialled).await;
    connections.send_lone(next_hop(), frame(1)).unwrap();
    let (frames, ()) = tokio::join!(
        frames_of(peer, 2),
        connections.close(Duration::from_secs(5))
    );
    assert_eq!(frames, [0, 1].map(frame));
    assert_eq!(connections.counts().written, 2);
    assert_eq!(
        connections.send_lone(next_hop(), frame(2)),
        Err(SendError::Stopped)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lone_frame_that_is_cut_off_by_the_stop_is_counted() {
    let (connections, dialled) = connections_with_room(FRAME_LEN * 3 / 2);
    let _stuck = connect(&connections, &dialled).await;
    connections.send_lone(next_hop(), frame(1)).unwrap();
    connections.close(Duration::from_secs(5)).await;
    let counts = connections.counts();
    assert_eq!((counts.written, counts.dropped_stopped), (1, 1));
    assert_eq!(connections.queued_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_many_senders_arrive_whole_and_once() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 500;
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let next_hop = listener.local_addr().unwrap();
    let config = ConnectionsConfig {
        queue_len: (SENDERS * EACH) as usize,
        ..ConnectionsConfig::default()
    };
    let connections = Connections::new(config, rng());
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let connections = connections.clone();
        senders.spawn_blocking(move || {
            for number in (sender..SENDERS * EACH).step_by(SENDERS as usize) {
                let frame = numbered(number);
                if number % 8 < SENDERS {
                    connections.send(next_hop, frame).unwrap();
                } else {
                    connections.send_lone(next_hop, frame).unwrap();
                }
            }
        });
    }
    let (received, _stream) = read(&listener, (SENDERS * EACH) as usize).await;
    let numbers: BTreeSet<u32> = received.iter().map(number_of).collect();
    assert!(numbers.into_iter().eq(0..SENDERS * EACH));
    senders.join_all().await;
    until(&connections, |counts| {
        counts.written == u64::from(SENDERS * EACH)
    })
    .await;
    assert_eq!(connections.queued_bytes(), 0);
}
