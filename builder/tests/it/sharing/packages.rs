//! What package managers keep in cache mounts comes back on an empty machine.
//!
//! The packages are made here and served on the loopback; the programs are this machine's own,
//! shown to the steps. What was carried is what is not asked for again.

use std::path::PathBuf;

use super::machines;
use crate::support::http::{Response, Server};
use crate::support::process::tool;
use crate::support::{Context, Cooper, need};

/// How the mounts come from one machine to the other.
const WAYS: [&str; 2] = ["with the build's cache", "by themselves"];

/// Builds `step` here, and on an empty machine with the cache mounts of here, where something else
/// makes it run again.
fn carry(step: &str, options: &[String]) {
    for way in WAYS {
        let Some((here, there)) = machines() else {
            return;
        };
        let dir = here.scratch("cache").display().to_string();
        let context = |round: u32| {
            let context = Context::new(&format!(
                "FROM busybox\nCOPY links /\nENV ROUND={round}\n{step}\n"
            ));
            // Programs of a merged /usr look for their libraries there.
            context.sh("mkdir links; ln -s usr/lib links/lib; ln -s usr/lib64 links/lib64");
            context
        };
        let build = |cooper: &Cooper, round: u32, more: &str| {
            let own = ["-otype=cacheonly".to_owned(), more.to_owned()];
            cooper
                .build(&context(round), &[options, &own].concat())
                .ok();
        };
        if way == WAYS[0] {
            build(
                &here,
                1,
                &format!("--cache-to=type=local,dest={dir},mounts=true"),
            );
            build(&there, 2, &format!("--cache-from=type=local,src={dir}"));
        } else {
            build(&here, 1, "--jobs=1");
            here.run(&["cache", "export", &format!("type=local,dest={dir}")])
                .ok();
            there
                .run(&["cache", "import", &format!("type=local,src={dir}")])
                .ok();
            build(&there, 2, "--jobs=1");
        }
    }
}

/// Shows directories of this machine to the steps, read-only.
fn shown(dirs: &[PathBuf]) -> Vec<String> {
    let shown = dirs.iter().map(|dir| dir.display());
    shown
        .map(|dir| format!("--volume={dir}:{dir}:ro"))
        .collect()
}

#[track_caller]
fn asked(server: &Server, end: &str) -> usize {
    let requests = server.requests();
    requests
        .iter()
        .filter(|request| request.path.ends_with(end))
        .count()
}

#[test]
fn a_pip_cache_comes_back_on_an_empty_machine() {
    if need::tool("python3").is_none() {
        return;
    }
    let dir = Context::empty();
    // A wheel is an archive with a list of what is in it.
    dir.write(
        "make.py",
        "import zipfile\n\
         info = 'parcel-1.0.dist-info/'\n\
         files = {'parcel.py': 'said = \"carried\"\\n',\n\
         \x20 info + 'METADATA': 'Metadata-Version: 2.1\\nName: parcel\\nVersion: 1.0\\n',\n\
         \x20 info + 'WHEEL': 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}\n\
         files[info + 'RECORD'] = ''.join(f'{name},,\\n' for name in [*files, info + 'RECORD'])\n\
         with zipfile.ZipFile('parcel-1.0-py3-none-any.whl', 'w') as wheel:\n\
         \x20 for name, text in files.items(): wheel.writestr(name, text)\n",
    );
    dir.sh("python3 make.py; python3 -m venv venv");
    let wheel = std::fs::read(dir.join("parcel-1.0-py3-none-any.whl")).expect("a wheel");
    let server = Server::start(move |request| {
        if request.path.starts_with("/files/") {
            return Response::ok(wheel.clone())
                .with("Date", "Sun, 22 Nov 2026 00:00:00 GMT")
                .with("Cache-Control", "max-age=1000000000")
                .with("Content-Type", "application/octet-stream");
        }
        let page = "<a href=\"/files/parcel-1.0-py3-none-any.whl\">parcel-1.0-py3-none-any.whl</a>";
        Response::ok(page).with("Content-Type", "text/html")
    });
    let home = tool("python3", &["-c", "import sys; print(sys.base_prefix)"]).out();
    let venv = dir.join("venv");
    let program = venv.join("bin/python3").display().to_string();
    let index = server.url("simple");
    let step = format!(
        "RUN --mount=type=cache,target=/root/.cache/pip PIP_CACHE_DIR=/root/.cache/pip PIP_CONFIG_FILE=/dev/null \\\n\
         \x20 {program} -m pip --disable-pip-version-check install --trusted-host=127.0.0.1 --target=/site --index-url={index} parcel && \\\n\
         \x20 PYTHONPATH=/site {program} -c 'import parcel; assert parcel.said == \"carried\"'"
    );
    let mut dirs = vec![PathBuf::from("/usr"), venv];
    dirs.extend(Some(PathBuf::from(home.trim())).filter(|home| !home.starts_with("/usr")));
    carry(&step, &shown(&dirs));
    assert_eq!(
        asked(&server, ".whl"),
        WAYS.len(),
        "once for each first machine"
    );
}

#[test]
fn a_cargo_cache_comes_back_on_an_empty_machine() {
    if need::tool("rustc").is_none() {
        return;
    }
    let sysroot = PathBuf::from(tool("rustc", &["--print", "sysroot"]).out().trim());
    let cargo = sysroot.join("bin/cargo");
    if !cargo.exists() {
        let _: Option<()> = need::skip("this toolchain has no cargo");
        return;
    }
    let dir = Context::empty();
    dir.sh(
        "mkdir -p parcel-1.0.0/src; echo 'pub const SAID: &str = \"carried\";' >parcel-1.0.0/src/lib.rs
         printf '[package]\\nname = \"parcel\"\\nversion = \"1.0.0\"\\nedition = \"2021\"\\n' >parcel-1.0.0/Cargo.toml
         tar -czf parcel.crate parcel-1.0.0",
    );
    let parcel = std::fs::read(dir.join("parcel.crate")).expect("a crate");
    let sum = cooper_oci::Digest::sha256(&parcel).to_string();
    let sum = sum.trim_start_matches("sha256:").to_owned();
    let server = Server::start(move |request| {
        let host = request.header("host");
        match request.path.as_str() {
            "/index/config.json" => {
                Response::ok(format!("{{\"dl\": \"http://{host}/dl/{{crate}}.crate\"}}"))
            }
            "/index/pa/rc/parcel" => Response::ok(format!(
                "{{\"name\":\"parcel\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{sum}\",\"features\":{{}},\"yanked\":false}}\n"
            )),
            "/dl/parcel.crate" => Response::ok(parcel.clone()),
            _ => Response::not_found(),
        }
    });
    let index = server.url("index/");
    let step = format!(
        "COPY <<EOF /app/Cargo.toml\n[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [dependencies]\nparcel = \"1\"\nEOF\n\
         COPY <<EOF /app/src/lib.rs\npub fn said() -> &'static str {{ parcel::SAID }}\nEOF\n\
         COPY <<EOF /app/.cargo/config.toml\n[source.crates-io]\nreplace-with = \"near\"\n\
         [source.near]\nregistry = \"sparse+{index}\"\nEOF\n\
         RUN --mount=type=cache,target=/cargo/registry cd /app && CARGO_HOME=/cargo RUSTC={rustc} {cargo} check",
        rustc = sysroot.join("bin/rustc").display(),
        cargo = cargo.display(),
    );
    carry(&step, &shown(&[PathBuf::from("/usr"), sysroot]));
    assert_eq!(
        asked(&server, ".crate"),
        WAYS.len(),
        "once for each first machine"
    );
}
