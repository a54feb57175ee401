//! `cooper doctor`: whether this machine can build and run, and what is missing if not.
//!
//! What the kernel and the system say is gathered into `Facts`; what follows from them is a
//! pure function. Last comes a trial: a process that is set up in all namespaces over an overlay
//! and asked to execute a program that does not exist. That it is not found proves everything
//! before it.

use crate::exit::ExitCode;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use cooper_cache::{Driver, Store};
use cooper_oci::Platform;
use cooper_runner::{ProcessSpec, Rootfs, RunError, Runner, RunnerOptions, Stdio};

use super::Settings;
use super::session::Session;
use crate::config::Environment;
use crate::driver;
use crate::emulation::{self, Execution};
use crate::report::{Exit, Report, print_data};

/// Options of `cooper doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {}

/// What there is to know about a machine.
#[derive(Clone, Debug, Default)]
struct Facts {
    is_root: bool,
    user: String,
    kernel: String,
    filesystems: String,
    max_user_namespaces: Option<String>,
    unprivileged_userns_clone: Option<String>,
    apparmor_restricts_userns: Option<String>,
    seccomp_actions: Option<String>,
    subuid: String,
    subgid: String,
    id_map_programs: Vec<&'static str>,
    cgroup2: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Good,
    /// Something works less well.
    Poor,
    /// Nothing works.
    Bad,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    grade: Grade,
    subject: &'static str,
    text: String,
}

impl DoctorArgs {
    /// Prints the findings; bad ones make it fail.
    pub fn run(settings: &Settings) -> Result<ExitCode, Report> {
        let mut findings = Facts::gather(&settings.environment).findings();
        findings.push(trial(settings));
        findings.push(platforms(&emulation::platforms(
            !settings.environment.is_root,
        )));
        print_data(&render(&findings))?;
        if findings.iter().any(|finding| finding.grade == Grade::Bad) {
            return Ok(Exit::Failure.into());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Says which platforms' programs RUN and `run` can execute.
fn platforms(executed: &[(Platform, Execution)]) -> Finding {
    let name = |(platform, execution): &(Platform, Execution)| match execution {
        Execution::Native => platform.to_string(),
        Execution::Emulated(emulator) => {
            format!("{platform} (by {})", emulator.path.display())
        }
    };
    let names: Vec<_> = executed.iter().map(name).collect();
    let emulated = executed
        .iter()
        .any(|(_, execution)| matches!(execution, Execution::Emulated(_)));
    let text = if emulated {
        names.join(", ")
    } else {
        format!(
            "{}; for others, register emulators: sudo apt install qemu-user-static \
             binfmt-support, or docker run --privileged --rm tonistiigi/binfmt --install all",
            names.join(", ")
        )
    };
    Finding {
        grade: Grade::Good,
        subject: "platforms",
        text,
    }
}

fn render(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let mark = match finding.grade {
            Grade::Good => "ok  ",
            Grade::Poor => "warn",
            Grade::Bad => "FAIL",
        };
        format!("{mark}  {}: {}\n", finding.subject, finding.text)
    };
    findings.iter().map(line).collect()
}

impl Facts {
    fn gather(environment: &Environment) -> Self {
        let read = |path: &str| {
            fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let sysctl = |name: &str| read(&format!("/proc/sys/{name}"));
        let uid = rustix::process::getuid().as_raw().to_string();
        let search_path = environment
            .path("PATH")
            .unwrap_or_default()
            .into_os_string();
        let passwd = read("/etc/passwd").unwrap_or_default();
        let user = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        });
        Self {
            is_root: environment.is_root,
            user: user.unwrap_or(uid),
            kernel: sysctl("kernel/osrelease").unwrap_or_default(),
            filesystems: read("/proc/filesystems").unwrap_or_default(),
            max_user_namespaces: sysctl("user/max_user_namespaces"),
            unprivileged_userns_clone: sysctl("kernel/unprivileged_userns_clone"),
            apparmor_restricts_userns: sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            seccomp_actions: sysctl("kernel/seccomp/actions_avail"),
            subuid: read("/etc/subuid").unwrap_or_default(),
            subgid: read("/etc/subgid").unwrap_or_default(),
            id_map_programs: ["newuidmap", "newgidmap"]
                .into_iter()
                .filter(|name| in_path(name, &search_path))
                .collect(),
            cgroup2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.kernel(), self.overlay(), self.seccomp(), self.cgroup()];
        if !self.is_root {
            findings.push(self.user_namespaces());
            findings.push(self.subordinate_ids());
        }
        findings
    }

    fn kernel(&self) -> Finding {
        let mut numbers = self
            .kernel
            .split(|c: char| !c.is_ascii_digit())
            .map(str::parse::<u32>);
        let version = (
            numbers.next().and_then(Result::ok),
            numbers.next().and_then(Result::ok),
        );
        let text = format!("Linux {}", self.kernel);
        match version {
            (Some(major), Some(minor)) if (major, minor) >= (5, 11) => good("kernel", text),
            (Some(_), Some(_)) if self.is_root => {
                poor("kernel", format!("{text} is old; 5.11 or newer is tested"))
            }
            _ => bad(
                "kernel",
                format!("{text}: overlays without root need 5.11 or newer"),
            ),
        }
    }

    fn overlay(&self) -> Finding {
        let known = self
            .filesystems
            .lines()
            .any(|line| line.split_whitespace().last() == Some("overlay"));
        if known {
            return good("overlay", "the kernel has it");
        }
        bad(
            "overlay",
            "the kernel lacks overlayfs: load it with `modprobe overlay`",
        )
    }

    fn seccomp(&self) -> Finding {
        match &self.seccomp_actions {
            Some(_) => good("seccomp", "the kernel has it"),
            None => bad(
                "seccomp",
                "the kernel was built without CONFIG_SECCOMP_FILTER",
            ),
        }
    }

    fn cgroup(&self) -> Finding {
        let version = if self.cgroup2 {
            "version 2"
        } else {
            "version 1"
        };
        let text = format!("{version}; steps live in the cgroup of the command that runs them");
        good("cgroup", text)
    }

    fn user_namespaces(&self) -> Finding {
        let subject = "user namespaces";
        if self.max_user_namespaces.as_deref() == Some("0") {
            return bad(
                subject,
                "forbidden: set the sysctl user.max_user_namespaces to 10000",
            );
        }
        if self.unprivileged_userns_clone.as_deref() == Some("0") {
            return bad(
                subject,
                "forbidden: set the sysctl kernel.unprivileged_userns_clone to 1",
            );
        }
        if self.apparmor_restricts_userns.as_deref() == Some("1") {
            let text = "AppArmor may forbid them: set the sysctl \
                        kernel.apparmor_restrict_unprivileged_userns to 0, or give cooper a profile";
            return poor(subject, text);
        }
        good(subject, "allowed")
    }

    fn subordinate_ids(&self) -> Finding {
        let subject = "subordinate ids";
        if self.id_map_programs.len() < 2 {
            let text = "newuidmap and newgidmap are missing (package uidmap): \
                        only files of one owner can be made";
            return poor(subject, text);
        }
        let has = |text: &str| {
            text.lines()
                .any(|line| line.split(':').next() == Some(&self.user))
        };
        let missing = [("/etc/subuid", &self.subuid), ("/etc/subgid", &self.subgid)];
        match missing.into_iter().find(|(_, text)| !has(text)) {
            None => good(subject, "granted"),
            Some((file, _)) => poor(
                subject,
                format!("{file} has no line such as {}:100000:65536", self.user),
            ),
        }
    }
}

fn good(subject: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        grade: Grade::Good,
        subject,
        text: text.into(),
    }
}

fn poor(subject: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        grade: Grade::Poor,
        subject,
        text: text.into(),
    }
}

fn bad(subject: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        grade: Grade::Bad,
        subject,
        text: text.into(),
    }
}

fn in_path(program: &str, search_path: &OsStr) -> bool {
    let found = |dir: PathBuf| dir.join(OsStr::new(program)).is_file();
    std::env::split_paths(search_path).any(found)
}

/// Sets a process up as a RUN step is.
fn trial(settings: &Settings) -> Finding {
    let subject = "trial";
    let session = match Session::open(settings) {
        Ok(session) => session,
        Err(report) => return bad(subject, report.render(false).trim_end().to_owned()),
    };
    let root = settings.root.display();
    match try_process(&session.store) {
        Ok(Driver::Overlay) => good(subject, format!("a process can be run over {root}")),
        Ok(Driver::Vfs) => poor(
            subject,
            format!(
                "no overlay can be mounted over {root}: each step and container works in a copy \
                 of all its files"
            ),
        ),
        Err(text) => bad(subject, text),
    }
}

/// Runs a process and returns how its root was made. Whether overlays are to be had is looked for
/// again: the machine may have been changed for it.
fn try_process(store: &Store) -> Result<Driver, String> {
    let text = |error: &dyn std::error::Error| {
        Report::from_error(error)
            .render(false)
            .trim_end()
            .to_owned()
    };
    let staging = store.layers().prepare().map_err(|error| text(&error))?;
    let runner = Runner::start(RunnerOptions::new(store.tmp().join("runner")))
        .map_err(|error| text(&error))?;
    store.forget_driver().map_err(|error| text(&error))?;
    let driver = driver::of(store).map_err(|error| text(&error))?;
    let rootfs = match driver {
        Driver::Vfs => Rootfs::Directory(staging.fs()),
        Driver::Overlay => Rootfs::Overlay {
            lowers: Vec::new(),
            upper: staging.fs(),
            work: staging.work(),
            userxattr: store.options().userxattr,
        },
    };
    let spec = ProcessSpec::new(rootfs, ["/no/such/program"]);
    let stdio = Stdio::null().map_err(|error| text(&error))?;
    match runner.run(&spec, stdio) {
        Err(RunError::NotFound { .. }) => Ok(driver),
        Err(error) => Err(text(&error)),
        Ok(exit) => Err(format!("a program that does not exist ended with {exit:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Facts {
        Facts {
            is_root: false,
            user: "me".into(),
            kernel: "6.1.0-13-amd64".into(),
            filesystems: "nodev\tproc\nnodev\toverlay\n\text4".into(),
            max_user_namespaces: Some("62000".into()),
            unprivileged_userns_clone: Some("1".into()),
            apparmor_restricts_userns: None,
            seccomp_actions: Some("kill_process".into()),
            subuid: "me:100000:65536".into(),
            subgid: "me:100000:65536".into(),
            id_map_programs: vec!["newuidmap", "newgidmap"],
            cgroup2: true,
        }
    }

    #[test]
    fn a_healthy_machine_has_nothing_to_complain_about() {
        assert!(
            healthy()
                .findings()
                .iter()
                .all(|finding| finding.grade == Grade::Good)
        );
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let sick = Facts {
            kernel: "4.19.0".into(),
            filesystems: "\text4".into(),
            max_user_namespaces: Some("0".into()),
            seccomp_actions: None,
            id_map_programs: Vec::new(),
            cgroup2: false,
            ..healthy()
        };
        let unnamed = Facts {
            subgid: "you:1:1".into(),
            ..healthy()
        };
        let clone = Facts {
            unprivileged_userns_clone: Some("0".into()),
            ..healthy()
        };
        let apparmor = Facts {
            apparmor_restricts_userns: Some("1".into()),
            ..healthy()
        };
        let mut findings = sick.findings();
        for facts in [unnamed, clone, apparmor] {
            findings.extend(
                facts
                    .findings()
                    .into_iter()
                    .filter(|finding| finding.grade != Grade::Good),
            );
        }
        insta::assert_snapshot!(render(&findings), @r"
        FAIL  kernel: Linux 4.19.0: overlays without root need 5.11 or newer
        FAIL  overlay: the kernel lacks overlayfs: load it with `modprobe overlay`
        FAIL  seccomp: the kernel was built without CONFIG_SECCOMP_FILTER
        ok    cgroup: version 1; steps live in the cgroup of the command that runs them
        FAIL  user namespaces: forbidden: set the sysctl user.max_user_namespaces to 10000
        warn  subordinate ids: newuidmap and newgidmap are missing (package uidmap): only files of one owner can be made
        warn  subordinate ids: /etc/subgid has no line such as me:100000:65536
        FAIL  user namespaces: forbidden: set the sysctl kernel.unprivileged_userns_clone to 1
        warn  user namespaces: AppArmor may forbid them: set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or give cooper a profile
        ");
    }

    #[test]
    fn root_needs_no_user_namespace() {
        let facts = Facts {
            is_root: true,
            max_user_namespaces: Some("0".into()),
            kernel: "5.4.0".into(),
            ..healthy()
        };
        let grades: Vec<_> = facts
            .findings()
            .iter()
            .map(|finding| finding.grade)
            .collect();
        assert_eq!(grades, [Grade::Poor, Grade::Good, Grade::Good, Grade::Good]);
    }
}
