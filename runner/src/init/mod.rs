//! The child's side: carrying out a plan, step by step, up to executing the program.
//!
//! Runs as process 1 of its PID namespace, forked from the single-threaded worker. Every step
//! either succeeds or ends the child with a message that names the step.

mod groups;
mod identity;
mod mounts;
mod process;
mod standard;
mod target;

use self::groups::Groups;
use crate::channel::{self, Fault, FromChild, Stub};
use crate::namespaces::Views;
use crate::plan::{Base, Job, Standard, Step};
use crate::sys::{self, Instruction};
use crate::userns::IdRange;
pub(crate) use identity::Identity;
pub(crate) use process::become_root_of;
use rustix::thread::UnshareFlags;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

type StepResult<T = ()> = Result<T, Fault>;

/// What the worker prepares once for all children.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) views: Views,
    /// The filter for docker's default capabilities; others are compiled on demand.
    pub(crate) default_filter: Vec<Instruction>,
    /// The user namespace that children with ids of their own enter.
    pub(crate) user: Option<OwnedFd>,
}

/// The descriptors of one request.
#[derive(Debug)]
pub(crate) struct Request {
    /// Leads to the caller.
    pub(crate) child: OwnedFd,
    /// Standard input, output and error.
    pub(crate) streams: [OwnedFd; 3],
    /// The program, where it is not one of the root.
    pub(crate) program: Option<OwnedFd>,
}

/// Where a child's request comes from.
#[derive(Debug)]
pub(crate) enum Inbox {
    /// It was known when the child was made.
    Given(Request),
    /// The worker sends it here once there is one.
    Later(OwnedFd),
}

/// Runs a child to its end; `born` is whether it began in the birthplace of `base`.
pub(crate) fn run<'a>(context: &'a Context, base: &'a Base, inbox: Inbox, born: bool) {
    let mut child = Child::new(context);
    child.birthplace = base.birthplace.as_deref().filter(|_| born);
    let prepared = child.run_steps(&base.steps);
    let request = match inbox {
        Inbox::Given(request) => Some(request),
        Inbox::Later(socket) => receive_request(&socket),
    };
    // Without a request the worker has gone, or has no use for this child.
    let Some(request) = request else {
        sys::exit_now(0)
    };
    let Ok(Some(job)) = channel::receive_large::<Job>(&request.child) else {
        sys::exit_now(0)
    };
    child.request = Some(request);
    let outcome = prepared.and_then(|()| {
        child
            .run_steps(&job.steps)
            .map_err(|(i, fault)| (i + base.steps.len(), fault))
    });
    if let Err((step, fault)) = outcome {
        child.tell(&FromChild::Failed {
            step: step as u32,
            fault,
        });
    }
    sys::exit_now(125)
}

fn receive_request(socket: &OwnedFd) -> Option<Request> {
    let packet = channel::receive(socket).ok()??;
    let [child, stdin, stdout, stderr] = <[OwnedFd; 4]>::try_from(packet.fds).ok()?;
    Some(Request {
        child,
        streams: [stdin, stdout, stderr],
        program: None,
    })
}

/// What the steps so far have produced.
struct Child<'a> {
    context: &'a Context,
    /// Directory of the control group that it is in already.
    birthplace: Option<&'a Path>,
    request: Option<Request>,
    /// Standard file systems, not yet attached or by now attached.
    standard: Vec<(Standard, OwnedFd)>,
    /// Device nodes of the host to bind where they cannot be made.
    device_binds: Vec<(String, OwnedFd)>,
    groups: Groups,
    /// The mount namespace of this child.
    own_view: Option<OwnedFd>,
    /// The root mount, attached or not.
    root: Option<OwnedFd>,
    /// The directory that receives the root's changes.
    upper: Option<OwnedFd>,
    sources: Vec<(u32, mounts::Prepared)>,
    stubs: Vec<Stub>,
    text_files: u32,
    terminal: Option<OwnedFd>,
    identity: Identity,
    /// The ids of its user namespace; none without one of its own.
    ids: Option<IdRange>,
}

impl<'a> Child<'a> {
    fn new(context: &'a Context) -> Self {
        Self {
            context,
            birthplace: None,
            request: None,
            standard: Vec::new(),
            device_binds: Vec::new(),
            groups: Groups::default(),
            own_view: None,
            root: None,
            upper: None,
            sources: Vec::new(),
            stubs: Vec::new(),
            text_files: 0,
            terminal: None,
            identity: Identity::default(),
            ids: None,
        }
    }

    fn run_steps(&mut self, steps: &[Step]) -> Result<(), (usize, Fault)> {
        for (index, step) in steps.iter().enumerate() {
            self.run_step(step).map_err(|fault| (index, fault))?;
        }
        Ok(())
    }

    fn run_step(&mut self, step: &Step) -> StepResult {
        match step {
            Step::Assume(ids) => {
                self.ids = Some(*ids);
                Ok(sys::own_as(ids.uid, ids.gid)?)
            }
            Step::Join(path) => Ok(crate::namespaces::join(path)?),
            Step::Isolate {
                network,
                ipc,
                uts,
                cgroups,
            } => {
                self.groups.look();
                let kinds = [
                    (*network, UnshareFlags::NEWNET),
                    (*ipc, UnshareFlags::NEWIPC),
                    (*uts, UnshareFlags::NEWUTS),
                    (*cgroups, UnshareFlags::NEWCGROUP),
                ];
                let own = kinds.into_iter().filter(|(own, _)| *own);
                Ok(crate::namespaces::isolate(
                    own.map(|(_, kind)| kind).collect(),
                )?)
            }
            Step::JoinNetwork { path } => Ok(crate::namespaces::join_network(path)?),
            Step::Loopback => Ok(crate::network::loopback_up()?),
            Step::Make(standard) => self.make(*standard),
            Step::EnterSkeleton => Ok(self.context.views.enter_skeleton()?),
            Step::Place => self.place(),
            Step::Mask { path, scope } => self.mask(path, *scope),
            Step::ReadOnly { path, scope } => self.make_read_only(path, *scope),
            Step::LeaveSkeleton => Ok(self.context.views.enter_host()?),
            Step::Overlay { stack, store } => self.mount_root(stack, store.as_deref()),
            Step::Directory { path, mapped } => self.clone_root(path, *mapped),
            Step::Source { mount, source } => self.prepare_source(*mount, source),
            Step::EnterGroup(directory) => {
                self.groups.entered();
                self.enter_group(directory)
            }
            Step::EnterGuard(directory) => {
                self.groups.guarded();
                self.enter_group(directory)
            }
            Step::Setting { path, value } => process::write_setting(path, value),
            Step::Profile(request) => process::ask_for_profile(request),
            Step::OpenTerminal { rows, cols } => self.open_terminal(*rows, *cols),
            Step::Init => Ok(sys::stay_as_init()?),
            Step::ReturnToSkeleton => self.return_to_skeleton(),
            Step::AttachRoot => self.attach_root(),
            Step::AttachStandard => self.attach_standard(),
            Step::TextFile {
                target,
                data,
                mode,
                uid,
                gid,
                create,
            } => {
                let owner = mounts::FileStatus {
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
                };
                self.attach_file(target, data, owner, *create)
            }
            Step::Attach {
                mount,
                target,
                create,
            } => self.attach(*mount, target, *create),
            Step::Terminal { rows, cols } => self.make_terminal(*rows, *cols),
            Step::Pivot { readonly, devices } => self.pivot(*readonly, *devices),
            Step::Hostname(name) => Ok(rustix::system::sethostname(name)?),
            Step::Domain(name) => Ok(rustix::system::setdomainname(name)?),
            Step::User { user, groups } => self.resolve_user(user, groups),
            Step::Streams => self.connect_streams(),
            Step::EnterUser => self.enter_user(),
            Step::WorkingDirectory { path, make } => process::enter_directory(path, *make),
            Step::Limit {
                resource,
                soft,
                hard,
            } => Ok(sys::set_limit(*resource, *soft, *hard)?),
            Step::Umask(mask) => {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(*mask));
                Ok(())
            }
            Step::Confine {
                capabilities,
                filter,
                no_new_privileges,
            } => self.confine(*capabilities, filter, *no_new_privileges),
            Step::Execute { args, env } => self.execute(args, env),
        }
    }

    fn enter_group(&self, directory: &CStr) -> StepResult {
        let directory = Path::new(OsStr::from_bytes(directory.to_bytes()));
        Ok(crate::cgroup::enter(directory, self.birthplace)?)
    }

    fn tell(&self, message: &FromChild) {
        if let Some(request) = &self.request {
            // A caller that has gone does not want to know.
            let _ = channel::send(&request.child, message, &[]);
        }
    }

    /// Returns the mount of a standard file system.
    fn standard(
        &self,
        wanted: impl Fn(&Standard) -> bool,
    ) -> StepResult<std::os::fd::BorrowedFd<'_>> {
        let found = self.standard.iter().find(|(standard, _)| wanted(standard));
        found
            .map(|(_, fd)| fd.as_fd())
            .ok_or(Fault::Errno(libc::ENOENT))
    }
}
