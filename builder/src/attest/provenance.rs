//! SLSA provenance v1, with the fields that BuildKit's document on it defines.
//!
//! What each field holds is BuildKit's "SLSA definitions"; readers of its provenance read this.
//! [`Facts`] are what a build knows of itself; [`Facts::attestation`] is a function of them.
//!
//! | `mode` | says |
//! |---|---|
//! | min | Dockerfile's path, target, platforms, contexts by name, dependencies with digests, times, what git says of the context |
//! | max | build arguments, labels, ids of secrets and agents, the Dockerfile, all steps and their layers as well |
//!
//! Values that are secret are no facts: whoever collects them replaces those first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_oci::{Descriptor, Platform};
use serde_json::{Map, Value, json};

use super::Attestation;
use crate::options::{Provenance, ProvenanceMode};

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// What the types of all versions begin with.
pub const ANY_VERSION: &str = "https://slsa.dev/provenance/";
/// Says what the fields mean.
const BUILD_TYPE: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/// The front end, in BuildKit's words.
const FRONTEND: &str = "dockerfile.v0";

/// Something from elsewhere that went into a build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// What it is called.
    pub uri: String,
    /// Algorithm and digits of its digest.
    pub digest: (String, String),
}

impl Dependency {
    fn json(&self) -> Value {
        let (algorithm, hex) = &self.digest;
        json!({ "uri": self.uri, "digest": { algorithm: hex } })
    }
}

/// What asks for a secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// By which name.
    pub id: String,
    /// Whether the step runs without.
    pub optional: bool,
}

impl Wanted {
    fn json(&self) -> Value {
        let mut value = json!({ "id": self.id });
        if self.optional {
            value["optional"] = true.into();
        }
        value
    }
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it does, in the shape of BuildKit's operations.
    pub op: Value,
    /// The steps that it reads, by position.
    pub inputs: Vec<usize>,
    /// First and last line in the Dockerfile, from 1.
    pub lines: Option<(usize, usize)>,
}

/// The layers of a step's result, base first.
#[derive(Debug, Clone, PartialEq)]
pub struct StepLayers {
    /// The step, by position.
    pub step: usize,
    /// Its layers: those of an image as they came, others as plain tars, whose digests are the
    /// image's diff IDs however an output packs them.
    pub layers: Vec<Descriptor>,
}

/// Where a build's Dockerfile is from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigSource {
    /// The context that it is in, if that is somewhere else, and what that was.
    pub context: Option<Dependency>,
    /// Its path in the context, or what it is called.
    pub path: String,
}

/// When and by whom a build was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// Tells this build from all others.
    pub id: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// When its steps were done, RFC 3339.
    pub finished: String,
}

/// What a build knows of itself.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Where the Dockerfile is from.
    pub source: ConfigSource,
    /// Options that say nothing private.
    pub options: Vec<(String, String)>,
    /// Build arguments and labels.
    pub arguments: Vec<(String, String)>,
    /// Names of the contexts on this machine, the Dockerfile's own among them.
    pub locals: Vec<String>,
    /// Secrets that steps mount.
    pub secrets: Vec<Wanted>,
    /// Agents that steps mount.
    pub ssh: Vec<Wanted>,
    /// What came from elsewhere, each once.
    pub dependencies: Vec<Dependency>,
    /// Whether no step could reach a network.
    pub hermetic: bool,
    /// All steps, those that others read first.
    pub steps: Vec<Step>,
    /// What is known of the layers of steps.
    pub layers: Vec<StepLayers>,
    /// What version control says of the context, by BuildKit's names for it.
    pub vcs: Vec<(&'static str, String)>,
    /// The Dockerfile's text.
    pub dockerfile: String,
    /// None for a build whose result is not to tell of it.
    pub run: Option<Run>,
}

impl Facts {
    /// Returns what is said of the build.
    pub fn attestation(&self, asked: &Provenance) -> Attestation {
        Attestation {
            predicate_type: PREDICATE_TYPE.to_owned(),
            file_name: asked.file_name.clone(),
            predicate: self.predicate(asked),
        }
    }

    /// Returns the predicate alone.
    pub fn predicate(&self, asked: &Provenance) -> Value {
        let all = asked.mode == ProvenanceMode::Max;
        let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
        if all {
            internal["buildConfig"] = json!({ "llbDefinition": self.definition() });
        }
        let dependencies: Vec<Value> = self.dependencies.iter().map(Dependency::json).collect();
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "configSource": self.config_source(),
                    "request": self.request(all),
                },
                "internalParameters": internal,
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": { "id": asked.builder_id },
                "metadata": self.metadata(asked, all),
            },
        })
    }

    fn config_source(&self) -> Value {
        let mut source = match &self.source.context {
            Some(context) => context.json(),
            None => json!({}),
        };
        source["path"] = self.source.path.clone().into();
        source
    }

    fn request(&self, all: bool) -> Value {
        let mut args: Map<String, Value> = Map::new();
        let arguments = self.arguments.iter().filter(|_| all);
        for (name, value) in self.options.iter().chain(arguments) {
            args.insert(name.clone(), value.clone().into());
        }
        args.sort_keys();
        let named = |name: &String| json!({ "name": name });
        let locals: Vec<Value> = self.locals.iter().map(named).collect();
        let mut request = json!({ "frontend": FRONTEND, "args": args, "locals": locals });
        if all {
            for (key, wanted) in [("secrets", &self.secrets), ("ssh", &self.ssh)] {
                if !wanted.is_empty() {
                    request[key] = wanted.iter().map(Wanted::json).collect();
                }
            }
        }
        request
    }

    fn definition(&self) -> Vec<Value> {
        let numbered = self.steps.iter().enumerate();
        numbered
            .map(|(number, step)| {
                let mut value = json!({ "id": format!("step{number}"), "op": step.op });
                if !step.inputs.is_empty() {
                    let input = |at: &usize| Value::from(format!("step{at}:0"));
                    value["inputs"] = step.inputs.iter().map(input).collect();
                }
                value
            })
            .collect()
    }

    fn metadata(&self, asked: &Provenance, all: bool) -> Value {
        let mut metadata = json!({});
        if let Some(run) = &self.run {
            metadata["invocationId"] = run.id.clone().into();
            metadata["startedOn"] = run.started.clone().into();
            metadata["finishedOn"] = run.finished.clone().into();
        }
        metadata["buildkit_hermetic"] = self.hermetic.into();
        metadata["buildkit_reproducible"] = asked.reproducible.into();
        metadata["buildkit_completeness"] = json!({
            "request": all,
            "resolvedDependencies": self.locals.is_empty(),
        });
        metadata["buildkit_metadata"] = self.buildkit_metadata(all);
        metadata
    }

    fn buildkit_metadata(&self, all: bool) -> Value {
        let mut metadata = json!({});
        if !self.vcs.is_empty() {
            let vcs = self.vcs.iter();
            metadata["vcs"] = vcs.map(|(key, value)| (*key, value.as_str())).collect();
        }
        if all {
            metadata["source"] = self.sources();
        }
        if all && !self.layers.is_empty() {
            // A step has several results in LLB, and a result several ways to be had.
            let layers = self.layers.iter();
            metadata["layers"] = layers
                .map(|known| (format!("step{}:0", known.step), json!([known.layers])))
                .collect();
        }
        metadata
    }

    /// Returns the Dockerfile, and which lines of it each step is.
    fn sources(&self) -> Value {
        let mut locations = Map::new();
        for (number, step) in self.steps.iter().enumerate() {
            if let Some((first, last)) = step.lines {
                let range = json!({ "start": { "line": first }, "end": { "line": last } });
                locations.insert(
                    format!("step{number}"),
                    json!({ "locations": [{ "ranges": [range] }] }),
                );
            }
        }
        json!({
            "infos": [{
                "filename": self.source.path,
                "language": "Dockerfile",
                "data": STANDARD.encode(&self.dockerfile),
            }],
            "locations": locations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Facts {
            source: ConfigSource {
                context: None,
                path: "Dockerfile".to_owned(),
            },
            options: vec![pair("target", "app")],
            arguments: vec![pair("build-arg:V", "1"), pair("label:a", "b")],
            locals: vec!["context".to_owned()],
            secrets: vec![Wanted {
                id: "token".to_owned(),
                optional: true,
            }],
            dependencies: vec![Dependency {
                uri: "pkg:docker/alpine@3.18?platform=linux%2Famd64".to_owned(),
                digest: pair("sha256", "ab"),
            }],
            steps: vec![
                Step {
                    op: json!({ "Op": { "source": { "identifier": "local://context" } } }),
                    inputs: Vec::new(),
                    lines: None,
                },
                Step {
                    op: json!({ "Op": { "file": {} } }),
                    inputs: vec![0],
                    lines: Some((2, 3)),
                },
            ],
            layers: vec![StepLayers {
                step: 1,
                layers: vec![Descriptor::of(
                    "application/vnd.oci.image.layer.v1.tar",
                    b"",
                )],
            }],
            vcs: vec![("revision", "abc-dirty".to_owned())],
            dockerfile: "FROM alpine:3.18\n".to_owned(),
            run: Some(Run {
                id: "id".to_owned(),
                started: "2024-01-01T00:00:00Z".to_owned(),
                finished: "2024-01-01T00:00:01Z".to_owned(),
            }),
            ..Facts::default()
        }
    }

    fn shown(mode: ProvenanceMode) -> String {
        let asked = Provenance {
            mode,
            builder_id: "https://ci.example/1".to_owned(),
            ..Provenance::default()
        };
        let predicate = facts().predicate(&asked);
        let text = serde_json::to_string_pretty(&predicate).expect("JSON");
        text.replace(&Platform::host().to_string(), "HOST")
    }

    #[test]
    fn the_least_says_nothing_that_was_passed_in() {
        insta::assert_snapshot!(shown(ProvenanceMode::Min), @r#"
        {
          "buildDefinition": {
            "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
            "externalParameters": {
              "configSource": {
                "path": "Dockerfile"
              },
              "request": {
                "frontend": "dockerfile.v0",
                "args": {
                  "target": "app"
                },
                "locals": [
                  {
                    "name": "context"
                  }
                ]
              }
            },
            "internalParameters": {
              "builderPlatform": "HOST"
            },
            "resolvedDependencies": [
              {
                "uri": "pkg:docker/alpine@3.18?platform=linux%2Famd64",
                "digest": {
                  "sha256": "ab"
                }
              }
            ]
          },
          "runDetails": {
            "builder": {
              "id": "https://ci.example/1"
            },
            "metadata": {
              "invocationId": "id",
              "startedOn": "2024-01-01T00:00:00Z",
              "finishedOn": "2024-01-01T00:00:01Z",
              "buildkit_hermetic": false,
              "buildkit_reproducible": false,
              "buildkit_completeness": {
                "request": false,
                "resolvedDependencies": false
              },
              "buildkit_metadata": {
                "vcs": {
                  "revision": "abc-dirty"
                }
              }
            }
          }
        }
        "#);
    }

    #[test]
    fn the_most_tells_every_step() {
        let predicate: Value = serde_json::from_str(&shown(ProvenanceMode::Max)).expect("JSON");
        let request = &predicate["buildDefinition"]["externalParameters"]["request"];
        assert_eq!(
            request["args"],
            json!({ "build-arg:V": "1", "label:a": "b", "target": "app" })
        );
        assert_eq!(
            request["secrets"],
            json!([{ "id": "token", "optional": true }])
        );
        assert_eq!(request.get("ssh"), None);
        let config = &predicate["buildDefinition"]["internalParameters"]["buildConfig"];
        let source = json!({ "Op": { "source": { "identifier": "local://context" } } });
        assert_eq!(
            config["llbDefinition"],
            json!([
                { "id": "step0", "op": source },
                { "id": "step1", "op": { "Op": { "file": {} } }, "inputs": ["step0:0"] },
            ])
        );
        let metadata = &predicate["runDetails"]["metadata"];
        assert_eq!(metadata["buildkit_completeness"]["request"], true);
        let range = json!({ "start": { "line": 2 }, "end": { "line": 3 } });
        assert_eq!(
            metadata["buildkit_metadata"]["source"],
            json!({
                "infos": [{
                    "filename": "Dockerfile",
                    "language": "Dockerfile",
                    "data": "RlJPTSBhbHBpbmU6My4xOAo=",
                }],
                "locations": { "step1": { "locations": [{ "ranges": [range] }] } },
            })
        );
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        let layer = json!({ "mediaType": media_type, "digest": digest, "size": 0 });
        assert_eq!(
            metadata["buildkit_metadata"]["layers"],
            json!({ "step1:0": [[layer]] })
        );
        let vcs = json!({ "revision": "abc-dirty" });
        assert_eq!(metadata["buildkit_metadata"]["vcs"], vcs);
    }

    #[test]
    fn a_result_that_tells_of_no_run_is_the_same_each_time() {
        let quiet = Facts {
            run: None,
            ..facts()
        };
        let predicate = quiet.predicate(&Provenance::default());
        let metadata = &predicate["runDetails"]["metadata"];
        for key in ["invocationId", "startedOn", "finishedOn"] {
            assert_eq!(metadata.get(key), None, "{key}");
        }
    }
}
