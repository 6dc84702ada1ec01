//! What is spoken above packets: gateway sessions, the app API, topology and announcements.
