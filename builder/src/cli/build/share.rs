//! `--cache-from` and `--cache-to`: caches that machines share.
//!
//! | Written | Means |
//! |---|---|
//! | `NAME` | `type=registry,ref=NAME` |
//! | `type=TYPE[,KEY=VALUE…]` | TYPE is registry, local, s3, azblob, gha or, to write to, inline |

use cooper_oci::{Digest, Reference};

use super::super::output::Fields;
use super::super::value::{ValueError, boolean, csv};
use super::service::{
    ACTIONS_KEYS, BUCKET_KEYS, CONTAINER_KEYS, actions, bucket, complete, container,
};
use crate::config::Environment;
use crate::options::{BuildOptions, CacheFrom, CacheMode, CachePlace, CacheTo, ServicePlace};
use crate::report::Report;

const TYPES: [&str; 6] = ["registry", "local", "inline", "s3", "azblob", "gha"];

/// What the tag of a cache in a directory is if none is given.
const TAG: &str = "latest";

/// How a cache is written, wherever it is.
const FORMAT_KEYS: [&str; 9] = [
    "mode",
    "mounts",
    "image-manifest",
    "oci-mediatypes",
    "compression",
    "compression-level",
    "force-compression",
    "ignore-error",
    "type",
];

/// Returns the caches that one `--cache-from` names.
pub(in crate::cli) fn from(text: &str) -> Result<Vec<CacheFrom>, ValueError> {
    let fields = csv(text)?;
    if fields.iter().all(|field| !field.contains('=')) {
        let names = fields.iter().map(|name| {
            Ok(CacheFrom::Registry {
                reference: reference(name)?,
                insecure: false,
            })
        });
        return names.collect();
    }
    let mut fields = Fields::new(&fields)?;
    let kind = kind(&mut fields)?;
    let from = match kind.as_str() {
        "registry" => {
            fields.only(&kind, &["ref", "registry.insecure"])?;
            CacheFrom::Registry {
                reference: reference(&needed(&mut fields, "ref")?)?,
                insecure: fields.flag("registry.insecure")?.unwrap_or(false),
            }
        }
        "local" => {
            fields.only(&kind, &["src", "tag", "digest"])?;
            let digest = fields.take("digest").map(|digest| {
                let parsed = digest.parse::<Digest>();
                parsed.map_err(|error| ValueError::new(error.to_string()))
            });
            let tag = fields.take("tag");
            CacheFrom::Local {
                dir: needed(&mut fields, "src")?.into(),
                wanted: match digest.transpose()? {
                    Some(digest) => digest.to_string(),
                    None => tag.unwrap_or_else(|| TAG.to_owned()),
                },
            }
        }
        "s3" => {
            fields.only(&kind, &BUCKET_KEYS)?;
            CacheFrom::Service(ServicePlace::Bucket(bucket(&mut fields)?))
        }
        "azblob" => {
            fields.only(&kind, &CONTAINER_KEYS)?;
            CacheFrom::Service(ServicePlace::Container(container(&mut fields)?))
        }
        "gha" => {
            fields.only(&kind, &ACTIONS_KEYS)?;
            CacheFrom::Service(ServicePlace::Actions(actions(&mut fields)?))
        }
        "inline" => {
            return Err(
                ValueError::new("a cache within an image is read by the image's name")
                    .hint("write type=registry,ref=IMAGE"),
            );
        }
        other => return Err(ValueError::unknown("type", other, &TYPES)),
    };
    Ok(vec![from])
}

/// Returns the caches that one `--cache-to` names.
pub(in crate::cli) fn to(text: &str) -> Result<Vec<CacheTo>, ValueError> {
    let fields = csv(text)?;
    if fields.iter().all(|field| !field.contains('=')) {
        let names = fields.iter().map(|name| {
            let place = CachePlace::Registry {
                reference: reference(name)?,
                insecure: false,
            };
            Ok(CacheTo {
                place,
                ..CacheTo::inline()
            })
        });
        return names.collect();
    }
    let mut fields = Fields::new(&fields)?;
    let kind = kind(&mut fields)?;
    let place = match kind.as_str() {
        "registry" => {
            fields.only(
                &kind,
                &[&FORMAT_KEYS[..], &["ref", "registry.insecure"]].concat(),
            )?;
            CachePlace::Registry {
                reference: reference(&needed(&mut fields, "ref")?)?,
                insecure: fields.flag("registry.insecure")?.unwrap_or(false),
            }
        }
        "local" => {
            fields.only(
                &kind,
                &[&FORMAT_KEYS[..], &["dest", "tag", "reset"]].concat(),
            )?;
            CachePlace::Local {
                dir: needed(&mut fields, "dest")?.into(),
                tag: fields.take("tag").unwrap_or_else(|| TAG.to_owned()),
                reset: fields.flag("reset")?.unwrap_or(false),
            }
        }
        "s3" => {
            fields.only(&kind, &[&FORMAT_KEYS[..], &BUCKET_KEYS].concat())?;
            CachePlace::Service(ServicePlace::Bucket(bucket(&mut fields)?))
        }
        "azblob" => {
            fields.only(&kind, &[&FORMAT_KEYS[..], &CONTAINER_KEYS].concat())?;
            CachePlace::Service(ServicePlace::Container(container(&mut fields)?))
        }
        "gha" => {
            fields.only(&kind, &[&FORMAT_KEYS[..], &ACTIONS_KEYS].concat())?;
            CachePlace::Service(ServicePlace::Actions(actions(&mut fields)?))
        }
        "inline" => {
            fields.only(&kind, &["mode", "ignore-error"])?;
            CachePlace::Inline
        }
        other => return Err(ValueError::unknown("type", other, &TYPES)),
    };
    let mode = mode(&mut fields)?;
    if place == CachePlace::Inline && mode == CacheMode::Max {
        return Err(ValueError::new(
            "an image can only tell of its own layers: mode=max has no place",
        )
        .hint("write the cache to a name of its own: type=registry,ref=NAME,mode=max"));
    }
    let ignore_error = fields.flag("ignore-error")?.unwrap_or(false);
    let mounts = fields.flag("mounts")?.unwrap_or(false);
    let image_manifest = fields.flag("image-manifest")?;
    let format = fields.packing()?;
    if format.chunked {
        return Err(ValueError::new("a cache holds no estargz layers")
            .hint("gzip and zstd are smaller; estargz is for images that are pulled lazily"));
    }
    if format.oci_media_types == Some(false) && image_manifest == Some(true) {
        return Err(ValueError::new(
            "image-manifest=true needs OCI's media types, but oci-mediatypes is false",
        ));
    }
    Ok(vec![CacheTo {
        place,
        mode,
        format,
        image_manifest: image_manifest.unwrap_or(true),
        mounts,
        ignore_error,
    }])
}

fn kind(fields: &mut Fields) -> Result<String, ValueError> {
    fields.take("type").ok_or_else(|| {
        ValueError::new("no type").hint(format!("add type=TYPE: {}", TYPES.join(", ")))
    })
}

fn needed(fields: &mut Fields, key: &str) -> Result<String, ValueError> {
    let value = fields.take(key).filter(|value| !value.is_empty());
    value.ok_or_else(|| ValueError::new(format!("no {key}")).hint(format!("add {key}=…")))
}

fn mode(fields: &mut Fields) -> Result<CacheMode, ValueError> {
    match fields.take("mode").as_deref() {
        None | Some("min") => Ok(CacheMode::Min),
        Some("max") => Ok(CacheMode::Max),
        Some(other) => Err(ValueError::unknown("mode", other, &["min", "max"])),
    }
}

fn reference(text: &str) -> Result<Reference, ValueError> {
    let parsed = text.trim().parse::<Reference>();
    let reference = parsed.map_err(|error| ValueError::new(error.to_string()))?;
    Ok(reference.with_default_tag())
}

/// Takes `BUILDKIT_INLINE_CACHE=1` for `--cache-to type=inline`, and lets caches with
/// `registry.insecure` be reached without a certificate.
pub(super) fn settle(options: &mut BuildOptions, environment: &Environment) -> Result<(), Report> {
    const INLINE: &str = "BUILDKIT_INLINE_CACHE";
    if let Some(value) = options.build_args.get(INLINE) {
        let wanted = boolean(INLINE, value).map_err(|error| error.report("--build-arg", value))?;
        let inline = CacheTo::inline();
        if wanted && !options.cache_to.contains(&inline) {
            options.cache_to.push(inline);
        }
    }
    for from in &mut options.cache_from {
        if let CacheFrom::Service(place) = from {
            complete(place, environment)?;
        }
    }
    for to in &mut options.cache_to {
        if let CachePlace::Service(place) = &mut to.place {
            complete(place, environment)?;
        }
    }
    let read = options.cache_from.iter().filter_map(CacheFrom::insecure);
    let written = options.cache_to.iter().filter_map(|to| match &to.place {
        CachePlace::Registry {
            reference,
            insecure,
        } => insecure.then_some(reference),
        CachePlace::Local { .. } | CachePlace::Service(_) | CachePlace::Inline => None,
    });
    let hosts: Vec<String> = read
        .chain(written)
        .map(|reference| reference.domain().to_owned())
        .collect();
    options.registry.insecure.extend(hosts);
    Ok(())
}

#[cfg(test)]
mod tests {
    use cooper_oci::Compression;

    use super::*;
    use crate::options::ImageFormat;

    fn name(text: &str) -> Reference {
        text.parse::<Reference>().expect("valid").with_default_tag()
    }

    fn registry(text: &str, insecure: bool) -> CacheFrom {
        CacheFrom::Registry {
            reference: name(text),
            insecure,
        }
    }

    fn local(dir: &str, wanted: &str) -> CacheFrom {
        CacheFrom::Local {
            dir: dir.into(),
            wanted: wanted.to_owned(),
        }
    }

    #[test]
    fn caches_to_read_are_written_as_docker_takes_them() {
        let digest = Digest::sha256("x").to_string();
        for (text, expected) in [
            ("a/b:c".to_owned(), vec![registry("a/b:c", false)]),
            (
                "a,b:1".to_owned(),
                vec![registry("a", false), registry("b:1", false)],
            ),
            (
                "type=registry,ref=r.example/a".to_owned(),
                vec![registry("r.example/a", false)],
            ),
            (
                "type=registry,ref=a:1,registry.insecure=true".to_owned(),
                vec![registry("a:1", true)],
            ),
            ("type=local,src=d".to_owned(), vec![local("d", "latest")]),
            ("type=local,src=d,tag=t".to_owned(), vec![local("d", "t")]),
            (
                format!("type=local,src=d,tag=t,digest={digest}"),
                vec![local("d", &digest)],
            ),
        ] {
            assert_eq!(from(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn caches_to_write_are_written_as_docker_takes_them() {
        let to_registry = |insecure| CachePlace::Registry {
            reference: name("a:1"),
            insecure,
        };
        let place = |place| CacheTo {
            place,
            ..CacheTo::inline()
        };
        let full = CacheTo {
            place: to_registry(true),
            mode: CacheMode::Max,
            format: ImageFormat {
                compression: Some(Compression::Zstd),
                level: Some(9),
                force: true,
                oci_media_types: Some(true),
                ..ImageFormat::default()
            },
            image_manifest: false,
            mounts: true,
            ignore_error: true,
        };
        for (text, expected) in [
            ("a:1", place(to_registry(false))),
            ("type=inline", CacheTo::inline()),
            ("type=inline,mode=min", CacheTo::inline()),
            (
                "type=local,dest=d,tag=t,reset=1",
                place(CachePlace::Local {
                    dir: "d".into(),
                    tag: "t".to_owned(),
                    reset: true,
                }),
            ),
            (
                "type=registry,ref=a:1,mode=max,image-manifest=false,oci-mediatypes=true,\
                 compression=zstd,compression-level=9,force-compression=true,ignore-error=true,\
                 registry.insecure=true,mounts=true",
                full,
            ),
        ] {
            assert_eq!(to(text), Ok(vec![expected]), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_cache_is_said() {
        let said = |option: &str, text: &str| {
            let error = match option {
                "--cache-from" => from(text).map(drop),
                _ => to(text).map(drop),
            };
            error.expect_err(text).report(option, text).render(false)
        };
        let lines = [
            ("--cache-from", "type=regisrty,ref=a"),
            ("--cache-from", "type=registry"),
            ("--cache-from", "ref=a"),
            ("--cache-from", "type=registry,ref=UPPER"),
            ("--cache-from", "type=local,dest=d"),
            ("--cache-from", "type=local,src=d,digest=x"),
            ("--cache-from", "type=inline"),
            ("--cache-from", "type=gha,version=3"),
            ("--cache-from", "type=gha,mode=max"),
            ("--cache-to", "type=gha,repository=o/n"),
            ("--cache-to", "type=gha,token=t0k3n,timeout=soon"),
            ("--cache-to", "type=s3,part_size=some"),
            ("--cache-to", "type=inline,mode=max"),
            ("--cache-to", "type=local,dest=d,mode=mid"),
            ("--cache-to", "type=local,dest=d,ignore-errors=true"),
            ("--cache-to", "type=local"),
            ("--cache-to", "type=local,dest=d,compression=brotli"),
            ("--cache-to", "type=local,dest=d,compression=estargz"),
            (
                "--cache-to",
                "type=registry,ref=a,oci-mediatypes=false,image-manifest=true",
            ),
        ];
        let text: String = lines.map(|(option, text)| said(option, text)).join("");
        insta::assert_snapshot!(text, @r#"
        ERROR: invalid value "type=regisrty,ref=a" for --cache-from: unknown type "regisrty"
          hint: did you mean "registry"?
        ERROR: invalid value "type=registry" for --cache-from: no ref
          hint: add ref=…
        ERROR: invalid value "ref=a" for --cache-from: no type
          hint: add type=TYPE: registry, local, inline, s3, azblob, gha
        ERROR: invalid value "type=registry,ref=UPPER" for --cache-from: invalid reference format: repository name (UPPER) must be lowercase
        ERROR: invalid value "type=local,dest=d" for --cache-from: unknown key for type=local: "dest"
          hint: did you mean "digest"?
        ERROR: invalid value "type=local,src=d,digest=x" for --cache-from: invalid digest "x": expected ALGORITHM:HEX, such as sha256:<64 hex digits>
        ERROR: invalid value "type=inline" for --cache-from: a cache within an image is read by the image's name
          hint: write type=registry,ref=IMAGE
        ERROR: invalid value "type=gha,version=3" for --cache-from: unknown version "3"
          hint: did you mean "1"?
        ERROR: invalid value "type=gha,mode=max" for --cache-from: unknown key for type=gha: "mode"
          hint: known are scope, url, url_v2, token, version, timeout, repository, ghtoken, part_size
        ERROR: invalid value "type=gha,repository=o/n" for --cache-to: repository and ghtoken are given together or not at all
        ERROR: invalid value "type=gha,token=…,timeout=soon" for --cache-to: not a duration
          hint: write a number and a unit, such as 30s or 24h
        ERROR: invalid value "type=s3,part_size=some" for --cache-to: part_size "some" is no size
          hint: write bytes, or 64m
        ERROR: invalid value "type=inline,mode=max" for --cache-to: an image can only tell of its own layers: mode=max has no place
          hint: write the cache to a name of its own: type=registry,ref=NAME,mode=max
        ERROR: invalid value "type=local,dest=d,mode=mid" for --cache-to: unknown mode "mid"
          hint: did you mean "min"?
        ERROR: invalid value "type=local,dest=d,ignore-errors=true" for --cache-to: unknown key for type=local: "ignore-errors"
          hint: did you mean "ignore-error"?
        ERROR: invalid value "type=local" for --cache-to: no dest
          hint: add dest=…
        ERROR: invalid value "type=local,dest=d,compression=brotli" for --cache-to: unknown compression "brotli" (expected uncompressed, gzip or zstd)
        ERROR: invalid value "type=local,dest=d,compression=estargz" for --cache-to: a cache holds no estargz layers
          hint: gzip and zstd are smaller; estargz is for images that are pulled lazily
        ERROR: invalid value "type=registry,ref=a,oci-mediatypes=false,image-manifest=true" for --cache-to: image-manifest=true needs OCI's media types, but oci-mediatypes is false
        "#);
    }
}
