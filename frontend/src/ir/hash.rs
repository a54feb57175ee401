//! What of an operation decides its cache key.
//!
//! Everything but the parts named `unkeyed`, the sub-paths of a local source
//! (its content is keyed by what is read), the required flag of secrets and
//! agents, and texts kept for messages. The order of the fields here is part
//! of every key.

use cooper_oci::Platform;
use cooper_solver::{StableHash, StableHasher};

use super::{
    BuildOp, CacheSharing, CopyAction, CopySource, DeviceRequest, ExecOp, FileAction, FileOp,
    GitSource, GitTime, HostDevice, HttpSource, InlineAction, MountKind, MountOp, NetworkMode,
    Sandbox, Script, SecurityMode, SourceOp, Unpack, Volume, VolumeAccess,
};

impl StableHash for BuildOp {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        match self {
            Self::Source(source) => {
                hasher.write_variant("source");
                hasher.write(source);
            }
            Self::Exec(exec) => {
                hasher.write_variant("exec");
                hasher.write(exec.as_ref());
            }
            Self::File(file) => {
                hasher.write_variant("file");
                hasher.write(file);
            }
            Self::Merge => hasher.write_variant("merge"),
            Self::Diff => hasher.write_variant("diff"),
        }
    }
}

impl StableHash for SourceOp {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        match self {
            Self::Image(image) => {
                hasher.write_variant("image");
                hasher.write(&image.layers);
            }
            Self::Scratch => hasher.write_variant("scratch"),
            Self::Local(local) => {
                hasher.write_variant("local");
                hasher.write(&local.name);
            }
            Self::Http(http) => {
                hasher.write_variant("http");
                hasher.write(http);
            }
            Self::Git(git) => {
                hasher.write_variant("git");
                hasher.write(git);
            }
        }
    }
}

impl StableHash for HttpSource {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.url);
        hasher.write(&self.filename);
        hasher.write(
            &self
                .checksum
                .as_ref()
                .map(|digest| digest.as_str().to_owned()),
        );
    }
}

impl StableHash for GitSource {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.remote);
        hasher.write(&self.reference);
        hasher.write(&self.subdir);
        hasher.write(&self.keep_git_dir);
        hasher.write(&self.checksum);
        hasher.write(&self.submodules);
        hasher.write_variant(match self.mtime {
            GitTime::Checkout => "checkout",
            GitTime::Commit => "commit",
        });
        hasher.write(&self.by_commit);
    }
}

impl StableHash for ExecOp {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.base);
        hasher.write(&self.args);
        hasher.write(&self.env);
        hasher.write(&self.cwd);
        hasher.write(&self.user);
        hasher.write(&self.hostname);
        hasher.write(&self.network);
        hasher.write(&self.security);
        hasher.write(&self.mounts);
        hasher.write(&self.devices);
        hasher.write(&self.scripts);
        write_platform(hasher, &self.platform);
        // Most builds change nothing; their keys are older than the options that would.
        if self.sandbox != Sandbox::default() {
            hasher.write_variant("sandbox");
            hasher.write(&self.sandbox);
        }
    }
}

impl StableHash for Sandbox {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.cap_add);
        hasher.write(&self.cap_drop);
        hasher.write(&self.volumes);
        hasher.write(&self.devices);
        hasher.write(&self.cdi_devices);
    }
}

impl StableHash for Volume {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.source);
        hasher.write(&self.target);
        hasher.write_variant(match self.access {
            VolumeAccess::ReadWrite => "rw",
            VolumeAccess::ReadOnly => "ro",
            VolumeAccess::Discarded => "discarded",
        });
    }
}

impl StableHash for HostDevice {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.source);
        hasher.write(&self.target);
    }
}

fn write_platform(hasher: &mut StableHasher, platform: &Platform) {
    hasher.write(&platform.os);
    hasher.write(&platform.architecture);
    hasher.write(&platform.variant);
    hasher.write(&platform.os_version);
    hasher.write(&platform.os_features);
}

fn write_owner(hasher: &mut StableHasher, mode: u32, uid: u32, gid: u32) {
    hasher.write(&mode);
    hasher.write(&uid);
    hasher.write(&gid);
}

impl StableHash for DeviceRequest {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.name);
        hasher.write(&self.required);
    }
}

impl StableHash for Script {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.path);
        hasher.write_bytes(&self.data);
    }
}

impl StableHash for NetworkMode {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_variant(match self {
            Self::Default => "default",
            Self::None => "none",
            Self::Host => "host",
        });
    }
}

impl StableHash for SecurityMode {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_variant(match self {
            Self::Sandbox => "sandbox",
            Self::Insecure => "insecure",
        });
    }
}

impl StableHash for MountOp {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.target);
        match &self.kind {
            MountKind::Bind { input, source, rw } => {
                hasher.write_variant("bind");
                hasher.write(input);
                hasher.write(source);
                hasher.write(rw);
            }
            MountKind::Cache {
                id,
                sharing,
                mode,
                uid,
                gid,
                owned,
                input,
                source,
                readonly,
            } => {
                hasher.write_variant("cache");
                hasher.write(id);
                hasher.write(sharing);
                write_owner(hasher, *mode, *uid, *gid);
                hasher.write(input);
                hasher.write(source);
                hasher.write(readonly);
                if input.is_some() && *owned {
                    hasher.write_variant("owned");
                }
            }
            MountKind::Tmpfs { size } => {
                hasher.write_variant("tmpfs");
                hasher.write(size);
            }
            MountKind::Secret {
                id,
                env,
                required: _,
                mode,
                uid,
                gid,
            } => {
                hasher.write_variant("secret");
                hasher.write(id);
                hasher.write(env);
                write_owner(hasher, *mode, *uid, *gid);
            }
            MountKind::Ssh {
                id,
                required: _,
                mode,
                uid,
                gid,
            } => {
                hasher.write_variant("ssh");
                hasher.write(id);
                write_owner(hasher, *mode, *uid, *gid);
            }
        }
    }
}

impl StableHash for CacheSharing {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_variant(match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        });
    }
}

impl StableHash for FileOp {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.base);
        hasher.write(&self.actions);
    }
}

impl StableHash for FileAction {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        match self {
            Self::Copy(copy) => {
                hasher.write_variant("copy");
                hasher.write(copy.as_ref());
            }
            Self::Inline(inline) => {
                hasher.write_variant("inline");
                hasher.write(inline);
            }
            Self::Mkdir { path, mode, owner } => {
                hasher.write_variant("mkdir");
                hasher.write(path);
                hasher.write(mode);
                hasher.write(owner);
            }
        }
    }
}

impl StableHash for CopyAction {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.input);
        hasher.write(&self.sources);
        hasher.write(&self.dest);
        hasher.write(&self.chown);
        hasher.write(&self.chmod);
        hasher.write(&self.exclude);
        hasher.write_variant(match self.unpack {
            Unpack::Never => "never",
            Unpack::IfArchive => "if-archive",
        });
        hasher.write(&self.local_rules);
    }
}

impl StableHash for CopySource {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.path);
        hasher.write(&self.parents);
        hasher.write(&self.required);
    }
}

impl StableHash for InlineAction {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write(&self.name);
        hasher.write_bytes(&self.data);
        hasher.write(&self.dest);
        hasher.write(&self.chown);
        hasher.write(&self.chmod);
    }
}

#[cfg(test)]
mod tests {
    use cooper_solver::CacheKey;

    use super::*;
    use crate::ir::{ExecUnkeyed, LocalSource};

    fn exec() -> ExecOp {
        ExecOp {
            base: true,
            args: vec!["/bin/sh".into(), "-c".into(), "make".into()],
            env: vec![("PATH".into(), "/bin".into())],
            cwd: "/".into(),
            user: String::new(),
            hostname: "box".into(),
            network: NetworkMode::Default,
            security: SecurityMode::Sandbox,
            mounts: vec![MountOp {
                target: "/t".into(),
                kind: MountKind::Tmpfs { size: Some(1) },
            }],
            devices: Vec::new(),
            scripts: Vec::new(),
            platform: Platform::new("linux", "amd64"),
            sandbox: Sandbox::default(),
            unkeyed: ExecUnkeyed::default(),
        }
    }

    #[test]
    fn the_encoding_is_pinned() {
        // A change here makes every existing cache miss.
        let key = CacheKey::of("build op", &BuildOp::Exec(Box::new(exec())));
        assert_eq!(
            key.to_string(),
            "af8949b3a59eab340762cebae9ee7f9271c075bfb9cfd0b50a4f25d05a6fdffa"
        );
    }

    #[test]
    fn each_part_of_the_sandbox_counts() {
        let volume = |access| Volume {
            source: "/h".into(),
            target: "/t".into(),
            access,
        };
        let device = HostDevice {
            source: "/dev/fuse".into(),
            target: "/dev/fuse".into(),
        };
        let sandboxes = [
            Sandbox::default(),
            Sandbox {
                cap_add: vec!["CAP_SYS_ADMIN".into()],
                ..Sandbox::default()
            },
            Sandbox {
                cap_drop: vec!["CAP_SYS_ADMIN".into()],
                ..Sandbox::default()
            },
            Sandbox {
                volumes: vec![volume(VolumeAccess::ReadWrite)],
                ..Sandbox::default()
            },
            Sandbox {
                volumes: vec![volume(VolumeAccess::ReadOnly)],
                ..Sandbox::default()
            },
            Sandbox {
                devices: vec![device],
                ..Sandbox::default()
            },
            Sandbox {
                cdi_devices: vec!["v.example/gpu".into()],
                ..Sandbox::default()
            },
        ];
        let keys: std::collections::BTreeSet<_> = sandboxes
            .iter()
            .map(|sandbox| {
                let op = ExecOp {
                    sandbox: sandbox.clone(),
                    ..exec()
                };
                CacheKey::of("t", &op).to_string()
            })
            .collect();
        assert_eq!(keys.len(), sandboxes.len());
    }

    #[test]
    fn unkeyed_parts_do_not_count() {
        let mut other = exec();
        other.unkeyed.shm_size = Some(1);
        other.unkeyed.resources.memory = Some(1);
        assert_eq!(CacheKey::of("t", &exec()), CacheKey::of("t", &other));
        let local = |paths: &[&str]| {
            let paths = paths.iter().map(|&path| path.to_owned()).collect();
            let source = SourceOp::Local(LocalSource {
                name: "context".into(),
                paths,
            });
            CacheKey::of("t", &source)
        };
        assert_eq!(local(&[]), local(&["a"]));
    }
}
