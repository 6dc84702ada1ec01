//! A whole mixnet without sockets, in virtual time, from one seed.
