//! Digesting and searching a stream while it is written.
//!
//! To read files, to digest a tar and to write it cost about as much each. A stream is therefore
//! cut into blocks that another thread digests, while the one that makes it goes on writing. What
//! is digested is searched for secrets too, which costs a tenth of that while a block is in the
//! processor's cache. Blocks come back to be filled again: memory that is new each time has to be
//! cleared by the kernel, which costs more than the search. A stream of one block costs no thread.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use cooper_oci::{Digest, Sha256Hasher};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::error::StoreError;
use crate::layer::scan::{Searcher, Watch};

/// Bytes that are handed on together: what stays in a processor's second cache.
const BLOCK: usize = 1 << 18;
/// How many blocks may wait to be digested.
const AHEAD: usize = 8;

/// Writes what `source` gives to `to`; returns its SHA-256 digest, with everything searched.
pub(super) fn digesting(
    source: impl FnOnce(&mut dyn Write) -> Result<(), StoreError>,
    to: &mut dyn Write,
    watch: Option<&Watch>,
) -> Result<Digest, StoreError> {
    std::thread::scope(|scope| {
        let mut pieces = Pieces {
            scope,
            to,
            watch,
            block: Vec::new(),
            beside: None,
        };
        source(&mut pieces)?;
        let finished = pieces.finish();
        finished.map_err(|error| StoreError::io("write", "a tar".as_ref(), error))
    })
}

/// A stream on its way, cut into blocks.
struct Pieces<'scope, 'env, 'a> {
    scope: &'scope Scope<'scope, 'env>,
    to: &'a mut dyn Write,
    watch: Option<&'env Watch>,
    block: Vec<u8>,
    /// Begins with the second block.
    beside: Option<Beside<'scope>>,
}

/// The thread beside the one that writes.
struct Beside<'scope> {
    to_hasher: Sender<Arc<Vec<u8>>>,
    /// Blocks that are done with.
    done: Receiver<Arc<Vec<u8>>>,
    hasher: ScopedJoinHandle<'scope, Digest>,
}

impl<'scope> Beside<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, watch: Option<&'env Watch>) -> Self {
        let (to_hasher, blocks) = bounded::<Arc<Vec<u8>>>(AHEAD);
        let (give_back, done) = unbounded();
        let hasher = scope.spawn(move || {
            let mut hasher = Sha256Hasher::new();
            let mut searcher = watch.map(Searcher::new);
            for block in blocks {
                hasher.update(&block);
                if let Some(searcher) = &mut searcher {
                    searcher.pass(&block);
                }
                // At the end nobody takes it.
                let _ = give_back.send(block);
            }
            if let Some(searcher) = searcher {
                searcher.finish();
            }
            hasher.finish()
        });
        Self {
            to_hasher,
            done,
            hasher,
        }
    }

    /// Returns a block to fill, empty.
    fn block(&self) -> Vec<u8> {
        let used = self.done.try_recv().ok().and_then(Arc::into_inner);
        let mut block = used.unwrap_or_else(|| Vec::with_capacity(BLOCK));
        block.clear();
        block
    }
}

impl Pieces<'_, '_, '_> {
    /// Hands a full block on.
    fn send(&mut self) -> io::Result<()> {
        let (scope, watch) = (self.scope, self.watch);
        let beside = self
            .beside
            .get_or_insert_with(|| Beside::start(scope, watch));
        let block = Arc::new(std::mem::replace(&mut self.block, beside.block()));
        let sent = beside.to_hasher.send(block.clone());
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.to.write_all(&block)
    }

    fn finish(mut self) -> io::Result<Digest> {
        if self.beside.is_none() {
            if let Some(watch) = self.watch {
                watch.search(&self.block);
            }
            self.to.write_all(&self.block)?;
            return Ok(Digest::sha256(&self.block));
        }
        if !self.block.is_empty() {
            self.send()?;
        }
        let beside = self.beside.take().expect("begun above");
        drop(beside.to_hasher);
        let digest = beside.hasher.join();
        digest.map_err(|_| io::Error::other("the thread that digests panicked"))
    }
}

impl Write for Pieces<'_, '_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.send()?;
        }
        let count = data.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_any_length_is_passed_on_and_digested() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 20 * BLOCK + 7] {
            let data: Vec<u8> = (0..length).map(|at| (at / 511) as u8).collect();
            let mut to = Vec::new();
            let source = |to: &mut dyn Write| {
                let written = data.chunks(100_003).try_for_each(|part| to.write_all(part));
                written.map_err(|error| StoreError::io("write", "a test".as_ref(), error))
            };
            let digest = digesting(source, &mut to, None).expect("digest");
            assert!(to == data, "{length}");
            assert_eq!(digest, Digest::sha256(&data), "{length}");
        }
    }

    #[test]
    fn a_writer_that_fails_ends_the_stream() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, data: &[u8]) -> io::Result<usize> {
                self.0 = self
                    .0
                    .checked_sub(data.len())
                    .ok_or(io::ErrorKind::StorageFull)?;
                Ok(data.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let source = |to: &mut dyn Write| {
            let zeros = vec![0; BLOCK];
            let written = (0..40).try_for_each(|_| to.write_all(&zeros));
            written.map_err(|error| StoreError::io("write", "a test".as_ref(), error))
        };
        let failed = digesting(source, &mut Full(3 * BLOCK), None).expect_err("it is full");
        assert!(failed.to_string().contains("write"), "{failed}");
    }
}
