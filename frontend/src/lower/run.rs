//! RUN.

use std::collections::{BTreeMap, HashMap};

use cooper_solver::VertexId;

use crate::dockerignore::clean;
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::instruction::{CommandForm, Mount, MountSpec, MountType, Run};
use crate::ir::{
    BuildOp, ExecOp, ExecUnkeyed, MountKind, MountOp, NetworkMode, Script, SecurityMode,
};
use crate::plan::From;
use crate::source::{Span, Spanned};
use crate::syntax::heredoc;

use super::stage::StageLowering;

/// The host name inside steps unless the build sets one; BuildKit's, which its users may have come
/// to rely on.
const HOSTNAME: &str = "buildkitsandbox";

/// The command line of a RUN after heredocs have been put in.
struct RunCommand {
    args: Vec<String>,
    scripts: Vec<Script>,
    /// For the display: how the heredoc begins.
    summary: Option<String>,
}

/// Inputs of a vertex, each once.
struct Inputs {
    vertices: Vec<VertexId>,
    base: bool,
}

impl Inputs {
    fn add(&mut self, vertex: VertexId) -> usize {
        let sources = self.vertices.iter().skip(usize::from(self.base));
        if let Some(at) = sources.clone().position(|known| *known == vertex) {
            return at + usize::from(self.base);
        }
        self.vertices.push(vertex);
        self.vertices.len() - 1
    }
}

impl StageLowering<'_, '_> {
    pub(super) fn run(
        &mut self,
        run: &Run,
        from: &[Option<From>],
        original: &str,
        span: Span,
    ) -> Result<(), Diagnostics> {
        let command = self.run_command(run);
        if command.args.is_empty() {
            let message = "RUN [] has nothing to run";
            return Err(vec![Diagnostic::error(
                Code::EmptyCommand,
                run.command.span,
                message,
            )]);
        }
        let devices = self.check_entitlements(run)?;
        let mut inputs = Inputs {
            vertices: self.state.layers.into_iter().collect(),
            base: self.state.layers.is_some(),
        };
        let mut mounts = self.mounts(run, from, &mut inputs)?;
        let env = self.run_env(&mounts);
        mounts.sort_by(|a, b| a.target.cmp(&b.target));
        let settings = &self.lowering.plan.settings;
        let network = match run.network.as_ref().map(|mode| mode.value) {
            None | Some(NetworkMode::Default) => settings.network,
            Some(mode) => mode,
        };
        let exec = ExecOp {
            base: inputs.base,
            args: command.args.clone(),
            env,
            cwd: self.workdir_or_root().to_owned(),
            user: self.state.image.config.user.clone(),
            hostname: self.hostname(),
            network,
            security: run
                .security
                .as_ref()
                .map_or(SecurityMode::Sandbox, |mode| mode.value),
            mounts,
            devices,
            scripts: command.scripts,
            platform: self.state.platform.clone(),
            sandbox: settings.sandbox.clone(),
            unkeyed: self.unkeyed(),
        };
        let mut shown = self.shown(original);
        if let Some(summary) = command.summary {
            shown.extend([" (", summary.as_str(), ")"]);
        }
        let step = self.next_step(shown, span);
        let step = self.with_words(step, self.mount_words(run));
        let vertex = self.push_layer(BuildOp::Exec(Box::new(exec)), &inputs.vertices, step);
        let created_by = self.created_by(&command.args);
        self.commit(created_by, Some(vertex));
        Ok(())
    }

    /// Puts heredocs into the command: a lone one is the script itself (run by
    /// its own interpreter if it names one), others stay for the shell.
    fn run_command(&self, run: &Run) -> RunCommand {
        let plain = |args| RunCommand {
            args,
            scripts: Vec::new(),
            summary: None,
        };
        let line = match &run.command.form {
            CommandForm::Exec(args) => return plain(args.clone()),
            CommandForm::Shell(line) => line,
        };
        let Some(first) = run.heredocs.first() else {
            return plain(self.with_shell(line));
        };
        if heredoc::parse_mark(line).is_none() {
            let mut script = line.clone();
            for document in &run.heredocs {
                script.push('\n');
                script.push_str(&document.content);
                script.push_str(&document.name);
            }
            return plain(self.with_shell(&script));
        }
        let data = first.data();
        let summary = Some(summarize(&first.content));
        if !data.starts_with("#!") {
            return RunCommand {
                args: self.with_shell(&data),
                scripts: Vec::new(),
                summary,
            };
        }
        let path = format!("/dev/pipes/{}", first.name);
        let script = Script {
            path: path.clone(),
            data: data.into_bytes(),
        };
        RunCommand {
            args: self.with_shell(&path),
            scripts: vec![script],
            summary,
        }
    }

    fn hostname(&self) -> String {
        let arguments = &self.lowering.plan.settings.build_args;
        let given = arguments.get("BUILDKIT_SANDBOX_HOSTNAME");
        let given = given.filter(|given| !given.is_empty());
        given.map_or(HOSTNAME, String::as_str).to_owned()
    }

    fn unkeyed(&self) -> ExecUnkeyed {
        let settings = &self.lowering.plan.settings;
        ExecUnkeyed {
            proxy_env: proxy_env(&settings.build_args),
            add_hosts: settings.add_hosts.clone(),
            shm_size: settings.shm_size,
            ulimits: settings.ulimits.clone(),
            resources: settings.resources.clone(),
        }
    }

    /// Returns the step's environment: the stage's, and the first agent's
    /// socket.
    fn run_env(&self, mounts: &[MountOp]) -> Vec<(String, String)> {
        let mut env = self.state.env.to_vec();
        let agent = mounts
            .iter()
            .find(|mount| matches!(mount.kind, MountKind::Ssh { .. }));
        if let Some(agent) = agent
            && self.state.env.get("SSH_AUTH_SOCK").is_none()
        {
            env.push(("SSH_AUTH_SOCK".to_owned(), agent.target.clone()));
        }
        env
    }

    /// Returns the history line: arguments that the stage declares, then the
    /// command.
    fn created_by(&self, args: &[String]) -> String {
        let mut declared: Vec<(&str, &str)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (name, value) in &self.state.build_args {
            let value = self
                .state
                .env
                .get(name)
                .or(value.as_deref())
                .unwrap_or_default();
            let place = *places.entry(name).or_insert(declared.len());
            if place == declared.len() {
                declared.push((name, value));
            } else {
                declared[place].1 = value;
            }
        }
        let mut words = vec!["RUN".to_owned()];
        if !declared.is_empty() {
            words.push(format!("|{}", declared.len()));
            words.extend(
                declared
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            );
        }
        words.extend(args.iter().cloned());
        words.push("# buildkit".to_owned());
        words.join(" ")
    }

    fn mounts(
        &mut self,
        run: &Run,
        from: &[Option<From>],
        inputs: &mut Inputs,
    ) -> Result<Vec<MountOp>, Diagnostics> {
        let mut errors = Vec::new();
        let mut mounts = Vec::new();
        let mut agents = 0;
        for (spec, from) in run.mounts.iter().zip(from) {
            match self.mount(spec, from.as_ref(), inputs, &mut agents) {
                Ok(mount) => mounts.push(mount),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(mounts)
        } else {
            Err(errors)
        }
    }

    /// Returns the fields of mounts that a failed step may be about.
    fn mount_words(&self, run: &Run) -> Vec<Spanned<String>> {
        let fields = run.mounts.iter().flat_map(|mount| &mount.fields);
        let named = fields.filter_map(|field| {
            let written = field.value.as_ref()?;
            let value = self.expand(written).ok()?;
            let value = match field.key.as_str() {
                "source" | "src" => clean(&format!("/{value}")),
                "id" => value,
                _ => return None,
            };
            Some(Spanned::new(value, written.span))
        });
        named.collect()
    }

    fn mount(
        &mut self,
        spec: &MountSpec,
        from: Option<&From>,
        inputs: &mut Inputs,
        agents: &mut usize,
    ) -> Result<MountOp, Diagnostic> {
        let mount = spec.evaluate(|value| self.expand(value))?;
        let target = self.mount_target(&mount, spec.span, agents)?;
        let source = clean(&format!("/{}", mount.source));
        let from_span = spec.from().map_or(spec.span, |from| from.span);
        let kind = match mount.kind {
            MountType::Tmpfs => MountKind::Tmpfs { size: mount.size },
            MountType::Bind => {
                let vertex = match from {
                    Some(from) => self.source(from, &source, from_span)?,
                    None => self.lowering.graph.local("context", &source),
                };
                let input = inputs.add(vertex);
                MountKind::Bind {
                    input,
                    source,
                    rw: !mount.readonly,
                }
            }
            MountType::Cache => {
                let input = match from {
                    None | Some(From::Scratch) => None,
                    Some(from) => Some(inputs.add(self.source(from, &source, from_span)?)),
                };
                self.cache(&mount, input, source)
            }
            MountType::Secret => MountKind::Secret {
                id: secret_id(&mount),
                env: mount.env,
                required: mount.required,
                mode: mount.mode.unwrap_or(0o400),
                uid: mount.uid.unwrap_or(0),
                gid: mount.gid.unwrap_or(0),
            },
            MountType::Ssh => MountKind::Ssh {
                id: if mount.id.is_empty() {
                    "default".to_owned()
                } else {
                    mount.id
                },
                required: mount.required,
                mode: mount.mode.unwrap_or(0o600),
                uid: mount.uid.unwrap_or(0),
                gid: mount.gid.unwrap_or(0),
            },
        };
        Ok(MountOp { target, kind })
    }

    fn mount_target(
        &self,
        mount: &Mount,
        span: Span,
        agents: &mut usize,
    ) -> Result<String, Diagnostic> {
        let written = match mount.kind {
            MountType::Secret if mount.target.is_empty() => {
                if mount.env.is_some() {
                    return Ok(String::new());
                }
                format!("/run/secrets/{}", base_name(&secret_id(mount)))
            }
            MountType::Ssh => {
                *agents += 1;
                if mount.target.is_empty() {
                    format!("/run/buildkit/ssh_agent.{}", *agents - 1)
                } else {
                    mount.target.clone()
                }
            }
            _ => mount.target.clone(),
        };
        let target = if written.starts_with('/') {
            clean(&written)
        } else {
            clean(&format!("{}/{written}", self.workdir_or_root()))
        };
        if target == "/" {
            let message = format!("invalid mount target {target:?}");
            return Err(Diagnostic::error(Code::InvalidMount, span, message));
        }
        Ok(target)
    }

    fn cache(&self, mount: &Mount, input: Option<usize>, source: String) -> MountKind {
        let id = if mount.id.is_empty() {
            clean(&mount.target)
        } else {
            mount.id.clone()
        };
        let namespace = self
            .lowering
            .plan
            .settings
            .build_args
            .get("BUILDKIT_CACHE_MOUNT_NS");
        MountKind::Cache {
            id: match namespace.filter(|namespace| !namespace.is_empty()) {
                Some(namespace) => format!("{namespace}/{id}"),
                None => id,
            },
            sharing: mount.sharing.unwrap_or_default(),
            mode: mount.mode.unwrap_or(0o755),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            owned: mount.mode.is_some() || mount.uid.is_some() || mount.gid.is_some(),
            input,
            source,
            readonly: mount.readonly,
        }
    }
}

fn secret_id(mount: &Mount) -> String {
    if !mount.source.is_empty() {
        mount.source.clone()
    } else if !mount.id.is_empty() {
        mount.id.clone()
    } else {
        base_name(&mount.target).to_owned()
    }
}

fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns the first line of a document, for the display.
fn summarize(content: &str) -> String {
    let mut lines = content.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() {
        format!("{first}...")
    } else {
        first.to_owned()
    }
}

/// Returns the proxy variables among the build arguments, both cases of each.
fn proxy_env(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "FTP_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
    ] {
        let mut given = build_args
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given.next_back() {
            env.push((name.to_owned(), value.clone()));
            env.push((name.to_lowercase(), value.clone()));
        }
    }
    env
}
