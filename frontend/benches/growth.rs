//! Measures how the time that a file takes grows with its size: as the size does, not as its square.
//!
//! `cargo bench -p cooper-frontend --bench growth`. A file of one size and one of four times that
//! go all the way to the graph; each time is the processor's, and the mean of several.

mod clock;
mod shapes;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use cooper_frontend::image::{ResolvedImage, ResolvedImages};
use cooper_frontend::settings::BuildSettings;
use cooper_frontend::{Plan, SourceFile, parse};
use cooper_oci::{ImageConfig, Platform};

/// How much longer four times the size may take; a square takes sixteen times as long.
const MOST: f64 = 8.0;

/// What takes less than this says nothing of its growth.
const LEAST: Duration = Duration::from_micros(200);

fn build(text: &str) -> bool {
    let source = SourceFile::new("Dockerfile", text);
    let settings = BuildSettings::new(Platform::new("linux", "amd64"));
    let Ok(plan) = parse(&source).and_then(|file| Plan::new(&file, &settings)) else {
        return false;
    };
    let mut images = ResolvedImages::new();
    images.extend(plan.requests(&images).into_iter().map(|request| {
        let image = ResolvedImage {
            config: ImageConfig::new(&request.platform),
            layers: vec!["layer".to_owned()].into(),
            reference: None,
            digest: None,
        };
        (request.key, image)
    }));
    plan.lower(&images).is_ok()
}

/// Returns how long a file takes.
fn time(text: &str) -> Duration {
    clock::mean(|| {
        std::hint::black_box(build(text));
    })
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut steep = false;
    for shape in shapes::SHAPES {
        assert_eq!(
            build(&(shape.make)(shape.size)),
            shape.is_valid,
            "{}",
            shape.name
        );
        let small = time(&(shape.make)(shape.size)).max(LEAST);
        let large = time(&(shape.make)(shape.size * 4));
        let growth = large.as_secs_f64() / small.as_secs_f64();
        steep |= growth > MOST;
        let (name, size) = (shape.name, shape.size);
        let _ = writeln!(
            out,
            "{name}: {small:.1?} for {size}, {growth:.1} times that for four times as many"
        );
    }
    if steep {
        let _ = writeln!(out, "something takes more than {MOST} times as long");
    }
    ExitCode::from(u8::from(steep))
}
