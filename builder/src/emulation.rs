//! Programs of other platforms: whether this machine executes them, and by what.
//!
//! The kernel executes them where an emulator is registered with it ([`cooper_runner::binfmt`]). Where none
//! is, a process that is root in a user namespace of its own registers an installed one there,
//! for itself alone (Linux 6.7). Anywhere else that is the administrator's decision, as it
//! is for the whole machine; [`Missing`] says how to go about it.

use std::fmt;
use std::path::{Path, PathBuf};

use cooper_oci::Platform;
use cooper_runner::binfmt::{Binfmt, Elf, Handler};

use crate::busybox::is_static;

/// Where Debian and others put qemu's static programs, besides PATH.
const PLACES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// An architecture that qemu emulates for single programs.
struct Architecture {
    /// In Go's words, as platforms have it.
    name: &'static str,
    /// In qemu's words.
    qemu: &'static str,
    programs: Elf,
}

const fn architecture(
    name: &'static str,
    qemu: &'static str,
    wide: bool,
    big_endian: bool,
    machine: u16,
) -> Architecture {
    Architecture {
        name,
        qemu,
        programs: Elf {
            wide,
            big_endian,
            machine,
        },
    }
}

/// `e_machine` as in elf.h.
const ARCHITECTURES: [Architecture; 10] = [
    architecture("386", "i386", false, false, 3),
    architecture("amd64", "x86_64", true, false, 62),
    architecture("arm", "arm", false, false, 40),
    architecture("arm64", "aarch64", true, false, 183),
    architecture("loong64", "loongarch64", true, false, 258),
    architecture("mips64", "mips64", true, true, 8),
    architecture("mips64le", "mips64el", true, false, 8),
    architecture("ppc64le", "ppc64le", true, false, 21),
    architecture("riscv64", "riscv64", true, false, 243),
    architecture("s390x", "s390x", true, true, 22),
];

/// How a platform's programs are executed here.
#[derive(Debug)]
pub enum Execution {
    /// By the processor.
    Native,
    /// By an emulator.
    Emulated(Emulator),
}

/// An emulator that is registered with the kernel.
#[derive(Debug)]
pub struct Emulator {
    /// The program.
    pub path: PathBuf,
    /// Whether the program has to be in the root of the process under that path.
    pub mounted: bool,
    /// What ends the registration when it is dropped.
    _registered: Option<Binfmt>,
}

/// Why a platform's programs cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{platform} programs cannot be executed on this machine ({}): {reason}",
    Platform::host()
)]
pub struct Missing {
    /// The platform.
    pub platform: Box<Platform>,
    /// What is missing.
    pub reason: Reason,
}

/// What is missing to execute a platform's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is another operating system's, or nothing emulates the processor.
    Unknown,
    /// No emulator is registered, and none is installed.
    NotInstalled {
        /// As qemu calls the processor.
        qemu: &'static str,
    },
    /// An emulator is installed, but not registered.
    NotRegistered {
        /// As qemu calls the processor.
        qemu: &'static str,
        /// The program.
        path: PathBuf,
    },
    /// A handler is registered, but switched off.
    Disabled {
        /// The handler.
        handler: String,
    },
    /// A handler is registered whose emulator the kernel would not find in a step.
    OutOfReach {
        /// As qemu calls the processor.
        qemu: &'static str,
        /// The handler, which has no flag `F`.
        handler: String,
        /// Its emulator.
        path: PathBuf,
        /// Why it cannot be brought into the step.
        why: &'static str,
    },
    /// What is registered cannot be seen.
    Unreadable {
        /// As qemu calls the processor.
        qemu: &'static str,
        /// The system's answer.
        cause: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("nothing emulates it"),
            Self::NotInstalled { .. } => f.write_str("no emulator is registered with the kernel"),
            Self::NotRegistered { path, .. } => {
                write!(f, "{} is installed, but not registered", path.display())
            }
            Self::Disabled { handler } => write!(f, "the handler {handler} is switched off"),
            Self::OutOfReach {
                handler, path, why, ..
            } => write!(
                f,
                "the handler {handler} has no flag F, and its emulator {} {why}",
                path.display()
            ),
            Self::Unreadable { cause, .. } => {
                write!(f, "the kernel's binfmt_misc cannot be used ({cause})")
            }
        }
    }
}

impl Missing {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let elsewhere = |qemu: &str| {
            let architecture = ARCHITECTURES.iter().find(|known| known.qemu == qemu);
            let name = architecture.map_or(qemu, |known| known.name);
            format!("docker run --privileged --rm tonistiigi/binfmt --install {name}")
        };
        match &self.reason {
            Reason::Unknown => None,
            Reason::NotInstalled { qemu } => Some(format!(
                "install and register an emulator: sudo apt install qemu-user-static \
                 binfmt-support, or {}",
                elsewhere(qemu)
            )),
            Reason::NotRegistered { qemu, .. } => Some(format!(
                "register it: sudo systemctl restart systemd-binfmt, or sudo update-binfmts \
                 --enable qemu-{qemu} (package binfmt-support), or {}",
                elsewhere(qemu)
            )),
            Reason::Disabled { handler } => Some(format!(
                "switch it on: echo 1 | sudo tee /proc/sys/fs/binfmt_misc/{handler}"
            )),
            Reason::OutOfReach { qemu, .. } => Some(format!(
                "register a static emulator with the flag F (fix binary), which the kernel opens \
                 at once: sudo apt install qemu-user-static binfmt-support, or {}",
                elsewhere(qemu)
            )),
            Reason::Unreadable { qemu, .. } => Some(format!(
                "register an emulator on the machine itself: sudo apt install qemu-user-static \
                 binfmt-support, or {}",
                elsewhere(qemu)
            )),
        }
    }
}

/// Finds out how programs of `platform` are executed, and sees to it where that is this
/// process's own affair: `private` says that it is root only in a user namespace of its own.
///
/// An emulator that was registered for this process stays so while the answer lives.
pub fn execution(platform: &Platform, private: bool) -> Result<Execution, Missing> {
    if Platform::host().matches(platform) {
        return Ok(Execution::Native);
    }
    let missing = |reason| Missing {
        platform: Box::new(platform.clone()),
        reason,
    };
    let known = ARCHITECTURES
        .iter()
        .find(|known| known.name == platform.architecture && platform.os == "linux")
        .ok_or_else(|| missing(Reason::Unknown))?;
    let handlers = Binfmt::open().and_then(|binfmt| binfmt.handlers());
    let unreadable = handlers.as_ref().err().map(ToString::to_string);
    let found = handlers.unwrap_or_default();
    let own = found.iter().filter(|handler| handler.takes(known.programs));
    let first = own.clone().next();
    let mut unfit = None;
    for handler in own.filter(|handler| handler.enabled) {
        let Some(why) = out_of_reach(handler.fixed, &handler.interpreter) else {
            return Ok(Execution::Emulated(Emulator::registered(handler)));
        };
        unfit.get_or_insert(Reason::OutOfReach {
            qemu: known.qemu,
            handler: handler.name.clone(),
            path: handler.interpreter.clone(),
            why,
        });
    }
    let installed = installed(known.qemu);
    if let (true, Some(path)) = (private, &installed)
        && let Ok(emulator) = Emulator::register(known, path)
    {
        return Ok(Execution::Emulated(emulator));
    }
    let qemu = known.qemu;
    if let Some(unfit) = unfit {
        return Err(missing(unfit));
    }
    Err(missing(match (unreadable, first, installed) {
        (_, Some(handler), _) => Reason::Disabled {
            handler: handler.name.clone(),
        },
        (None, None, Some(path)) => Reason::NotRegistered { qemu, path },
        (None, None, None) => Reason::NotInstalled { qemu },
        (Some(cause), None, _) => Reason::Unreadable { qemu, cause },
    }))
}

/// Returns why the kernel would not find an emulator from within a step. One that is registered
/// with the flag `F` is open since then; any other is looked for in the step's own root, where
/// this machine's is mounted, alone.
fn out_of_reach(fixed: bool, interpreter: &Path) -> Option<&'static str> {
    if fixed {
        return None;
    }
    match is_static(interpreter) {
        Ok(true) => None,
        Ok(false) => Some("needs libraries that a step does not have"),
        Err(_) => Some("is not there"),
    }
}

/// Lists the platforms of Linux whose programs can be executed, this machine's first.
pub fn platforms(private: bool) -> Vec<(Platform, Execution)> {
    let host = Platform::host();
    let others = ARCHITECTURES
        .iter()
        .map(|known| Platform::new("linux", known.name).normalized());
    let mut all = vec![host.clone()];
    all.extend(others.filter(|other| *other != host));
    let executed = |platform: Platform| {
        let execution = execution(&platform, private).ok()?;
        Some((platform, execution))
    };
    all.into_iter().filter_map(executed).collect()
}

impl Emulator {
    fn registered(handler: &Handler) -> Self {
        Self {
            path: handler.interpreter.clone(),
            mounted: !handler.fixed,
            _registered: None,
        }
    }

    fn register(known: &Architecture, path: &Path) -> std::io::Result<Self> {
        let binfmt = Binfmt::mount()?;
        let handlers = binfmt.handlers()?;
        if !handlers.iter().any(|handler| handler.takes(known.programs)) {
            binfmt.register(&format!("qemu-{}", known.qemu), known.programs, path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            mounted: false,
            _registered: Some(binfmt),
        })
    }
}

/// Returns qemu's static program: another would look for its libraries in the step's root.
fn installed(qemu: &str) -> Option<PathBuf> {
    let name = format!("qemu-{qemu}-static");
    let places = PLACES.iter().map(|place| Path::new(place).join(&name));
    places.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(reason: Reason) -> (String, String) {
        let missing = Missing {
            platform: Box::new("linux/arm64".parse().expect("valid")),
            reason,
        };
        let text = missing
            .to_string()
            .replace(&Platform::host().to_string(), "HOST");
        (text, missing.hint().unwrap_or_default())
    }

    #[test]
    fn what_is_missing_is_said_and_what_to_do() {
        let qemu = "aarch64";
        let cases = [
            (
                Reason::NotInstalled { qemu },
                "no emulator is registered with the kernel",
                "sudo apt install qemu-user-static binfmt-support, or docker run --privileged --rm tonistiigi/binfmt --install arm64",
            ),
            (
                Reason::NotRegistered {
                    qemu,
                    path: "/usr/bin/qemu-aarch64-static".into(),
                },
                "/usr/bin/qemu-aarch64-static is installed, but not registered",
                "sudo update-binfmts --enable qemu-aarch64",
            ),
            (
                Reason::Disabled {
                    handler: "qemu-aarch64".to_owned(),
                },
                "the handler qemu-aarch64 is switched off",
                "echo 1 | sudo tee /proc/sys/fs/binfmt_misc/qemu-aarch64",
            ),
            (
                Reason::OutOfReach {
                    qemu,
                    handler: "qemu-aarch64".to_owned(),
                    path: "/opt/qemu".into(),
                    why: "is not there",
                },
                "the handler qemu-aarch64 has no flag F, and its emulator /opt/qemu is not there",
                "with the flag F (fix binary)",
            ),
            (
                Reason::Unreadable {
                    qemu,
                    cause: "Permission denied".to_owned(),
                },
                "the kernel's binfmt_misc cannot be used (Permission denied)",
                "--install arm64",
            ),
        ];
        for (reason, why, what) in cases {
            let (text, hint) = missing(reason);
            let before = "linux/arm64 programs cannot be executed on this machine (HOST): ";
            assert_eq!(text.strip_prefix(before), Some(why));
            assert!(hint.contains(what), "{hint}");
        }
    }

    #[test]
    fn an_emulator_must_be_open_or_need_nothing() {
        let nowhere = Path::new("/nowhere/qemu");
        assert_eq!(out_of_reach(true, nowhere), None);
        assert_eq!(out_of_reach(false, nowhere), Some("is not there"));
        let script = Path::new("/etc/passwd");
        let libraries = Some("needs libraries that a step does not have");
        assert_eq!(out_of_reach(false, script), libraries);
    }

    #[test]
    fn the_machine_executes_its_own_programs() {
        let own = platforms(false);
        assert!(matches!(
            own.first(),
            Some((platform, Execution::Native)) if *platform == Platform::host()
        ));
        let foreign: Platform = "windows/amd64".parse().expect("valid");
        let error = execution(&foreign, false).expect_err("another system");
        assert_eq!(
            (error.reason.clone(), error.hint()),
            (Reason::Unknown, None)
        );
    }
}
