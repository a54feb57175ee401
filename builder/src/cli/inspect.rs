//! `cooper inspect`: everything about containers and images, in docker's JSON shape.

use clap::{Args, ValueEnum};
use cooper_cache::{Driver, ImageRecord, PlatformImage, StoreError};
use cooper_oci::{ImageConfig, Platform, Reference};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Settings;
use super::container::{describe_connected, failed};
use super::human;
use super::json::indented;
use super::session::Session;
use super::template::{Template, TemplateError};
use crate::container::record::written;
use crate::container::{ContainerError, Containers, Volumes};
use crate::image::image_size;
use crate::network::{NetworkError, Networks};
use crate::report::{Report, print_data};

/// Options of `cooper inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// Containers and images, by name or ID
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,

    /// Look only for a container, or only for an image
    #[arg(long = "type", value_name = "KIND")]
    pub kind: Option<Kind>,

    /// Show what a Go template gives for each, such as '{{.Id}}' or '{{json .Config}}'; json is all
    /// of it in one line
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<Shape>,

    /// Show how much containers have written, and that with their images below
    #[arg(short, long)]
    pub size: bool,

    /// Platform, of images that are made for several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
}

impl InspectArgs {
    /// Prints what is known of each; those that do not exist are reported after those that do.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        let platform = self.platform.as_ref();
        for name in &self.names {
            match inspect(&session, name, self.kind, platform, self.size) {
                Ok(value) => found.push(value),
                Err(report) => failures.push(report),
            }
        }
        match &self.format {
            None => print_data(&pretty(&Value::Array(found)))?,
            Some(shape) => {
                if let Shape::Lines(_) = shape {
                    found.iter_mut().for_each(complete);
                }
                shape.print(found, "image")?;
            }
        }
        Report::of_all(failures)
    }
}

/// How what is inspected is shown, other than as indented JSON.
#[derive(Clone, Debug)]
pub enum Shape {
    /// As JSON in one line
    Json,
    /// What a template gives for each
    Lines(Template),
}

impl std::str::FromStr for Shape {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text {
            "json" => Ok(Self::Json),
            text => text.parse().map(Self::Lines),
        }
    }
}

impl Shape {
    /// Prints descriptions, each of a `what`.
    pub(super) fn print(&self, values: Vec<Value>, what: &str) -> Result<(), Report> {
        let template = match self {
            Self::Json => return print_data(&format!("{}\n", Value::Array(values))),
            Self::Lines(template) => template,
        };
        for value in values {
            let line = template.render(&value).map_err(|error| {
                Report::from_error(&error).context(format!("--format does not fit this {what}"))
            })?;
            print_data(&(line + "\n"))?;
        }
        Ok(())
    }
}

/// Adds what a configuration leaves out, empty as it is for docker's templates.
fn complete(image: &mut Value) {
    if let Some(config) = image.get_mut("Config").and_then(Value::as_object_mut) {
        for (names, empty) in [
            (
                ["Cmd", "Entrypoint", "OnBuild", "Env"].as_slice(),
                Value::Null,
            ),
            (&["Labels", "Volumes", "ExposedPorts"], json!({})),
            (&["User", "WorkingDir", "StopSignal"], json!("")),
        ] {
            for name in names {
                config.entry(*name).or_insert_with(|| empty.clone());
            }
        }
    }
}

/// What is inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A container
    Container,
    /// An image
    Image,
    /// A network
    Network,
    /// A volume
    Volume,
}

/// Containers come before images of the same name, and those before networks and volumes, as docker
/// has it.
fn inspect(
    session: &Session,
    name: &str,
    kind: Option<Kind>,
    platform: Option<&Platform>,
    size: bool,
) -> Result<Value, Report> {
    // Nothing but an image has a platform.
    let kind = kind.or(platform.map(|_| Kind::Image));
    let root = session.store.root();
    let networks = Networks::of(root, session.rootless);
    let wanted = |one: Kind| kind.is_none_or(|kind| kind == one);
    let network_failed = |error: NetworkError| Report::from_error(&error);
    if wanted(Kind::Container) {
        match Containers::of(root).one(name) {
            Ok(found) => {
                let mut value = describe_connected(&found, &networks).map_err(network_failed)?;
                if size {
                    let written = human::bytes_below(&written(&found.dir).0);
                    let image = session.store.images().get(&found.container.config.image_id);
                    let layers = session.store.layers();
                    let below = image.ok().flatten();
                    let below = below.map_or(0, |image| image_size(&layers, &image));
                    value["SizeRw"] = written.into();
                    value["SizeRootFs"] = (written + below).into();
                }
                return Ok(value);
            }
            Err(ContainerError::Missing { .. }) if kind.is_none() => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    let is_image = session.find_image(name)?.is_some();
    if wanted(Kind::Network) && !is_image {
        match networks.find(name) {
            Ok(network) => return Ok(networks.inspect(&network)),
            Err(NetworkError::Missing { .. }) if kind.is_none() => {}
            Err(error) => return Err(network_failed(error)),
        }
    }
    if wanted(Kind::Volume) && !is_image {
        let volumes = Volumes::of(root);
        match volumes.find(name).map_err(|error| failed(&error))? {
            Some(volume) => return Ok(super::volume::document(&volumes, &volume)),
            None if kind.is_none() => {}
            None => return Err(super::volume::missing(name)),
        }
    }
    if kind.is_none() && session.find_image(name)?.is_none() {
        return Err(Report::new(format!("no such object: {name}")));
    }
    let mut record = session.image_for(name, platform)?;
    record.size = image_size(&session.store.layers(), &record);
    let config = session.config(&record)?;
    let mut value = image(&record, &session.names(&record)?, &config);
    value["GraphDriver"] = graph_driver(session, &record)?;
    value["Metadata"] = json!({ "LastTagTime": last_tag_time(session, &record)? });
    let members = session.platforms(name)?;
    if !members.is_empty() {
        let entry =
            |one: &PlatformImage| json!({ "Platform": one.platform, "Id": one.image.to_string() });
        value["Platforms"] = members.iter().map(entry).collect();
    }
    Ok(value)
}

/// Returns where the files of an image are, if each of its layers has its files in a directory.
/// Nothing is made for an image alone: it is merged when a container is.
fn graph_driver(session: &Session, record: &ImageRecord) -> Result<Value, Report> {
    let failed = |error: &StoreError| Report::from_error(error);
    let store = &session.store;
    if crate::driver::of(store).map_err(|error| failed(&error))? == Driver::Vfs {
        return Ok(json!({ "Name": "vfs", "Data": null }));
    }
    let layers = store.layers();
    let mut dirs = Vec::with_capacity(record.layers.len());
    for layer in &record.layers {
        let there = layers.get(&layer.layer).map_err(|error| failed(&error))?;
        let dir = there.map(|layer| layer.fs()).filter(|dir| dir.exists());
        dirs.extend(dir.map(|dir| dir.to_string_lossy().into_owned()));
    }
    // The highest comes first, as overlayfs has them.
    dirs.reverse();
    let data = match dirs.split_first() {
        Some((upper, [])) if record.layers.len() == 1 => json!({ "UpperDir": upper }),
        Some((upper, lowers)) if dirs.len() == record.layers.len() => {
            json!({ "LowerDir": lowers.join(":"), "UpperDir": upper })
        }
        _ => Value::Null,
    };
    Ok(json!({ "Name": "overlayfs", "Data": data }))
}

fn last_tag_time(session: &Session, record: &ImageRecord) -> Result<String, Report> {
    /// Go's zero time.
    const NEVER: &str = "0001-01-01T00:00:00Z";
    let named = session.store.images().named_at(&record.id);
    let named = named.map_err(|error| Report::from_error(&error))?;
    let named = named.and_then(|at| Timestamp::try_from(at).ok());
    Ok(named.map_or_else(|| NEVER.to_owned(), |at| at.to_string()))
}

/// Returns docker's description of an image.
fn image(record: &ImageRecord, names: &[Reference], config: &ImageConfig) -> Value {
    let document: Value = serde_json::from_slice(&config.to_json()).unwrap_or_default();
    let part = |key: &str| document.get(key).cloned().unwrap_or_default();
    let text = |key: &str| {
        document
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let tags: Vec<_> = names.iter().map(Reference::familiar).collect();
    let comment = config
        .history
        .last()
        .and_then(|item| item.comment.clone())
        .unwrap_or_default();
    let mut value = json!({
        "Id": record.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": repo_digests(record, names),
        "Parent": "",
        "Comment": comment,
        "Created": record.created,
        "DockerVersion": "",
        "Author": text("author"),
        "Config": part("config"),
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": record.size,
        "RootFS": {
            "Type": "layers",
            "Layers": record.layers.iter().map(|layer| layer.diff_id.to_string()).collect::<Vec<_>>(),
        },
        "Layers": record.layers.iter().map(|layer| layer.layer.to_string()).collect::<Vec<_>>(),
    });
    if let Some(variant) = &config.variant {
        value["Variant"] = variant.as_str().into();
    }
    if let Some(manifest) = &record.manifest {
        value["Descriptor"] = serde_json::to_value(manifest).unwrap_or_default();
    }
    value
}

/// Returns under which digests the image can be pulled again.
fn repo_digests(record: &ImageRecord, names: &[Reference]) -> Vec<String> {
    let Some(manifest) = &record.manifest else {
        return Vec::new();
    };
    let mut digests: Vec<_> = names
        .iter()
        .map(|name| format!("{}@{}", name.familiar_name(), manifest.digest))
        .collect();
    digests.sort();
    digests.dedup();
    digests
}

/// Returns `value` with the four-space indentation that docker prints.
fn pretty(value: &Value) -> String {
    indented(value, "    ")
}

#[cfg(test)]
mod tests {
    use cooper_cache::{ImageLayer, LayerId};
    use cooper_oci::{Descriptor, DiffId, Digest, Platform, RuntimeConfig};

    use super::*;

    #[test]
    fn an_image_is_described_in_dockers_shape() {
        let mut config = ImageConfig::new(&Platform::new("linux", "amd64"));
        config.config = RuntimeConfig {
            env: vec!["PATH=/bin".into()],
            cmd: Some(vec!["sh".into()]),
            working_dir: "/".into(),
            ..RuntimeConfig::default()
        };
        let diff_id = DiffId(Digest::sha256("layer"));
        let layer: LayerId = diff_id.0.to_string().parse().expect("valid");
        let record = ImageRecord {
            id: Digest::sha256("config"),
            layers: vec![ImageLayer {
                diff_id,
                layer,
                blobs: Vec::new(),
            }],
            manifest: Some(Descriptor::of(
                cooper_oci::media_type::OCI_MANIFEST,
                b"manifest",
            )),
            attestations: None,
            created: Some("2024-05-01T10:00:00Z".into()),
            size: 4_261_000,
        };
        let names = ["busybox:1", "busybox:latest"].map(|name| name.parse().expect("valid"));
        insta::assert_snapshot!(pretty(&Value::Array(vec![image(&record, &names, &config)])), @r#"
        [
            {
                "Id": "sha256:b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910",
                "RepoTags": [
                    "busybox:1",
                    "busybox:latest"
                ],
                "RepoDigests": [
                    "busybox@sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f"
                ],
                "Parent": "",
                "Comment": "",
                "Created": "2024-05-01T10:00:00Z",
                "DockerVersion": "",
                "Author": "",
                "Config": {
                    "Env": [
                        "PATH=/bin"
                    ],
                    "Cmd": [
                        "sh"
                    ],
                    "WorkingDir": "/"
                },
                "Architecture": "amd64",
                "Os": "linux",
                "Size": 4261000,
                "RootFS": {
                    "Type": "layers",
                    "Layers": [
                        "sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85"
                    ]
                },
                "Layers": [
                    "sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85"
                ],
                "Descriptor": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": "sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f",
                    "size": 8
                }
            }
        ]
        "#);
    }
}
