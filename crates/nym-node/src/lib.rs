//! What relays share: packet pipeline, replay filter, delay queue, announcing.
