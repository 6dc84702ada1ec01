//! Builders shared by the tests: temporary networks, processes, virtual environments.
