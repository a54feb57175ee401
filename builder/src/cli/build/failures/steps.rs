//! Steps: their processes, copies and devices.

use super::*;

#[test]
fn each_kind_of_failed_step_reads_well() {
    let remote = || text("https://example.com/a.git");
    let url = || text("https://example.com/a.tar.gz");
    let samples = vec![
        OpError::Process {
            command: text("/bin/sh -c make install"),
            exit: Exit::Code(127),
            memory: None,
            scene: Some(text("failed-step")),
        },
        OpError::Start {
            command: text("/bin/sh -c make install"),
            source: RunError::NoCommand,
        },
        OpError::Foreign {
            command: text("/bin/sh -c make install"),
            source: Box::new(Missing {
                platform: Box::new(Platform::new("linux", "s390x")),
                reason: Reason::Unknown,
            }),
        },
        OpError::Runner(StartError::Scratch {
            path: "/var/lib/cooper/tmp".into(),
            source: denied(),
        }),
        OpError::File(FileError::LinkLoop { path: "app".into() }),
        OpError::Store(full()),
        OpError::Fetch(unfetched()),
        OpError::BaseLayer {
            layer: layer(),
            source: unfetched(),
        },
        OpError::MissingSecret { id: text("token") },
        OpError::MissingSsh { id: text("deploy") },
        OpError::Device(CdiError::Unknown {
            name: text("vendor.com/gpu=0"),
            known: Vec::new(),
        }),
        OpError::Relay {
            id: text("deploy"),
            source: ErrorKind::ConnectionRefused.into(),
        },
        OpError::Git {
            remote: remote(),
            source: Box::new(GitError::Empty { remote: remote() }),
        },
        OpError::Unasked { url: url() },
        OpError::UnknownContext {
            name: text("context"),
        },
        OpError::Io {
            action: "make a pipe",
            source: denied(),
        },
        OpError::Download {
            url: url(),
            source: Box::new(HttpError::Status {
                url: url(),
                status: ureq::http::StatusCode::UNAUTHORIZED,
            }),
        },
        OpError::Canceled,
        OpError::NotARoot,
        OpError::Unrelated,
    ];
    table("step", samples, |error| match error {
        download @ OpError::Download { .. } => in_add(download),
        OpError::Git { source, .. } => in_add_git(*source),
        other => in_run(other),
    });
}

#[test]
fn each_kind_of_failed_copy_reads_well() {
    let written = || text("src/main.rs");
    let samples = vec![
        FileError::NotFound {
            written: written(),
            path: "src/main.rs".into(),
            hint: None,
        },
        FileError::Copy {
            written: written(),
            dest: text("/app/"),
            source: Box::new(FileError::IsADirectory {
                path: "app/main.rs".into(),
            }),
        },
        FileError::Source {
            written: written(),
            source: ResolveError::Loop {
                path: "src".into(),
                limit: 40,
            },
        },
        FileError::Pattern { written: written() },
        FileError::LinkLoop { path: "app".into() },
        FileError::NotADirectory { path: "app".into() },
        FileError::InTheWay { path: "app".into() },
        FileError::IsADirectory {
            path: "app/main.rs".into(),
        },
        FileError::NamedOwner { spec: text("app") },
        FileError::OwnerRange { spec: text("app") },
        FileError::Mode(InvalidMode { value: text("9") }),
        FileError::Exclude {
            pattern: text("a["),
            reason: text("syntax error in pattern"),
        },
        FileError::Store(StoreError::Changed {
            path: "/src/main.rs".into(),
        }),
    ];
    table("copy", samples, in_copy);
}

#[test]
fn each_reason_why_a_process_did_not_start_reads_well() {
    let program = || "make".into();
    let target = || PathBuf::from("/cache");
    let samples = vec![
        RunError::NotFound {
            program: program(),
            searched: true,
        },
        RunError::NoInterpreter { program: program() },
        RunError::NotExecutable {
            program: program(),
            source: denied(),
        },
        RunError::Cgroup(CgroupError::NoController {
            controller: "memory",
        }),
        RunError::NoCommand,
        RunError::NulByte { what: "a variable" },
        RunError::UnknownUser { user: text("app") },
        RunError::UnknownGroup { group: text("app") },
        RunError::UnmappedId {
            kind: "user",
            id: 70_000,
        },
        RunError::UnmappedMount,
        RunError::WorkingDirectory {
            path: "/srv".into(),
            source: denied(),
        },
        RunError::Rootfs {
            upper: "/var/lib/cooper/x".into(),
            lowers: 3,
            source: denied(),
        },
        RunError::MountSource {
            target: target(),
            path: "/srv/cache".into(),
            source: ErrorKind::NotFound.into(),
        },
        RunError::Mount {
            target: "/proc/x".into(),
            source: denied(),
        },
        RunError::SetUp {
            step: text("set the host name"),
            source: denied(),
        },
        RunError::Worker {
            source: ErrorKind::BrokenPipe.into(),
        },
    ];
    table("start", samples, started);
}

#[test]
fn each_reason_why_a_foreign_process_did_not_start_reads_well() {
    let qemu = "s390x";
    let samples = vec![
        Reason::Unknown,
        Reason::NotInstalled { qemu },
        Reason::NotRegistered {
            qemu,
            path: "/usr/bin/qemu-s390x-static".into(),
        },
        Reason::Disabled {
            handler: text("qemu-s390x"),
        },
        Reason::OutOfReach {
            qemu,
            handler: text("qemu-s390x"),
            path: "/usr/bin/qemu-s390x".into(),
            why: "it is not static",
        },
        Reason::Unreadable {
            qemu,
            cause: text("permission denied"),
        },
    ];
    table("emulation", samples, |reason| {
        in_run(OpError::Foreign {
            command: text("/bin/sh -c make install"),
            source: Box::new(Missing {
                platform: Box::new(Platform::new("linux", "s390x")),
                reason,
            }),
        })
    });
}

#[test]
fn each_reason_why_a_device_is_not_there_reads_well() {
    let name = || text("vendor.com/gpu=0");
    let path = || PathBuf::from("/etc/cdi/vendor.json");
    let samples = vec![
        CdiError::Unknown {
            name: name(),
            known: vec![text("vendor.com/gpu=1")],
        },
        CdiError::Hook {
            name: name(),
            hook: "/usr/bin/hook".into(),
        },
        CdiError::Read {
            path: path(),
            source: denied(),
        },
        CdiError::Malformed {
            path: path(),
            reason: text("missing field `kind`"),
        },
    ];
    table("device", samples, |error| in_run(OpError::Device(error)));
}
