//! What a client and its gateway say to each other over a websocket.
