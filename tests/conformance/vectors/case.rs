//! A case whose members are all looked at.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::Value;

use super::{hex, hex_array};

/// A case, or an object in it, that knows which of its members were looked at.
pub(crate) struct Case<'v> {
    value: &'v Value,
    read: RefCell<BTreeSet<String>>,
}

impl<'v> Case<'v> {
    pub(crate) fn new(value: &'v Value) -> Self {
        Self {
            value,
            read: RefCell::default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'v Value> {
        self.read.borrow_mut().insert(name.to_owned());
        self.value.get(name)
    }

    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &'v Value {
        self.get(name)
            .unwrap_or_else(|| panic!("member `{name}` is missing"))
    }

    #[track_caller]
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        hex(self.field(name))
    }

    #[track_caller]
    pub(crate) fn array<const LEN: usize>(&self, name: &str) -> [u8; LEN] {
        hex_array(self.field(name))
    }

    #[track_caller]
    pub(crate) fn u64(&self, name: &str) -> u64 {
        self.field(name)
            .as_u64()
            .unwrap_or_else(|| panic!("`{name}` is not a u64"))
    }

    #[track_caller]
    pub(crate) fn len(&self, name: &str) -> usize {
        usize::try_from(self.u64(name)).unwrap()
    }

    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> &'v str {
        self.field(name)
            .as_str()
            .unwrap_or_else(|| panic!("`{name}` is not a string"))
    }

    #[track_caller]
    pub(crate) fn list(&self, name: &str) -> &'v [Value] {
        self.field(name)
            .as_array()
            .unwrap_or_else(|| panic!("`{name}` is not a list"))
    }

    /// Fails if there is a member that nobody looked at.
    #[track_caller]
    pub(crate) fn finish(&self) {
        let read = self.read.borrow();
        let left: Vec<_> = self
            .value
            .as_object()
            .expect("a case is an object")
            .keys()
            .filter(|name| !["id", "note", "type"].contains(&name.as_str()))
            .filter(|name| !read.contains(*name))
            .collect();
        assert!(left.is_empty(), "unchecked members: {left:?}");
    }
}
