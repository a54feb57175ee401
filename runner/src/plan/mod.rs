//! From what a caller asks for to the ordered steps of a child. Pure: nothing here touches the
//! system, so that the order, on which the isolation rests, is tested as data.
//!
//! A plan has two halves. The *base* needs nothing but a few parameters that most processes
//! share, so that a child can have done it before there is work. The *job* is the rest.
//!
//! A child works in two mount namespaces. Everything that needs a path or a file system of the
//! host (overlays, bind sources, and in a user namespace the right to mount proc) is turned into
//! detached mounts in the *host view*. They are attached in a namespace of the child's own
//! that was copied from the worker's nearly empty *skeleton*: copying the host's mount
//! table for each process, and tearing it down, would cost more than everything else.

mod step;

pub(crate) use step::{Filter, Scope, Source, Stack, Standard, Step};

use crate::caps::Capability;
use crate::cgroup::{self, Cgroup};
use crate::devices::Guard;
use crate::error::RunError;
use crate::spec::{ExecSpec, Mount, MountKind, Namespace, Network, ProcessSpec, Rlimit, Rootfs};
use crate::userns::{IdMapping, IdRange};
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The steps that need no knowledge of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) steps: Vec<Step>,
    /// Directory of the control group of version 2 that the child begins in. Where the kernel
    /// cannot do that, a step has it enter.
    pub(crate) birthplace: Option<PathBuf>,
}

impl Base {
    /// Opens the directory that the child begins in.
    pub(crate) fn open_birthplace(&self) -> rustix::io::Result<Option<OwnedFd>> {
        self.birthplace
            .as_deref()
            .map(cgroup::birthplace)
            .transpose()
    }
}

/// The steps that depend on the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) steps: Vec<Step>,
}

/// Facts about the caller's side that the plan depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// The layer that holds mount points which the image lacks; lowest of the root's layers.
    pub(crate) stubs: Option<PathBuf>,
}

/// Flags of the mounts that carry no programs and no devices.
pub(crate) fn inert() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// Returns the steps for `spec`.
pub(crate) fn plan(spec: &ProcessSpec, around: &Surroundings) -> Result<(Base, Job), RunError> {
    if spec.args.is_empty() {
        return Err(RunError::NoCommand);
    }
    Ok((
        base(spec)?,
        Job {
            steps: job(spec, around)?,
        },
    ))
}

fn base(spec: &ProcessSpec) -> Result<Base, RunError> {
    let mut steps = assume(spec.ids.as_ref().map(|mapping| mapping.ids));
    steps.extend(joins(spec)?);
    let own_network = spec.network == Network::None;
    steps.push(Step::Isolate {
        network: own_network,
        ipc: spec.ipc == Namespace::Private,
        uts: spec.uts == Namespace::Private,
        cgroups: spec.own_cgroups,
    });
    match &spec.network {
        Network::Host => {}
        Network::None => steps.push(Step::Loopback),
        Network::Namespace(path) => steps.push(Step::JoinNetwork {
            path: c_path("the network namespace", path)?,
        }),
    }
    steps.extend(
        [
            Standard::Proc,
            Standard::Sys {
                writable: spec.privileged,
            },
            Standard::Cgroup,
            Standard::Dev {
                host_devices: spec.privileged,
            },
            Standard::Pts,
            Standard::Mqueue,
            Standard::Shm {
                size: spec.shm_size,
            },
            Standard::Files,
        ]
        .into_iter()
        .filter(|standard| *standard != Standard::Shm { size: 0 })
        .map(Step::Make),
    );
    steps.push(Step::EnterSkeleton);
    steps.push(Step::Place);
    steps.extend(confined_paths(spec, Scope::Standard)?);
    Ok(Base {
        steps,
        birthplace: None,
    })
}

/// Has the process enter its control group before anything of it is made, so that nothing of it is
/// set up outside, and its cgroup namespace shows nothing above.
pub(crate) fn enter_group(group: &Cgroup, base: &mut Base, job: &mut Job) -> Result<(), RunError> {
    let mut steps = Vec::new();
    for directory in group.directories() {
        steps.push(Step::EnterGroup(c_path("a control group", &directory)?));
    }
    steps.append(&mut base.steps);
    job.steps.splice(..0, steps);
    Ok(())
}

/// Keeps the process from devices that it is not given; `own` is its control group of version 2, if
/// it has one for itself.
pub(crate) fn guard(
    guard: &Guard,
    own: Option<&Path>,
    base: &mut Base,
    job: &mut Job,
) -> Result<(), RunError> {
    match guard {
        Guard::Needless => {}
        // That has the guard's program.
        Guard::Group(directory) if own == Some(directory) => {}
        Guard::Group(directory) => {
            let step = Step::EnterGuard(c_path("a control group", directory)?);
            base.steps.insert(0, step);
            base.birthplace = Some(directory.clone());
        }
        Guard::None => {
            for step in &mut job.steps {
                match step {
                    Step::Confine { capabilities, .. } => *capabilities &= !MAKING_NODES,
                    Step::Pivot { devices, .. } => *devices = false,
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Keeps a process that joins a container from making nodes where there is no guard.
pub(crate) fn guard_joined(guard: &Guard, job: &mut Job) {
    for step in &mut job.steps {
        if let (Guard::None, Step::Confine { capabilities, .. }) = (guard, step) {
            *capabilities &= !MAKING_NODES;
        }
    }
}

/// The capability by which device nodes are made.
const MAKING_NODES: u64 = 1 << Capability::MKNOD.number();

/// Namespaces of others are entered before any is made: those rights are the caller's.
fn joins(spec: &ProcessSpec) -> Result<Vec<Step>, RunError> {
    let others = [&spec.ipc, &spec.uts].map(|namespace| match namespace {
        Namespace::Join(path) => Some(path),
        Namespace::Private | Namespace::Host => None,
    });
    let paths = others.into_iter().flatten();
    paths
        .map(|path| Ok(Step::Join(c_path("a namespace", path)?)))
        .collect()
}

/// Returns the steps of a process that joins a running container; it is in its namespaces
/// already.
pub(crate) fn join(spec: &ExecSpec) -> Result<Job, RunError> {
    if spec.args.is_empty() {
        return Err(RunError::NoCommand);
    }
    let mut steps = assume(spec.ids);
    steps.extend(profile(spec.apparmor.as_deref())?);
    if let Some(size) = spec.terminal {
        steps.push(Step::OpenTerminal {
            rows: size.rows,
            cols: size.cols,
        });
    }
    steps.extend(process(spec, false)?);
    steps.push(execute(spec)?);
    Ok(Job { steps })
}

fn assume(ids: Option<IdRange>) -> Vec<Step> {
    ids.map(Step::Assume).into_iter().collect()
}

fn profile(name: Option<&str>) -> Result<Vec<Step>, RunError> {
    let step = |name: &str| {
        let request = format!("exec {name}").into_bytes();
        Ok(Step::Profile(c_bytes("the AppArmor profile", request)?))
    };
    name.map(step).into_iter().collect()
}

fn job(spec: &ProcessSpec, around: &Surroundings) -> Result<Vec<Step>, RunError> {
    let mut steps = vec![Step::LeaveSkeleton, root(spec, around)?];
    for (index, mount) in spec.mounts.iter().enumerate() {
        if let Some(source) = source(mount, spec.ids.as_ref())? {
            steps.push(Step::Source {
                mount: index as u32,
                source,
            });
        }
    }
    for (path, value) in &spec.sysctls {
        steps.push(Step::Setting {
            path: c_path("a kernel setting", &Path::new("/proc/sys").join(path))?,
            value: value.clone().into_bytes(),
        });
    }
    if let Some(score) = spec.oom_score_adj {
        steps.push(Step::Setting {
            path: c"/proc/self/oom_score_adj".into(),
            value: score.to_string().into_bytes(),
        });
    }
    steps.extend(profile(spec.apparmor.as_deref())?);
    steps.extend([
        Step::ReturnToSkeleton,
        Step::AttachRoot,
        Step::AttachStandard,
    ]);
    steps.extend(text_files(spec)?);
    for (index, mount) in spec.mounts.iter().enumerate() {
        steps.push(attach(index as u32, mount)?);
    }
    if let Some(size) = spec.terminal {
        steps.push(Step::Terminal {
            rows: size.rows,
            cols: size.cols,
        });
    }
    steps.extend(confined_paths(spec, Scope::Root)?);
    steps.push(Step::Pivot {
        readonly: spec.readonly_rootfs,
        devices: true,
    });
    if spec.uts == Namespace::Private {
        steps.push(Step::Hostname(spec.hostname.clone().into_bytes()));
        let domain = spec.domainname.iter();
        steps.extend(domain.map(|name| Step::Domain(name.clone().into_bytes())));
    }
    let itself = spec.itself();
    steps.extend(process(&itself, true)?);
    if spec.init {
        steps.push(Step::Init);
    }
    steps.push(execute(&itself)?);
    Ok(steps)
}

fn root(spec: &ProcessSpec, around: &Surroundings) -> Result<Step, RunError> {
    let (lowers, upper, work, userxattr) = match &spec.rootfs {
        Rootfs::Overlay {
            lowers,
            upper,
            work,
            userxattr,
        } => (lowers, upper, work, userxattr),
        Rootfs::Directory(path) => {
            return Ok(Step::Directory {
                path: c_path("the root file system", path)?,
                mapped: is_mapped(path, spec.ids.as_ref()),
            });
        }
    };
    let lowers = lowers.iter().chain(&around.stubs);
    let stack = Stack {
        lowers: lowers
            .map(|path| c_path("a layer", path))
            .collect::<Result<_, _>>()?,
        upper: Some((
            c_path("the upper directory", upper)?,
            c_path("the work directory", work)?,
        )),
        userxattr: *userxattr,
        volatile: spec.volatile,
    };
    let store = spec.ids.as_ref().map(|mapping| &mapping.store);
    Ok(Step::Overlay {
        stack,
        store: store.map(|path| c_path("the store", path)).transpose()?,
    })
}

fn is_mapped(path: &Path, ids: Option<&IdMapping>) -> bool {
    ids.is_some_and(|mapping| path.starts_with(&mapping.store))
}

fn source(mount: &Mount, ids: Option<&IdMapping>) -> Result<Option<Source>, RunError> {
    let source = match &mount.kind {
        MountKind::Bind {
            source,
            subpath,
            readonly,
            recursive,
            propagation,
        } => Source::Tree {
            path: c_path("a mount's source", source)?,
            subpath: subpath.as_deref().map(inside).transpose()?,
            readonly: *readonly,
            recursive: *recursive,
            propagation: *propagation,
            mapped: is_mapped(source, ids),
        },
        MountKind::Overlay {
            lowers,
            upper,
            userxattr,
            subpath,
        } => Source::Overlay {
            stack: Stack {
                lowers: lowers
                    .iter()
                    .map(|path| c_path("a layer", path))
                    .collect::<Result<_, _>>()?,
                upper: match upper {
                    Some((upper, work)) => Some((
                        c_path("an upper directory", upper)?,
                        c_path("a work directory", work)?,
                    )),
                    None => None,
                },
                userxattr: *userxattr,
                volatile: true,
            },
            subpath: subpath.as_deref().map(inside).transpose()?,
            readonly: upper.is_none(),
        },
        MountKind::Tmpfs {
            size,
            mode,
            options,
        } => Source::Tmpfs {
            size: *size,
            mode: *mode,
            options: options.clone(),
        },
        MountKind::Foreign { namespace, source } => Source::Foreign {
            namespace: c_path("a mount namespace", namespace)?,
            path: inside(source)?,
        },
        MountKind::File { .. } => return Ok(None),
    };
    Ok(Some(source))
}

fn attach(index: u32, mount: &Mount) -> Result<Step, RunError> {
    let target = inside(&mount.target)?;
    let create = mount.create_target;
    Ok(match &mount.kind {
        MountKind::File {
            data,
            mode,
            uid,
            gid,
        } => Step::TextFile {
            target,
            data: data.clone(),
            mode: *mode,
            uid: *uid,
            gid: *gid,
            create,
        },
        _ => Step::Attach {
            mount: index,
            target,
            create,
        },
    })
}

fn text_files(spec: &ProcessSpec) -> Result<Vec<Step>, RunError> {
    let files = [
        ("/etc/hostname", &spec.hostname_file),
        ("/etc/hosts", &spec.hosts),
        ("/etc/resolv.conf", &spec.resolv_conf),
    ];
    let given = files
        .into_iter()
        .filter_map(|(path, data)| Some((path, data.as_ref()?)));
    given
        .map(|(path, data)| {
            let target = inside(Path::new(path))?;
            Ok(Step::TextFile {
                target,
                data: data.clone(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                create: true,
            })
        })
        .collect()
}

/// Masks and read-only paths on the standard file systems are part of the base.
fn confined_paths(spec: &ProcessSpec, wanted: Scope) -> Result<Vec<Step>, RunError> {
    if spec.privileged {
        return Ok(Vec::new());
    }
    let scope_of = |path: &Path| {
        let standard = path.starts_with("/proc") || path.starts_with("/sys");
        if standard {
            Scope::Standard
        } else {
            Scope::Root
        }
    };
    let in_scope = |path: &&PathBuf| scope_of(path) == wanted;
    let mut steps = Vec::new();
    for path in spec.readonly_paths.iter().filter(in_scope) {
        steps.push(Step::ReadOnly {
            path: inside(path)?,
            scope: wanted,
        });
    }
    for path in spec.masked_paths.iter().filter(in_scope) {
        steps.push(Step::Mask {
            path: inside(path)?,
            scope: wanted,
        });
    }
    Ok(steps)
}

/// The process itself, whether it starts a container or joins one.
fn process(spec: &ExecSpec, make_cwd: bool) -> Result<Vec<Step>, RunError> {
    let mut steps = vec![
        Step::User {
            user: spec.user.0.clone(),
            groups: spec.additional_groups.clone(),
        },
        Step::Streams,
    ];
    let mut limits: Vec<_> = spec.rlimits.iter().map(limit).collect();
    if spec.ids.is_some() {
        // Raising a limit takes the host's root.
        steps.append(&mut limits);
        steps.push(Step::EnterUser);
    }
    steps.push(Step::WorkingDirectory {
        path: c_path("the working directory", &spec.cwd)?,
        make: make_cwd,
    });
    steps.append(&mut limits);
    steps.push(Step::Umask(spec.umask));
    steps.push(Step::Confine {
        capabilities: if spec.privileged {
            u64::MAX
        } else {
            spec.capabilities.bits()
        },
        filter: Filter::of(spec),
        no_new_privileges: spec.no_new_privileges,
    });
    Ok(steps)
}

fn limit(limit: &Rlimit) -> Step {
    Step::Limit {
        resource: limit.resource.number(),
        soft: limit.soft.unwrap_or(u64::MAX),
        hard: limit.hard.unwrap_or(u64::MAX),
    }
}

fn execute(spec: &ExecSpec) -> Result<Step, RunError> {
    let env = spec.env.iter().map(|(name, value)| {
        let mut pair = name.as_bytes().to_vec();
        pair.push(b'=');
        pair.extend_from_slice(value.as_bytes());
        c_bytes("the environment", pair)
    });
    Ok(Step::Execute {
        args: spec
            .args
            .iter()
            .map(|arg| c_str("an argument", arg))
            .collect::<Result<_, _>>()?,
        env: env.collect::<Result<_, _>>()?,
    })
}

fn c_bytes(what: &'static str, bytes: Vec<u8>) -> Result<CString, RunError> {
    CString::new(bytes).map_err(|_| RunError::NulByte { what })
}

fn c_str(what: &'static str, string: &OsStr) -> Result<CString, RunError> {
    c_bytes(what, string.as_bytes().to_vec())
}

fn c_path(what: &'static str, path: &Path) -> Result<CString, RunError> {
    c_str(what, path.as_os_str())
}

/// Returns a path of the container relative to its root, without `.`, `..` and double slashes.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

fn inside(path: &Path) -> Result<CString, RunError> {
    let clean = clean(path);
    let name = if clean.as_os_str().is_empty() {
        OsStr::new(".")
    } else {
        clean.as_os_str()
    };
    c_str("a path in the container", name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::CapSet;
    use crate::spec::{TmpfsOptions, UserSpec};

    fn spec() -> ProcessSpec {
        let rootfs = Rootfs::Overlay {
            lowers: vec!["/l/2".into(), "/l/1".into()],
            upper: "/u".into(),
            work: "/w".into(),
            userxattr: false,
        };
        ProcessSpec::new(rootfs, ["sh"])
    }

    fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
        steps
            .iter()
            .position(wanted)
            .expect("the step is in the plan")
    }

    fn whole(spec: &ProcessSpec) -> Vec<Step> {
        let (base, job) = plan(spec, &Surroundings::default()).unwrap();
        base.steps.into_iter().chain(job.steps).collect()
    }

    #[test]
    fn a_guard_is_entered_first_and_where_there_is_none_no_node_is_made() {
        let guarded = |one: &Guard, own: Option<&Path>| {
            let (mut base, mut job) = plan(&spec(), &Surroundings::default()).unwrap();
            guard(one, own, &mut base, &mut job).unwrap();
            (base, job)
        };
        let makes_nodes = |job: &Job| {
            job.steps.iter().any(|step| {
                matches!(step, Step::Confine { capabilities, .. } if capabilities & MAKING_NODES != 0)
            })
        };
        let opens = |job: &Job| {
            job.steps
                .iter()
                .any(|step| matches!(step, Step::Pivot { devices: true, .. }))
        };
        let group = Guard::Group("/g".into());
        let (base, job) = guarded(&group, None);
        assert_eq!(base.steps[0], Step::EnterGuard(c"/g".into()));
        assert_eq!(base.birthplace.as_deref(), Some(Path::new("/g")));
        assert!(makes_nodes(&job) && opens(&job));
        // One that has the program in a group of its own is in no other.
        let (base, _) = guarded(&group, Some(Path::new("/g")));
        assert!(!matches!(base.steps[0], Step::EnterGuard(_)) && base.birthplace.is_none());
        let (base, job) = guarded(&Guard::None, None);
        assert!(base.birthplace.is_none() && !makes_nodes(&job) && !opens(&job));
        let mut joined = join(&spec().itself()).unwrap();
        guard_joined(&Guard::Needless, &mut joined);
        assert!(makes_nodes(&joined));
        guard_joined(&Guard::None, &mut joined);
        assert!(!makes_nodes(&joined));
    }

    #[test]
    fn isolation_comes_in_order() {
        let mut spec = spec();
        spec.masked_paths.push("/etc/hidden".into());
        spec.mounts.push(Mount {
            target: "/t".into(),
            kind: MountKind::Tmpfs {
                size: None,
                mode: 0o755,
                options: TmpfsOptions::default(),
            },
            create_target: true,
        });
        let steps = whole(&spec);
        let order = [
            position(&steps, |step| matches!(step, Step::Isolate { .. })),
            position(&steps, |step| matches!(step, Step::Make(Standard::Proc))),
            position(&steps, |step| matches!(step, Step::EnterSkeleton)),
            position(&steps, |step| matches!(step, Step::Place)),
            position(&steps, |step| {
                matches!(
                    step,
                    Step::Mask {
                        scope: Scope::Standard,
                        ..
                    }
                )
            }),
            position(&steps, |step| matches!(step, Step::LeaveSkeleton)),
            position(&steps, |step| matches!(step, Step::Overlay { .. })),
            position(&steps, |step| matches!(step, Step::Source { .. })),
            position(&steps, |step| matches!(step, Step::ReturnToSkeleton)),
            position(&steps, |step| matches!(step, Step::AttachStandard)),
            position(&steps, |step| matches!(step, Step::Attach { .. })),
            position(&steps, |step| {
                matches!(
                    step,
                    Step::Mask {
                        scope: Scope::Root,
                        ..
                    }
                )
            }),
            position(&steps, |step| matches!(step, Step::Pivot { .. })),
            position(&steps, |step| matches!(step, Step::User { .. })),
            position(&steps, |step| matches!(step, Step::WorkingDirectory { .. })),
            position(&steps, |step| matches!(step, Step::Confine { .. })),
            position(&steps, |step| matches!(step, Step::Execute { .. })),
        ];
        assert!(order.is_sorted(), "{order:?}");
        assert!(matches!(
            steps[steps.len() - 2..],
            [Step::Confine { .. }, Step::Execute { .. }]
        ));
    }

    #[test]
    fn processes_that_differ_only_in_their_job_share_a_base() {
        let (one, _) = plan(&spec(), &Surroundings::default()).unwrap();
        let mut other = spec();
        other.args.push("-c".into());
        other.hosts = Some(Vec::new());
        other.user = UserSpec("daemon".to_owned());
        other.capabilities = CapSet::empty();
        assert_eq!(plan(&other, &Surroundings::default()).unwrap().0, one);
        other.network = Network::None;
        assert_ne!(plan(&other, &Surroundings::default()).unwrap().0, one);
    }

    #[test]
    fn the_stub_layer_is_the_lowest() {
        let around = Surroundings {
            stubs: Some("/stubs".into()),
        };
        let (_, job) = plan(&spec(), &around).unwrap();
        let stack = job.steps.iter().find_map(|step| match step {
            Step::Overlay { stack, .. } => Some(stack),
            _ => None,
        });
        let lowers: Vec<&str> = stack
            .unwrap()
            .lowers
            .iter()
            .map(|lower| lower.to_str().unwrap())
            .collect();
        assert_eq!(lowers, ["/l/2", "/l/1", "/stubs"]);
    }

    #[test]
    fn privileged_processes_have_nothing_masked_and_no_filter() {
        let mut spec = spec();
        spec.privileged = true;
        let steps = whole(&spec);
        assert!(
            !steps
                .iter()
                .any(|step| matches!(step, Step::Mask { .. } | Step::ReadOnly { .. }))
        );
        let confine = Step::Confine {
            capabilities: u64::MAX,
            filter: Filter::None,
            no_new_privileges: false,
        };
        assert!(steps.contains(&confine));
    }

    #[test]
    fn paths_are_cleaned_lexically() {
        for (path, expected) in [
            ("/a/./b//c", "a/b/c"),
            ("/../../x", "x"),
            ("/a/../b", "b"),
            ("/", "."),
        ] {
            assert_eq!(
                inside(Path::new(path)).unwrap().to_str().unwrap(),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_c_string_is_refused() {
        let mut spec = spec();
        spec.args.push("a\0b".into());
        let error = plan(&spec, &Surroundings::default()).unwrap_err();
        assert!(
            matches!(
                error,
                RunError::NulByte {
                    what: "an argument"
                }
            ),
            "{error:?}"
        );
        spec.args.clear();
        let error = plan(&spec, &Surroundings::default()).unwrap_err();
        assert!(matches!(error, RunError::NoCommand), "{error:?}");
    }
}
