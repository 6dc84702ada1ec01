//! A mailbox for clients and their door to the mixnet.
