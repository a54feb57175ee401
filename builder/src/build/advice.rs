//! What to do about a build that failed.
//!
//! Every failure has advice, so the matches here have no arm for the rest (but for those of other
//! rooms' hints): a new kind of error does not compile before there is something to say. Errors that know best themselves say it in a
//! `hint` of their own.

use std::io;

use cooper_cache::{ArchiveError, StoreError};
use cooper_runner::{Exit, RunError};

use super::cdi::CdiError;
use super::context::ContextError;
use super::error::{BuildError, MAIN_CONTEXT, OpError};
use super::ops::FileError;
use super::remote::FetchError;
use super::resolve::ResolveImageError;
use crate::export::ExportError;
use crate::git::{GitError, host_of};
use crate::http::HttpError;
use crate::push::PushError;
use crate::registry::{ConfigError, RegistryError};
use crate::report::did_you_mean;
use crate::shared_cache::{ServiceError, SharedCacheError};

const FAULT: &str = "this is a fault of cooper: please report it with the Dockerfile";
const DOCTOR: &str = "`cooper doctor` says what this machine lacks";
const DAMAGED: &str = "`cooper fsck --repair` removes what is damaged, so that it is made or \
                       fetched again";
const REGISTRY: &str = "check the name of the image, and that the registry works";

impl OpError {
    /// Returns advice for the user; none for a build that the user has ended.
    pub fn hints(&self) -> Vec<String> {
        let one = match self {
            Self::Process {
                exit,
                memory,
                scene,
                ..
            } => return process(*exit, *memory, scene.as_deref()),
            Self::Canceled => return Vec::new(),
            Self::Start { source, .. } => start(source),
            Self::Foreign { source, .. } => source.hint().unwrap_or_else(|| {
                "give --platform another platform, or build on a machine of this one".to_owned()
            }),
            Self::Runner(_) => DOCTOR.to_owned(),
            Self::File(error) => file(error),
            Self::Store(error) => store(error),
            Self::Fetch(error) | Self::BaseLayer { source: error, .. } => fetch(error),
            Self::MissingSecret { id } => {
                format!("pass it with --secret id={id},src=FILE or --secret id={id},env=NAME")
            }
            Self::MissingSsh { id } => {
                format!("pass it with --ssh {id}, or keys with --ssh {id}=FILE")
            }
            Self::Device(error) => device(error),
            Self::Relay { id, .. } => {
                format!("check that the agent of --ssh {id} still runs: ssh-add -l")
            }
            Self::Git { source, .. } => git(source),
            Self::Unasked { .. } => {
                "the server, or a cache in front of it, is at fault: try again, or give another \
                 address"
                    .to_owned()
            }
            Self::UnknownContext { name } if name == MAIN_CONTEXT => {
                "pass the directory that the step reads: cooper build -f - DIRECTORY".to_owned()
            }
            Self::UnknownContext { name } => {
                format!("give it with --build-context {name}=DIRECTORY")
            }
            Self::Io { source, .. } => system(source).to_owned(),
            Self::Download { url, source } => download(url, source),
            Self::NotARoot | Self::Unrelated => FAULT.to_owned(),
        };
        vec![one]
    }
}

impl BuildError {
    /// Returns advice for the user; none where each place that is shown has its own, or where the
    /// error is one of something else, which is asked for it.
    pub fn hints(&self) -> Vec<String> {
        let one = match self {
            Self::Dockerfile { .. }
            | Self::Target { .. }
            | Self::Leaks { .. }
            | Self::NotReproducible { .. }
            | Self::Interrupted => return Vec::new(),
            Self::Step { source, .. } | Self::Fetch { source, .. } => return source.hints(),
            Self::Internal { source } => return source.hints(),
            Self::Image {
                suggestion, source, ..
            } => {
                let stage = suggestion.iter();
                let stage = stage.map(|stage| format!("did you mean the stage {stage}?"));
                return stage.chain([image(source)]).collect();
            }
            Self::CacheExport { source, .. } => {
                let rest = "the outputs are written; with ignore-error=true this is a warning";
                return vec![shared_cache(source), rest.to_owned()];
            }
            Self::Definition { hint, .. } => hint.clone(),
            Self::Destination(error) => error.hint(),
            Self::Checks { .. } => {
                "`# check=error=true` in the Dockerfile or BUILDKIT_DOCKERFILE_CHECK makes them \
                 errors"
                    .to_owned()
            }
            Self::Context(error) => context(error),
            Self::Secret(_) => {
                "src= names a file of this machine; --secret id=ID,env=NAME takes a variable"
                    .to_owned()
            }
            Self::Ssh(error) => error.hint().to_owned(),
            Self::Solver { .. } => FAULT.to_owned(),
            Self::Store(error) => store(error),
            Self::Export(error) => export(error),
            Self::Push(error) => push(error),
        };
        vec![one]
    }
}

/// What a system's answer asks for.
fn system(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "check whose it is and what is allowed to others, or build as another user"
        }
        io::ErrorKind::NotFound => "check that it exists",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room: cooper prune, cooper rmi"
        }
        io::ErrorKind::ReadOnlyFilesystem => "choose a place that can be written",
        _ => DOCTOR,
    }
}

fn process(exit: Exit, memory: Option<u64>, scene: Option<&str>) -> Vec<String> {
    let limit = memory.map(|bytes| {
        format!(
            "it has used up its memory of {bytes} bytes: give the step more with --memory, or let \
             it do less at once"
        )
    });
    let known = match exit {
        Exit::Code(127) => Some(
            "exit code 127 is a shell's answer to a command that is not in the image, or whose \
             interpreter or loader is not: install it in an earlier RUN, or check PATH",
        ),
        Exit::Code(126) => Some(
            "exit code 126 is a shell's answer to a file that it cannot execute: it lacks the x \
             bit, or is made for another architecture",
        ),
        Exit::Signal(9) | Exit::Code(137) => {
            Some("something outside the step killed it, most often the kernel for want of memory")
        }
        _ => None,
    };
    let look =
        scene.map(|name| format!("look around in what the step left: cooper run --rm -it {name}"));
    let mut hints: Vec<String> = limit
        .or_else(|| known.map(str::to_owned))
        .into_iter()
        .collect();
    hints.extend(look);
    if hints.is_empty() {
        hints.push("what the command wrote, above, says why".to_owned());
    }
    hints
}

fn start(error: &RunError) -> String {
    let shell = |program: &std::ffi::OsStr| program.as_encoded_bytes().ends_with(b"sh");
    match error {
        RunError::NotFound { program, .. } if shell(program) => format!(
            "the image has no {}: give the command in exec form, RUN [\"program\", \"argument\"], \
             or start from an image with a shell",
            program.display()
        ),
        RunError::NotFound { program, searched } => format!(
            "install {} in an earlier RUN{}",
            program.display(),
            if *searched {
                ", or set PATH so that it is found"
            } else {
                ", or COPY it into the image"
            }
        ),
        RunError::NoInterpreter { program } => format!(
            "{} exists; what is missing is the interpreter in its first line (a carriage return \
             at its end counts as part of the name) or, for a program, the dynamic loader of the \
             C library that it was linked to",
            program.display()
        ),
        RunError::NotExecutable { program, source } => not_executable(program, source),
        RunError::UnknownUser { user } => format!(
            "make the user in an earlier RUN (adduser {user}), or name it by number: USER 1000"
        ),
        RunError::UnknownGroup { group } => {
            format!("make the group in an earlier RUN (addgroup {group}), or name it by number")
        }
        RunError::NoCommand => "name a program, such as RUN [\"make\"]".to_owned(),
        RunError::NulByte { .. } => {
            "no text of a process can hold a NUL byte: look for it in the variables".to_owned()
        }
        RunError::WorkingDirectory { path, .. } => format!(
            "the step's user must be able to enter {}: check its mode, or choose another WORKDIR",
            path.display()
        ),
        RunError::MountSource { path, source, .. } => {
            format!("{}: {}", path.display(), system(source))
        }
        other => other.hint().unwrap_or(DOCTOR).to_owned(),
    }
}

fn not_executable(program: &std::ffi::OsStr, source: &io::Error) -> String {
    let program = program.display();
    if source.kind() == io::ErrorKind::PermissionDenied {
        return format!(
            "{program} lacks the x bit, or a directory on the way to it: use COPY --chmod=755"
        );
    }
    format!(
        "{program} is made for another architecture than this machine's ({}), or is a script \
         without a first line that names its interpreter",
        cooper_oci::Platform::host()
    )
}

fn file(error: &FileError) -> String {
    let text = match error {
        FileError::Copy { source, .. } => return file(source),
        FileError::Store(error) => return store(error),
        FileError::NotFound { hint, .. } => match hint {
            Some(hint) => return hint.clone(),
            None => {
                "names are those of what is copied from: the build context, or the image or stage \
                 of --from"
            }
        },
        FileError::IsADirectory { path } => {
            return format!("remove {path} in a RUN before, or copy to another name");
        }
        FileError::InTheWay { path } => {
            return format!("name another directory, or remove {path} in a RUN before");
        }
        FileError::NotADirectory { path } => {
            return format!(
                "{path} exists and is not a directory; a directory's contents need one to go to"
            );
        }
        FileError::Source { .. } => {
            "a link on the way cannot be followed: copy what it leads to by its own name"
        }
        FileError::Pattern { .. } | FileError::Exclude { .. } => {
            "close each `[` with `]`, and put a character after each backslash"
        }
        FileError::LinkLoop { .. } => {
            "remove one of the links in a RUN before, or copy to another path"
        }
        FileError::NamedOwner { .. } => "write numbers, such as --chown=1000:1000",
        FileError::OwnerRange { .. } => "ids are numbers from 0 to 4294967295",
        FileError::Mode(_) => {
            "write an octal mode such as 0755, or a symbolic one such as u=rwX,go=rX"
        }
    };
    text.to_owned()
}

fn store(error: &StoreError) -> String {
    let text = match error {
        StoreError::Full { .. } => {
            "raise hard-limit in [cache] of the configuration, or make room: cooper rmi, cooper \
             prune"
        }
        StoreError::NoSpace { .. } => "make room: cooper prune, cooper rmi",
        StoreError::ReadOnly { .. } | StoreError::Format { .. } => {
            "use another directory: --root DIR"
        }
        StoreError::Busy { .. } => "try again when that has ended; `cooper ps` lists containers",
        StoreError::Changed { .. } => "build again once nothing writes to it any more",
        StoreError::UnmappedOwner { .. } => {
            "give your user a range of ids in /etc/subuid and /etc/subgid, or build as root"
        }
        StoreError::Io { source, .. } => system(source),
        StoreError::Archive(error) => archive(error),
        StoreError::Resolve(_) => "check the path, and where the links on its way lead",
        StoreError::Invalid { .. } => "check how the name is written",
        StoreError::Canceled => "build again to go on from there",
        StoreError::Mount(_) => "leave the mounts out of the shared cache, or write it anew",
        StoreError::MissingBlob { .. }
        | StoreError::MissingLayer { .. }
        | StoreError::DigestMismatch { .. }
        | StoreError::SizeMismatch { .. }
        | StoreError::DiffIdMismatch { .. }
        | StoreError::TreeMismatch { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Meta { .. } => DAMAGED,
    };
    text.to_owned()
}

fn archive(error: &ArchiveError) -> &'static str {
    match error {
        ArchiveError::Device { .. } => "build as root, or make the archive without device nodes",
        ArchiveError::InTheWay { .. } => "remove that in a RUN before, or unpack to another path",
        ArchiveError::TooLarge { .. } | ArchiveError::TooMany { .. } => {
            "part it into several archives, or COPY it and unpack it in a RUN step"
        }
        ArchiveError::Malformed { .. }
        | ArchiveError::Escapes { .. }
        | ArchiveError::BadName { .. }
        | ArchiveError::DanglingLink { .. }
        | ArchiveError::UnknownType { .. } => {
            "make the archive anew, or COPY it and unpack it in a RUN step"
        }
    }
}

fn fetch(error: &FetchError) -> String {
    match error {
        FetchError::Registry { source, .. } => source.hint().unwrap_or_else(|| REGISTRY.to_owned()),
        FetchError::Layout { source, .. } => system(source).to_owned(),
        FetchError::Service(error) => service(error),
        FetchError::Store(error) => store(error),
    }
}

fn device(error: &CdiError) -> String {
    match error {
        CdiError::Unknown { name, known } => {
            match did_you_mean(name, known.iter().map(String::as_str)) {
                Some(best) => format!("did you mean {best}?"),
                None => "put the vendor's specification into /etc/cdi or /var/run/cdi, or name \
                         its directory with --cdi-config-dir"
                    .to_owned(),
            }
        }
        CdiError::Hook { .. } => {
            "ask the vendor's tool for a specification without hooks, or run the hook by hand"
                .to_owned()
        }
        CdiError::Read { source, .. } => system(source).to_owned(),
        CdiError::Malformed { .. } => "mend the file, or move it away".to_owned(),
    }
}

fn git(error: &GitError) -> String {
    if let Some(hint) = error.hint() {
        return hint;
    }
    match error {
        GitError::Store(error) => store(error),
        GitError::Start { source } | GitError::Io { source, .. } => system(source).to_owned(),
        GitError::Submodule { source, .. } => git(source),
        _ => "check the address with `git ls-remote`".to_owned(),
    }
}

fn download(url: &str, error: &HttpError) -> String {
    let text = match error {
        HttpError::Status { status, .. } => match (status.as_u16(), host_of(url)) {
            (401 | 403, Some(host)) => {
                return format!(
                    "give a token for the server: --secret id=HTTP_AUTH_TOKEN_{host},env=NAME (or \
                     id=HTTP_AUTH_HEADER_{host} for a whole header)"
                );
            }
            (500.., _) => "the server is at fault: try again later",
            _ => "check the address",
        },
        HttpError::Url { .. } => "check the address",
        HttpError::Ca { .. } | HttpError::ClientCert { .. } => {
            "mend what the configuration names, or leave it out"
        }
        HttpError::Proxy { .. } => "check HTTP_PROXY and HTTPS_PROXY",
        HttpError::Transport { .. } | HttpError::Interrupted { .. } => {
            "check the address, the network and the proxy settings"
        }
        HttpError::Checksum { .. } => {
            "if the file was changed for a good reason, put its new digest into --checksum"
        }
        HttpError::Sink { source, .. } => system(source),
    };
    text.to_owned()
}

fn image(error: &ResolveImageError) -> String {
    let text = match error {
        ResolveImageError::Registry { source, .. } => return registry(source),
        ResolveImageError::Search { source, .. } => match source {
            Some(source) => return image(source),
            None => "write the name with its registry, such as docker.io/library/debian",
        },
        ResolveImageError::NotPulled { name } => {
            return format!("pull it first: cooper pull {name}");
        }
        ResolveImageError::Platform { found, .. } => {
            let first = found.split(", ").next().unwrap_or(found);
            return format!("ask for one that it has, for example --platform={first}");
        }
        ResolveImageError::LayerCount { .. } => "the image is malformed: build or push it anew",
        ResolveImageError::Layout { source, .. } => system(source),
        ResolveImageError::Document { .. } | ResolveImageError::Corrupt { .. } => {
            "the layout is damaged: write it anew"
        }
        ResolveImageError::NotInLayout { .. } => {
            "name one of those: oci-layout://DIR:TAG or oci-layout://DIR@DIGEST"
        }
        ResolveImageError::NotAnImage { .. } => {
            "copy from it with --from, or give an image: docker-image://NAME, oci-layout://DIR"
        }
        ResolveImageError::Store(error) => return store(error),
    };
    text.to_owned()
}

fn registry(error: &RegistryError) -> String {
    if let Some(hint) = error.hint() {
        return hint;
    }
    let text = match error {
        RegistryError::NotAnImage { .. } => {
            "name an image: this may be a chart, a cache or a signature"
        }
        RegistryError::Nesting { .. } | RegistryError::Oversized { .. } => {
            "the image is malformed: build or push it anew"
        }
        RegistryError::NothingToPush { .. } => "build the image anew",
        RegistryError::Config(ConfigError::Mirror { .. }) => {
            "mend the mirror in the configuration file, or --registry-mirror"
        }
        RegistryError::Config(ConfigError::Blocked { .. }) => {
            "take `blocked = true` out of that file, or name another image"
        }
        RegistryError::Local { source, .. } => system(source),
        RegistryError::Failed { .. }
        | RegistryError::NoPlatform { .. }
        | RegistryError::Canceled => REGISTRY,
    };
    text.to_owned()
}

fn service(error: &ServiceError) -> String {
    if let Some(hint) = error.hint() {
        return hint;
    }
    let text = match error {
        ServiceError::Status { status, .. } => match status.as_u16() {
            401 | 403 => "check the keys or the token of the cache, and what they may do",
            404 => "check the names in the attributes of the cache, and that they exist",
            500.. => "the service is at fault: try again later, or leave the cache out",
            _ => "check the attributes of the cache",
        },
        ServiceError::Transport { .. } | ServiceError::Broken { .. } => {
            "check the address of the cache, the network and the proxy settings"
        }
        ServiceError::TooLong { .. } | ServiceError::Answer { .. } => {
            "check the address: something else than the cache's service may have answered"
        }
        ServiceError::Missing { .. } => "write the cache first, with --cache-to",
        ServiceError::Absent { .. } => {
            "it can be used in GitHub's own jobs, which give these variables to actions: hand them \
             on to the step that builds"
        }
        ServiceError::Sink { source, .. } => system(source),
        ServiceError::Http(error) => return download("", error),
        ServiceError::Late { .. } | ServiceError::Canceled => "try again",
    };
    text.to_owned()
}

fn context(error: &ContextError) -> String {
    let text = match error {
        ContextError::NotADirectory { .. } => {
            "the context is the last argument: cooper build [OPTIONS] DIRECTORY"
        }
        ContextError::Read { source, .. } => system(source),
        ContextError::Ignore { .. } => {
            "a line is a pattern, or `!` and a pattern; close each `[` with `]`, and put a \
             character after each backslash"
        }
    };
    text.to_owned()
}

fn export(error: &ExportError) -> String {
    let text = match error {
        ExportError::Write { source, .. } => system(source),
        ExportError::Stdout { .. } => {
            "whatever reads standard output has gone; dest=FILE writes to a file"
        }
        ExportError::Missing { .. } => DAMAGED,
        ExportError::ManifestList => {
            "type=oci writes an archive of all platforms; without dest, type=image keeps them in \
             the store"
        }
        ExportError::Store(error) => return store(error),
    };
    text.to_owned()
}

fn push(error: &PushError) -> String {
    match error {
        PushError::NoName => "give it one: -t NAME, or name= in the output".to_owned(),
        PushError::Registry { source, .. } => registry(source),
        PushError::Store(error) => store(error),
    }
}

fn shared_cache(error: &SharedCacheError) -> String {
    if let Some(hint) = error.hint() {
        return hint;
    }
    let text = match error {
        SharedCacheError::Registry(error) => return registry(error),
        SharedCacheError::Service(error) => return service(error),
        SharedCacheError::Io { source, .. } => system(source),
        SharedCacheError::NotThere { .. } => "name one of those with tag= or digest=",
        SharedCacheError::Corrupt { .. }
        | SharedCacheError::Document { .. }
        | SharedCacheError::Malformed { .. }
        | SharedCacheError::NoCache { .. } => "write the cache anew with --cache-to",
        SharedCacheError::Fetch(error) => return fetch(error),
        SharedCacheError::Store(error) => return store(error),
    };
    text.to_owned()
}
