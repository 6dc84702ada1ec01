//! A load generator for any mix node.
