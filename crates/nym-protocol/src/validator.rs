//! Documents of the validators: bonds, queries, topology and announcements.
