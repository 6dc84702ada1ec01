//! A complete private mixnet in one process.
