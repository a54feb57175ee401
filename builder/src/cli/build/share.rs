//! `--cache-from` and `--cache-to`: caches that machines share.
//!
//! | Written | Means |
//! |---|---|
//! | `NAME` | `type=registry,ref=NAME` |
//! | `type=TYPE[,KEY=VALUE…]` | TYPE is registry, local, s3 or, to write to, inline |
//!
//! What is not said of a bucket is looked for in the environment, as Amazon's own tools do.

use cooper_oci::{Digest, Reference};

use super::super::output::Fields;
use super::super::value::{ValueError, boolean, csv};
use crate::config::Environment;
use crate::options::{BucketPlace, BuildOptions, CacheFrom, CacheMode, CachePlace, CacheTo};
use crate::report::Report;
use crate::shared_cache::Keys;

const TYPES: [&str; 4] = ["registry", "local", "inline", "s3"];

/// What is said of a bucket.
const BUCKET_KEYS: [&str; 11] = [
    "bucket",
    "region",
    "prefix",
    "manifests_prefix",
    "blobs_prefix",
    "endpoint_url",
    "use_path_style",
    "name",
    "access_key_id",
    "secret_access_key",
    "session_token",
];

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
            CacheFrom::Bucket(bucket(&mut fields)?)
        }
        "inline" => {
            return Err(
                ValueError::new("a cache within an image is read by the image's name")
                    .hint("write type=registry,ref=IMAGE"),
            );
        }
        other => return Err(unknown(other)),
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
            CachePlace::Bucket(bucket(&mut fields)?)
        }
        "inline" => {
            fields.only(&kind, &["mode", "ignore-error"])?;
            CachePlace::Inline
        }
        other => return Err(unknown(other)),
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

fn unknown(kind: &str) -> ValueError {
    match kind {
        "gha" => {
            ValueError::new("type=gha is not to be had: GitHub does not document its cache service")
                .hint("use type=registry,ref=ghcr.io/OWNER/NAME, or type=local with actions/cache")
        }
        "azblob" => ValueError::new("type=azblob is not to be had")
            .hint("use type=registry, type=s3, or type=local with a directory that CI keeps"),
        other => ValueError::unknown("type", other, &TYPES),
    }
}

fn needed(fields: &mut Fields, key: &str) -> Result<String, ValueError> {
    let value = fields.take(key).filter(|value| !value.is_empty());
    value.ok_or_else(|| ValueError::new(format!("no {key}")).hint(format!("add {key}=…")))
}

/// Takes out what is said of a bucket.
fn bucket(fields: &mut Fields) -> Result<BucketPlace, ValueError> {
    let usual = BucketPlace::default();
    let mut text = |key: &str| fields.take(key).filter(|value| !value.is_empty());
    let names = text("name").map(|names| names.split(';').map(str::to_owned).collect());
    let keys = match (text("access_key_id"), text("secret_access_key")) {
        (Some(access), Some(secret)) => Some(Keys {
            access,
            secret,
            session: text("session_token"),
        }),
        (None, None) => None,
        _ => {
            return Err(ValueError::new(
                "access_key_id and secret_access_key are given together or not at all",
            ));
        }
    };
    Ok(BucketPlace {
        bucket: text("bucket").unwrap_or_default(),
        region: text("region").unwrap_or_default(),
        prefix: text("prefix").unwrap_or_default(),
        manifests_prefix: text("manifests_prefix").unwrap_or(usual.manifests_prefix),
        blobs_prefix: text("blobs_prefix").unwrap_or(usual.blobs_prefix),
        endpoint: text("endpoint_url"),
        names: names.unwrap_or(usual.names),
        keys,
        path_style: fields.flag("use_path_style")?.unwrap_or(false),
    })
}

/// Looks in the environment for what is not said of a bucket.
pub(in crate::cli) fn complete(
    place: &mut BucketPlace,
    environment: &Environment,
) -> Result<(), Report> {
    let variable = |name: &str| environment.text(name).filter(|value| !value.is_empty());
    if place.bucket.is_empty() {
        place.bucket = variable("AWS_BUCKET").ok_or_else(|| {
            Report::new("a cache in S3 needs the name of a bucket").hint("add bucket=NAME")
        })?;
    }
    if place.region.is_empty() {
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        place.region = region.ok_or_else(|| {
            Report::new("a cache in S3 needs the region of its bucket")
                .hint("add region=NAME (us-east-1 for services that have none), or set AWS_REGION")
        })?;
    }
    if place.endpoint.is_none() {
        let endpoint = variable("AWS_ENDPOINT_URL_S3");
        place.endpoint = endpoint.or_else(|| variable("AWS_ENDPOINT_URL"));
    }
    if place.keys.is_none()
        && let (Some(access), Some(secret)) = (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        )
    {
        place.keys = Some(Keys {
            access,
            secret,
            session: variable("AWS_SESSION_TOKEN"),
        });
    }
    Ok(())
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
        if let CacheFrom::Bucket(place) = from {
            complete(place, environment)?;
        }
    }
    for to in &mut options.cache_to {
        if let CachePlace::Bucket(place) = &mut to.place {
            complete(place, environment)?;
        }
    }
    let read = options.cache_from.iter().filter_map(CacheFrom::insecure);
    let written = options.cache_to.iter().filter_map(|to| match &to.place {
        CachePlace::Registry {
            reference,
            insecure,
        } => insecure.then_some(reference),
        CachePlace::Local { .. } | CachePlace::Bucket(_) | CachePlace::Inline => None,
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
            ("--cache-from", "type=gha"),
            ("--cache-to", "type=inline,mode=max"),
            ("--cache-to", "type=local,dest=d,mode=mid"),
            ("--cache-to", "type=local,dest=d,ignore-errors=true"),
            ("--cache-to", "type=local"),
            ("--cache-to", "type=local,dest=d,compression=brotli"),
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
          hint: add type=TYPE: registry, local, inline, s3
        ERROR: invalid value "type=registry,ref=UPPER" for --cache-from: invalid reference format: repository name (UPPER) must be lowercase
        ERROR: invalid value "type=local,dest=d" for --cache-from: unknown key for type=local: "dest"
          hint: did you mean "digest"?
        ERROR: invalid value "type=local,src=d,digest=x" for --cache-from: invalid digest "x": expected ALGORITHM:HEX, such as sha256:<64 hex digits>
        ERROR: invalid value "type=inline" for --cache-from: a cache within an image is read by the image's name
          hint: write type=registry,ref=IMAGE
        ERROR: invalid value "type=gha" for --cache-from: type=gha is not to be had: GitHub does not document its cache service
          hint: use type=registry,ref=ghcr.io/OWNER/NAME, or type=local with actions/cache
        ERROR: invalid value "type=inline,mode=max" for --cache-to: an image can only tell of its own layers: mode=max has no place
          hint: write the cache to a name of its own: type=registry,ref=NAME,mode=max
        ERROR: invalid value "type=local,dest=d,mode=mid" for --cache-to: unknown mode "mid"
          hint: did you mean "min"?
        ERROR: invalid value "type=local,dest=d,ignore-errors=true" for --cache-to: unknown key for type=local: "ignore-errors"
          hint: did you mean "ignore-error"?
        ERROR: invalid value "type=local" for --cache-to: no dest
          hint: add dest=…
        ERROR: invalid value "type=local,dest=d,compression=brotli" for --cache-to: unknown compression "brotli" (expected uncompressed, gzip or zstd)
        ERROR: invalid value "type=registry,ref=a,oci-mediatypes=false,image-manifest=true" for --cache-to: image-manifest=true needs OCI's media types, but oci-mediatypes is false
        "#);
    }
}
