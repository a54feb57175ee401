//! RUN cache mounts by themselves: `cooper cache export` and `cooper cache import`.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Seek, SeekFrom};

use cooper_cache::PackedMount;
use cooper_oci::Descriptor;
use cooper_solver::CancelToken;

use super::{origin, read};
use crate::build::Session;
use crate::build::remote::RemoteLayers;
use crate::options::{CacheFrom, CachePlace, CacheTo};
use crate::progress::{Progress, StepGuard};
use crate::push::show;
use crate::registry::Watch;
use crate::shared_cache::{Bundle, Depot, Document, Sent, SharedCacheError, layout, registry};

/// What became of the cache mounts of a store or of a shared cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Names of those that were written, or made here.
    pub done: Vec<String>,
    /// Names of those that were left alone: in use when exporting, there when importing.
    pub left: Vec<String>,
}

/// Writes all cache mounts of the store to a shared cache; what was there under its name goes.
pub fn export_mounts(
    session: &Session,
    to: &CacheTo,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Moved, SharedCacheError> {
    let step = progress.step(format!("exporting cache mounts to {}", to.place));
    let result = export(session, to, &step, cancel);
    step.end_with(result)
}

fn export(
    session: &Session,
    to: &CacheTo,
    step: &StepGuard,
    cancel: &CancelToken,
) -> Result<Moved, SharedCacheError> {
    let store = &session.store;
    let _lease = store.lease()?;
    let mut moved = Moved::default();
    let mut mounts = Vec::new();
    for name in store.portable_mounts()? {
        if let Some(mount) = store.pack_mount(&name)? {
            mounts.push(mount);
            moved.done.push(name);
        } else {
            moved.left.push(name);
        }
    }
    let mut seen = BTreeSet::new();
    let blobs = mounts.iter().flat_map(PackedMount::blobs);
    let blobs = blobs
        .filter(|blob| seen.insert(blob.digest.clone()))
        .collect();
    let open = |blob: &Descriptor, offset: u64| -> io::Result<Box<dyn Read>> {
        let mut file = store.blobs().open(&blob.digest).map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    };
    let canceled = || cancel.is_cancelled();
    let bundle = Bundle {
        config: Document::of(&[], &HashMap::new(), mounts).to_json(),
        blobs,
        image_manifest: to.image_manifest,
        docker: to.format.oci_media_types == Some(false),
        open: &open,
        elsewhere: &|_| Vec::new(),
        canceled: &canceled,
    };
    let sent = match &to.place {
        CachePlace::Inline => Sent::default(),
        CachePlace::Local { dir, tag, reset } => layout::store(dir, tag, *reset, &bundle)?,
        CachePlace::Service(place) => Depot::new(place, session.client.http()).store(&bundle)?,
        CachePlace::Registry { reference, .. } => {
            registry::store(&session.client, reference, &bundle, &|event| {
                show(step, event);
            })?
        }
    };
    let Sent { blobs, present } = sent;
    step.log(format!("sent {blobs} blobs, {present} were there\n").as_bytes());
    Ok(moved)
}

/// Makes the cache mounts that a shared cache has and the store has not.
pub fn import_mounts(
    session: &Session,
    from: &CacheFrom,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Moved, SharedCacheError> {
    let _lease = session.store.lease()?;
    let step = progress.step(format!("importing cache mounts from {from}"));
    let canceled = || cancel.is_cancelled();
    let watch = Watch {
        event: &|_| {},
        canceled: &canceled,
    };
    let remote = RemoteLayers::new(session.client.clone(), progress.clone(), cancel.clone());
    let contents = step.end_with(read(from, &session.client, watch))?;
    let mut moved = Moved::default();
    for mount in &contents.mounts {
        remote.offer_mount(&origin(from, &session.client), mount);
        let restored = remote.restore_mount(&session.store, &mount.name);
        let restored = restored.map_err(|source| SharedCacheError::Fetch(Box::new(source)))?;
        let list = if restored {
            &mut moved.done
        } else {
            &mut moved.left
        };
        list.push(mount.name.clone());
    }
    Ok(moved)
}
