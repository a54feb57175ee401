//! What can be asked of a Dockerfile without building it: its targets, and what one of them
//! takes.

use std::collections::BTreeMap;

use crate::error::Diagnostics;
use crate::image::ResolvedImages;
use crate::instruction::{ArgDefinition, Instruction, Kind, MountSpec};
use crate::lint::describe;
use crate::plan::{Plan, Reach};
use crate::source::Span;
use crate::stage::Dockerfile;
use crate::word::Environment;

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name; empty for a stage without one.
    pub name: String,
    /// Whether it is built unless another one is asked for.
    pub default: bool,
    /// What the comment above it says.
    pub description: String,
    /// What it starts from, as written.
    pub base: String,
    /// Its `--platform`, as written; empty without one.
    pub platform: String,
    /// Its FROM line.
    pub span: Span,
}

/// Lists the stages of a file.
pub fn targets(dockerfile: &Dockerfile) -> Vec<Target> {
    let last = dockerfile.stages.len().saturating_sub(1);
    let stages = dockerfile.stages.iter().enumerate();
    stages
        .map(|(index, stage)| {
            let name = stage.name.as_ref().map_or("", |name| name.value.as_str());
            Target {
                name: name.to_owned(),
                default: index == last,
                description: describe(&stage.comments, name).unwrap_or_default(),
                base: stage.base.value.clone(),
                platform: stage
                    .platform
                    .as_ref()
                    .map_or_else(String::new, |word| word.value.clone()),
                span: stage.span,
            }
        })
        .collect()
}

/// What a target takes from whoever builds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name; empty without one.
    pub name: String,
    /// What the comment above it says.
    pub description: String,
    /// Build arguments in the order of the file.
    pub args: Vec<OutlineArg>,
    /// Secrets by id.
    pub secrets: Vec<OutlineMount>,
    /// SSH agents by id.
    pub ssh: Vec<OutlineMount>,
    /// Ids of cache mounts.
    pub cache: Vec<OutlineMount>,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above it says.
    pub description: String,
    /// Its value in this build; `None` if it has none.
    pub value: Option<String>,
    /// Its ARG.
    pub span: Span,
}

/// Something that a RUN mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// Where it is asked for first.
    pub span: Span,
}

/// Arguments that every build has.
fn is_builtin(name: &str) -> bool {
    let platform = ["PLATFORM", "OS", "ARCH", "VARIANT", "OSVERSION", "STAGE"];
    ["TARGET", "BUILD"]
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .any(|part| platform.contains(&part))
}

/// Describes the plan's target with all stages that it needs.
pub fn outline(plan: &Plan) -> Result<Outline, Diagnostics> {
    let reach = Reach::find(plan, &ResolvedImages::new());
    if !reach.errors.is_empty() {
        return Err(reach.errors);
    }
    let target = &plan.dockerfile.stages[plan.target];
    let name = plan.target_name().unwrap_or_default();
    let mut outline = Outline {
        name: name.to_owned(),
        description: describe(&target.comments, name).unwrap_or_default(),
        ..Outline::default()
    };
    let mut args = Args::new(plan);
    for (index, commands) in reach.stages.iter().enumerate() {
        let Some(commands) = commands else { continue };
        let stage = &plan.dockerfile.stages[index];
        args.use_in(&stage.base.value);
        args.use_in(
            stage
                .platform
                .as_ref()
                .map_or("", |word| word.value.as_str()),
        );
        let mut env = Environment::default();
        for command in commands {
            args.declare(&command.instruction, &mut env);
            outline.mounts(&command.instruction);
        }
    }
    outline.args = args.finish();
    Ok(outline)
}

impl Outline {
    fn mounts(&mut self, instruction: &Instruction) {
        let Kind::Run(run) = &instruction.kind else {
            return;
        };
        for mount in &run.mounts {
            let field = |keys: &[&str]| {
                let found = mount
                    .fields
                    .iter()
                    .rfind(|field| keys.contains(&field.key.as_str()));
                found
                    .and_then(|field| field.value.as_ref())
                    .map(|value| value.value.clone())
                    .filter(|value| !value.is_empty())
            };
            let target = field(&["target", "dst", "destination"]);
            let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            let (list, id) = match field(&["type"]).as_deref() {
                Some("secret") => {
                    let source = field(&["source", "src"]).as_deref().map(name);
                    let fallback = source.or(target.as_deref().map(name));
                    (&mut self.secrets, field(&["id"]).or(fallback))
                }
                Some("ssh") => (&mut self.ssh, field(&["id"]).or(Some("default".to_owned()))),
                Some("cache") => (&mut self.cache, field(&["id"]).or(target)),
                _ => continue,
            };
            let Some(id) = id else { continue };
            let required = is_required(mount);
            match list.iter_mut().find(|known| known.id == id) {
                Some(known) => known.required |= required,
                None => list.push(OutlineMount {
                    id,
                    required,
                    span: instruction.span,
                }),
            }
        }
    }
}

fn is_required(mount: &MountSpec) -> bool {
    let field = mount.fields.iter().rfind(|field| field.key == "required");
    field.is_some_and(|field| {
        matches!(
            field.value.as_ref().map(|value| value.as_str()),
            None | Some("1" | "true")
        )
    })
}

/// Arguments collected from the file.
struct Args<'a> {
    plan: &'a Plan,
    globals: BTreeMap<&'a str, OutlineArg>,
    found: BTreeMap<String, OutlineArg>,
}

impl<'a> Args<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut globals = BTreeMap::new();
        for instruction in &plan.dockerfile.preamble {
            let Kind::Arg(definitions) = &instruction.kind else {
                continue;
            };
            for definition in definitions {
                let name = definition.name.value.as_str();
                let value = plan.globals.get(name).map(str::to_owned);
                globals.insert(name, entry(instruction, definition, value));
            }
        }
        Self {
            plan,
            globals,
            found: BTreeMap::new(),
        }
    }

    /// Counts the global arguments of a FROM's word.
    fn use_in(&mut self, word: &str) {
        let Ok(value) = self.plan.lexer().expand(word, &self.plan.globals) else {
            return;
        };
        for name in value.matched.iter().chain(&value.unmatched) {
            if let Some(arg) = self.globals.get(name.as_str()) {
                self.add(arg.clone());
            }
        }
    }

    /// Counts the arguments that an ARG of a stage declares.
    fn declare(&mut self, instruction: &Instruction, env: &mut Environment) {
        let Kind::Arg(definitions) = &instruction.kind else {
            return;
        };
        for definition in definitions {
            let name = definition.name.value.as_str();
            let given = self.plan.settings.build_args.get(name).cloned();
            let value = match (given, &definition.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => {
                    let value = self.plan.lexer().keep_unset().expand(default, env);
                    value.ok().map(|value| value.word)
                }
                (None, None) => self.plan.globals.get(name).map(str::to_owned),
            };
            if let Some(value) = &value {
                env.set(name, value);
            }
            let mut arg = entry(instruction, definition, value);
            if let Some(global) = self
                .globals
                .get(name)
                .filter(|_| definition.default.is_none())
            {
                arg.span = global.span;
                if arg.description.is_empty() {
                    arg.description.clone_from(&global.description);
                }
            }
            self.add(arg);
        }
    }

    fn add(&mut self, arg: OutlineArg) {
        if is_builtin(&arg.name) {
            return;
        }
        let known = self
            .found
            .entry(arg.name.clone())
            .or_insert_with(|| arg.clone());
        if known.description.is_empty() {
            known.description = arg.description;
        }
        if known.value.is_none() {
            known.value = arg.value;
        }
    }

    fn finish(self) -> Vec<OutlineArg> {
        let mut args: Vec<_> = self.found.into_values().collect();
        args.sort_by_key(|arg| arg.span.start);
        args
    }
}

fn entry(
    instruction: &Instruction,
    definition: &ArgDefinition,
    value: Option<String>,
) -> OutlineArg {
    let name = definition.name.value.as_str();
    OutlineArg {
        name: name.to_owned(),
        description: describe(&instruction.comments, name).unwrap_or_default(),
        value,
        span: instruction.span,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::BuildSettings;
    use crate::source::SourceFile;
    use crate::stage::parse;

    const FILE: &str = "\
# GO_VERSION sets the Go version
ARG GO_VERSION=1.22
ARG UNUSED=1

# base is the base stage
# of all others
# check=skip=all
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS base
ARG TARGETARCH
# DOCS_URL sets the base URL
ARG DOCS_URL OUT=/out/$DOCS_URL
ARG GO_VERSION
RUN --mount=type=secret,id=token,required --mount=type=ssh --mount=type=cache,target=/c x
RUN --mount=type=secret,target=/run/secrets/other --mount=type=secret,id=token x

# just a comment
FROM scratch AS other
ARG NEVER

FROM base
COPY --from=base /out /
";

    fn plan(args: &[(&str, &str)], target: Option<&str>) -> Plan {
        let mut settings = BuildSettings::new("linux/amd64".parse().unwrap());
        settings.target = target.map(str::to_owned);
        let args = args.iter();
        settings.build_args = args.map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let source = SourceFile::new("Dockerfile", FILE);
        Plan::new(&parse(&source).unwrap(), &settings).unwrap()
    }

    #[test]
    fn targets_are_the_stages() {
        let listed = targets(&plan(&[], None).dockerfile);
        let rows: Vec<_> = listed
            .iter()
            .map(|one| {
                (
                    &*one.name,
                    one.default,
                    &*one.description,
                    &*one.base,
                    &*one.platform,
                )
            })
            .collect();
        let base = "golang:${GO_VERSION}";
        assert_eq!(
            rows,
            [
                ("base", false, "is the base stage", base, "$BUILDPLATFORM"),
                ("other", false, "", "scratch", ""),
                ("", true, "", "base", ""),
            ]
        );
    }

    #[test]
    fn an_outline_has_what_the_target_takes() {
        let outline = outline(&plan(&[("DOCS_URL", "u")], None)).unwrap();
        let args: Vec<_> = outline
            .args
            .iter()
            .map(|arg| (&*arg.name, arg.value.as_deref(), &*arg.description))
            .collect();
        assert_eq!(
            args,
            [
                ("GO_VERSION", Some("1.22"), "sets the Go version"),
                ("DOCS_URL", Some("u"), "sets the base URL"),
                ("OUT", Some("/out/u"), ""),
            ]
        );
        let mounts = |list: &[OutlineMount]| -> Vec<_> {
            list.iter()
                .map(|one| (one.id.clone(), one.required))
                .collect()
        };
        assert_eq!(
            mounts(&outline.secrets),
            [("token".into(), true), ("other".into(), false)]
        );
        assert_eq!(mounts(&outline.ssh), [("default".into(), false)]);
        assert_eq!(mounts(&outline.cache), [("/c".into(), false)]);
    }

    #[test]
    fn an_outline_is_of_one_target() {
        let outline = outline(&plan(&[], Some("other"))).unwrap();
        assert_eq!(outline.name, "other");
        let names: Vec<_> = outline
            .args
            .iter()
            .map(|arg| (&*arg.name, &arg.value))
            .collect();
        assert_eq!(names, [("NEVER", &None)]);
    }
}
