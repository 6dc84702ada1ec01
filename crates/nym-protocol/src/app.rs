//! The API that a client offers to apps on its own machine.
