//! `cooper version` and `cooper info`, in docker's shapes.

use std::fmt::Write;

use clap::Args;
use cooper_cache::Driver;
use cooper_oci::Platform;
use cooper_runner::cgroup_version;
use serde_json::{Value, json};

use super::container::memory_of_machine;
use super::images::Format;
use super::session::Session;
use super::{Settings, human};
use crate::container::{Containers, Status};
use crate::driver;
use crate::options::RegistryOptions;
use crate::report::{Report, print_data};

/// The interface of docker's daemon whose documents ours have the shape of.
const API: &str = "1.48";

/// Options of `cooper version`.
#[derive(Args, Clone, Debug, Default)]
pub struct VersionArgs {
    /// How to show it: json or a Go template, such as '{{.Server.Version}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    pub format: Format,
}

impl VersionArgs {
    /// Prints the version.
    pub fn run(&self) -> Result<(), Report> {
        let document = version();
        print_data(&shown(&self.format, &document, || {
            let part = |name: &str, of: &Value| {
                let text = |key: &str| of[key].as_str().unwrap_or_default().to_owned();
                format!(
                    "{name}:\n Version:      {}\n API version:  {}\n OS/Arch:      {}/{}\n",
                    text("Version"),
                    text("ApiVersion"),
                    text("Os"),
                    text("Arch"),
                )
            };
            format!(
                "{}\n{}",
                part("Client: Cooper", &document["Client"]),
                part("Server: Cooper, in the same program", &document["Server"])
            )
        })?)
    }
}

/// Returns docker's description of the version. There is no server: the program is both.
fn version() -> Value {
    let platform = Platform::host();
    let kernel = rustix::system::uname();
    let part = |extra: Value| {
        let mut part = json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": platform.os,
            "Arch": platform.architecture,
            "BuildTime": "",
        });
        if let (Value::Object(part), Value::Object(extra)) = (&mut part, extra) {
            part.extend(extra);
        }
        part
    };
    json!({
        "Client": part(json!({ "DefaultAPIVersion": API, "Context": "default" })),
        "Server": part(json!({
            "Platform": { "Name": "Cooper" },
            "MinAPIVersion": API,
            "KernelVersion": kernel.release().to_string_lossy(),
            "Components": [{ "Name": "Engine", "Version": env!("CARGO_PKG_VERSION") }],
        })),
    })
}

/// Returns what a format makes of one document, or `plain` without one.
fn shown(
    format: &Format,
    document: &Value,
    plain: impl FnOnce() -> String,
) -> Result<String, Report> {
    match format.render("ID", std::iter::once(document.clone())) {
        Some(text) => text,
        None if *format == Format::Json => Ok(format!("{document}\n")),
        None => Ok(plain()),
    }
}

/// Options of `cooper info`.
#[derive(Args, Clone, Debug, Default)]
pub struct InfoArgs {
    /// How to show it: json or a Go template, such as '{{.DockerRootDir}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    pub format: Format,
}

impl InfoArgs {
    /// Prints where everything is, and what this machine can.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let registry = settings.registry(&[])?;
        let session = Session::open(settings)?;
        let document = info(&session, &registry)?;
        print_data(&shown(&self.format, &document, || {
            text(&document, &registry)
        })?)
    }
}

/// Returns docker's description of the system.
fn info(session: &Session, registry: &RegistryOptions) -> Result<Value, Report> {
    let failed = |error: &dyn std::error::Error| Report::from_error(error);
    let root = session.store.root();
    let images = session.store.images().ids();
    let containers = Containers::of(root).list();
    let containers = containers.map_err(|error| failed(&error))?;
    let count = |wanted: fn(Status) -> bool| {
        let fits = containers.iter().filter(|found| wanted(found.state.status));
        fits.count()
    };
    let (platform, kernel) = (Platform::host(), rustix::system::uname());
    let mut security = vec!["name=seccomp,profile=builtin"];
    security.extend(session.rootless.then_some("name=rootless"));
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        security.push("name=cgroupns");
    }
    let mirrors: serde_json::Map<_, _> = registry
        .mirrors
        .iter()
        .map(|(host, mirrors)| (host.clone(), json!(mirrors)))
        .collect();
    let driver = match driver::of(&session.store).map_err(|error| failed(&error))? {
        Driver::Overlay => "overlayfs",
        Driver::Vfs => "vfs",
    };
    Ok(json!({
        "ID": "",
        "Containers": containers.len(),
        "ContainersRunning": count(|status| matches!(status, Status::Running | Status::Restarting)),
        "ContainersPaused": count(|status| status == Status::Paused),
        "ContainersStopped": count(|status| !status.is_active()),
        "Images": images.map_err(|error| failed(&error))?.len(),
        "Driver": driver,
        "DriverStatus": [["userxattr", session.store.options().userxattr.to_string()]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "none"],
            "Log": ["json-file", "none"],
        },
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": cgroup_version().to_string(),
        "KernelVersion": kernel.release().to_string_lossy(),
        "OperatingSystem": distribution(),
        "OSType": platform.os,
        "Architecture": kernel.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory_of_machine(),
        "DockerRootDir": root,
        "Name": kernel.nodename().to_string_lossy(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "DefaultRuntime": "cooper",
        "Runtimes": { "cooper": {} },
        "SecurityOptions": security,
        "RegistryConfig": { "Mirrors": mirrors },
        "Rootless": session.rootless,
        "Platform": platform.to_string(),
        "Labels": [],
        "Warnings": [],
        "ClientInfo": { "Version": env!("CARGO_PKG_VERSION"), "Context": "default" },
    }))
}

/// Returns what the distribution calls itself (os-release(5)).
fn distribution() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn text(document: &Value, registry: &RegistryOptions) -> String {
    let plain = |name: &str| match &document[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = String::new();
    let mut line = |name: &str, value: String| {
        // Text takes all that is written to it.
        let _ = writeln!(lines, " {name}: {value}");
    };
    line("Version", plain("ServerVersion"));
    line("Containers", plain("Containers"));
    line(" Running", plain("ContainersRunning"));
    line(" Paused", plain("ContainersPaused"));
    line(" Stopped", plain("ContainersStopped"));
    line("Images", plain("Images"));
    line("Storage Driver", plain("Driver"));
    line("Logging Driver", plain("LoggingDriver"));
    line("Cgroup Driver", plain("CgroupDriver"));
    line("Cgroup Version", plain("CgroupVersion"));
    line("Kernel Version", plain("KernelVersion"));
    line("Operating System", plain("OperatingSystem"));
    line("Platform", plain("Platform"));
    line("CPUs", plain("NCPU"));
    let memory = document["MemTotal"].as_u64().unwrap_or_default();
    line("Total Memory", human::binary_size(memory));
    line("Name", plain("Name"));
    line("Root Dir", plain("DockerRootDir"));
    let rootless = document["Rootless"] == true;
    line(
        "Privileges",
        if rootless { "user namespace" } else { "root" }.to_owned(),
    );
    for (host, mirrors) in &registry.mirrors {
        line("Mirror", format!("{host} = {}", mirrors.join(" ")));
    }
    if let Some(dir) = &registry.docker_config {
        line("Credentials", dir.join("config.json").display().to_string());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_where_scripts_of_docker_look() {
        let document = version();
        for template in ["{{.Server.Version}}", "{{.Client.Version}}"] {
            let format: Format = template.parse().expect("valid");
            let text = shown(&format, &document, String::new).expect("renders");
            assert_eq!(text, concat!(env!("CARGO_PKG_VERSION"), "\n"));
        }
    }
}
