//! The list of a shared cache: results by key, as chains of layers.
//!
//! # Form
//!
//! BuildKit's `application/vnd.buildkit.cacheconfig.v0`, a JSON object:
//!
//! ```text
//! layers[]    blob         digest of the packed layer; absent for a base image's, which is not
//!                          carried: whoever has the key has the image
//!             parent       index of the layer below, less than this one's; -1: none; absent: 0
//!             annotations  mediaType, size, diffID, createdAt (absent: of a base image),
//!                          cooper.layer: what the layer is called by its content
//! records[]   digest       "blake3:…", a solver key
//!             layers[]     layer: index of the topmost layer of the result
//!             cooper.content  the content key that the result also has
//! cooper.mounts[]  RUN cache mounts: name, index and chunks, each digest, size and length
//! cooper      version      of what begins with "cooper."
//! ```
//!
//! A result is named by its topmost layer, the rest follows by `parent`: a list is as long as its
//! graph, however deep the stacks are. BuildKit ignores fields that it does not know, and no key of
//! its own is a BLAKE3 hash, so it reads this and finds nothing. The other way round, a list
//! without any such key is [foreign](Contents::foreign).
//!
//! Keys are hashes and layers are named by digests: of the values of variables, arguments and
//! secrets nothing is in a list.

use std::collections::{HashMap, HashSet};

use cooper_cache::{LayerId, PackedMount, Timestamp};
use cooper_oci::{Descriptor, DiffId, Digest};
use cooper_solver::CacheKey;
use serde::{Deserialize, Serialize};

use crate::build::{Root, RootLayer};
use crate::image::rfc3339;

/// What "cooper." fields mean; a later one is not read.
const VERSION: u32 = 1;

/// How deep a stack of layers may be.
const MAX_DEPTH: usize = 10_000;

/// Comes before the digits of a key.
const KEY: &str = "blake3:";

/// A list as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<WireLayer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) records: Vec<WireRecord>,
    #[serde(
        default,
        rename = "cooper.mounts",
        skip_serializing_if = "Vec::is_empty"
    )]
    mounts: Vec<PackedMount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cooper: Option<Own>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    version: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct WireLayer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<Digest>,
    #[serde(default, skip_serializing_if = "is_zero")]
    parent: i64,
    #[serde(default)]
    annotations: Annotations,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(parent: &i64) -> bool {
    *parent == 0
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    media_type: String,
    #[serde(default, rename = "diffID", skip_serializing_if = "Option::is_none")]
    diff_id: Option<DiffId>,
    #[serde(default)]
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(
        default,
        rename = "cooper.layer",
        skip_serializing_if = "Option::is_none"
    )]
    layer: Option<LayerId>,
}

/// A key and where its result is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireRecord {
    #[serde(default, rename = "layers")]
    pub(super) results: Vec<WireResult>,
    #[serde(default)]
    pub(super) digest: String,
    #[serde(
        default,
        rename = "cooper.content",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) content: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireResult {
    #[serde(rename = "layer")]
    pub(super) layer: usize,
}

/// A result that a cache offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The definition key, or whatever key it was found by.
    pub(crate) key: CacheKey,
    /// The content key, if it is known.
    pub(crate) content: Option<CacheKey>,
    /// The result.
    pub(crate) root: Root,
}

/// How a layer travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cargo {
    /// Digest of its tar.
    pub(crate) diff_id: DiffId,
    /// Its blob; none for a base image's.
    pub(crate) blob: Option<Descriptor>,
}

impl Document {
    /// Writes a list of `offers`, whose layers are all in `cargo`, and of `mounts`.
    pub(crate) fn of(
        offers: &[Offer],
        cargo: &HashMap<LayerId, Cargo>,
        mounts: Vec<PackedMount>,
    ) -> Self {
        let mut document = Self {
            cooper: Some(Own { version: VERSION }),
            mounts,
            ..Self::default()
        };
        let mut places: HashMap<(i64, &RootLayer), usize> = HashMap::new();
        let mut known: HashSet<String> = HashSet::new();
        for offer in offers {
            let mut top = -1;
            for layer in &offer.root.layers {
                let at = *places.entry((top, layer)).or_insert_with(|| {
                    document
                        .layers
                        .push(WireLayer::of(layer, top, &cargo[&layer.id]));
                    document.layers.len() - 1
                });
                top = at as i64;
            }
            // A result without any layer costs nothing to make.
            let Ok(layer) = usize::try_from(top) else {
                continue;
            };
            let records = Self::records(offer, &WireResult { layer });
            let fresh = records.into_iter();
            document
                .records
                .extend(fresh.filter(|record| known.insert(record.digest.clone())));
        }
        document
    }

    /// Returns the list as bytes.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        cooper_oci::json::to_vec(self)
    }

    /// Reads a list and checks its shape.
    pub(super) fn read(bytes: &[u8]) -> Result<Contents, String> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        document.contents()
    }

    fn contents(self) -> Result<Contents, String> {
        if let Some(Own { version }) = self.cooper
            && version > VERSION
        {
            return Err(format!(
                "a later version of cooper wrote it (version {version}, this one reads {VERSION})"
            ));
        }
        let mut layers: Vec<LayerNote> = Vec::with_capacity(self.layers.len());
        for (at, layer) in self.layers.into_iter().enumerate() {
            layers.push(layer.note(at, &layers)?);
        }
        let mut contents = Contents::of(layers, &self.records)?;
        contents.mounts = self.mounts;
        Ok(contents)
    }

    /// Returns the records of an offer whose result is `result`.
    pub(super) fn records(offer: &Offer, result: &WireResult) -> Vec<WireRecord> {
        let content = offer.content.filter(|content| *content != offer.key);
        let record = |key: CacheKey, content: Option<CacheKey>| WireRecord {
            results: vec![result.clone()],
            digest: format!("{KEY}{key}"),
            content: content.map(|content| format!("{KEY}{content}")),
        };
        let by_content = content.map(|content| record(content, None));
        [record(offer.key, content)]
            .into_iter()
            .chain(by_content)
            .collect()
    }
}

impl WireLayer {
    fn of(layer: &RootLayer, parent: i64, cargo: &Cargo) -> Self {
        let blob = cargo.blob.as_ref();
        Self {
            blob: blob.map(|blob| blob.digest.clone()),
            parent,
            annotations: Annotations {
                media_type: blob.map(|blob| blob.media_type.clone()).unwrap_or_default(),
                diff_id: Some(cargo.diff_id.clone()),
                size: blob.map_or(0, |blob| blob.size),
                created_at: layer.created.map(rfc3339),
                layer: matches!(layer.id, LayerId::Built(_)).then(|| layer.id.clone()),
            },
        }
    }

    /// Checks the layer at `at`, of which `below` are those before it.
    fn note(self, at: usize, below: &[LayerNote]) -> Result<LayerNote, String> {
        let wrong = |what: &str| format!("layer {at} {what}");
        let parent = match self.parent {
            -1 => None,
            parent => usize::try_from(parent).ok(),
        };
        if (self.parent < -1) || parent.is_some_and(|parent| parent >= at) {
            return Err(wrong("is above one that comes later"));
        }
        let depth = parent.map_or(0, |parent| below[parent].depth) + 1;
        if depth > MAX_DEPTH {
            return Err(wrong("is on top of too many"));
        }
        let Annotations {
            media_type,
            diff_id,
            size,
            created_at,
            layer,
        } = self.annotations;
        let diff_id = diff_id.ok_or_else(|| wrong("has no diff id"))?;
        let blob = self
            .blob
            .map(|digest| Descriptor::new(media_type, digest, size));
        let created = created_at.map(|text| time(&text).ok_or_else(|| wrong("has no time")));
        Ok(LayerNote {
            id: layer.unwrap_or_else(|| LayerId::Pulled(diff_id.clone())),
            diff_id,
            blob,
            parent,
            depth,
            // What other builders write where they know no time.
            created: created.transpose()?.filter(|time| time.secs > YEAR_ONE),
        })
    }
}

/// Go's zero time, in seconds since 1970.
const YEAR_ONE: i64 = -62_135_596_800;

fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let nanos = time.as_nanosecond();
    Some(Timestamp {
        secs: i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?,
        nanos: nanos.rem_euclid(1_000_000_000) as u32,
    })
}

/// A layer that a cache knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerNote {
    /// What it is called.
    pub(crate) id: LayerId,
    /// Digest of its tar.
    pub(crate) diff_id: DiffId,
    /// Its blob; none for a base image's.
    pub(crate) blob: Option<Descriptor>,
    parent: Option<usize>,
    depth: usize,
    created: Option<Timestamp>,
}

/// What a cache offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The layers.
    pub(crate) layers: Vec<LayerNote>,
    /// The cache mounts.
    pub(crate) mounts: Vec<PackedMount>,
    /// Whether it has results, but none of this builder's.
    pub(crate) foreign: bool,
    records: HashMap<CacheKey, Found>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    top: usize,
    content: Option<CacheKey>,
}

impl LayerNote {
    /// Returns the layer at `at` of a stack.
    pub(super) fn above(
        at: usize,
        id: LayerId,
        diff_id: DiffId,
        blob: Descriptor,
        created: Option<Timestamp>,
    ) -> Self {
        Self {
            id,
            diff_id,
            blob: Some(blob),
            parent: at.checked_sub(1),
            depth: at + 1,
            created,
        }
    }
}

impl Contents {
    /// Joins layers, each above an earlier one, and the records that name them.
    pub(super) fn of(layers: Vec<LayerNote>, records: &[WireRecord]) -> Result<Self, String> {
        let mut contents = Self {
            foreign: !records.is_empty(),
            mounts: Vec::new(),
            layers,
            records: HashMap::with_capacity(records.len()),
        };
        records.iter().try_for_each(|record| contents.add(record))?;
        Ok(contents)
    }

    fn add(&mut self, record: &WireRecord) -> Result<(), String> {
        let key = |text: &str| text.strip_prefix(KEY)?.parse::<CacheKey>().ok();
        let (Some(digest), Some(result)) = (key(&record.digest), record.results.first()) else {
            return Ok(());
        };
        if result.layer >= self.layers.len() {
            return Err(format!(
                "the result of {digest} is layer {} of {}",
                result.layer,
                self.layers.len()
            ));
        }
        self.foreign = false;
        let found = Found {
            top: result.layer,
            content: record.content.as_deref().and_then(key),
        };
        self.records.insert(digest, found);
        Ok(())
    }

    /// Returns how many keys are known.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns the result of a key.
    pub(crate) fn offer(&self, key: &CacheKey) -> Option<Offer> {
        let found = self.records.get(key)?;
        let mut layers = Vec::new();
        let mut at = Some(found.top);
        while let Some(note) = at.map(|at| &self.layers[at]) {
            layers.push(RootLayer {
                id: note.id.clone(),
                created: note.created,
            });
            at = note.parent;
        }
        layers.reverse();
        Some(Offer {
            key: *key,
            content: found.content,
            root: Root { layers },
        })
    }

    /// Adds what another part of the same cache offers.
    pub(super) fn join(&mut self, other: Self) {
        let from = self.layers.len();
        self.foreign =
            (self.foreign || other.foreign) && self.records.is_empty() && other.records.is_empty();
        self.layers.extend(other.layers.into_iter().map(|mut note| {
            note.parent = note.parent.map(|parent| parent + from);
            note
        }));
        for (key, mut found) in other.records {
            found.top += from;
            self.records.entry(key).or_insert(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> CacheKey {
        CacheKey::from_bytes([byte; 32])
    }

    fn built(byte: u8) -> LayerId {
        format!("blake3:{}", format!("{byte:02x}").repeat(32))
            .parse()
            .expect("valid")
    }

    fn base() -> LayerId {
        LayerId::Pulled(DiffId(Digest::sha256("base")))
    }

    fn layer(id: LayerId, secs: Option<i64>) -> RootLayer {
        let created = secs.map(|secs| Timestamp { secs, nanos: 5 });
        RootLayer { id, created }
    }

    fn cargo() -> HashMap<LayerId, Cargo> {
        let carried = |byte: u8| {
            let blob = Descriptor::of(cooper_oci::media_type::OCI_LAYER_GZIP, &[byte]);
            let cargo = Cargo {
                diff_id: DiffId(Digest::sha256([byte, byte])),
                blob: Some(blob),
            };
            (built(byte), cargo)
        };
        let base = Cargo {
            diff_id: DiffId(Digest::sha256("base")),
            blob: None,
        };
        let mut cargo: HashMap<_, _> = [carried(1), carried(2)].into();
        cargo.insert(self::base(), base);
        cargo
    }

    fn offer(number: u8, layers: Vec<RootLayer>) -> Offer {
        Offer {
            key: key(number),
            content: Some(key(number + 100)),
            root: Root { layers },
        }
    }

    fn offers() -> Vec<Offer> {
        let below = || layer(base(), None);
        vec![
            offer(1, vec![below(), layer(built(1), Some(-3))]),
            offer(
                2,
                vec![below(), layer(built(1), Some(-3)), layer(built(2), Some(7))],
            ),
            offer(3, vec![layer(built(2), Some(8))]),
            offer(4, Vec::new()),
        ]
    }

    #[test]
    fn what_is_written_is_read_and_stacks_share_their_layers() {
        let document = Document::of(&offers(), &cargo(), Vec::new());
        assert_eq!(document.layers.len(), 4);
        let contents = Document::read(&document.to_json()).expect("readable");
        assert_eq!((contents.len(), contents.foreign), (6, false));
        for offer in &offers()[..3] {
            assert_eq!(contents.offer(&offer.key).as_ref(), Some(offer));
            let content = offer.content.expect("given");
            let found = contents.offer(&content).expect("known");
            assert_eq!(found.root, offer.root);
        }
        assert_eq!(contents.offer(&key(4)), None);
        assert_eq!(contents.layers[0].blob, None);
        assert_eq!(contents.layers[1].blob, cargo()[&built(1)].blob);
    }

    #[test]
    fn the_form_is_pinned() {
        let text = String::from_utf8(Document::of(&offers()[..1], &cargo(), Vec::new()).to_json());
        insta::assert_snapshot!(text.expect("JSON"), @r#"{"layers":[{"parent":-1,"annotations":{"diffID":"sha256:cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2","size":0}},{"blob":"sha256:4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a","annotations":{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","diffID":"sha256:9dcf97a184f32623d11a73124ceb99a5709b083721e878a16d78f596718ba7b2","size":1,"createdAt":"1969-12-31T23:59:57.000000005Z","cooper.layer":"blake3:0101010101010101010101010101010101010101010101010101010101010101"}}],"records":[{"layers":[{"layer":1}],"digest":"blake3:0101010101010101010101010101010101010101010101010101010101010101","cooper.content":"blake3:6565656565656565656565656565656565656565656565656565656565656565"},{"layers":[{"layer":1}],"digest":"blake3:6565656565656565656565656565656565656565656565656565656565656565"}],"cooper":{"version":1}}"#);
    }

    #[test]
    fn a_list_with_a_wrong_shape_is_refused_and_one_without_our_keys_is_foreign() {
        let layer = |parent: i64| {
            format!(
                r#"{{"parent":{parent},"annotations":{{"diffID":"{}"}}}}"#,
                Digest::sha256("x")
            )
        };
        let record = |key: &str, at: usize| {
            format!(
                r#"{{"digest":"{key}","layers":[{{"layer":{at},"createdAt":"2020-01-01T00:00:00Z"}}]}}"#
            )
        };
        let own = format!("blake3:{}", key(1));
        let list = |layers: &[String], records: &[String]| {
            let (layers, records) = (layers.join(","), records.join(","));
            format!(r#"{{"layers":[{layers}],"records":[{records}]}}"#)
        };
        let read = |text: String| Document::read(text.as_bytes());
        for (text, reason) in [
            (
                list(&[layer(0)], &[]),
                "layer 0 is above one that comes later",
            ),
            (
                list(&[layer(-2)], &[]),
                "layer 0 is above one that comes later",
            ),
            (
                list(&[layer(-1), layer(1)], &[]),
                "layer 1 is above one that comes later",
            ),
            (
                list(&["{}".to_owned()], &[]),
                "layer 0 is above one that comes later",
            ),
            (
                list(&[r#"{"parent":-1}"#.to_owned()], &[]),
                "layer 0 has no diff id",
            ),
            (list(&[layer(-1)], &[record(&own, 1)]), "is layer 1 of 1"),
            (
                r#"{"cooper":{"version":9}}"#.to_owned(),
                "a later version of cooper",
            ),
            ("1".to_owned(), "invalid type"),
        ] {
            let error = read(text).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
        let theirs = record(&Digest::sha256("llb").to_string(), 0);
        let foreign = read(list(&[layer(-1)], std::slice::from_ref(&theirs))).expect("readable");
        assert!(foreign.foreign && foreign.len() == 0);
        let mixed = read(list(&[layer(-1)], &[theirs, record(&own, 0)])).expect("readable");
        assert!(!mixed.foreign && mixed.len() == 1);
        assert!(!read("{}".to_owned()).expect("readable").foreign);
    }
}
