//! Links: TCP frames, websockets, HTTP to the validator, one connection per next hop with backoff.
