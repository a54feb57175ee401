//! Images that mean harm: whatever they hold, nothing is written outside of their snapshot, nothing
//! is read that they do not bring along, and what they claim takes neither memory nor disk.
//!
//! Each case is an archive for `cooper load` and, if that takes it, a build whose result is written
//! to a directory; layers are imported, added and copied from as well. Beside it lies a witness that
//! must stay as it is.

use std::fs;
use std::path::{Path, PathBuf};

use cooper_oci::Digest;
use serde_json::{Value, json};

use crate::support::{Context, Cooper, Outcome, need};

/// A tar, header by header; nothing is checked.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: u8, name: &str, link: &str, size: u64, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().expect("a GNU header");
        fields.name[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        fields.typeflag = [kind];
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        if matches!(kind, b'3' | b'4') {
            header.set_device_major(1).expect("fits");
            header.set_device_minor(3).expect("fits");
        }
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(b'0', name, "", data.len() as u64, data)
    }

    fn dir(self, name: &str) -> Self {
        self.entry(b'5', name, "", 0, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, 0, b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, 0, b"")
    }

    /// A pax header for the next entry.
    fn pax(self, key: &str, value: &str) -> Self {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while format!("{length}{rest}").len() != length {
            length += 1;
        }
        let record = format!("{length}{rest}");
        self.entry(b'x', "pax", "", record.len() as u64, record.as_bytes())
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn config(diff_ids: &[String]) -> Value {
    let host = cooper_oci::Platform::host();
    json!({
        "architecture": host.architecture, "os": host.os, "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

fn digest(bytes: &[u8]) -> String {
    Digest::sha256(bytes).to_string()
}

/// An image `hostile` with this only layer.
fn image(layer: &[u8]) -> Vec<u8> {
    let config = config(&[digest(layer)]).to_string();
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": ["hostile:1"], "Layers": ["layer.tar"] }]);
    Tar::default()
        .file("layer.tar", layer)
        .file("config.json", config.as_bytes())
        .file("manifest.json", manifest.to_string().as_bytes())
        .finish()
}

/// A machine with something to lose.
struct Prey {
    cooper: Cooper,
    outside: PathBuf,
}

impl Prey {
    fn new() -> Option<Self> {
        let cooper = Cooper::new()?;
        let outside = cooper.scratch("outside");
        fs::create_dir(&outside).expect("mkdir");
        fs::write(outside.join("witness"), "untouched").expect("write");
        Some(Self { cooper, outside })
    }

    /// The name of the directory outside, as an absolute path.
    fn outside(&self) -> &str {
        self.outside.to_str().expect("text")
    }

    fn load(&self, archive: &[u8]) -> Outcome {
        self.cooper.start(&["load"], archive).finish()
    }

    /// Writes the image's files to a directory.
    fn unpack(&self) -> (Outcome, PathBuf) {
        let dest = self.cooper.scratch("result");
        let _ = fs::remove_dir_all(&dest);
        let output = format!("-otype=local,dest={}", dest.display());
        let outcome = self
            .cooper
            .build(&Context::new("FROM hostile:1\n"), &[output]);
        (outcome, dest)
    }

    /// Imports a tar, adds it to an image, and copies from an image that has it as a layer, out of
    /// the store and out of a layout. Each works or is refused; none does harm.
    fn other_ways_in(&self, layer: &[u8], case: &str) {
        let cooper = &self.cooper;
        let adding = Context::new("FROM scratch\nADD x.tar /in/\n").with("x.tar", layer);
        let copying = Context::new("FROM scratch\nCOPY --from=hostile:1 / /c/\n");
        let foreign = Context::new("FROM scratch\nCOPY --from=other / /c/\n");
        let layout = cooper.scratch("layout");
        let _ = fs::remove_dir_all(&layout);
        fs::create_dir(&layout).expect("mkdir");
        let saved = cooper.scratch("saved.tar");
        let _ = fs::remove_file(&saved);
        let saved = saved.to_str().expect("text");
        if cooper.run(&["save", "-o", saved, "hostile:1"]).code() == 0 {
            let unpacked = std::process::Command::new("tar")
                .args(["-xf", saved, "-C"])
                .arg(&layout)
                .status();
            assert!(unpacked.expect("tar").success(), "{case}");
        }
        let other = format!("--build-context=other=oci-layout://{}:1", layout.display());
        for (way, context, option) in [
            ("add", &adding, "--pull=false"),
            ("copy", &copying, "--pull=false"),
            ("layout", &foreign, other.as_str()),
        ] {
            let dest = cooper.scratch("other-result");
            let _ = fs::remove_dir_all(&dest);
            let output = format!("-otype=local,dest={}", dest.display());
            let outcome = cooper.build(context, &[option, &output]);
            assert!(matches!(outcome.code(), 0 | 1), "{case}, {way}: {outcome}");
            self.is_unharmed(&format!("{case}, {way}"));
        }
        let imported = cooper.start(&["import", "-", "imported"], layer).finish();
        assert!(matches!(imported.code(), 0 | 1), "{case}: {imported}");
        self.is_unharmed(&format!("{case}, import"));
    }

    #[track_caller]
    fn is_unharmed(&self, case: &str) {
        let names: Vec<_> = fs::read_dir(&self.outside)
            .expect("list")
            .flatten()
            .collect();
        assert_eq!(names.len(), 1, "{case}: {names:?}");
        let witness = self.outside.join("witness");
        assert_eq!(fs::read(&witness).expect("read"), b"untouched", "{case}");
        let links = std::os::unix::fs::MetadataExt::nlink(&fs::metadata(&witness).expect("stat"));
        assert_eq!(links, 1, "{case}");
    }
}

/// Below `dir`, what there is, without leading slash.
fn names(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).expect("list").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(dir).expect("below").display().to_string();
            if entry.file_type().expect("a type").is_dir() {
                dirs.push(path);
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn layers_stay_in_their_snapshot() {
    let Some(prey) = Prey::new() else { return };
    let outside = prey.outside();
    let inside = outside.trim_start_matches('/');
    let climb = format!("{}{inside}/owned", "../".repeat(30));
    let owned = format!("{inside}/owned");
    let linked = |target: &str, name: &str| Tar::default().symlink("l", target).file(name, b"x");
    let cases: Vec<(&str, Tar, Vec<&str>)> = vec![
        (
            "a name that climbs",
            Tar::default().pax("path", &climb).file("x", b"x"),
            vec![&owned],
        ),
        (
            "an absolute name",
            Tar::default()
                .pax("path", &format!("{outside}/owned"))
                .file("x", b"x"),
            vec![&owned],
        ),
        (
            "a file below an absolute link",
            Tar::default()
                .pax("linkpath", outside)
                .symlink("l", "x")
                .file("l/owned", b"x"),
            vec!["l", &owned],
        ),
        (
            "a file below a link that climbs",
            linked("../../../../../..", "l/owned"),
            vec!["l", "owned"],
        ),
        (
            "an overwritten link",
            linked("../outside/witness", "l"),
            vec!["l"],
        ),
        (
            "a directory, then a link, then a file below it",
            Tar::default()
                .dir("d")
                .symlink("d", "/etc")
                .file("d/owned", b"x"),
            vec!["d", "etc/owned"],
        ),
        (
            "duplicates of every kind",
            Tar::default()
                .file("a", b"1")
                .dir("a")
                .symlink("a", "/etc")
                .file("a", b"4"),
            vec!["a"],
        ),
        (
            "a link to itself",
            Tar::default().symlink("a", "a"),
            vec!["a"],
        ),
        (
            "links in a circle",
            Tar::default().symlink("a", "b").symlink("b", "a"),
            vec!["a", "b"],
        ),
        (
            "an opaque root",
            Tar::default().file(".wh..wh..opq", b"").file("a", b"x"),
            vec!["a"],
        ),
        (
            "a whiteout of what is not there",
            Tar::default().file(".wh.nothing", b"").file("a", b"x"),
            vec!["a"],
        ),
        (
            "attributes of overlayfs",
            Tar::default()
                .pax("SCHILY.xattr.trusted.overlay.redirect", "/etc")
                .dir("d")
                .pax("SCHILY.xattr.user.overlay.opaque", "y")
                .dir("e")
                .file("a", b"x"),
            vec!["a"],
        ),
    ];
    for (case, layer, mut expected) in cases {
        // Where the names of the witness's directory sort depends on where the project lies.
        expected.sort_unstable();
        let layer = layer.finish();
        prey.load(&image(&layer)).ok();
        let (outcome, dest) = prey.unpack();
        outcome.ok();
        assert_eq!(names(&dest), expected, "{case}");
        prey.is_unharmed(case);
        prey.other_ways_in(&layer, case);
    }
}

#[test]
fn layers_that_cannot_be_are_refused() {
    let Some(prey) = Prey::new() else { return };
    let outside = prey.outside();
    let witness = format!("{outside}/witness");
    let many = |count: usize| "d/".repeat(count) + "f";
    let cases: Vec<(&str, Tar, &str)> = vec![
        (
            "a hard link to a file of this machine",
            Tar::default().pax("linkpath", &witness).hard_link("h", "x"),
            "archive refused",
        ),
        (
            "a hard link through a symbolic one",
            Tar::default()
                .pax("linkpath", outside)
                .symlink("l", "x")
                .hard_link("h", "l/witness"),
            "archive refused",
        ),
        (
            "a file below links in a circle",
            Tar::default()
                .symlink("a", "b")
                .symlink("b", "a")
                .file("a/x", b"x"),
            "255 symbolic links",
        ),
        (
            "a file of eight exabytes",
            Tar::default().entry(b'0', "a", "", u64::MAX >> 1, b"little"),
            "archive refused",
        ),
        (
            "a name of eight gigabytes",
            Tar::default().entry(b'L', "././@LongLink", "", 8 << 30, b"a"),
            "more than a mebibyte",
        ),
        (
            "attributes of eight gigabytes",
            Tar::default().entry(b'x', "pax", "", 8 << 30, b"a"),
            "more than a mebibyte",
        ),
        (
            "a component that is too long",
            Tar::default().pax("path", &"a".repeat(300)).file("x", b"x"),
            "impossible name",
        ),
        (
            "a path that is too deep",
            Tar::default().pax("path", &many(40_000)).file("x", b"x"),
            "impossible name",
        ),
        (
            "a whiteout of nothing",
            Tar::default().file(".wh.", b""),
            "archive refused",
        ),
        (
            "a whiteout of the directory above",
            Tar::default().file("d/.wh...", b""),
            "archive refused",
        ),
        (
            "an unknown kind",
            Tar::default().entry(b'Z', "z", "", 0, b""),
            "archive refused",
        ),
        (
            "a sparse file",
            Tar::default().pax("GNU.sparse.major", "1").file("a", b"x"),
            "sparse files are not supported",
        ),
    ];
    for (case, layer, expected) in cases {
        let layer = layer.finish();
        prey.load(&image(&layer)).ok();
        let (outcome, dest) = prey.unpack();
        assert_eq!(outcome.code(), 1, "{case}: {outcome}");
        assert!(outcome.stderr.contains(expected), "{case}: {outcome}");
        assert!(!dest.exists() || names(&dest).is_empty(), "{case}");
        prey.is_unharmed(case);
        prey.other_ways_in(&layer, case);
    }
}

#[test]
fn devices_are_made_by_root_alone() {
    let Some(prey) = Prey::new() else { return };
    prey.load(&image(
        &Tar::default().entry(b'3', "node", "", 0, b"").finish(),
    ))
    .ok();
    let (outcome, _) = prey.unpack();
    if !need::is_root() {
        assert_ne!(outcome.code(), 0, "{outcome}");
    }
    prey.is_unharmed("a device");
}

/// An OCI layout as a tar: its blobs, and what `index.json` names.
fn layout(blobs: &[&[u8]], index: &Value) -> Vec<u8> {
    let mut tar = Tar::default().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    for blob in blobs {
        tar = tar.file(&format!("blobs/sha256/{}", &digest(blob)[7..]), blob);
    }
    tar.file("index.json", index.to_string().as_bytes())
        .finish()
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": digest(blob), "size": blob.len(),
    })
}

fn index_of(entries: &[Value]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    })
}

/// Indexes of indexes, so deep.
fn nested(depth: usize) -> Vec<u8> {
    let mut blobs: Vec<Vec<u8>> = vec![b"{}".to_vec()];
    for _ in 0..depth {
        let last = blobs.last().expect("one");
        let kind = if blobs.len() == 1 {
            "manifest.v1+json"
        } else {
            "index.v1+json"
        };
        let mut entry = descriptor(kind, last);
        let host = cooper_oci::Platform::host();
        entry["platform"] = json!({ "os": host.os, "architecture": host.architecture });
        blobs.push(index_of(&[entry]).to_string().into_bytes());
    }
    let top = descriptor("index.v1+json", blobs.last().expect("one"));
    let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    layout(&blobs, &index_of(&[top]))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn archives_that_lie_are_refused() {
    let Some(prey) = Prey::new() else { return };
    let layer = Tar::default().file("a", b"x").finish();
    let docker = |manifest: Value, config: &str| {
        Tar::default()
            .file("layer.tar", &layer)
            .file("config.json", config.as_bytes())
            .file("manifest.json", manifest.to_string().as_bytes())
            .finish()
    };
    let one = |config: &str, layers: &[&str]| json!([{ "Config": config, "Layers": layers }]);
    let good = config(&[digest(&layer)]).to_string();
    let manifest = |config: &Value, layers: &[Value]| {
        json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers,
        })
        .to_string()
    };
    let oci = |manifest: &str, blobs: &[&[u8]]| {
        let entry = descriptor("manifest.v1+json", manifest.as_bytes());
        layout(
            &[blobs, &[manifest.as_bytes()]].concat(),
            &index_of(&[entry]),
        )
    };
    let good_config = descriptor("config.v1+json", good.as_bytes());
    let mut longer = descriptor("layer.v1.tar", &layer);
    longer["size"] = json!(layer.len() + 1);
    let absent = descriptor("layer.v1.tar", b"not there");
    let garbage = b"\x1f\x8b\x08 and then nothing sensible".to_vec();
    let image = image(&layer);
    let renamed = Tar::default()
        .file(&format!("blobs/sha256/{}", "a".repeat(64)), b"x")
        .finish();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "it holds no images"),
        ("garbage", garbage, "cannot be read"),
        (
            "a part",
            image[..image.len() / 2 - 700].to_vec(),
            "cannot be read",
        ),
        (
            "attributes of eight gigabytes",
            Tar::default()
                .entry(b'x', "pax", "", 8 << 30, b"a")
                .finish(),
            "more than a mebibyte",
        ),
        (
            "a name of eight gigabytes",
            Tar::default().entry(b'L', "x", "", 8 << 30, b"a").finish(),
            "more than a mebibyte",
        ),
        (
            "a document of a gigabyte",
            Tar::default()
                .entry(b'0', "manifest.json", "", 1 << 30, &vec![b' '; 33 << 20])
                .finish(),
            "larger than",
        ),
        (
            "a layer of this machine",
            docker(one("config.json", &["/etc/passwd"]), &good),
            "lacks /etc/passwd",
        ),
        (
            "a layer that climbs",
            docker(one("config.json", &["../../etc/passwd"]), &good),
            "lacks ../../etc/passwd",
        ),
        (
            "a configuration of this machine",
            docker(one("/etc/passwd", &["layer.tar"]), &good),
            "lacks /etc/passwd",
        ),
        (
            "another layer",
            docker(
                one("config.json", &["layer.tar"]),
                &config(&[digest(b"other")]).to_string(),
            ),
            "is not the one its configuration names",
        ),
        (
            "too few layers",
            docker(one("config.json", &[]), &good),
            "has 1 layers by its configuration, but 0",
        ),
        (
            "no configuration",
            docker(one("config.json", &["layer.tar"]), "[]"),
            "malformed",
        ),
        ("no list of images", docker(json!({}), &good), "malformed"),
        (
            "an impossible name",
            docker(
                json!([{ "Config": "config.json", "RepoTags": ["../x"], "Layers": ["layer.tar"] }]),
                &good,
            ),
            "../x",
        ),
        ("a blob under another's name", renamed, "sha256:"),
        (
            "a layer of another size",
            oci(
                &manifest(&good_config, &[longer]),
                &[&layer, good.as_bytes()],
            ),
            "another size",
        ),
        (
            "a layer that is not there",
            oci(
                &manifest(&good_config, &[absent]),
                &[&layer, good.as_bytes()],
            ),
            "lacks sha256:",
        ),
        (
            "a layer for a configuration",
            oci(
                &manifest(&descriptor("layer.v1.tar", &layer), &[]),
                &[&layer],
            ),
            "malformed",
        ),
        ("a manifest that is none", oci("[]", &[]), "malformed"),
        (
            "links in a circle",
            Tar::default()
                .symlink("layer.tar", "b")
                .symlink("b", "layer.tar")
                .file("config.json", good.as_bytes())
                .file(
                    "manifest.json",
                    one("config.json", &["layer.tar"]).to_string().as_bytes(),
                )
                .finish(),
            "lacks layer.tar",
        ),
        (
            "indexes without end",
            nested(20),
            "nests image indexes more than",
        ),
    ];
    for (case, archive, expected) in cases {
        let outcome = prey.load(&archive);
        assert_eq!(outcome.code(), 1, "{case}: {outcome}");
        assert!(outcome.stderr.contains(expected), "{case}: {outcome}");
        prey.is_unharmed(case);
    }
    let listed = prey.cooper.run(&["images", "-q"]).ok();
    assert_eq!(listed.out(), "", "nothing was loaded");
}
