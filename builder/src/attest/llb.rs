//! Build operations in the shape of BuildKit's, for readers of provenance.
//!
//! The shape is that of the JSON of LLB's protocol buffers, with the fields that say what is done;
//! what a secret holds is in no operation.

use cooper_frontend::ir::{
    BuildOp, CacheSharing, ExecOp, FileAction, MountKind, MountOp, NetworkMode, SecurityMode,
    SourceOp,
};
use serde_json::{Value, json};

use crate::git::split_credentials;

/// Returns an operation of the graph as LLB would have it.
pub fn op(op: &BuildOp) -> Value {
    match op {
        BuildOp::Source(source) => {
            json!({ "Op": { "source": { "identifier": identifier(source) } } })
        }
        BuildOp::Exec(exec) => json!({
            "Op": { "exec": self::exec(exec) },
            "platform": {
                "Architecture": exec.platform.architecture,
                "OS": exec.platform.os,
            },
        }),
        BuildOp::File(file) => {
            let actions: Vec<Value> = file.actions.iter().map(action).collect();
            json!({ "Op": { "file": { "actions": actions } } })
        }
        BuildOp::Merge => json!({ "Op": { "merge": {} } }),
        BuildOp::Diff => {
            json!({ "Op": { "diff": { "lower": { "input": 0 }, "upper": { "input": 1 } } } })
        }
    }
}

/// Returns what a source is called.
fn identifier(source: &SourceOp) -> String {
    match source {
        SourceOp::Image(image) => match &image.unkeyed.reference {
            Some(reference) => format!("docker-image://{reference}"),
            None => match &image.unkeyed.key.name {
                cooper_frontend::image::ImageName::Context(name)
                | cooper_frontend::image::ImageName::Reference(name) => {
                    format!("docker-image://{name}")
                }
            },
        },
        SourceOp::Scratch => "scratch".to_owned(),
        SourceOp::Local(local) => format!("local://{}", local.name),
        SourceOp::Http(http) => split_credentials(&http.url).0,
        SourceOp::Git(git) => {
            let remote = split_credentials(&git.remote).0;
            let remote = remote.split_once("://").map_or(&*remote, |(_, rest)| rest);
            let reference = git.reference.as_deref().unwrap_or_default();
            format!("git://{remote}#{reference}")
        }
    }
}

fn exec(exec: &ExecOp) -> Value {
    let env = exec
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let mut meta = json!({
        "args": exec.args,
        "env": env.collect::<Vec<_>>(),
        "cwd": exec.cwd,
    });
    if !exec.user.is_empty() {
        meta["user"] = exec.user.clone().into();
    }
    let root = json!({ "input": if exec.base { 0 } else { -1 }, "dest": "/", "output": 0 });
    let mounts: Vec<Value> = std::iter::once(root)
        .chain(exec.mounts.iter().map(mount))
        .collect();
    let mut value = json!({ "meta": meta, "mounts": mounts });
    match exec.network {
        NetworkMode::Default => {}
        NetworkMode::Host => value["network"] = "HOST".into(),
        NetworkMode::None => value["network"] = "NONE".into(),
    }
    if exec.security == SecurityMode::Insecure {
        value["security"] = "INSECURE".into();
    }
    value
}

fn mount(mount: &MountOp) -> Value {
    let dest = &mount.target;
    match &mount.kind {
        MountKind::Bind { input, source, rw } => json!({
            "input": input, "selector": source, "dest": dest, "output": -1, "readonly": !rw,
        }),
        MountKind::Cache {
            id, sharing, input, ..
        } => json!({
            "input": input.map_or(-1, |input| input as i64), "dest": dest, "output": -1,
            "mountType": "CACHE",
            "cacheOpt": { "ID": id, "sharing": match sharing {
                CacheSharing::Shared => "SHARED",
                CacheSharing::Private => "PRIVATE",
                CacheSharing::Locked => "LOCKED",
            } },
        }),
        MountKind::Tmpfs { .. } => json!({
            "input": -1, "dest": dest, "output": -1, "mountType": "TMPFS",
        }),
        MountKind::Secret { id, required, .. } => json!({
            "input": -1, "dest": dest, "output": -1, "mountType": "SECRET",
            "secretOpt": { "ID": id, "optional": !required },
        }),
        MountKind::Ssh { id, required, .. } => json!({
            "input": -1, "dest": dest, "output": -1, "mountType": "SSH",
            "SSHOpt": { "ID": id, "optional": !required },
        }),
    }
}

fn action(action: &FileAction) -> Value {
    match action {
        FileAction::Copy(copy) => {
            let from: Vec<&str> = copy.sources.iter().map(|source| &*source.path).collect();
            json!({ "Action": { "copy": { "input": copy.input, "src": from, "dest": copy.dest } } })
        }
        FileAction::Inline(inline) => {
            let digest = cooper_oci::Digest::sha256(&inline.data).to_string();
            json!({ "Action": { "mkfile": { "path": inline.dest, "digest": digest } } })
        }
        FileAction::Mkdir { path, mode, .. } => {
            json!({ "Action": { "mkdir": { "path": path, "mode": mode, "makeParents": true } } })
        }
    }
}

#[cfg(test)]
mod tests {
    use cooper_frontend::ir::HttpSource;

    use super::*;

    #[test]
    fn addresses_lose_their_passwords() {
        let source = SourceOp::Http(HttpSource {
            url: "https://me:pass@host.example/f".to_owned(),
            filename: "f".to_owned(),
            checksum: None,
        });
        assert_eq!(identifier(&source), "https://host.example/f");
    }
}
