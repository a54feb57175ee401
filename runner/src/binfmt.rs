//! Which programs of other architectures the kernel executes: `binfmt_misc`.
//!
//! The kernel hands a program that it does not know itself to an interpreter that was
//! registered for programs that begin like it. Handlers belong to a user namespace; one that
//! has none of its own (Linux 6.7) uses those of the namespace above. They are found where
//! the file system is mounted, and else through a mount of our own that nobody else sees.
//!
//! With flag `F` the interpreter was opened when it was registered and works in any root;
//! without, it is looked up in the root of the process, so that it must be mounted there.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// Where it is mounted by custom.
const DIR: &str = "/proc/sys/fs/binfmt_misc";
/// What the kernel and other programs look at of a program's beginning, in bytes.
const HEADER: usize = 20;

/// The handlers of a user namespace. A mount of our own lasts as long as this value, and what
/// was registered through it with it.
#[derive(Debug)]
pub struct Binfmt {
    dir: PathBuf,
    _mount: Option<OwnedFd>,
}

/// Programs of an architecture, by what the beginning of their ELF files says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elf {
    /// Whether they are of 64 bits.
    pub wide: bool,
    /// Whether numbers have their most significant byte first.
    pub big_endian: bool,
    /// `e_machine`.
    pub machine: u16,
}

/// What is registered for some programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Its name in the file system.
    pub name: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// The interpreter.
    pub interpreter: PathBuf,
    /// Whether the interpreter need not be in the root of the process.
    pub fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Elf {
    /// Returns how executables begin.
    pub fn header(self) -> [u8; HEADER] {
        let number = |value: u16| {
            if self.big_endian {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(b"\x7fELF");
        header[4] = 1 + u8::from(self.wide);
        header[5] = 1 + u8::from(self.big_endian);
        header[6] = 1;
        header[16..18].copy_from_slice(&number(2));
        header[18..20].copy_from_slice(&number(self.machine));
        header
    }

    /// Returns the line that registers `interpreter` for such programs, shared objects among
    /// them, whatever system they name: given their own first argument, as busybox needs it.
    fn line(self, name: &str, interpreter: &Path) -> String {
        let hex = |bytes: &[u8]| {
            let add = |text: String, byte: &u8| text + &format!("\\x{byte:02x}");
            bytes.iter().fold(String::new(), add)
        };
        let mut mask = [0xff; HEADER];
        mask[7] = 0;
        // ET_EXEC is 2, ET_DYN 3.
        mask[if self.big_endian { 17 } else { 16 }] = 0xfe;
        let (magic, mask) = (hex(&self.header()), hex(&mask));
        format!(":{name}:M::{magic}:{mask}:{}:OPF", interpreter.display())
    }
}

impl Binfmt {
    /// Opens the handlers that apply to this process.
    pub fn open() -> io::Result<Self> {
        let dir = Path::new(DIR);
        if dir.join("status").exists() {
            return Ok(Self {
                dir: dir.to_owned(),
                _mount: None,
            });
        }
        Self::mount()
    }

    /// Gives the caller's user namespace handlers of its own: none at first.
    ///
    /// It fails before Linux 6.7, and without privileges in the namespace. In the first user
    /// namespace these are the machine's.
    pub fn mount() -> io::Result<Self> {
        let fs = rustix::mount::fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&fs)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        Ok(Self {
            dir: format!("/proc/self/fd/{}", mount.as_raw_fd()).into(),
            _mount: Some(mount),
        })
    }

    /// Returns what is registered; nothing while all of it is switched off.
    pub fn handlers(&self) -> io::Result<Vec<Handler>> {
        if std::fs::read_to_string(self.dir.join("status"))?.trim() == "disabled" {
            return Ok(Vec::new());
        }
        let mut handlers = Vec::new();
        for item in std::fs::read_dir(&self.dir)? {
            let name = item?.file_name().to_string_lossy().into_owned();
            if name != "register" && name != "status" {
                let text = std::fs::read_to_string(self.dir.join(&name))?;
                handlers.extend(Handler::parse(&name, &text));
            }
        }
        handlers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(handlers)
    }

    /// Registers a static `interpreter` for programs of an architecture.
    pub fn register(&self, name: &str, programs: Elf, interpreter: &Path) -> io::Result<()> {
        let mut file = std::fs::File::options()
            .write(true)
            .open(self.dir.join("register"))?;
        // The kernel takes a line in one write.
        file.write_all(programs.line(name, interpreter).as_bytes())
    }
}

impl Handler {
    /// Reads the file of a handler; none if it goes by file names.
    fn parse(name: &str, text: &str) -> Option<Self> {
        let mut handler = Self {
            name: name.to_owned(),
            enabled: text.lines().next() == Some("enabled"),
            interpreter: PathBuf::new(),
            fixed: false,
            offset: 0,
            magic: Vec::new(),
            mask: Vec::new(),
        };
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("interpreter", path)) => handler.interpreter = path.into(),
                Some(("flags:", flags)) => handler.fixed = flags.contains('F'),
                Some(("offset", offset)) => handler.offset = offset.parse().ok()?,
                Some(("magic", bytes)) => handler.magic = unhex(bytes)?,
                Some(("mask", bytes)) => handler.mask = unhex(bytes)?,
                _ => {}
            }
        }
        (!handler.magic.is_empty()).then_some(handler)
    }

    /// Returns whether programs of an architecture go to this handler when it is enabled.
    pub fn takes(&self, programs: Elf) -> bool {
        let header = programs.header();
        let Some(start) = header.get(self.offset..) else {
            return false;
        };
        let masked = |at: usize, byte: u8| byte & self.mask.get(at).copied().unwrap_or(0xff);
        let mut pairs = self.magic.iter().zip(start).enumerate();
        self.magic.len() <= start.len()
            && pairs.all(|(at, (magic, byte))| masked(at, *byte) == masked(at, *magic))
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: Elf = Elf {
        wide: true,
        big_endian: false,
        machine: 183,
    };
    const S390X: Elf = Elf {
        wide: true,
        big_endian: true,
        machine: 22,
    };

    #[test]
    fn handlers_are_read_as_the_kernel_shows_them() {
        let text = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
                    magic 7f454c460201010000000000000000000200b700\n\
                    mask ffffffffffffff00fffffffffffffffffeffffff\n";
        let handler = Handler::parse("qemu-aarch64", text).expect("a handler");
        assert!(handler.enabled && handler.fixed);
        assert_eq!(
            handler.interpreter,
            Path::new("/usr/bin/qemu-aarch64-static")
        );
        assert!(handler.takes(ARM64));
        assert!(!handler.takes(S390X));
        let off = Handler::parse(
            "x",
            &text.replace("enabled", "disabled").replace("OCF", "OC"),
        );
        let off = off.expect("a handler");
        assert!(!off.enabled && !off.fixed);
        let by_name = "enabled\ninterpreter /usr/bin/python3\nflags: \nextension .pyc\n";
        assert_eq!(Handler::parse("python", by_name), None);
        assert_eq!(Handler::parse("odd", "enabled\nmagic 7f4\n"), None);
    }

    #[test]
    fn lines_are_those_that_others_register() {
        assert_eq!(
            S390X.line("qemu-s390x", Path::new("/q")),
            r":qemu-s390x:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/q:OPF"
        );
        assert!(
            ARM64
                .line("a", Path::new("/q"))
                .contains(r"\x02\x00\xb7\x00:")
        );
    }
}
