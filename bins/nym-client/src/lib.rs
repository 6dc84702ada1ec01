//! The program an app talks to: a websocket in front of the mixnet.
