//! The client's traffic engine: pacing, queues, retransmission, reassembly, replies.
