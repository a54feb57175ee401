//! Devices that are asked for by name (CDI) or by kind: `--device vendor.com/class=name`, `--gpus`.

use cooper_frontend::ir::DeviceRequest as Request;

use super::isolation::IsolationArgs;
use crate::build::cdi::{self, CdiError};
use crate::cli::Settings;
use crate::cli::value::{ValueError, csv, each};
use crate::container::{
    Device, DeviceRequest, RunOptions, VolumeMount, VolumeOptions, VolumeSource,
};
use crate::report::Report;

/// The driver of devices by name.
const BY_NAME: &str = "cdi";
/// The kind of those devices that `--gpus` means.
const GPU: &str = "nvidia.com/gpu";

impl IsolationArgs {
    /// Returns the devices that are given by their paths.
    pub(super) fn paths(&self) -> Vec<String> {
        let paths = self.device.iter().filter(|text| !cdi::is_name(text));
        paths.cloned().collect()
    }

    /// Returns what is asked for by name or by kind.
    pub(super) fn device_requests(&self) -> Result<Vec<DeviceRequest>, Report> {
        let names = self.device.iter().filter(|text| cdi::is_name(text));
        let ids: Vec<_> = names.cloned().collect();
        let named = (!ids.is_empty()).then(|| DeviceRequest {
            driver: BY_NAME.to_owned(),
            ids,
            ..DeviceRequest::default()
        });
        let gpus = each("--gpus", &self.gpus, gpus)?;
        Ok(named.into_iter().chain(gpus).collect())
    }
}

/// Adds what the devices take that are asked for by name or kind: nodes, mounts and variables.
pub(super) fn with_requested(
    mut options: RunOptions,
    settings: &Settings,
) -> Result<RunOptions, Report> {
    let requests = &options.isolation.device_requests;
    if requests.is_empty() {
        return Ok(options);
    }
    let configured = settings.file.run.cdi_spec_dirs.clone();
    let directories = configured.unwrap_or_else(cdi::default_directories);
    let failed = |error: CdiError| Report::from_error(&error);
    let has_gpus = cdi::has_kind(&directories, GPU).map_err(failed)?;
    let mut names = Vec::new();
    for request in requests {
        names.extend(named(request, has_gpus)?);
    }
    let wanted: Vec<_> = names
        .into_iter()
        .map(|name| Request {
            name,
            required: true,
        })
        .collect();
    let edits = cdi::resolve(&directories, &wanted).map_err(failed)?;
    let nodes = edits.devices.into_iter().map(|shown| Device {
        host: shown.source.into(),
        container: shown.target.into(),
        permissions: "rwm".to_owned(),
    });
    options.isolation.devices.extend(nodes);
    let mounts = edits.mounts.into_iter().map(|shown| VolumeMount {
        source: VolumeSource::Host(shown.source.into()),
        target: shown.target.into(),
        readonly: shown.readonly,
        options: VolumeOptions {
            strict: true,
            ..VolumeOptions::default()
        },
    });
    options.mounts.volumes.extend(mounts);
    let own = |name: &str| edits.env.iter().any(|(known, _)| known == name);
    options.env.retain(|(name, _)| !own(name));
    options.env.extend(edits.env.iter().cloned());
    Ok(options)
}

/// Returns the qualified names of what is asked for.
fn named(request: &DeviceRequest, has_gpus: bool) -> Result<Vec<String>, Report> {
    if request.driver == BY_NAME {
        return Ok(request.ids.clone());
    }
    if !has_gpus || !matches!(request.driver.as_str(), "" | "nvidia") {
        return Err(Report::new(format!(
            "could not select device driver {:?} with capabilities: [[{}]]",
            request.driver,
            request.capabilities.join(" ")
        ))
        .hint(format!(
            "no device specification (CDI) has a {GPU}: `nvidia-ctk cdi generate` writes one"
        )));
    }
    let numbers = (0..request.count).map(|number| number.to_string());
    let ids: Vec<_> = match request.count {
        ..0 => vec!["all".to_owned()],
        _ => request.ids.iter().cloned().chain(numbers).collect(),
    };
    Ok(ids.iter().map(|id| format!("{GPU}={id}")).collect())
}

/// Parses `--gpus`: `all`, a number, or fields such as `device=0`, of which a list of several IDs
/// is in quotes.
fn gpus(text: &str) -> Result<DeviceRequest, ValueError> {
    let mut request = DeviceRequest::default();
    let mut count = None;
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    for field in csv(text)? {
        let (key, value) = field.split_once('=').unwrap_or(("count", &field));
        match key {
            "count" => count = Some(number(value)?),
            "device" => request.ids = list(value),
            "driver" => value.clone_into(&mut request.driver),
            "capabilities" => request.capabilities = list(value),
            "options" => {}
            _ => {
                let known = ["count", "device", "driver", "capabilities", "options"];
                return Err(ValueError::unknown("key", key, &known));
            }
        }
    }
    if count.is_some() && !request.ids.is_empty() {
        return Err(ValueError::new("it says both how many and which"));
    }
    request.count = count.unwrap_or(i64::from(request.ids.is_empty()));
    request.capabilities.retain(|known| known != "gpu");
    request.capabilities.insert(0, "gpu".to_owned());
    Ok(request)
}

fn number(text: &str) -> Result<i64, ValueError> {
    match text {
        "all" => Ok(-1),
        text => text
            .parse()
            .map_err(|_| ValueError::new(format!("{text:?} is neither \"all\" nor a number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_asked_for_as_docker_has_it() {
        let found = |text: &str| {
            let request = gpus(text).ok()?;
            let names = named(&request, true).ok()?.join(" ");
            Some(names.replace("nvidia.com/gpu=", ""))
        };
        for (text, expected) in [
            ("all", Some("all")),
            ("2", Some("0 1")),
            ("device=GPU-3a23c669", Some("GPU-3a23c669")),
            ("\"device=0,2\"", Some("0 2")),
            ("driver=nvidia,count=all", Some("all")),
            ("capabilities=utility", Some("0")),
            ("\"capabilities=compute,utility\",device=1", Some("1")),
            ("driver=other", None),
            ("count=2,device=1", None),
            ("x=y", None),
            ("many", None),
        ] {
            assert_eq!(found(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn without_a_specification_there_is_no_driver() {
        let request = gpus("capabilities=utility").expect("valid");
        let report = named(&request, false).expect_err("none").render(false);
        let expected = "could not select device driver \"\" with capabilities: [[gpu utility]]";
        assert!(report.contains(expected), "{report}");
    }
}
