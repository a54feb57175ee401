//! A chain of layers as the directories of an overlay.
//!
//! The kernel stacks 500 directories and older ones no more than fit into a page of options. Of
//! a longer chain the bottom is merged into one layer by [`Layers::squash`], which is named by
//! its content and remembered at the topmost of its sources. How much is merged goes in large
//! steps: a chain that grows by one RUN after another is merged once in half as many layers as
//! the kernel stacks, not once a RUN.

use std::collections::HashSet;

use crate::error::StoreError;
use crate::layer::{Layer, LayerId, Layers};

impl Layers {
    /// Returns the layers to mount so that all of `chain`, base first, is shown: with their
    /// files, topmost first, and at most `most`, which is at least 2.
    ///
    /// A layer that occurs again further down is left out there: overlayfs refuses it, and
    /// everything in it is hidden by its upper occurrence. `wanted` is asked while files are
    /// copied; once it says no, the result is [`StoreError::Canceled`].
    pub fn lowers(
        &self,
        chain: &[LayerId],
        most: usize,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Layer>, StoreError> {
        let mut ids = topmost(chain);
        if ids.len() > most {
            let (bottom, top) = chain.split_at(merged(chain.len(), most));
            let merged = self.squash(&[], bottom, wanted)?;
            ids = topmost([&[merged][..], top].concat().as_slice());
        }
        let mut lowers = Vec::with_capacity(ids.len());
        for id in &ids {
            lowers.push(self.ensure_dir(id)?);
        }
        // A pulled layer and the built one that it was packed from are one directory.
        let mut dirs = HashSet::new();
        lowers.retain(|layer| dirs.insert(layer.fs()));
        Ok(lowers)
    }
}

/// Returns the layers of a chain topmost first, each once.
fn topmost(chain: &[LayerId]) -> Vec<LayerId> {
    let mut seen = HashSet::new();
    let ids = chain.iter().rev().filter(|id| seen.insert(*id));
    ids.cloned().collect()
}

/// Returns how many layers at the bottom of a chain of `count`, more than `most`, become one.
fn merged(count: usize, most: usize) -> usize {
    let step = (most / 2).max(1);
    (count + 1 - most).div_ceil(step) * step
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::store;

    #[test]
    fn what_is_merged_fits_and_changes_seldom() {
        for most in [2, 3, 5, 40, 499] {
            let mut cuts = HashSet::new();
            for count in most + 1..most * 3 {
                let cut = merged(count, most);
                assert!(
                    cut <= count && count - cut < most,
                    "{count} of {most}: {cut}"
                );
                cuts.insert(cut);
            }
            assert!(most < 40 || cuts.len() <= 5, "{most}: {cuts:?}");
        }
    }

    #[test]
    fn a_long_chain_is_merged_at_the_bottom_and_shows_the_same() {
        let (_dir, store) = store();
        let layers = store.layers();
        let mut chain = Vec::new();
        for number in 0..30 {
            let staging = layers.prepare().expect("prepare");
            fs::write(staging.fs().join(format!("f{number}")), "x").expect("write");
            fs::write(staging.fs().join("last"), number.to_string()).expect("write");
            chain.push(layers.commit(staging).expect("commit").id().clone());
            // Every other layer occurs a second time.
            if number % 2 == 0 {
                chain.push(chain[chain.len() - 1].clone());
            }
        }
        let whole = layers.tree(&chain).expect("tree");
        let root = crate::RelPath::root();
        for most in [8, 29, 30, 100] {
            let lowers = layers.lowers(&chain, most, &|| true).expect("lowers");
            assert!(lowers.len() <= most, "{} of {most}", lowers.len());
            assert!(lowers.iter().all(|layer| layer.fs().is_dir()));
            let ids: Vec<LayerId> = lowers
                .iter()
                .rev()
                .map(|layer| layer.id().clone())
                .collect();
            let tree = layers.tree(&ids).expect("tree");
            assert_eq!(
                tree.digest(&root).expect("digest"),
                whole.digest(&root).expect("digest"),
                "{most}"
            );
            let again = layers.lowers(&chain, most, &|| true).expect("again");
            let again: Vec<LayerId> = again.iter().rev().map(|layer| layer.id().clone()).collect();
            assert_eq!(ids, again, "{most}");
        }
        let count = layers.list().expect("list").len();
        layers.lowers(&chain, 8, &|| true).expect("lowers");
        assert_eq!(layers.list().expect("list").len(), count, "merged once");
    }
}
