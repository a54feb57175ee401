//! What is mounted in a container: `-v`, `--mount`, `--tmpfs`, `--volumes-from`.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;

use cooper_runner::{Denied, TmpfsOptions};

use crate::cli::value::{ValueError, boolean, csv, each, mount_target, size};
use crate::cli::volume::check_options;
use crate::container::{
    MountConfig, TmpfsMount, VolumeMount, VolumeOptions, VolumeSource, is_volume_name,
};
use crate::report::Report;

/// Values of `bind-propagation`.
const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// Options that mount something.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Mounts")]
pub struct MountArgs {
    /// Mount a directory of this machine or a volume
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]")]
    pub volume: Vec<String>,

    /// Mount a directory (type=bind), a volume, an image or a file system in memory (type=tmpfs)
    #[arg(long, value_name = "type=TYPE,source=SOURCE,target=TARGET")]
    pub mount: Vec<String>,

    /// Mount a file system in memory; options are size, mode, uid, gid, nr_inodes, ro, exec and
    /// others of mount(8)
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    pub tmpfs: Vec<String>,

    /// Mount what another container mounts
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub volumes_from: Vec<String>,

    /// What keeps volumes that are made: local
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
}

/// What a `--mount` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Mounted {
    Volume(VolumeMount),
    Memory(TmpfsMount),
}

impl MountArgs {
    /// Returns what is mounted.
    pub fn resolve(&self) -> Result<MountConfig, Report> {
        if let Some(driver) = self
            .volume_driver
            .as_deref()
            .filter(|name| *name != "local")
        {
            let error = ValueError::unknown("driver", driver, &["local"]);
            return Err(error.report("--volume-driver", driver));
        }
        let mut volumes = each("--volume", &self.volume, volume)?;
        let mut memory = each("--tmpfs", &self.tmpfs, tmpfs)?;
        for mounted in each("--mount", &self.mount, mount)? {
            match mounted {
                Mounted::Volume(volume) => volumes.push(volume),
                Mounted::Memory(tmpfs) => memory.push(tmpfs),
            }
        }
        for volume in &mut volumes {
            // It is mounted at each start, wherever that is asked for.
            if let VolumeSource::Host(path) = &mut volume.source {
                *path = std::path::absolute(&*path).map_err(|error| {
                    Report::from_error(&error).context(format!("cannot mount {}", path.display()))
                })?;
            }
        }
        let mut targets = BTreeSet::new();
        let all = volumes.iter().map(|volume| &volume.target);
        for target in all.chain(memory.iter().map(|tmpfs| &tmpfs.target)) {
            if !targets.insert(target) {
                let target = target.display();
                return Err(Report::new(format!("two mounts are to be at {target}")));
            }
        }
        Ok(MountConfig {
            volumes,
            tmpfs: memory,
            from: self.volumes_from.clone(),
        })
    }
}

/// Parses `[SOURCE:]TARGET[:OPTIONS]`. A source that begins with a slash or a dot is a path of this
/// machine; any other is a volume's name.
fn volume(text: &str) -> Result<VolumeMount, ValueError> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, words) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, words] => (Some(*source), *target, *words),
        _ => return Err(ValueError::new("too many colons").hint("write SOURCE:TARGET[:ro]")),
    };
    let mut mount = VolumeMount {
        source: VolumeSource::Anonymous,
        target: mount_target(target)?,
        readonly: false,
        options: VolumeOptions::default(),
    };
    match source {
        None => {}
        Some(path) if path.starts_with(['/', '.']) => {
            mount.source = VolumeSource::Host(path.into());
        }
        Some(name) => mount.source = VolumeSource::Named(volume_name(name)?),
    }
    for word in words.split(',').filter(|word| !word.is_empty()) {
        let bound = matches!(mount.source, VolumeSource::Host(_));
        match word {
            "ro" | "readonly" => mount.readonly = true,
            "nocopy" if !bound => mount.options.nocopy = true,
            propagation if bound && PROPAGATIONS.contains(&propagation) => {
                mount.options.propagation = Some(propagation.to_owned());
            }
            // Labels are SELinux's, of which nothing is done here; the others are docker's ways
            // to speed up sharing with a virtual machine.
            "rw" | "z" | "Z" | "copy" | "cached" | "delegated" | "consistent" => {}
            _ => {
                let mut known = vec!["ro", "rw", "z", "Z", "nocopy"];
                known.extend(PROPAGATIONS);
                return Err(ValueError::unknown("mount option", word, &known));
            }
        }
    }
    Ok(mount)
}

fn volume_name(name: &str) -> Result<String, ValueError> {
    if is_volume_name(name) {
        return Ok(name.to_owned());
    }
    Err(
        ValueError::new(format!("{name:?} is neither a path nor a volume's name"))
            .hint("a path begins with / or ./; a name has letters, digits, '_', '.' and '-'"),
    )
}

/// The keys of a `--mount`, as far as they were read.
#[derive(Debug, Default)]
struct Keys {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    readonly: bool,
    options: VolumeOptions,
    size: Option<u64>,
    mode: Option<u32>,
    /// Keys of one type only that were given.
    special: Vec<String>,
}

impl Keys {
    fn take(&mut self, field: &str) -> Result<(), ValueError> {
        const KNOWN: [&str; 18] = [
            "type",
            "source",
            "target",
            "readonly",
            "consistency",
            "bind-propagation",
            "bind-nonrecursive",
            "bind-recursive",
            "volume-nocopy",
            "volume-subpath",
            "volume-label",
            "volume-driver",
            "volume-opt",
            "image-subpath",
            "tmpfs-size",
            "tmpfs-mode",
            "dst",
            "src",
        ];
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let switch = || value.map_or(Ok(true), |value| boolean(key, value));
        let text = || {
            value
                .map(str::to_owned)
                .ok_or_else(|| ValueError::new(format!("{key} has no value")))
        };
        if key.contains('-') {
            self.special.push(key.to_owned());
        }
        match key {
            "type" => self.kind = Some(text()?),
            "source" | "src" => self.source = Some(text()?),
            "target" | "dst" | "destination" => self.target = Some(text()?),
            "readonly" | "ro" => self.readonly = switch()?,
            "consistency" => drop(text()?),
            "bind-propagation" => {
                let propagation = text()?;
                if !PROPAGATIONS.contains(&propagation.as_str()) {
                    return Err(ValueError::unknown(
                        "propagation",
                        &propagation,
                        &PROPAGATIONS,
                    ));
                }
                self.options.propagation = Some(propagation);
            }
            "bind-nonrecursive" => self.options.flat = switch()?,
            "bind-recursive" => match text()?.as_str() {
                "disabled" => self.options.flat = true,
                // Mounts below are read-only with it wherever the kernel can; here it always can.
                "enabled" | "readonly" => {}
                other => {
                    let known = ["enabled", "disabled", "readonly"];
                    return Err(ValueError::unknown("value", other, &known));
                }
            },
            "volume-nocopy" => self.options.nocopy = switch()?,
            "volume-subpath" | "image-subpath" => {
                let path = text()?;
                let mut inside = Path::new(&path).components();
                let plain = |part| matches!(part, std::path::Component::Normal(_));
                if path.is_empty() || !inside.all(plain) {
                    let of = if key.starts_with("image") {
                        "an image"
                    } else {
                        "a volume"
                    };
                    return Err(ValueError::new(format!("{path:?} is no path below {of}")));
                }
                self.options.subpath = Some(path.into());
            }
            "volume-label" => {
                let label = text()?;
                let (name, value) = label.split_once('=').unwrap_or((&label, ""));
                self.options
                    .labels
                    .insert(name.to_owned(), value.to_owned());
            }
            "volume-driver" if value == Some("local") => {}
            "volume-driver" => {
                return Err(ValueError::unknown("driver", &text()?, &["local"]));
            }
            "volume-opt" => {
                let option = text()?;
                let (name, value) = option.split_once('=').unwrap_or((&option, ""));
                self.options
                    .driver_options
                    .insert(name.to_owned(), value.to_owned());
            }
            "tmpfs-size" => self.size = Some(size(&text()?)?),
            "tmpfs-mode" => self.mode = Some(octal(&text()?)?),
            _ => return Err(ValueError::unknown("key", key, &KNOWN)),
        }
        Ok(())
    }

    /// Refuses keys of other types than `kind`.
    fn check(&self, kind: &str) -> Result<(), ValueError> {
        let of_it = |key: &&String| key.starts_with(kind);
        match self.special.iter().find(|key| !of_it(key)) {
            Some(key) => Err(ValueError::new(format!("{key} is no key of type={kind}"))),
            None => Ok(()),
        }
    }
}

fn octal(text: &str) -> Result<u32, ValueError> {
    u32::from_str_radix(text, 8).map_err(|_| ValueError::new(format!("{text:?} is no octal mode")))
}

/// Parses the fields of a `--mount`, which are separated as in a CSV file.
fn mount(text: &str) -> Result<Mounted, ValueError> {
    let mut keys = Keys::default();
    for field in csv(text)? {
        keys.take(&field)?;
    }
    let kind = keys.kind.clone().unwrap_or_else(|| "volume".to_owned());
    let kind = kind.as_str();
    let target = keys.target.as_deref().ok_or_else(|| {
        ValueError::new("no target").hint("write type=volume,source=NAME,target=/DIR")
    })?;
    let target = mount_target(target)?;
    let source = match (kind, &keys.source.clone()) {
        ("bind", Some(path)) if path.starts_with(['/', '.']) => VolumeSource::Host(path.into()),
        ("bind", Some(_)) => return Err(ValueError::new("the source of a bind is a path")),
        ("bind", None) => return Err(ValueError::new("a bind has no source")),
        ("volume", None) => VolumeSource::Anonymous,
        ("volume", Some(name)) => VolumeSource::Named(volume_name(name)?),
        ("tmpfs", None) => {
            keys.check("tmpfs")?;
            if keys.readonly {
                return Err(ValueError::new(
                    "nothing could be written to it: it is empty",
                ));
            }
            return Ok(Mounted::Memory(TmpfsMount {
                target,
                size: keys.size,
                mode: keys.mode.unwrap_or(0o1777),
                options: dockers(),
            }));
        }
        ("image", None) => {
            return Err(ValueError::new("no image").hint("write source=IMAGE"));
        }
        ("image", Some(name)) => {
            // Nothing can be written to an image, said or not.
            keys.readonly = true;
            VolumeSource::Image {
                name: name.clone(),
                layers: Vec::new(),
            }
        }
        ("tmpfs", Some(_)) => return Err(ValueError::new("a tmpfs has no source")),
        (other, _) => {
            return Err(ValueError::unknown(
                "type",
                other,
                &["bind", "volume", "tmpfs", "image"],
            ));
        }
    };
    keys.check(kind)?;
    let driver_options = check_options(std::mem::take(&mut keys.options.driver_options))?;
    keys.options.driver_options = driver_options;
    if keys.options.subpath.is_some() && source == VolumeSource::Anonymous {
        return Err(ValueError::new("a new volume has no part to mount yet")
            .hint("name the volume: source=NAME"));
    }
    Ok(Mounted::Volume(VolumeMount {
        source,
        target,
        readonly: keys.readonly,
        options: VolumeOptions {
            strict: true,
            ..keys.options
        },
    }))
}

/// Returns what docker denies on every file system in memory.
fn dockers() -> TmpfsOptions {
    TmpfsOptions {
        parameters: Vec::new(),
        denied: vec![Denied::Execute, Denied::SetUser, Denied::Devices],
    }
}

/// Options of tmpfs(5) that have a value.
const TMPFS_PARAMETERS: [&str; 5] = ["uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

/// Options of mount(8) that deny something, and those that allow it.
const TMPFS_FLAGS: [(&str, &str, Denied); 5] = [
    ("ro", "rw", Denied::Write),
    ("noexec", "exec", Denied::Execute),
    ("nosuid", "suid", Denied::SetUser),
    ("nodev", "dev", Denied::Devices),
    ("noatime", "atime", Denied::AccessTimes),
];

/// Parses `TARGET[:OPTIONS]`.
fn tmpfs(text: &str) -> Result<TmpfsMount, ValueError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = TmpfsMount {
        target: mount_target(target)?,
        size: None,
        mode: 0o1777,
        options: dockers(),
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => mount.size = Some(size(value)?),
            Some(("mode", value)) => mount.mode = octal(value)?,
            Some((name, value)) if TMPFS_PARAMETERS.contains(&name) => {
                let parameter = (name.to_owned(), value.to_owned());
                mount.options.parameters.push(parameter);
            }
            None => tmpfs_flag(option, &mut mount.options)?,
            _ => return Err(no_tmpfs_option(option)),
        }
    }
    Ok(mount)
}

fn tmpfs_flag(option: &str, options: &mut TmpfsOptions) -> Result<(), ValueError> {
    let named = TMPFS_FLAGS
        .iter()
        .find(|(denies, allows, _)| option == *denies || option == *allows);
    match named {
        Some((denies, _, flag)) => {
            options.denied.retain(|known| known != flag);
            options.denied.extend((option == *denies).then_some(*flag));
            Ok(())
        }
        // The kernel's ways without these.
        None if matches!(option, "relatime" | "async") => Ok(()),
        None => Err(no_tmpfs_option(option)),
    }
}

fn no_tmpfs_option(option: &str) -> ValueError {
    let mut known = vec![
        "size=SIZE",
        "mode=MODE",
        "uid=ID",
        "gid=ID",
        "nr_inodes=COUNT",
    ];
    let flags = TMPFS_FLAGS.iter();
    known.extend(flags.flat_map(|(denies, allows, _)| [*denies, *allows]));
    ValueError::unknown("option", option, &known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T: std::fmt::Debug>(result: Result<T, ValueError>) -> String {
        result.map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
    }

    #[test]
    fn volumes_are_paths_names_or_anonymous() {
        let mount = |source, target: &str, readonly| {
            said(Ok(VolumeMount {
                source,
                target: target.into(),
                readonly,
                options: VolumeOptions::default(),
            }))
        };
        let host = |path: &str| VolumeSource::Host(path.into());
        let named = |name: &str| VolumeSource::Named(name.into());
        let error = |text: &str| text.to_owned();
        for (text, expected) in [
            ("/a:/b", mount(host("/a"), "/b", false)),
            ("./a:/b/:ro", mount(host("./a"), "/b", true)),
            (".:/b:rw,z", mount(host("."), "/b", false)),
            ("data:/b", mount(named("data"), "/b", false)),
            ("data:/b:Z,ro", mount(named("data"), "/b", true)),
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
            (
                "rel/a:/c",
                error("\"rel/a\" is neither a path nor a volume's name"),
            ),
            ("/a:/b:or", error("unknown mount option \"or\"")),
            ("/a:/b:nocopy", error("unknown mount option \"nocopy\"")),
            ("data:/b:rslave", error("unknown mount option \"rslave\"")),
            ("/a:/b:ro:x", error("too many colons")),
        ] {
            assert_eq!(said(volume(text)), expected, "{text:?}");
        }
        let options = |text: &str| volume(text).expect("valid").options;
        assert!(options("data:/b:nocopy").nocopy);
        assert_eq!(
            options("/a:/b:ro,rslave").propagation.as_deref(),
            Some("rslave")
        );
    }

    #[test]
    fn mounts_are_written_as_fields() {
        let options = VolumeOptions {
            strict: true,
            ..VolumeOptions::default()
        };
        let volume = |source, target: &str, readonly, options: &VolumeOptions| {
            said(Ok(Mounted::Volume(VolumeMount {
                source,
                target: target.into(),
                readonly,
                options: options.clone(),
            })))
        };
        let host = |path: &str| VolumeSource::Host(path.into());
        let named = |name: &str| VolumeSource::Named(name.into());
        let slave = VolumeOptions {
            propagation: Some("rslave".into()),
            flat: true,
            ..options.clone()
        };
        let part = VolumeOptions {
            nocopy: true,
            subpath: Some("a/b".into()),
            ..options.clone()
        };
        let memory = |size, mode| {
            said(Ok(Mounted::Memory(TmpfsMount {
                target: "/t".into(),
                size,
                mode,
                options: dockers(),
            })))
        };
        for (text, expected) in [
            (
                "type=bind,source=/a,target=/b",
                volume(host("/a"), "/b", false, &options),
            ),
            (
                "type=bind,src=./a,dst=/b,readonly",
                volume(host("./a"), "/b", true, &options),
            ),
            (
                "type=bind,src=/a,dst=/b,ro=false,bind-propagation=rslave,bind-nonrecursive=true",
                volume(host("/a"), "/b", false, &slave),
            ),
            (
                "\"source=data\",destination=/b,readonly=true",
                volume(named("data"), "/b", true, &options),
            ),
            (
                "type=volume,src=data,dst=/b,volume-nocopy,volume-subpath=a/b",
                volume(named("data"), "/b", false, &part),
            ),
            (
                "dst=/b",
                volume(VolumeSource::Anonymous, "/b", false, &options),
            ),
            ("type=tmpfs,dst=/t", memory(None, 0o1777)),
            (
                "type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=0700",
                memory(Some(64 << 20), 0o700),
            ),
            ("type=bind,dst=/b", "a bind has no source".into()),
            (
                "type=bind,src=a,dst=/b",
                "the source of a bind is a path".into(),
            ),
            ("type=tmpfs,src=a,dst=/b", "a tmpfs has no source".into()),
            ("type=volume,src=a", "no target".into()),
            ("type=nfs,src=a,dst=/b", "unknown type \"nfs\"".into()),
            (
                "type=bind,src=/a,dst=/b,colour=red",
                "unknown key \"colour\"".into(),
            ),
            (
                "type=bind,src=/a,dst=/b,tmpfs-size=1",
                "tmpfs-size is no key of type=bind".into(),
            ),
            (
                "src=data,dst=/b,volume-subpath=../x",
                "\"../x\" is no path below a volume".into(),
            ),
        ] {
            assert_eq!(said(mount(text)), expected, "{text:?}");
        }
        let labelled = mount("src=data,dst=/b,volume-label=a=b,volume-label=c").expect("valid");
        let Mounted::Volume(labelled) = labelled else {
            panic!("a volume")
        };
        let labels: Vec<_> = labelled.options.labels.into_iter().collect();
        assert_eq!(
            labels,
            [("a".into(), "b".into()), ("c".into(), String::new())]
        );
    }

    #[test]
    fn a_relative_source_is_meant_from_here() {
        let args = MountArgs {
            volume: vec!["./a:/x".into()],
            ..MountArgs::default()
        };
        let here = std::env::current_dir().expect("there is one");
        let mounts = args.resolve().expect("valid");
        assert_eq!(mounts.volumes[0].source, VolumeSource::Host(here.join("a")));
    }

    #[test]
    fn no_two_mounts_are_at_one_place() {
        let args = MountArgs {
            volume: vec!["/a:/x".into()],
            mount: vec!["type=tmpfs,dst=/x/".into()],
            ..MountArgs::default()
        };
        let error = args.resolve().expect_err("refused").render(false);
        assert_eq!(error, "ERROR: two mounts are to be at /x\n");
    }

    #[test]
    fn memory_file_systems_have_options() {
        let mount = TmpfsMount {
            target: "/t".into(),
            size: None,
            mode: 0o1777,
            options: dockers(),
        };
        assert_eq!(tmpfs("/t"), Ok(mount.clone()));
        let sized = TmpfsMount {
            size: Some(64 << 20),
            mode: 0o700,
            ..mount.clone()
        };
        assert_eq!(tmpfs("/t:rw,size=64m,mode=700"), Ok(sized));
        let with = |parameters: &[(&str, &str)], denied: &[Denied]| {
            let mut mount = mount.clone();
            let parameters = parameters.iter();
            mount.options.parameters = parameters
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            mount.options.denied = denied.to_vec();
            Ok(mount)
        };
        let owned = with(
            &[("uid", "7"), ("gid", "8"), ("nr_inodes", "100")],
            &[Denied::SetUser, Denied::Devices],
        );
        assert_eq!(tmpfs("/t:exec,uid=7,gid=8,nr_inodes=100"), owned);
        let fixed = with(
            &[],
            &[
                Denied::Execute,
                Denied::SetUser,
                Denied::Devices,
                Denied::Write,
            ],
        );
        assert_eq!(tmpfs("/t:ro"), fixed);
        assert_eq!(
            said(tmpfs("/t:colour=red")),
            "unknown option \"colour=red\""
        );
        assert!(tmpfs("/t:loud").is_err());
        assert!(tmpfs("t").is_err());
    }
}
