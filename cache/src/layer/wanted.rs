//! Work on a layer's bytes that can be told to stop.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crate::error::StoreError;

/// Says whether somebody still wants what is being made.
#[derive(Clone)]
pub(crate) struct Wanted(Arc<dyn Fn() -> bool + Send + Sync>);

impl Wanted {
    pub(crate) fn new(says: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(says))
    }

    /// Returns `made`; what failed because nobody wanted it any more was canceled.
    pub(super) fn or_canceled<T>(&self, made: Result<T, StoreError>) -> Result<T, StoreError> {
        made.map_err(|error| {
            if (self.0)() {
                error
            } else {
                StoreError::Canceled
            }
        })
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wanted").field(&(self.0)()).finish()
    }
}

/// A stream that ends with an error once nobody wants it.
pub(super) struct WhileWanted<'a> {
    pub(super) to: &'a mut dyn Write,
    pub(super) wanted: &'a Wanted,
}

impl Write for WhileWanted<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !(self.wanted.0)() {
            return Err(io::Error::other(StoreError::Canceled));
        }
        self.to.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
