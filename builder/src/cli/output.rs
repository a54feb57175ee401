//! `-o`: where the result of a build goes.
//!
//! | Written | Means |
//! |---|---|
//! | `-o DIR` | `type=local,dest=DIR` |
//! | `-o -` | `type=tar,dest=-` |
//! | `-o type=tar`, `-o type=oci` | with `dest=-` |
//! | `-o type=TYPE[,KEY=VALUE…]` | TYPE is image, registry, oci, docker, local, tar or cacheonly |

use std::collections::BTreeMap;
use std::path::PathBuf;

use cooper_oci::{Compression, Reference};

use super::annotation;
use super::value::{ValueError, boolean, csv};
use crate::options::{
    Annotation, ArchiveDest, ArchiveOutput, ImageFormat, ImageOutput, LocalMode, Output, Push, Sink,
};

const TYPES: [&str; 7] = [
    "image",
    "registry",
    "oci",
    "docker",
    "local",
    "tar",
    "cacheonly",
];

/// Keys of the types that write an image.
const FORMAT_KEYS: [&str; 6] = [
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "oci-artifact",
    "rewrite-timestamp",
];

/// The key that every type has: what `--source-date-epoch` sets.
const EPOCH: &str = "source-date-epoch";

/// Keys of `image` and `registry`. The last three concern containerd's store, or what images in
/// an index have anyway, and mean nothing here, but scripts set them.
const IMAGE_KEYS: [&str; 8] = [
    "name",
    "push",
    "push-by-digest",
    "registry.insecure",
    "store",
    "unpack",
    "name-canonical",
    "attestation-inline",
];

/// Returns the output that `text` describes.
pub fn parse(text: &str) -> Result<Output, ValueError> {
    if text.is_empty() {
        return Err(ValueError::new("it is empty"));
    }
    if text == "-" {
        return Ok(Output::Tar {
            dest: Sink::Stdout,
            split: None,
        });
    }
    let fields = csv(text)?;
    if let [field] = fields.as_slice()
        && !field.contains('=')
    {
        return Ok(Output::Local {
            dest: PathBuf::from(field),
            mode: LocalMode::Copy,
            split: None,
        });
    }
    Fields::new(&fields)?.output()
}

/// The pairs of one option, taken out one by one; what is left over is unknown.
pub(super) struct Fields {
    values: BTreeMap<String, String>,
}

impl Fields {
    pub(super) fn new(fields: &[String]) -> Result<Self, ValueError> {
        let mut values = BTreeMap::new();
        for field in fields {
            let (key, value) = match field.split_once('=') {
                // Names of annotations have a case.
                Some((key, value)) if key.starts_with("annotation") => {
                    (key.to_owned(), value.to_owned())
                }
                Some((key, value)) => (key.trim().to_ascii_lowercase(), value.to_owned()),
                None if field == "push" => ("push".to_owned(), "true".to_owned()),
                None => {
                    return Err(ValueError::new(format!("{field:?} is no KEY=VALUE pair")));
                }
            };
            if values.insert(key.clone(), value).is_some() {
                return Err(ValueError::new(format!("{key} is given twice")));
            }
        }
        Ok(Self { values })
    }

    fn output(mut self) -> Result<Output, ValueError> {
        let kind = self.take("type").ok_or_else(|| {
            ValueError::new("no type").hint(format!("add type=TYPE: {}", TYPES.join(", ")))
        })?;
        self.check_keys(&kind)?;
        match kind.as_str() {
            "local" => Ok(Output::Local {
                dest: self.directory()?,
                mode: self.mode()?,
                split: self.flag("platform-split")?,
            }),
            "tar" => Ok(Output::Tar {
                dest: self.sink(),
                split: self.flag("platform-split")?,
            }),
            "oci" => Ok(Output::Oci(self.archive()?)),
            "docker" if self.values.contains_key("dest") => Ok(Output::Docker(self.archive()?)),
            "docker" => self.image(None),
            "image" => {
                let push = self.flag("push")?.unwrap_or(false).then(Push::default);
                self.image(push)
            }
            "registry" => self.image(Some(Push::default())),
            _ => Ok(Output::CacheOnly),
        }
    }

    fn check_keys(&mut self, kind: &str) -> Result<(), ValueError> {
        let (own, format): (&[&str], &[&str]) = match kind {
            "local" => (&["dest", "mode", "platform-split"], &[]),
            "tar" => (&["dest", "platform-split"], &[]),
            "cacheonly" => (&[], &[]),
            "oci" | "docker" => (&["dest", "tar", "name"], &FORMAT_KEYS),
            "image" | "registry" => (&IMAGE_KEYS, &FORMAT_KEYS),
            other => return Err(ValueError::unknown("type", other, &TYPES)),
        };
        // Read apart: it concerns the whole build.
        self.values.remove(EPOCH);
        if kind == "docker" {
            self.check_docker_context()?;
        }
        let annotation = |key: &str| !format.is_empty() && key.starts_with("annotation");
        let known = |key: &str| own.contains(&key) || format.contains(&key) || annotation(key);
        match self.values.keys().find(|key| !known(key)) {
            None => Ok(()),
            Some(key) => {
                let what = format!("key for type={kind}:");
                Err(ValueError::unknown(&what, key, &[own, format].concat()))
            }
        }
    }

    /// The default context is docker's word for this machine.
    fn check_docker_context(&mut self) -> Result<(), ValueError> {
        match self.take("context").as_deref() {
            None | Some("" | "default") => Ok(()),
            Some(other) => {
                let problem =
                    format!("there is no docker context {other:?} to load the image into");
                Err(ValueError::new(problem).hint(format!(
                    "leave context out; dest=- writes what `docker --context {other} load` reads"
                )))
            }
        }
    }

    /// Refuses keys that are not among `known`.
    pub(super) fn only(&self, kind: &str, known: &[&str]) -> Result<(), ValueError> {
        match self
            .values
            .keys()
            .find(|key| !known.contains(&key.as_str()))
        {
            None => Ok(()),
            Some(key) => {
                let what = format!("key for type={kind}:");
                Err(ValueError::unknown(&what, key, known))
            }
        }
    }

    /// Takes a value out.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    /// Takes a truth value out.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, ValueError> {
        self.take(key).map(|value| boolean(key, &value)).transpose()
    }

    fn dest(&mut self) -> Result<String, ValueError> {
        self.take("dest")
            .filter(|dest| !dest.is_empty())
            .ok_or_else(|| ValueError::new("no destination").hint("add dest=PATH"))
    }

    fn directory(&mut self) -> Result<PathBuf, ValueError> {
        let dest = self.dest()?;
        if dest == "-" {
            return Err(
                ValueError::new("a directory cannot go to stdout").hint("use type=tar,dest=-")
            );
        }
        Ok(dest.into())
    }

    fn sink(&mut self) -> Sink {
        match self.take("dest") {
            None => Sink::Stdout,
            Some(dest) if dest.is_empty() || dest == "-" => Sink::Stdout,
            Some(dest) => Sink::File(dest.into()),
        }
    }

    fn archive(&mut self) -> Result<ArchiveOutput, ValueError> {
        let dest = if self.flag("tar")?.unwrap_or(true) {
            ArchiveDest::Tar(self.sink())
        } else {
            ArchiveDest::Directory(self.directory()?)
        };
        Ok(ArchiveOutput {
            dest,
            names: self.names()?,
            format: self.format()?,
        })
    }

    fn image(&mut self, push: Option<Push>) -> Result<Output, ValueError> {
        let by_digest = self.flag("push-by-digest")?.unwrap_or(false);
        let insecure = self.flag("registry.insecure")?.unwrap_or(false);
        // `type=registry,push=false` is written by tools that toggle the push.
        let push = match self.flag("push")? {
            Some(false) => None,
            Some(true) => Some(push.unwrap_or_default()),
            None => push,
        };
        for key in ["unpack", "name-canonical", "attestation-inline"] {
            self.flag(key)?;
        }
        let store = self.flag("store")?.unwrap_or(true);
        let push = push.map(|_| Push {
            by_digest,
            insecure,
        });
        let (names, format) = (self.names()?, self.format()?);
        Ok(Output::Image(ImageOutput {
            names,
            store,
            push,
            format,
        }))
    }

    fn mode(&mut self) -> Result<LocalMode, ValueError> {
        match self.take("mode").as_deref() {
            None | Some("copy") => Ok(LocalMode::Copy),
            Some("delete") => Ok(LocalMode::Delete),
            Some(other) => Err(ValueError::unknown("mode", other, &["copy", "delete"])),
        }
    }

    fn names(&mut self) -> Result<Vec<Reference>, ValueError> {
        let names = self.take("name").unwrap_or_default();
        names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(|name| image_name(name.trim()))
            .collect()
    }

    fn format(&mut self) -> Result<ImageFormat, ValueError> {
        let mut format = self.packing()?;
        format.rewrite_timestamp = self.flag("rewrite-timestamp")?.unwrap_or(false);
        format.artifacts = self.flag("oci-artifact")?.unwrap_or(false);
        format.annotations = self.annotations()?;
        Ok(format)
    }

    /// Takes out how layers are packed.
    pub(super) fn packing(&mut self) -> Result<ImageFormat, ValueError> {
        let named = self.take("compression");
        let chunked = named.as_deref() == Some(ESTARGZ);
        let compression = named.map(|name| compression(&name)).transpose()?;
        let level = self.take("compression-level");
        let level = level.map(|level| compression_level(&level, compression));
        Ok(ImageFormat {
            compression,
            chunked,
            level: level.transpose()?,
            force: self.flag("force-compression")?.unwrap_or(false),
            // The digest of the index of chunks is an annotation, which only OCI's documents have.
            oci_media_types: self
                .flag("oci-mediatypes")?
                .filter(|_| !chunked)
                .or(chunked.then_some(true)),
            ..ImageFormat::default()
        })
    }

    fn annotations(&mut self) -> Result<Vec<Annotation>, ValueError> {
        let pairs = std::mem::take(&mut self.values).into_iter();
        pairs
            .map(|(key, value)| {
                let unknown = || ValueError::unknown("key", &key, &["annotation.NAME"]);
                annotation::output_key(&key, &value).ok_or_else(unknown)?
            })
            .collect()
    }
}

/// The compression that is gzip in chunks.
const ESTARGZ: &str = "estargz";

fn compression(name: &str) -> Result<Compression, ValueError> {
    if name == ESTARGZ {
        return Ok(Compression::Gzip);
    }
    name.parse::<Compression>()
        .map_err(|error| ValueError::new(error.to_string()))
}

/// Returns the source date epoch that an output asks for.
pub fn epoch(text: &str) -> Result<Option<i64>, ValueError> {
    let fields = csv(text)?;
    let mut pairs = fields.iter().filter_map(|field| field.split_once('='));
    let given = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(EPOCH));
    given
        .map(|(_, value)| {
            value
                .parse()
                .map_err(|_| ValueError::new(format!("{EPOCH} {value:?} is no number of seconds")))
        })
        .transpose()
}

/// Returns the name that an image is to have; its tag is `latest` unless given.
pub fn image_name(text: &str) -> Result<Reference, ValueError> {
    let reference: Reference = text
        .parse()
        .map_err(|error: cooper_oci::ReferenceError| ValueError::new(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(ValueError::new(
            "an image cannot be given a name with a digest",
        ));
    }
    Ok(reference.with_default_tag())
}

/// Parses a level of a compressor, of gzip's where none is named.
fn compression_level(text: &str, compression: Option<Compression>) -> Result<i32, ValueError> {
    let number = |_| ValueError::new(format!("compression-level {text:?} is no number"));
    let level: i32 = text.parse().map_err(number)?;
    let (name, most) = match compression {
        Some(Compression::Zstd) => ("zstd", 22),
        // More than zlib has: what packs knows slower ones.
        Some(Compression::Gzip) | None => ("gzip", 12),
        Some(Compression::None) => return Ok(level),
    };
    if (0..=most).contains(&level) {
        return Ok(level);
    }
    let message = format!("{name} has no compression-level {level}");
    Err(ValueError::new(message).hint(format!("use 0 to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Reference {
        text.parse::<Reference>().expect("valid").with_default_tag()
    }

    fn local(dest: &str) -> Output {
        Output::Local {
            dest: dest.into(),
            mode: LocalMode::Copy,
            split: None,
        }
    }

    fn tar(dest: Sink) -> Output {
        Output::Tar { dest, split: None }
    }

    #[test]
    fn every_type_takes_a_source_date_epoch() {
        for kind in [
            "image",
            "oci,dest=x",
            "docker,dest=x",
            "local,dest=x",
            "tar,dest=x",
        ] {
            let text = format!("type={kind},source-date-epoch=7");
            parse(&text).expect(&text);
            assert_eq!(epoch(&text), Ok(Some(7)), "{text}");
        }
        assert_eq!(epoch("type=oci,dest=x"), Ok(None));
        assert!(epoch("type=image,source-date-epoch=now").is_err());
    }

    fn archive(dest: ArchiveDest) -> ArchiveOutput {
        ArchiveOutput {
            dest,
            names: Vec::new(),
            format: ImageFormat::default(),
        }
    }

    fn image(push: Option<Push>) -> ImageOutput {
        ImageOutput {
            store: true,
            push,
            ..ImageOutput::default()
        }
    }

    #[test]
    fn outputs_are_written_as_buildx_takes_them() {
        let file = |path: &str| Sink::File(path.into());
        let pushed = Some(Push::default());
        let names = vec![name("a"), name("r.example/b:1")];
        let cases = [
            ("out", local("out")),
            (".", local(".")),
            ("-", tar(Sink::Stdout)),
            ("type=local,dest=out", local("out")),
            (
                "type=local,dest=out,platform-split=false",
                Output::Local {
                    dest: "out".into(),
                    mode: LocalMode::Copy,
                    split: Some(false),
                },
            ),
            (
                "type=tar,dest=-,platform-split=1",
                Output::Tar {
                    dest: Sink::Stdout,
                    split: Some(true),
                },
            ),
            ("type=tar", tar(Sink::Stdout)),
            ("type=tar,dest=x.tar", tar(file("x.tar"))),
            (
                "type=oci,dest=a.tar",
                Output::Oci(archive(ArchiveDest::Tar(file("a.tar")))),
            ),
            (
                "type=oci,dest=",
                Output::Oci(archive(ArchiveDest::Tar(Sink::Stdout))),
            ),
            (
                "type=oci,tar=false,dest=d",
                Output::Oci(archive(ArchiveDest::Directory("d".into()))),
            ),
            (
                "type=docker,dest=a.tar",
                Output::Docker(archive(ArchiveDest::Tar(file("a.tar")))),
            ),
            ("type=docker", Output::Image(image(None))),
            ("type=image", Output::Image(image(None))),
            ("type=image,push=true", Output::Image(image(pushed))),
            ("type=image,push", Output::Image(image(pushed))),
            ("type=registry", Output::Image(image(pushed))),
            ("type=registry,push=false", Output::Image(image(None))),
            (
                "type=registry,push-by-digest=true,registry.insecure=true",
                Output::Image(image(Some(Push {
                    by_digest: true,
                    insecure: true,
                }))),
            ),
            (
                "type=image,\"name=a,r.example/b:1\"",
                Output::Image(ImageOutput {
                    names,
                    ..image(None)
                }),
            ),
            (
                "type=local,dest=out,mode=delete",
                Output::Local {
                    dest: "out".into(),
                    mode: LocalMode::Delete,
                    split: None,
                },
            ),
            (
                "type=image,store=false,unpack=true,name-canonical=1,attestation-inline=true",
                Output::Image(ImageOutput {
                    store: false,
                    ..image(None)
                }),
            ),
            ("type=cacheonly", Output::CacheOnly),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn images_are_written_in_the_format_that_is_given() {
        let format = ImageFormat {
            compression: Some(Compression::Zstd),
            chunked: false,
            level: Some(19),
            force: true,
            oci_media_types: Some(false),
            artifacts: true,
            rewrite_timestamp: true,
            annotations: annotation::option("a.B=c").expect("valid"),
        };
        let zstd = "type=oci,dest=a.tar,compression=zstd,compression-level=19,force-compression=1,\
                    oci-mediatypes=false,oci-artifact=true,rewrite-timestamp=true,annotation.a.B=c";
        let expected = Output::Oci(ArchiveOutput {
            format,
            ..archive(ArchiveDest::Tar(Sink::File("a.tar".into())))
        });
        assert_eq!(parse(zstd), Ok(expected));
    }

    #[test]
    fn what_is_wrong_with_an_output_is_said() {
        let texts = [
            "",
            "dest=x",
            "type=local",
            "type=oci,tar=false",
            "type=docker,context=away",
            "type=local,dest=-",
            "type=oic,dest=x",
            "type=oci,dst=x",
            "type=oci,dest=x,compresion=zstd",
            "type=oci,dest=x,compression=lzma",
            "type=oci,dest=x,compression-level=13",
            "type=oci,dest=x,compression=zstd,compression-level=-1",
            "type=oci,dest=x,compression-level=best",
            "type=local,dest=x,mode=move",
            "type=oci,dest=x,tar=maybe",
            "type=oci,dest=x,dest=y",
            "type=oci,x",
            "type=image,name=A",
            "type=tar,dest=x,compression=gzip",
        ];
        let reports: String = texts
            .into_iter()
            .map(|text| {
                parse(text)
                    .expect_err(text)
                    .report("--output", text)
                    .render(false)
            })
            .collect();
        insta::assert_snapshot!(reports, @r#"
        ERROR: invalid value "" for --output: it is empty
        ERROR: invalid value "dest=x" for --output: no type
          hint: add type=TYPE: image, registry, oci, docker, local, tar, cacheonly
        ERROR: invalid value "type=local" for --output: no destination
          hint: add dest=PATH
        ERROR: invalid value "type=oci,tar=false" for --output: no destination
          hint: add dest=PATH
        ERROR: invalid value "type=docker,context=away" for --output: there is no docker context "away" to load the image into
          hint: leave context out; dest=- writes what `docker --context away load` reads
        ERROR: invalid value "type=local,dest=-" for --output: a directory cannot go to stdout
          hint: use type=tar,dest=-
        ERROR: invalid value "type=oic,dest=x" for --output: unknown type "oic"
          hint: did you mean "oci"?
        ERROR: invalid value "type=oci,dst=x" for --output: unknown key for type=oci: "dst"
          hint: did you mean "dest"?
        ERROR: invalid value "type=oci,dest=x,compresion=zstd" for --output: unknown key for type=oci: "compresion"
          hint: did you mean "compression"?
        ERROR: invalid value "type=oci,dest=x,compression=lzma" for --output: unknown compression "lzma" (expected uncompressed, gzip or zstd)
        ERROR: invalid value "type=oci,dest=x,compression-level=13" for --output: gzip has no compression-level 13
          hint: use 0 to 12
        ERROR: invalid value "type=oci,dest=x,compression=zstd,compression-level=-1" for --output: zstd has no compression-level -1
          hint: use 0 to 22
        ERROR: invalid value "type=oci,dest=x,compression-level=best" for --output: compression-level "best" is no number
        ERROR: invalid value "type=local,dest=x,mode=move" for --output: unknown mode "move"
          hint: known are copy, delete
        ERROR: invalid value "type=oci,dest=x,tar=maybe" for --output: tar is neither true nor false: "maybe"
        ERROR: invalid value "type=oci,dest=x,dest=y" for --output: dest is given twice
        ERROR: invalid value "type=oci,x" for --output: "x" is no KEY=VALUE pair
        ERROR: invalid value "type=image,name=A" for --output: invalid reference format: repository name (A) must be lowercase
        ERROR: invalid value "type=tar,dest=x,compression=gzip" for --output: unknown key for type=tar: "compression"
          hint: known are dest, platform-split
        "#);
    }
}
