//! Networks of containers, each test in a network namespace that stands for the host.

use std::io::Read;
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cooper_runner::network::Namespace;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::process::Running;
use crate::support::{Cooper, need};

/// A host with busybox; only root has bridges.
fn host() -> Option<Cooper> {
    need::root()?;
    let cooper = Cooper::new()?;
    cooper.load_busybox();
    Some(cooper)
}

/// A running container and the command that waits for it.
struct Started<'a> {
    cooper: &'a Cooper,
    name: String,
    command: Option<Running>,
}

/// Starts a container that runs `script` and says `ready` when it gets that far.
fn started<'a>(cooper: &'a Cooper, name: &str, options: &[&str], script: &str) -> Started<'a> {
    let script = format!("{script} echo ready >&2; sleep 1000");
    let own = ["run", "--rm", "--name", name];
    let args = [&own, options, &["busybox", "sh", "-c", &script]].concat();
    let mut command = cooper.start(&args, b"");
    command.wait_until_says("ready");
    Started {
        cooper,
        name: name.to_owned(),
        command: Some(command),
    }
}

impl Started<'_> {
    /// Returns the number of the container's first process.
    fn pid(&self) -> i64 {
        let dirs = std::fs::read_dir(self.cooper.root().join("containers")).expect("lists");
        let read = |path: PathBuf| -> Value {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        };
        let dir = dirs
            .map(|dir| dir.expect("lists").path())
            .find(|dir| read(dir.join("config.json"))["name"] == *self.name);
        let state = read(dir.expect("is there").join("state.json"));
        state["pid"].as_i64().expect("it runs")
    }

    /// Kills the process that keeps the container, so that nobody cleans up after it.
    fn crash(mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let parent = status
            .expect("reads")
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
            .and_then(Pid::from_raw);
        kill_process(parent.expect("a process"), Signal::KILL).expect("kills");
        if let Some(command) = self.command.take() {
            command.finish();
        }
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if let Some(command) = self.command.take() {
            self.cooper.run(&["rm", "-f", &self.name]);
            command.finish();
        }
    }
}

/// Serves one line on a port, over and over.
const SERVE: &str = "nc -ll -p 80 -e /bin/echo served & ";

/// Runs `script` in a new container and returns what it prints.
#[track_caller]
fn prints(cooper: &Cooper, options: &[&str], script: &str) -> String {
    let args = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
    cooper.run(&args).ok().out()
}

/// Returns what the test's host gets from `address`.
fn fetched(cooper: &Cooper, address: &str) -> String {
    let address = address.to_owned();
    let fetch = move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    cooper
        .network()
        .run(fetch)
        .unwrap_or_else(|error| error.to_string())
}

/// Returns what a program of the test's host prints.
fn on_host(cooper: &Cooper, args: &'static [&'static str]) -> String {
    let output = cooper
        .network()
        .run(|| Command::new(args[0]).args(&args[1..]).output());
    String::from_utf8_lossy(&output.expect("runs").stdout).into_owned()
}

#[test]
fn a_container_has_an_address_a_gateway_and_names_of_its_own() {
    let Some(cooper) = host() else { return };
    let shown = prints(
        &cooper,
        &["--hostname=me", "--add-host=gate:host-gateway"],
        "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | head -1; \
         grep -e me -e gate /etc/hosts; cat /sys/class/net/eth0/address",
    );
    assert_eq!(
        shown,
        "172.17.0.2/16\ndefault via 172.17.0.1 dev eth0 \n172.17.0.1\tgate\n172.17.0.2\tme\n\
         02:42:ac:11:00:02\n"
    );
    assert_eq!(
        prints(&cooper, &["--network=none"], "ls /sys/class/net"),
        "lo\n"
    );
    let host = prints(&cooper, &["--network=host"], "ls /sys/class/net");
    assert!(host.contains("co-"), "the host's bridge is seen: {host}");
}

#[test]
fn the_default_subnet_avoids_those_that_the_host_uses() {
    let Some(cooper) = host() else { return };
    on_host(
        &cooper,
        &["ip", "addr", "add", "172.17.9.1/24", "dev", "lo"],
    );
    on_host(
        &cooper,
        &["ip", "route", "add", "172.18.0.0/15", "dev", "lo"],
    );
    let shown = prints(&cooper, &[], "ip -4 -o addr show eth0 | awk '{print $4}'");
    assert_eq!(shown, "172.20.0.2/16\n");
}

#[test]
fn containers_find_each_other_by_name_and_alias_on_their_networks() {
    let Some(cooper) = host() else { return };
    for network in ["front", "back"] {
        cooper.run(&["network", "create", network]).ok();
    }
    let options = ["--network=front", "--network-alias=www"];
    let _web = started(&cooper, "web", &options, SERVE);
    let ask = |network: &str, name: &str| {
        let option = format!("--network={network}");
        let script = format!("nc -w 5 {name} 80 </dev/null || echo none");
        prints(&cooper, &[&option], &script)
    };
    assert_eq!(ask("front", "web"), "served\n");
    assert_eq!(ask("front", "www"), "served\n");
    assert_eq!(ask("front", "web.front"), "served\n");
    assert_eq!(ask("back", "web"), "none\n");
    assert_eq!(ask("bridge", "web"), "none\n");
    assert_eq!(
        prints(
            &cooper,
            &["--network=front"],
            "cat /etc/resolv.conf | head -1"
        ),
        "nameserver 127.0.0.11\n"
    );
}

#[test]
fn an_alias_of_several_goes_on_with_those_that_are_left() {
    let Some(cooper) = host() else { return };
    cooper.run(&["network", "create", "net"]).ok();
    let first = started(&cooper, "one", &["--network=net", "--network-alias=db"], "");
    let _second = started(
        &cooper,
        "two",
        &["--network=net", "--network-alias=db"],
        SERVE,
    );
    let addresses = |cooper: &Cooper| {
        let script = "nslookup -type=a db 127.0.0.11 | grep -c ^Address:.*10 ; \
                      nslookup -type=a db 127.0.0.11 | grep -c '^Address: '";
        prints(cooper, &["--network=net"], script)
    };
    let both = addresses(&cooper);
    assert!(both.ends_with("2\n"), "{both}");
    drop(first);
    let one = addresses(&cooper);
    assert!(one.ends_with("1\n"), "{one}");
    let served = prints(&cooper, &["--network=net"], "nc -w 5 db 80 </dev/null");
    assert_eq!(served, "served\n");
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let Some(cooper) = host() else { return };
    let ports = ["-p=8080:80", "-p=127.0.0.1:8081:80", "-p=[::1]:8082:80"];
    let _web = started(&cooper, "web", &ports, SERVE);
    on_host(&cooper, &["ip", "addr", "add", "192.0.2.7/32", "dev", "lo"]);
    for address in [
        "127.0.0.1:8080",
        "[::1]:8080",
        "192.0.2.7:8080",
        "172.17.0.1:8080",
        "127.0.0.1:8081",
        "[::1]:8082",
    ] {
        assert_eq!(fetched(&cooper, address), "served\n", "{address}");
    }
    let listed = cooper.run(&["ps", "--format={{.Ports}} {{.Networks}}"]);
    let listed = listed.ok().out();
    assert!(listed.contains("0.0.0.0:8080->80/tcp, "), "{listed}");
    assert!(listed.ends_with(" bridge\n"), "{listed}");
    for (filter, lines) in [("publish=80", 1), ("publish=81", 0), ("network=bridge", 1)] {
        let filter = format!("--filter={filter}");
        let listed = cooper.run(&["ps", "-q", &filter]).ok().out();
        assert_eq!(listed.lines().count(), lines, "{filter}");
    }
    for address in ["192.0.2.7:8081", "192.0.2.7:8082"] {
        assert!(fetched(&cooper, address).contains("refused"), "{address}");
    }
    // From a container of the same network, and from one of another.
    cooper.run(&["network", "create", "other"]).ok();
    for network in ["--network=bridge", "--network=other"] {
        let served = prints(&cooper, &[network], "nc -w 5 172.17.0.1 8080 </dev/null");
        assert_eq!(served, "served\n", "{network}");
    }
    cooper
        .run(&["run", "--rm", "-p", "8080:80", "busybox", "true"])
        .exits(125)
        .says("0.0.0.0:8080/tcp: the port is already allocated");
}

#[test]
fn a_container_reaches_itself_by_loopback_and_by_its_published_port() {
    let Some(cooper) = host() else { return };
    let _web = started(&cooper, "web", &["-p=8080:80", "--hostname=web"], SERVE);
    for (host, port) in [("127.0.0.1", "80"), ("web", "80"), ("172.17.0.1", "8080")] {
        let fetch = format!("nc -w 5 {host} {port} </dev/null");
        let served = cooper.run(&["exec", "web", "sh", "-c", &fetch]);
        served.ok().prints("served\n");
    }
}

#[test]
fn ranges_and_all_exposed_ports_are_published() {
    let Some(cooper) = host() else { return };
    let range = ["-p=9000-9002:80-82"];
    let _web = started(&cooper, "web", &range, SERVE);
    assert_eq!(fetched(&cooper, "127.0.0.1:9000"), "served\n");
    let ports = cooper.run(&["port", "web"]).ok().out();
    for pair in [
        "80/tcp -> 0.0.0.0:9000",
        "81/tcp -> 0.0.0.0:9001",
        "82/tcp -> 0.0.0.0:9002",
    ] {
        assert!(ports.contains(pair), "{pair} in {ports}");
    }
    let exposed = ["-P", "--expose=80", "--expose=7000-7001/udp"];
    let _all = started(&cooper, "all", &exposed, SERVE);
    let ports = cooper.run(&["port", "all"]).ok().out();
    for port in ["80/tcp", "7000/udp", "7001/udp"] {
        assert!(ports.contains(port), "{port} in {ports}");
    }
    let at = cooper.run(&["port", "all", "80"]).ok().out();
    let port = at.lines().next().and_then(|line| line.rsplit(':').next());
    let address = format!("127.0.0.1:{}", port.expect("a port"));
    assert_eq!(fetched(&cooper, &address), "served\n");
    let format = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
    let inspected = cooper.run(&["inspect", "-f", format, "all"]).ok().out();
    assert_eq!(Some(inspected.trim_end()), port);
}

#[test]
fn networks_are_kept_apart() {
    let Some(cooper) = host() else { return };
    cooper
        .run(&["network", "create", "--internal", "inside"])
        .ok();
    cooper
        .run(&["network", "create", "--subnet=10.9.0.0/24", "other"])
        .ok();
    let _web = started(&cooper, "web", &["--network=other"], SERVE);
    let reach = |network: &str, address: &str| {
        let script = format!("nc -w 1 {address} 80 </dev/null || echo none");
        prints(&cooper, &[network], &script)
    };
    assert_eq!(reach("--network=other", "10.9.0.2"), "served\n");
    assert_eq!(reach("--network=bridge", "10.9.0.2"), "none\n");
    assert_eq!(reach("--network=inside", "10.9.0.2"), "none\n");
    let routes = prints(&cooper, &["--network=inside"], "ip route");
    assert!(!routes.contains("default"), "{routes}");
}

#[test]
fn the_network_of_the_highest_priority_leads_outside() {
    let Some(cooper) = host() else { return };
    for (name, subnet) in [
        ("one", "10.1.0.0/24"),
        ("two", "10.2.0.0/24"),
        ("three", "10.3.0.0/24"),
    ] {
        let subnet = format!("--subnet={subnet}");
        cooper.run(&["network", "create", &subnet, name]).ok();
    }
    let way = "ip route | grep default | cut -d' ' -f3";
    let second = [
        "--network=one",
        "--network=name=two,gw-priority=5",
        "--network=three",
    ];
    assert_eq!(prints(&cooper, &second, way), "10.2.0.1\n");
    let equal = [
        "--network=name=one,gw-priority=-1",
        "--network=two",
        "--network=three",
    ];
    assert_eq!(prints(&cooper, &equal, way), "10.2.0.1\n");
    let wrong = [
        "run",
        "--rm",
        "--network=name=one,gw-priority=x",
        "busybox",
        "true",
    ];
    cooper.run(&wrong).exits(125).says("no number");
    let web = started(&cooper, "web", &["--network=one"], "");
    let found = || cooper.run(&["exec", "web", "sh", "-c", way]).ok().out();
    let listed = [
        "ps",
        "--format={{join .IPAddresses \", \"}} {{.HealthStatus}}",
    ];
    cooper.run(&listed).ok().prints("one/10.1.0.2 \n");
    let connect = ["network", "connect", "--gw-priority=1"];
    cooper
        .run(&[&connect[..], &["two", &web.name]].concat())
        .ok();
    assert_eq!(found(), "10.2.0.1\n");
    cooper.run(&["network", "connect", "three", "web"]).ok();
    assert_eq!(found(), "10.2.0.1\n");
    cooper.run(&["network", "disconnect", "two", "web"]).ok();
    assert_eq!(found(), "10.1.0.1\n");
}

#[test]
fn datagrams_are_published_too() {
    let Some(cooper) = host() else { return };
    let web = started(&cooper, "web", &["-p=5353:53/udp"], "");
    let inside = format!("/proc/{}/ns/net", web.pid());
    let inside = Namespace::open(Path::new(&inside)).expect("opens");
    let server = inside.run(|| UdpSocket::bind("0.0.0.0:53")).expect("binds");
    let echo = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut question = [0; 16];
            let (length, from) = server.recv_from(&mut question).expect("receives");
            server.send_to(&question[..length], from).expect("sends");
        }
    });
    for address in ["127.0.0.1:5353", "172.17.0.1:5353"] {
        let ask = move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(address)?;
            socket.set_read_timeout(Some(Duration::from_secs(60)))?;
            socket.send(b"question")?;
            let mut answer = [0; 16];
            let length = socket.recv(&mut answer)?;
            Ok(answer[..length].to_vec())
        };
        let answer = cooper.network().run(ask).expect("is answered");
        assert_eq!(answer, b"question", "{address}");
    }
    echo.join().expect("ends");
}

#[test]
fn addresses_are_those_asked_for_and_nobody_elses() {
    let Some(cooper) = host() else { return };
    let create = [
        "network",
        "create",
        "--subnet=10.8.0.0/24",
        "--ip-range=10.8.0.128/25",
        "--gateway=10.8.0.254",
        "--aux-address=router=10.8.0.128",
        "--subnet=fd00:8::/64",
        "--label=a=b",
        "net",
    ];
    cooper.run(&create).ok();
    let show = "ip -o addr show eth0 scope global | awk '{print $4}'; ip route | head -1";
    assert_eq!(
        prints(&cooper, &["--network=net"], show),
        "10.8.0.129/24\nfd00:8::2/64\ndefault via 10.8.0.254 dev eth0 \n"
    );
    let _held = started(&cooper, "held", &["--network=net", "--ip=10.8.0.7"], "");
    let run =
        |option: &str| cooper.run(&["run", "--rm", "--network=net", option, "busybox", "true"]);
    run("--ip=10.8.0.7")
        .exits(125)
        .says("address 10.8.0.7 is in use on network net");
    run("--ip=10.7.0.7")
        .exits(125)
        .says("10.7.0.7 is in no subnet of network net");
    cooper
        .run(&["run", "--rm", "--ip=172.17.0.9", "busybox", "true"])
        .exits(125)
        .says("--ip needs a network made with `cooper network create`");
    let inspected = cooper.run(&["network", "inspect", "net"]).ok().out();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    let container = inspected[0]["Containers"].as_object().expect("a map");
    let (_, container) = container.iter().next().expect("one");
    assert_eq!(container["IPv4Address"], "10.8.0.7/24");
    let config = &inspected[0]["IPAM"]["Config"][0];
    assert_eq!(config["IPRange"], "10.8.0.128/25");
    assert_eq!(config["AuxiliaryAddresses"]["router"], "10.8.0.128");
}

#[test]
fn what_a_killed_container_left_is_taken_away() {
    let Some(cooper) = host() else { return };
    cooper.run(&["network", "create", "net"]).ok();
    let web = started(&cooper, "web", &["--network=net", "-p=8080:80"], SERVE);
    let rules = || on_host(&cooper, &["nft", "list", "ruleset"]);
    let has_nft = need::has_tool("nft");
    assert!(!has_nft || rules().contains("tcp dport 8080"));
    cooper
        .run(&["network", "rm", "net"])
        .exits(1)
        .says("network net is in use by");
    web.crash();
    cooper.run(&["network", "ls"]).ok();
    assert!(!rules().contains("tcp dport 8080"));
    let again = started(&cooper, "web", &["--network=net", "-p=8080:80"], SERVE);
    drop(again);
    cooper.run(&["network", "rm", "net"]).ok().prints("net\n");
    // The kernel takes its time for the interfaces of a namespace that is gone.
    let links = || on_host(&cooper, &["ip", "-br", "link"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while links().contains("veth") {
        assert!(Instant::now() < deadline, "{}", links());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_a_store_that_is_gone_left_is_taken_away_by_another() {
    let Some(cooper) = host() else { return };
    let gone = format!("{}-gone", cooper.root().display());
    let bridges = || {
        let links = on_host(&cooper, &["ip", "-br", "link"]);
        links.lines().filter(|line| line.starts_with("co-")).count()
    };
    cooper
        .run(&["network", "create", "--root", &gone, "one"])
        .ok();
    cooper.run(&["network", "create", "two"]).ok();
    assert_eq!(bridges(), 2, "both stores are there");
    std::fs::remove_dir_all(&gone).expect("removes");
    cooper.run(&["network", "create", "three"]).ok();
    assert_eq!(bridges(), 2, "the bridge of a store that is gone went");
}

#[test]
fn lists_of_networks_are_filtered_and_formatted() {
    let Some(cooper) = host() else { return };
    cooper
        .run(&["network", "create", "--label=role=db", "data"])
        .ok();
    cooper.run(&["network", "create", "web"]).ok();
    let ls = |args: &[&str]| {
        let all = [&["network", "ls", "--format={{.Name}} {{.Driver}}"], args].concat();
        cooper.run(&all).ok().out()
    };
    assert_eq!(
        ls(&[]),
        "bridge bridge\ndata bridge\nhost host\nnone null\nweb bridge\n"
    );
    assert_eq!(ls(&["-f", "type=custom"]), "data bridge\nweb bridge\n");
    assert_eq!(ls(&["-f", "label=role=db"]), "data bridge\n");
    assert_eq!(
        ls(&["-f", "name=we", "-f", "name=no"]),
        "none null\nweb bridge\n"
    );
    cooper
        .run(&["network", "ls", "-f", "colour=red"])
        .exits(1)
        .says("unknown filter \"colour\"");
    cooper
        .run(&["network", "create", "web"])
        .exits(1)
        .says("already exists");
    cooper
        .run(&["network", "rm", "host"])
        .exits(1)
        .says("pre-defined");
    cooper
        .run(&["network", "inspect", "nothing"])
        .exits(1)
        .says("no such network: nothing");
    cooper
        .run(&["network", "create", "-d", "overlay", "x"])
        .exits(1)
        .says("no network driver");
    let refused = cooper.run(&["network", "ls", "-f", "type=other"]).exits(1);
    refused.says("unknown type \"other\"");
    let json = cooper.run(&["network", "inspect", "-f=json", "web", "data"]);
    let found: Value = serde_json::from_str(&json.ok().out()).expect("one line of JSON");
    assert_eq!(
        (&found[0]["Name"], &found[1]["Name"]),
        (&"web".into(), &"data".into())
    );
    for (option, message) in [
        ("--ipam-driver=other", "there is only \"default\""),
        ("--scope=global", "there is only \"local\""),
        ("--ipv4=false", "every network has IPv4"),
    ] {
        let refused = cooper.run(&["network", "create", option, "x"]).exits(1);
        refused.says(message);
    }
    let taken = [
        "--ipam-driver=default",
        "--ipam-opt=a=b",
        "--scope=local",
        "--ipv4",
    ];
    let made = [&["network", "create"], &taken[..], &["plain"]].concat();
    cooper.run(&made).ok();
    let young = ["network", "prune", "-f", "--filter=until=1h"];
    assert_eq!(cooper.run(&young).ok().out(), "");
    let pruned = cooper.run(&["network", "prune", "-f"]).ok().out();
    assert_eq!(pruned, "Deleted Networks:\ndata\nplain\nweb\n\n");
}

#[test]
fn a_running_container_is_connected_and_disconnected() {
    let Some(cooper) = host() else { return };
    for (name, subnet) in [("one", "10.1.0.0/24"), ("two", "10.2.0.0/24")] {
        let subnet = format!("--subnet={subnet}");
        cooper.run(&["network", "create", &subnet, name]).ok();
    }
    let web = started(&cooper, "web", &["--network=one", "-p=8080:80"], SERVE);
    let show = || {
        let script = "ip -4 -o addr show scope global | awk '{print $2, $4}'; ip route | head -1";
        cooper.run(&["exec", "web", "sh", "-c", script]).ok().out()
    };
    let connect = [
        "network",
        "connect",
        "--alias=www",
        "--ip=10.2.0.9",
        "two",
        "web",
    ];
    cooper.run(&connect).ok();
    cooper
        .run(&connect)
        .exits(1)
        .says("container web is already connected to network two");
    assert_eq!(
        show(),
        "eth0 10.1.0.2/24\neth1 10.2.0.9/24\ndefault via 10.1.0.1 dev eth0 \n"
    );
    let served = prints(&cooper, &["--network=two"], "nc -w 5 www 80 </dev/null");
    assert_eq!(served, "served\n");
    // A link and an address of the link alone hold at once.
    let _client = started(&cooper, "client", &["--network=one"], "");
    let more = [
        "--link=web:db",
        "--link-local-ip=169.254.34.22",
        "two",
        "client",
    ];
    cooper
        .run(&[&["network", "connect"], &more[..]].concat())
        .ok();
    let look = "nc -w 5 db 80 </dev/null; ip -4 -o addr show eth1 | awk '{print $4}'";
    let seen = cooper.run(&["exec", "client", "sh", "-c", look]).ok().out();
    assert_eq!(seen, "served\n10.2.0.2/24\n169.254.34.22/16\n");
    let made = prints(
        &cooper,
        &["--link-local-ip=169.254.34.23"],
        "ip -4 -o addr show eth0 | awk '{print $4}' | tail -1",
    );
    assert_eq!(made, "169.254.34.23/16\n");
    let ports = cooper.run(&["port", "web"]).ok().out();
    assert_eq!(ports, "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
    cooper.run(&["network", "disconnect", "one", "web"]).ok();
    assert_eq!(show(), "eth1 10.2.0.9/24\ndefault via 10.2.0.1 dev eth1 \n");
    cooper
        .run(&["network", "disconnect", "one", "web"])
        .exits(1)
        .says("container web is not connected to network one");
    drop(web);
}

#[test]
fn a_container_of_the_default_network_learns_names_when_it_is_connected() {
    let Some(cooper) = host() else { return };
    cooper.run(&["network", "create", "net"]).ok();
    let _web = started(&cooper, "web", &["--network=net"], SERVE);
    let lone = started(&cooper, "lone", &["--read-only"], "");
    let fetch = || {
        let script = "nc -w 2 web 80 </dev/null; head -1 /etc/resolv.conf";
        cooper.run(&["exec", "lone", "sh", "-c", script]).out()
    };
    assert!(!fetch().starts_with("served"));
    for _ in 0..2 {
        cooper.run(&["network", "connect", "net", "lone"]).ok();
        assert_eq!(fetch(), "served\nnameserver 127.0.0.11\n");
        cooper.run(&["network", "disconnect", "net", "lone"]).ok();
        assert!(!fetch().starts_with("served"));
    }
    let id = cooper.run(&["inspect", "-f={{.Id}}", "lone"]).ok().out();
    let id = id.trim_end();
    assert!(is_served(id));
    drop(lone);
    while is_served(id) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Tells whether a process serves names and waits for the end of the container with this ID.
fn is_served(id: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("lists").flatten();
    let mut services = processes.filter(|process| {
        std::fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| line.starts_with(b"cooper-network"))
    });
    services.any(|process| {
        let files = std::fs::read_dir(process.path().join("fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| {
            std::fs::read_link(file.path()).is_ok_and(|path| path.to_string_lossy().contains(id))
        })
    })
}

#[test]
fn networks_are_shared_and_linked() {
    let Some(cooper) = host() else { return };
    let _web = started(&cooper, "web", &[], SERVE);
    let shared = prints(
        &cooper,
        &["--network=container:web"],
        "nc -w 5 127.0.0.1 80 </dev/null; ip -4 -o addr show eth0 | awk '{print $4}'",
    );
    assert_eq!(shared, "served\n172.17.0.2/16\n");
    // Who shares a network has its name too, also where it shares what is shared.
    let id = cooper.run(&["inspect", "-f={{.Id}}", "web"]).ok().out();
    let _second = started(&cooper, "second", &["--network=container:web"], "");
    for other in ["web", "second"] {
        let mode = format!("--network=container:{other}");
        let names = prints(
            &cooper,
            &[&mode],
            "hostname; cat /etc/hostname; echo $HOSTNAME",
        );
        assert_eq!(names, format!("{}\n", &id[..12]).repeat(3), "{other}");
    }
    let inspected = cooper.run(&["inspect", "-f={{.Config.Hostname}}", "second"]);
    assert_eq!(inspected.ok().out(), format!("{}\n", &id[..12]));
    let linked = prints(&cooper, &["--link=web:db"], "nc -w 5 db 80 </dev/null");
    assert_eq!(linked, "served\n");
    // There it is told by variables, too.
    let exposing = ["--expose=80", "--expose=53/udp", "-e=KEY=a b"];
    let _base = started(&cooper, "base", &exposing, "");
    let told = prints(
        &cooper,
        &["--name=app", "--link=base:my-db"],
        "env | grep ^MY_DB | sort",
    );
    let ip = cooper.run(&["inspect", "-f={{.NetworkSettings.IPAddress}}", "base"]);
    let ip = ip.ok().out();
    let expected = "MY_DB_ENV_KEY=a b\nMY_DB_NAME=/app/my-db\nMY_DB_PORT=udp://IP:53\n\
        MY_DB_PORT_53_UDP=udp://IP:53\nMY_DB_PORT_53_UDP_ADDR=IP\nMY_DB_PORT_53_UDP_PORT=53\n\
        MY_DB_PORT_53_UDP_PROTO=udp\nMY_DB_PORT_80_TCP=tcp://IP:80\n\
        MY_DB_PORT_80_TCP_ADDR=IP\nMY_DB_PORT_80_TCP_PORT=80\nMY_DB_PORT_80_TCP_PROTO=tcp\n";
    assert_eq!(told, expected.replace("IP", ip.trim()));
    cooper
        .run(&["run", "--rm", "--link=nobody:db", "busybox", "true"])
        .exits(125)
        .says("cannot link to nobody: no such container runs");
    cooper
        .run(&[
            "run",
            "--rm",
            "--network=container:nobody",
            "busybox",
            "true",
        ])
        .exits(125)
        .says("cannot share the network of nobody");
    // A link is written down, and can be taken away again.
    let made = ["create", "--name=other", "--link=web:db", "busybox"];
    cooper.run(&made).ok();
    let links = || {
        let shown = cooper.run(&["inspect", "-f={{.HostConfig.Links}}", "other"]);
        shown.ok().out()
    };
    assert_eq!(links(), "[/web:/other/db]\n");
    let gone = cooper.run(&["rm", "--link", "/other/db"]).ok().out();
    assert_eq!((gone.as_str(), links().as_str()), ("/other/db\n", "[]\n"));
    let refused = cooper.run(&["rm", "-l", "other/db"]).exits(1);
    refused.says("container other has no link \"db\"");
    let named = ["run", "-h=x", "--network=container:web", "busybox", "true"];
    let refused = cooper.run(&named).exits(125);
    refused.says("--hostname has no meaning with --network=container:NAME");
}

#[test]
fn names_of_a_shared_network_are_read_inside_its_container() {
    let Some(cooper) = host() else { return };
    let outside = cooper.scratch("outside");
    std::fs::write(&outside, "10.0.0.1 outside\n").expect("writes");
    let link = format!(
        "umount /etc/hosts /etc/resolv.conf; cd /etc; rm -f hosts resolv.conf; \
         ln -s {} hosts; mkfifo resolv.conf;",
        outside.display()
    );
    let _web = started(&cooper, "web", &["--privileged"], &link);
    let read = prints(
        &cooper,
        &["--network=container:web"],
        "cat /etc/hosts /etc/resolv.conf",
    );
    assert_eq!(read, "");
}
