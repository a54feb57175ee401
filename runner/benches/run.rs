//! Wall time of a trivial shell command through the runner, step by step like a build's RUNs.
//!
//! `cargo bench -p cooper-runner [--profile fast] [-- [--warm N] [--lowers N] [--count N] [--none]]`

use cooper_runner::{Network, ProcessSpec, Rootfs, Runner, RunnerOptions, Stdio};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    cooper_runner::init();
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let setting = Setting {
        warm: number("--warm", 0),
        lowers: number("--lowers", 1),
        count: number("--count", 200),
        network: if arguments.iter().any(|a| a == "--none") {
            Network::None
        } else {
            Network::Host
        },
    };
    let mut out = std::io::stdout().lock();
    if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        writeln!(out, "SKIPPED: needs root and /bin/busybox")?;
        return Ok(());
    }
    let times = measure(&setting)?;
    let total: Duration = times.iter().sum();
    writeln!(
        out,
        "{setting:?}: min {:?}, median {:?}, p90 {:?}, mean {:?}",
        times[0],
        times[times.len() / 2],
        times[times.len() * 9 / 10],
        total / times.len() as u32
    )?;
    Ok(())
}

#[derive(Debug)]
struct Setting {
    warm: usize,
    lowers: usize,
    count: usize,
    network: Network,
}

/// Returns the sorted times.
fn measure(setting: &Setting) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let top = std::env::var_os("COOPER_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let top = top.join(format!("cooper-bench-{}", std::process::id()));
    let base = top.join("base");
    for directory in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(base.join(directory))?;
    }
    std::fs::copy("/bin/busybox", base.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", base.join("bin/sh"))?;
    let mut lowers = vec![base];
    for index in 1..setting.lowers {
        let lower = top.join(format!("lower{index}"));
        std::fs::create_dir_all(lower.join("etc"))?;
        lowers.insert(0, lower);
    }
    let mut options = RunnerOptions::new(top.join("scratch"));
    options.warm = setting.warm;
    let runner = Runner::start(options)?;
    let mut times = Vec::new();
    for index in 0..setting.count {
        let step = top.join(index.to_string());
        let (upper, work) = (step.join("fs"), step.join("work"));
        std::fs::create_dir_all(&upper)?;
        std::fs::create_dir_all(&work)?;
        let lowers = lowers.clone();
        let rootfs = Rootfs::Overlay {
            lowers,
            upper: upper.clone(),
            work,
            userxattr: false,
        };
        let mut spec = ProcessSpec::new(rootfs, ["/bin/sh", "-c", "echo x > /f"]);
        spec.hosts = Some(b"127.0.0.1 localhost\n".to_vec());
        spec.resolv_conf = Some(b"nameserver 127.0.0.1\n".to_vec());
        spec.network = setting.network.clone();
        let start = Instant::now();
        let exit = runner.run(&spec, Stdio::null()?)?;
        times.push(start.elapsed());
        assert!(exit.success(), "{exit:?}");
        assert!(upper.join("f").exists());
    }
    drop(runner);
    std::fs::remove_dir_all(&top)?;
    times.sort();
    Ok(times)
}
