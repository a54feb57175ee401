//! What a build reads: the context and its Dockerfile, `--build-context`, `--secret`, `--ssh`.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use cooper_frontend::git::{self, GitAddressError};
use cooper_oci::Digest;

use super::value::{ValueError, csv, pair};
use crate::options::{
    ContextSource, DockerfileSource, NamedContext, SecretSource, SecretSpec, SshSource, SshSpec,
};

/// The agent that is meant when none is named.
const DEFAULT_AGENT: &str = "default";

/// Returns the build context that the last argument of `build` names.
pub fn context(text: &str) -> Result<ContextSource, ValueError> {
    if text == "-" {
        return Ok(ContextSource::Stdin);
    }
    if Path::new(text).is_dir() {
        return Ok(ContextSource::Dir(text.into()));
    }
    match git::of_context(text) {
        Some(Ok(git)) => return Ok(ContextSource::Git(git)),
        Some(Err(error)) => return Err(wrong_address(&error)),
        None => {}
    }
    if is_http(text) {
        return Ok(ContextSource::Http(text.to_owned()));
    }
    Err(match std::fs::metadata(text) {
        Ok(_) => ValueError::new("it is no directory").hint(format!(
            "to build that Dockerfile: cooper build -f {text} DIRECTORY; \
             to build an archive: cooper build - <{text}"
        )),
        Err(error) => ValueError::new(error.to_string())
            .hint("a context is a directory, a git or http address, or - for standard input"),
    })
}

fn wrong_address(error: &GitAddressError) -> ValueError {
    ValueError::new(error.to_string()).hint(error.help())
}

/// Returns where `-f` finds the Dockerfile.
pub fn dockerfile(text: Option<&str>) -> DockerfileSource {
    match text {
        None => DockerfileSource::Lookup,
        Some("-") => DockerfileSource::Stdin,
        Some(url) if is_http(url) => DockerfileSource::Url(url.to_owned()),
        Some(path) => DockerfileSource::Path(path.into()),
    }
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Returns the agent that `text` names: `ID`, `ID=SOCKET` or `ID=KEY[,KEY…]`.
///
/// `agent` is the socket of the user's own.
pub fn ssh(text: &str, agent: Option<&Path>) -> Result<SshSpec, ValueError> {
    let (id, paths) = match text.split_once('=') {
        Some((id, paths)) => (id, paths),
        None => (text, ""),
    };
    let id = if id.is_empty() { DEFAULT_AGENT } else { id };
    let source = if paths.is_empty() {
        user_agent(agent)?
    } else {
        ssh_source(paths)?
    };
    Ok(SshSpec {
        id: id.to_owned(),
        source,
    })
}

/// Returns the user's own agent by its usual name, if there is one.
pub fn default_ssh(agent: Option<&Path>) -> Option<SshSpec> {
    let source = user_agent(agent).ok()?;
    Some(SshSpec {
        id: DEFAULT_AGENT.to_owned(),
        source,
    })
}

fn user_agent(agent: Option<&Path>) -> Result<SshSource, ValueError> {
    let Some(agent) = agent.filter(|agent| !agent.as_os_str().is_empty()) else {
        return Err(ValueError::new("no ssh agent runs: SSH_AUTH_SOCK is not set")
            .hint("start one (eval $(ssh-agent)) and add keys (ssh-add), or name a key file: --ssh ID=FILE"));
    };
    if is_socket(agent) {
        return Ok(SshSource::Agent(agent.to_owned()));
    }
    let agent = agent.display();
    Err(ValueError::new(format!(
        "SSH_AUTH_SOCK names {agent}, which is no socket"
    )))
}

/// One socket, or key files.
fn ssh_source(paths: &str) -> Result<SshSource, ValueError> {
    let paths: Vec<PathBuf> = paths
        .split(',')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect();
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        let missing = missing.display();
        return Err(ValueError::new(format!("there is no file {missing}")));
    }
    match paths.as_slice() {
        [socket] if is_socket(socket) => Ok(SshSource::Agent(socket.clone())),
        paths if paths.iter().any(|path| is_socket(path)) => {
            Err(ValueError::new("one agent is one socket, or key files"))
        }
        _ => Ok(SshSource::Keys(paths)),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

/// Returns the secret that `text` names.
///
/// `id=ID,src=FILE`, `id=ID,env=NAME`, or `id=ID` alone for the variable of that name or else the
/// file; `type` may be given, and makes `src` a variable's name if it is `env`.
pub fn secret(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<SecretSpec, ValueError> {
    const KEYS: [&str; 5] = ["id", "src", "source", "env", "type"];
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in csv(text)? {
        let (key, value) = pair(&field)?;
        let value = value.ok_or_else(|| {
            ValueError::new(format!("{field:?} is no KEY=VALUE pair")).hint("write id=ID,src=FILE")
        })?;
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value).filter(|value| !value.is_empty()),
            "env" => variable = Some(value).filter(|value| !value.is_empty()),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => return Err(ValueError::unknown("secret type", &value, &["file", "env"])),
            _ => return Err(ValueError::unknown("key", &key, &KEYS)),
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ValueError::new("no id").hint("write id=ID,src=FILE or id=ID,env=NAME"))?;
    let source = match (file, variable, kind.as_deref()) {
        (Some(_), Some(_), _) => return Err(ValueError::new("both src and env are given")),
        (Some(name), None, Some("env")) | (None, Some(name), _) => SecretSource::Env(name),
        (Some(path), None, _) => SecretSource::File(path.into()),
        (None, None, Some("file")) => SecretSource::File(PathBuf::from(&id)),
        (None, None, Some(_)) => SecretSource::Env(id.clone()),
        (None, None, None) if is_set(&id) => SecretSource::Env(id.clone()),
        (None, None, None) if Path::new(&id).is_file() => SecretSource::File(PathBuf::from(&id)),
        (None, None, None) => {
            let problem = format!("neither a variable nor a file is called {id}");
            let error = ValueError::new(problem);
            return Err(error.hint("write id=ID,src=FILE or id=ID,env=NAME"));
        }
    };
    Ok(SecretSpec { id, source })
}

/// Returns the named context that `text` describes: `NAME=DIR`, `NAME=docker-image://REF`,
/// `NAME=oci-layout://DIR[:TAG][@DIGEST]`, or a git or http address. `NAME::PLATFORM` limits it
/// to a platform.
pub fn build_context(text: &str) -> Result<(String, NamedContext), ValueError> {
    let (name, value) = pair(text)?;
    let value = value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ValueError::new("no value").hint("write NAME=DIR"))?;
    if let Some((_, platform)) = name.split_once("::") {
        let parsed = platform.parse::<cooper_oci::Platform>();
        parsed.map_err(|error| ValueError::new(error.to_string()))?;
    }
    Ok((name, named_context(&value)?))
}

fn named_context(value: &str) -> Result<NamedContext, ValueError> {
    if let Some(address) = git::of_context(value).filter(|_| !Path::new(value).is_dir()) {
        return address
            .map(NamedContext::Git)
            .map_err(|error| wrong_address(&error));
    }
    match value.split_once("://") {
        None => Ok(NamedContext::Dir(value.into())),
        Some(("docker-image", reference)) => {
            let reference = reference
                .parse::<cooper_oci::Reference>()
                .map_err(|error| ValueError::new(error.to_string()))?;
            Ok(NamedContext::Image(reference.with_default_tag()))
        }
        Some(("oci-layout", layout)) => oci_layout(layout),
        Some(("http" | "https", _)) => Ok(NamedContext::Http(value.to_owned())),
        Some((scheme, _)) => {
            let known = ["docker-image", "oci-layout", "https", "http", "git", "ssh"];
            Err(ValueError::unknown("scheme", scheme, &known))
        }
    }
}

fn oci_layout(text: &str) -> Result<NamedContext, ValueError> {
    let (text, digest) = match text.rsplit_once('@') {
        Some((text, digest)) => {
            let digest: Digest = digest
                .parse()
                .map_err(|error: cooper_oci::DigestError| ValueError::new(error.to_string()))?;
            (text, Some(digest))
        }
        None => (text, None),
    };
    let (dir, tag) = match text.rsplit_once(':') {
        Some((dir, tag)) if !tag.contains('/') => (dir, Some(tag.to_owned())),
        _ => (text, None),
    };
    if dir.is_empty() {
        return Err(ValueError::new("no directory").hint("write NAME=oci-layout://DIR[:TAG]"));
    }
    Ok(NamedContext::OciLayout {
        dir: dir.into(),
        tag,
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_variables() {
        let set = |name: &str| name == "TOKEN";
        let file = |id: &str, path: &str| {
            Ok(SecretSpec {
                id: id.into(),
                source: SecretSource::File(path.into()),
            })
        };
        let env = |id: &str, name: &str| {
            Ok(SecretSpec {
                id: id.into(),
                source: SecretSource::Env(name.into()),
            })
        };
        let error = |text: &str| Err(text.to_owned());
        for (text, expected) in [
            ("id=a,src=/x", file("a", "/x")),
            ("source=x y,id=a", file("a", "x y")),
            ("type=file,id=a,src=x", file("a", "x")),
            ("type=file,id=a", file("a", "a")),
            ("id=a,env=B", env("a", "B")),
            ("type=env,id=a,src=B", env("a", "B")),
            ("id=TOKEN", env("TOKEN", "TOKEN")),
            ("id=/etc/passwd", file("/etc/passwd", "/etc/passwd")),
            ("id=a", error("neither a variable nor a file is called a")),
            ("type=env,id=UNSET", env("UNSET", "UNSET")),
            ("id=TOKEN,src=,env=", env("TOKEN", "TOKEN")),
            ("src=x", error("no id")),
            ("id=a,src=x,env=B", error("both src and env are given")),
            ("id=a,sorce=x", error("unknown key \"sorce\"")),
            ("x", error("\"x\" is no KEY=VALUE pair")),
            (
                "type=keyring,id=a",
                error("unknown secret type \"keyring\""),
            ),
        ] {
            let found = secret(text, &set).map_err(|error| error.to_string());
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn contexts_are_told_apart_by_their_form() {
        let git = |text: &str| git::of_context(text).expect("git").expect("valid");
        for (text, expected) in [
            ("-", ContextSource::Stdin),
            ("/", ContextSource::Dir("/".into())),
            (
                "https://h/x.git#v1:sub",
                ContextSource::Git(git("https://h/x.git#v1:sub")),
            ),
            ("git@h:x", ContextSource::Git(git("git@h:x"))),
            ("file:///srv/x", ContextSource::Git(git("file:///srv/x"))),
            (
                "https://h/x.tar.gz",
                ContextSource::Http("https://h/x.tar.gz".into()),
            ),
        ] {
            assert_eq!(context(text).ok(), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("/nonexistent", "No such file or directory (os error 2)"),
            ("/etc/passwd", "it is no directory"),
            ("git@h:x#-a", "invalid reference in a git address: \"-a\""),
        ] {
            let found = context(text).map_err(|error| error.to_string());
            assert_eq!(found, Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn agents_are_sockets_or_keys() {
        let dir = tempfile::tempdir().expect("a directory");
        let (socket, key) = (dir.path().join("s"), dir.path().join("k"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
        std::fs::write(&key, "key").expect("write");
        let (s, k) = (socket.display(), key.display());
        let agent = |id: &str| {
            Ok(SshSpec {
                id: id.into(),
                source: SshSource::Agent(socket.clone()),
            })
        };
        let keys = |id: &str, count| {
            Ok(SshSpec {
                id: id.into(),
                source: SshSource::Keys(vec![key.clone(); count]),
            })
        };
        for (text, expected) in [
            ("default".to_owned(), agent("default")),
            ("x".to_owned(), agent("x")),
            (format!("default={s}"), agent("default")),
            (format!("a={k}"), keys("a", 1)),
            (format!("a={k},{k}"), keys("a", 2)),
            (
                format!("a={k},{s}"),
                Err("one agent is one socket, or key files".to_owned()),
            ),
            (
                "a=/nonexistent".to_owned(),
                Err("there is no file /nonexistent".to_owned()),
            ),
        ] {
            let found = ssh(&text, Some(&socket)).map_err(|error| error.to_string());
            assert_eq!(found, expected, "{text}");
        }
        assert!(ssh("default", None).is_err());
        assert!(ssh("default", Some(&key)).is_err());
    }

    #[test]
    fn named_contexts_are_anything_with_files() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let layout = |dir: &str, tag: Option<&str>, digest: Option<&str>| {
            Ok(NamedContext::OciLayout {
                dir: dir.into(),
                tag: tag.map(str::to_owned),
                digest: digest.map(|digest| digest.parse().expect("valid")),
            })
        };
        let error = |text: &str| Err(text.to_owned());
        for (text, expected) in [
            ("../src", Ok(NamedContext::Dir("../src".into()))),
            (
                "docker-image://alpine",
                Ok(NamedContext::Image("alpine:latest".parse().expect("valid"))),
            ),
            (
                "https://h/x.git#v1",
                Ok(NamedContext::Git(
                    git::of_context("https://h/x.git#v1")
                        .expect("git")
                        .expect("valid"),
                )),
            ),
            (
                "http://h/x.tar",
                Ok(NamedContext::Http("http://h/x.tar".into())),
            ),
            ("oci-layout:///d", layout("/d", None, None)),
            ("oci-layout://d:v1", layout("d", Some("v1"), None)),
            ("oci-layout:///d:v/e", layout("/d:v/e", None, None)),
            (
                &*format!("oci-layout://d@{digest}"),
                layout("d", None, Some(&digest)),
            ),
            (
                &*format!("oci-layout://d:1@{digest}"),
                layout("d", Some("1"), Some(&digest)),
            ),
            ("oci-layout://:x", error("no directory")),
            ("docker-imag://x", error("unknown scheme \"docker-imag\"")),
            ("", error("no value")),
        ] {
            let found = build_context(&format!("name={text}")).map_err(|error| error.to_string());
            assert_eq!(
                found,
                expected.map(|context| ("name".to_owned(), context)),
                "{text:?}"
            );
        }
        assert!(build_context("=x").is_err());
        assert!(build_context("name").is_err());
        assert!(build_context("name::nonsense/x/y/z/w=.").is_err());
        let (name, _) = build_context("name::linux/arm64=.").expect("valid");
        assert_eq!(name, "name::linux/arm64");
    }
}
