//! Stand-in until bundles are read in slices.
use std::rc::Rc;

use crate::bundle::{Bundle, BundleError};

#[derive(Debug)]
pub(super) struct Reading {
    name: String,
    archive: Rc<[u8]>,
    limit: u64,
}

impl Reading {
    pub(super) fn new(name: &str, archive: Rc<[u8]>, limit: u64) -> Self {
        Self { name: name.to_owned(), archive, limit }
    }

    pub(super) fn step(&mut self) -> Option<Result<Bundle, BundleError>> {
        Some(Bundle::read(&self.name, &self.archive, self.limit))
    }
}
