//! What is mounted in a container: `-v`, `--tmpfs`.

use clap::Args;

use crate::cli::value::{ValueError, each, mount_target, size};
use crate::container::{MountConfig, TmpfsMount, VolumeMount, VolumeSource};
use crate::report::Report;

/// Options that mount something.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Mounts")]
pub struct MountArgs {
    /// Mount a directory of this machine or a volume
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:ro]")]
    pub volume: Vec<String>,

    /// Mount a file system in memory
    #[arg(long, value_name = "TARGET[:size=SIZE,mode=MODE]")]
    pub tmpfs: Vec<String>,
}

impl MountArgs {
    /// Returns what is mounted.
    pub fn resolve(&self) -> Result<MountConfig, Report> {
        Ok(MountConfig {
            volumes: each("--volume", &self.volume, volume)?,
            tmpfs: each("--tmpfs", &self.tmpfs, tmpfs)?,
        })
    }
}

/// Parses `[SOURCE:]TARGET[:OPTIONS]`. A source with a slash, or `.`, is a path of this machine;
/// any other is a volume's name.
fn volume(text: &str) -> Result<VolumeMount, ValueError> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(ValueError::new("too many colons").hint("write SOURCE:TARGET[:ro]")),
    };
    let mut readonly = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => readonly = true,
            // SELinux labels and copying are docker's defaults or nothing here.
            "rw" | "z" | "Z" | "copy" => {}
            _ => return Err(ValueError::unknown("mount option", option, &["ro", "rw"])),
        }
    }
    let source = match source {
        None => VolumeSource::Anonymous,
        Some(path) if path.contains('/') || path == "." || path == ".." => {
            VolumeSource::Host(path.into())
        }
        Some(name) if is_volume_name(name) => VolumeSource::Named(name.to_owned()),
        Some(name) => {
            return Err(
                ValueError::new(format!("{name:?} is neither a path nor a volume's name"))
                    .hint("a path has a slash; a name has letters, digits, '_', '.' and '-'"),
            );
        }
    };
    Ok(VolumeMount {
        source,
        target: mount_target(target)?,
        readonly,
    })
}

fn is_volume_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() > 1 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(rest)
}

/// Parses `TARGET[:OPTIONS]`.
fn tmpfs(text: &str) -> Result<TmpfsMount, ValueError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = TmpfsMount {
        target: mount_target(target)?,
        size: None,
        mode: 0o1777,
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => mount.size = Some(size(value)?),
            Some(("mode", value)) => {
                mount.mode = u32::from_str_radix(value, 8)
                    .map_err(|_| ValueError::new(format!("{value:?} is no octal mode")))?;
            }
            // What every file system in memory here is.
            None if matches!(option, "rw" | "nosuid" | "nodev") => {}
            _ => {
                return Err(ValueError::unknown(
                    "option",
                    option,
                    &["size=SIZE", "mode=MODE"],
                ));
            }
        }
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_paths_names_or_anonymous() {
        let mount = |source, target: &str, readonly| {
            Ok(VolumeMount {
                source,
                target: target.into(),
                readonly,
            })
        };
        let host = |path: &str| VolumeSource::Host(path.into());
        let error = |text: &str| Err(text.to_owned());
        for (text, expected) in [
            ("/a:/b", mount(host("/a"), "/b", false)),
            ("./a:/b/:ro", mount(host("./a"), "/b", true)),
            (".:/b:rw,z", mount(host("."), "/b", false)),
            (
                "data:/b",
                mount(VolumeSource::Named("data".into()), "/b", false),
            ),
            ("/b", mount(VolumeSource::Anonymous, "/b", false)),
            ("/a:b", error("the target \"b\" is no absolute path")),
            ("/a:/", error("the target \"/\" is the root")),
            (
                "/a:/b/../c",
                error("the target \"/b/../c\" contains \"..\""),
            ),
            (
                "a b:/c",
                error("\"a b\" is neither a path nor a volume's name"),
            ),
            ("/a:/b:or", error("unknown mount option \"or\"")),
            ("/a:/b:ro:x", error("too many colons")),
        ] {
            assert_eq!(
                volume(text).map_err(|error| error.to_string()),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn memory_file_systems_have_a_size_and_a_mode() {
        let mount = TmpfsMount {
            target: "/t".into(),
            size: None,
            mode: 0o1777,
        };
        assert_eq!(tmpfs("/t"), Ok(mount.clone()));
        let sized = TmpfsMount {
            size: Some(64 << 20),
            mode: 0o700,
            ..mount
        };
        assert_eq!(tmpfs("/t:rw,size=64m,mode=700"), Ok(sized));
        assert!(tmpfs("/t:colour=red").is_err());
        assert!(tmpfs("t").is_err());
    }
}
