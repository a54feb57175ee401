//! Docker's description of a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cooper_runner::IoKind;
use serde_json::{Map, Value, json};

use super::networks_of;
use crate::container::record::written;
use crate::container::{
    Config, DeviceRequest, Found, NamespaceMode, Resources, RestartPolicy, State, Status, UserMode,
    VolumeSource, log,
};
use crate::network::port::PortRequest;
use crate::network::{NetworkConfig, NetworkError, NetworkMode, Networks};

/// Docker's time of what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Returns docker's description of a container, with how it is connected.
pub(in crate::cli) fn describe_connected(
    found: &Found,
    networks: &Networks,
) -> Result<Value, NetworkError> {
    let exposed = found.container.config.runtime.exposed_ports.keys();
    let exposed: Vec<_> = exposed.cloned().collect();
    let mut settings = networks.settings(&found.container.id, &exposed)?;
    let known = networks.list()?;
    // One that is not connected now still has the networks that it will be on.
    for name in networks_of(found, &known) {
        if !name.starts_with("container:") && settings["Networks"][&name].is_null() {
            let id = known.iter().find(|network| network.name == name);
            settings["Networks"][name] = json!({
                "NetworkID": id.map_or("", |network| network.id.as_str()),
                "EndpointID": "",
                "Gateway": "",
                "IPAddress": "",
                "IPPrefixLen": 0,
                "MacAddress": "",
            });
        }
    }
    let mut document = describe(found);
    document["NetworkSettings"] = settings;
    Ok(document)
}

/// Returns docker's description of a container but for what its networks know.
fn describe(found: &Found) -> Value {
    let container = &found.container;
    let config = &container.config;
    let args = config.args();
    let path = args.first().cloned().unwrap_or_default();
    let file = |name: &str| found.dir.join(name).to_string_lossy().into_owned();
    let driver = match written(&found.dir) {
        (copy, true) => json!({ "Name": "vfs", "Data": { "dir": copy } }),
        (upper, false) => {
            json!({ "Name": "overlayfs", "Data": { "UpperDir": upper, "WorkDir": file("work") } })
        }
    };
    let logged = log::is_kept(&config.log);
    json!({
        "Id": container.id,
        "Created": container.created,
        "Path": path,
        "Args": args.get(1..).unwrap_or_default(),
        "State": state(found),
        "Image": config.image_id.to_string(),
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": if logged { file("json.log") } else { String::new() },
        "Name": format!("/{}", container.name),
        "RestartCount": found.state.restarts,
        "Driver": driver["Name"],
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(&container.name, config),
        "GraphDriver": driver,
        "Mounts": mounts(found),
        "Config": own_config(container.id.as_str(), config),
    })
}

fn state(found: &Found) -> Value {
    let State {
        status,
        pid,
        started,
        finished,
        exit_code,
        error,
        health,
        oom_killed,
        ..
    } = &found.state;
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| NEVER.to_owned());
    let mut state = json!({
        "Status": status.name(),
        "Running": matches!(status, Status::Running | Status::Paused),
        "Paused": *status == Status::Paused,
        "Restarting": *status == Status::Restarting,
        "OOMKilled": oom_killed,
        "Dead": false,
        "Pid": pid,
        "ExitCode": exit_code,
        "Error": error,
        "StartedAt": time(started),
        "FinishedAt": time(finished),
    });
    if let Some(health) = health {
        let log = health.log.iter().map(|probe| {
            json!({
                "Start": probe.start,
                "End": probe.end,
                "ExitCode": probe.exit_code,
                "Output": probe.output,
            })
        });
        state["Health"] = json!({
            "Status": health.status.name(),
            "FailingStreak": health.failing_streak,
            "Log": log.collect::<Vec<_>>(),
        });
    }
    state
}

fn host_config(name: &str, config: &Config) -> Value {
    let isolation = &config.isolation;
    let (restart, times) = match config.lifecycle.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::OnFailure(times) => ("on-failure", times),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    let mode = |mode: &NamespaceMode, own: &str| match mode {
        NamespaceMode::Private => own.to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(name) => format!("container:{name}"),
    };
    let binds = config.mounts.volumes.iter().filter_map(|volume| {
        let source = match &volume.source {
            VolumeSource::Host(path) => path.to_string_lossy().into_owned(),
            VolumeSource::Named(name) => name.clone(),
            VolumeSource::Anonymous | VolumeSource::Image { .. } => return None,
        };
        // What was asked for by --mount stands in another list.
        if volume.options.strict {
            return None;
        }
        let end = if volume.readonly { ":ro" } else { "" };
        Some(format!("{source}:{}{end}", volume.target.display()))
    });
    let tmpfs = config.mounts.tmpfs.iter().map(|tmpfs| {
        let size = tmpfs
            .size
            .map_or_else(String::new, |size| format!("size={size},"));
        let more = tmpfs.options.parameters.iter();
        let more: Vec<_> = more
            .map(|(name, value)| format!(",{name}={value}"))
            .collect();
        let options = format!("{size}mode={:o}{}", tmpfs.mode, more.concat());
        (tmpfs.target.display().to_string(), Value::from(options))
    });
    let devices = isolation.devices.iter().map(|device| {
        json!({
            "PathOnHost": device.host,
            "PathInContainer": device.container,
            "CgroupPermissions": device.permissions,
        })
    });
    let open = isolation.privileged || isolation.open_paths;
    let rules = isolation.device_rules.iter().map(ToString::to_string);
    let rules: Vec<_> = rules.collect();
    let mut host = json!({
        "Binds": binds.collect::<Vec<_>>(),
        "VolumesFrom": list(&config.mounts.from),
        "Tmpfs": tmpfs.collect::<Map<_, _>>(),
        "LogConfig": { "Type": config.log.driver.name(), "Config": config.log.options },
        "ContainerIDFile": "",
        "VolumeDriver": "",
        "Runtime": "runc",
        "Isolation": "",
        "ConsoleSize": [0, 0],
        "RestartPolicy": { "Name": restart, "MaximumRetryCount": times },
        "AutoRemove": config.lifecycle.remove,
        "CapAdd": list(&isolation.cap_add),
        "CapDrop": list(&isolation.cap_drop),
        "GroupAdd": list(&config.groups),
        "IpcMode": match (isolation.no_shm, isolation.shareable_ipc) {
            (true, _) => "none".into(),
            (_, true) => "shareable".into(),
            _ => mode(&isolation.ipc, "private"),
        },
        "PidMode": mode(&isolation.pid, ""),
        "UTSMode": mode(&isolation.uts, ""),
        "UsernsMode": if isolation.users == UserMode::Host { "" } else { "private" },
        "Privileged": isolation.privileged,
        "ReadonlyRootfs": isolation.read_only,
        "SecurityOpt": list(&isolation.security_opt),
        "ShmSize": config.resources.shm_size.unwrap_or(cooper_runner::DEFAULT_SHM_SIZE),
        "Sysctls": isolation.sysctls,
        "Devices": devices.collect::<Vec<_>>(),
        "DeviceRequests": device_requests(&isolation.device_requests),
        "DeviceCgroupRules": list(&rules),
        "CgroupnsMode": if isolation.host_cgroups { "host" } else { "private" },
        "Annotations": config.annotations,
        "Init": config.lifecycle.init,
        "MaskedPaths": if open { &[][..] } else { cooper_runner::MASKED_PATHS },
        "ReadonlyPaths": if open { &[][..] } else { cooper_runner::READONLY_PATHS },
    });
    for part in [
        limits(&config.resources),
        connections(name, &config.network),
    ] {
        if let (Value::Object(host), Value::Object(part)) = (&mut host, part) {
            host.extend(part);
        }
    }
    if let Some(ids) = isolation.users.ids() {
        // Podman's description; docker has none.
        let map = |first: u32| json!([format!("0:{first}:{}", ids.count)]);
        host["IDMappings"] = json!({ "UidMap": map(ids.uid), "GidMap": map(ids.gid) });
    }
    host
}

/// Returns a list as docker has it, in which an empty one is none.
fn list(items: &[String]) -> Option<&[String]> {
    (!items.is_empty()).then_some(items)
}

/// Returns docker's description of how the container called `name` is to be connected.
fn connections(name: &str, network: &NetworkConfig) -> Value {
    let mode = match &network.mode {
        NetworkMode::Bridge => match network.endpoints.first() {
            Some(endpoint) => endpoint.network.clone(),
            None => "bridge".to_owned(),
        },
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(name) => format!("container:{name}"),
    };
    let hosts = network.add_hosts.iter().map(|entry| match entry.address {
        address if address.is_unspecified() => format!("{}:host-gateway", entry.name),
        address => format!("{}:{address}", entry.name),
    });
    let hosts: Vec<_> = hosts.collect();
    let links = network.links.iter();
    let links = links.map(|link| format!("/{}:/{name}/{}", link.container, link.alias));
    let links: Vec<_> = links.collect();
    json!({
        "NetworkMode": mode,
        "PortBindings": port_bindings(&network.ports),
        "PublishAllPorts": network.publish_all,
        "Dns": network.dns,
        "DnsOptions": network.dns_options,
        "DnsSearch": network.dns_search,
        "ExtraHosts": list(&hosts),
        "Links": list(&links),
    })
}

/// Returns what was asked for by name or kind of device.
fn device_requests(requests: &[DeviceRequest]) -> Value {
    if requests.is_empty() {
        return Value::Null;
    }
    let requests = requests.iter().map(|request| {
        json!({
            "Driver": request.driver,
            "Count": request.count,
            "DeviceIDs": list(&request.ids),
            "Capabilities": if request.capabilities.is_empty() {
                Value::Null
            } else {
                json!([request.capabilities])
            },
            "Options": {},
        })
    });
    requests.collect()
}

/// Returns what is published where, as it was asked for.
fn port_bindings(ports: &[PortRequest]) -> Value {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in ports {
        let host = match port.host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let ip = port.host_ip.map_or_else(String::new, |ip| ip.to_string());
        let of_port = bindings.entry(format!("{}/{}", port.port, port.protocol));
        of_port
            .or_default()
            .push(json!({ "HostIp": ip, "HostPort": host }));
    }
    json!(bindings)
}

/// Returns docker's description of what a container may use.
fn limits(resources: &Resources) -> Value {
    let limits = &resources.limits;
    let memory = limits.memory.unwrap_or(0);
    let both = i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX);
    let rates = |kind: IoKind| {
        let rates = resources
            .device_rates
            .iter()
            .filter(|rate| rate.kind == kind);
        rates
            .map(|rate| json!({ "Path": rate.path, "Rate": rate.rate }))
            .collect::<Vec<_>>()
    };
    let weights = resources.device_weights.iter();
    let weights = weights.map(|own| json!({ "Path": own.path, "Weight": own.weight }));
    let ulimits = resources.ulimits.iter().map(|limit| {
        let number = |limit: Option<u64>| limit.map_or(json!(-1), Value::from);
        json!({ "Name": limit.name, "Hard": number(limit.hard), "Soft": number(limit.soft) })
    });
    json!({
        "Memory": memory,
        "MemorySwap": limits.memory_swap.unwrap_or(both),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwappiness": limits.memory_swappiness,
        "NanoCpus": resources.nano_cpus.unwrap_or(0),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "PidsLimit": limits.pids,
        "BlkioWeight": limits.io_weight.unwrap_or(0),
        "BlkioWeightDevice": weights.collect::<Vec<_>>(),
        "BlkioDeviceReadBps": rates(IoKind::ReadBytes),
        "BlkioDeviceWriteBps": rates(IoKind::WriteBytes),
        "BlkioDeviceReadIOps": rates(IoKind::Reads),
        "BlkioDeviceWriteIOps": rates(IoKind::Writes),
        "OomKillDisable": limits.oom_kill_disable,
        "OomScoreAdj": resources.oom_score_adj.unwrap_or(0),
        "CgroupParent": resources.cgroup_parent.as_deref().unwrap_or_default(),
        "Ulimits": ulimits.collect::<Vec<_>>(),
    })
}

fn mounts(found: &Found) -> Vec<Value> {
    let root = found.dir.parent().and_then(std::path::Path::parent);
    let volumes = root.map(|root| root.join("volumes")).unwrap_or_default();
    let volumes_of = &found.container.config.mounts.volumes;
    let binds = volumes_of.iter().map(|volume| {
        let (kind, name, source) = match &volume.source {
            VolumeSource::Host(path) => ("bind", None, path.clone()),
            VolumeSource::Named(name) => ("volume", Some(name), volumes.join(name).join("_data")),
            VolumeSource::Anonymous => ("volume", None, volumes.clone()),
            VolumeSource::Image { name, .. } => ("image", None, PathBuf::from(name)),
        };
        let mut mount = json!({
            "Type": kind,
            "Source": source,
            "Destination": volume.target,
            "Mode": if volume.readonly { "ro" } else { "" },
            "RW": !volume.readonly,
            "Propagation": match (&volume.options.propagation, kind) {
                (Some(asked), _) => asked.as_str(),
                (None, "bind") => "rprivate",
                (None, _) => "",
            },
        });
        if let Some(name) = name {
            mount["Name"] = name.as_str().into();
            mount["Driver"] = "local".into();
        }
        mount
    });
    binds.collect()
}

fn own_config(id: &str, config: &Config) -> Value {
    let runtime = serde_json::to_value(&config.runtime).unwrap_or_default();
    let mut own = Map::new();
    own.insert("Hostname".into(), config.hostname(id).into());
    let domain = config.domainname.clone().unwrap_or_default();
    own.insert("Domainname".into(), domain.into());
    own.insert("User".into(), "".into());
    own.insert("Tty".into(), config.terminal.into());
    own.insert("OpenStdin".into(), config.open_stdin.into());
    own.insert("Image".into(), config.image.as_str().into());
    own.insert("StopTimeout".into(), config.lifecycle.stop_timeout.into());
    if let Value::Object(fields) = runtime {
        own.extend(fields);
    }
    Value::Object(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_described_in_dockers_shape() {
        let found = Found {
            container: crate::container::Container {
                id: "c".repeat(64),
                name: "web".into(),
                created: "2024-05-01T10:00:00Z".into(),
                config: crate::container::testing::config(false),
                anonymous_volumes: Vec::new(),
            },
            state: State {
                status: Status::Running,
                pid: 7,
                started: Some("2024-05-01T10:00:01Z".into()),
                ..State::default()
            },
            dir: "/s/containers/c".into(),
            live: true,
        };
        let value = describe(&found);
        assert_eq!(value["Name"], "/web");
        assert_eq!(value["Path"], "sh");
        assert_eq!(value["State"]["Running"], true);
        assert_eq!(value["State"]["FinishedAt"], NEVER);
        assert_eq!(value["Config"]["Cmd"], json!(["sh"]));
        assert_eq!(value["Config"]["Hostname"], "cccccccccccc");
        assert_eq!(value["HostConfig"]["RestartPolicy"]["Name"], "no");
        assert_eq!(value["LogPath"], "/s/containers/c/json.log");
    }
}
