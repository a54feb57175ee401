//! Archives as contexts, from standard input and from a server.

use std::time::Duration;

use super::{build, files, lines};
use crate::support::http::{Response, Server};
use crate::support::{Context, Cooper, need, process};

/// The names of archives that `packed` makes.
const FORMS: [&str; 5] = ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"];

/// Makes a context and archives of it; returns the directory that holds them.
fn packed() -> Context {
    let context = Context::empty();
    context.sh(
        "mkdir -p in/sub; echo a >in/a; chmod 640 in/a; ln -s a in/link; echo x >in/sub/x
         printf 'FROM scratch\\nCOPY . /\\n' >in/Dockerfile; cp in/Dockerfile in/sub/Other; echo a >in/.dockerignore
         cd in; tar --owner=5 --group=6 -cf ../c.tar .; cd ..
         gzip -k c.tar; bzip2 -k c.tar; xz -k c.tar",
    );
    let plain = std::fs::read(context.join("c.tar")).expect("the archive");
    let zstd = zstd_frame(&plain);
    context.write("c.tar.zst", zstd);
    context
}

/// A zstd frame of raw blocks (RFC 8878): no program for it is needed.
fn zstd_frame(data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    let mut blocks = data.chunks(128 << 10).peekable();
    while let Some(block) = blocks.next() {
        let header = (block.len() as u32) << 3 | u32::from(blocks.peek().is_none());
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

const WHOLE: [&str; 7] = [
    r#".dockerignore 644 5:6 "a\n""#,
    r#"Dockerfile 644 5:6 "FROM scratch\nCOPY . /\n""#,
    r#"a 640 5:6 "a\n""#,
    "link -> a",
    "sub/ 755 5:6",
    r#"sub/Other 644 5:6 "FROM scratch\nCOPY . /\n""#,
    r#"sub/x 644 5:6 "x\n""#,
];

#[test]
fn a_context_on_standard_input_is_any_archive() {
    let Some(cooper) = Cooper::new() else { return };
    let packed = packed();
    for form in FORMS {
        let archive = std::fs::read(packed.join(&format!("c.{form}"))).expect("the archive");
        assert_eq!(lines(&files(&cooper, &["-"], &archive)), WHOLE, "{form}");
        let inside = files(&cooper, &["-f", "sub/Other", "-"], &archive);
        assert_eq!(lines(&inside), WHOLE, "{form}");
    }
}

#[test]
fn a_context_from_a_server_is_an_archive_or_a_dockerfile() {
    let Some(cooper) = Cooper::new() else { return };
    let packed = packed();
    packed.write("alone", "FROM scratch\nCOPY context /self\n");
    let server = Server::of_files(packed.path());
    for form in FORMS {
        let url = server.url(&format!("c.{form}"));
        assert_eq!(lines(&files(&cooper, &[&url], b"")), WHOLE, "{form}");
    }
    let alone = files(&cooper, &[&server.url("alone")], b"");
    assert_eq!(
        lines(&alone),
        [r#"self 600 0:0 "FROM scratch\nCOPY context /self\n""#]
    );
    let ignored = files(&cooper, &["-f", "no/such/file", &server.url("alone")], b"");
    assert_eq!(ignored, alone);
    packed.write("lonely", "FROM scratch\nCOPY data /\n");
    build(&cooper, &[&server.url("lonely")], b"")
        .exits(1)
        .says("the build context is the downloaded Dockerfile alone");
    packed.write("lost", "FROM scratch\nCOPY lost/data /\n");
    build(
        &cooper,
        &["-f", &server.url("lost"), &server.url("c.tar")],
        b"",
    )
    .exits(1)
    .says("there is nothing of that name in the build context");
    let dir = packed.join("in").display().to_string();
    let mixed = files(&cooper, &[&dir, "-f", &server.url("in/sub/Other")], b"");
    assert!(
        mixed.contains_key("link") && !mixed.contains_key("a"),
        "{mixed:?}"
    );
    let named = format!("--build-context=n={}", server.url("c.tar.gz"));
    let tree = files(
        &cooper,
        &[&named, "-f", "-", &dir],
        b"FROM scratch\nCOPY --from=n sub /\n",
    );
    assert_eq!(tree["x"], r#"x 644 5:6 "x\n""#);
    build(&cooper, &[&server.url("none")], b"")
        .exits(1)
        .says("404");
    build(&cooper, &["-f", &server.url("c.tar"), &dir], b"")
        .exits(1)
        .says("is an archive, not a Dockerfile");
}

#[test]
fn standard_input_holds_one_thing() {
    let Some(cooper) = Cooper::new() else { return };
    let tree = files(
        &cooper,
        &["-"],
        b"FROM scratch\nCOPY <<EOF /a\nhello\nEOF\n",
    );
    assert_eq!(lines(&tree), [r#"a 644 0:0 "hello\n""#]);
    build(&cooper, &["-"], b"FROM scratch\nCOPY a /\n")
        .exits(1)
        .says("the Dockerfile came alone");
    build(&cooper, &["-f", "x", "-"], b"FROM scratch\n")
        .exits(1)
        .says("standard input and -f both name a Dockerfile");
    build(&cooper, &["-f", "-", "-"], b"FROM scratch\n")
        .exits(1)
        .says("cannot be both the build context and the Dockerfile");
}

/// Returns a tar of one entry with this name, type and link target, then a Dockerfile.
fn tar(name: &str, kind: tar::EntryType, target: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |name: &str, kind, target: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        header.set_device_major(1).expect("ustar");
        header.set_device_minor(3).expect("ustar");
        let raw = header.as_ustar_mut().expect("ustar");
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    };
    add(name, kind, target, b"");
    add(
        "Dockerfile",
        tar::EntryType::Regular,
        "",
        b"FROM scratch\nCOPY . /\n",
    );
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn hostile_archives_stay_inside_or_fail() {
    use tar::EntryType as Kind;
    let Some(cooper) = Cooper::new() else { return };
    for (name, kind, target, expected) in [
        ("../../up", Kind::Regular, "", r#"up 644 0:0 """#),
        ("/abs/olute", Kind::Regular, "", r#"abs/olute 644 0:0 """#),
        (
            "out",
            Kind::Symlink,
            "../../etc/passwd",
            "out -> ../../etc/passwd",
        ),
        ("pipe", Kind::Fifo, "", "pipe| 644 0:0"),
    ] {
        let tree = files(&cooper, &["-"], &tar(name, kind, target));
        assert!(lines(&tree).contains(&expected), "{name}: {tree:?}");
    }
    if need::is_root() {
        let tree = files(&cooper, &["-"], &tar("node", Kind::Char, ""));
        assert_eq!(tree["node"], "node: 644 0:0");
    }
    for (archive, text) in [
        (
            tar("hard", Kind::Link, "../../../etc/passwd"),
            "archive refused",
        ),
        (huge_header(), "archive refused"),
        (
            b"\x1f\x8b\x08 and then nothing sensible".to_vec(),
            "archive refused",
        ),
    ] {
        build(&cooper, &["-"], &archive).exits(1).says(text);
    }
}

/// A tar that announces a name of eight gigabytes.
fn huge_header() -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").expect("short");
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(8 << 30);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(8 << 10, b'a');
    bytes
}

#[test]
fn an_unchanged_archive_is_not_unpacked_again() {
    let Some(cooper) = Cooper::new() else { return };
    let packed = packed();
    let archive = std::fs::read(packed.join("c.tar")).expect("the archive");
    let server = Server::start(move |request| {
        if request.header("if-none-match") == "\"1\"" {
            return Response::new("304 Not Modified", "");
        }
        Response::ok(archive.clone()).with("ETag", "\"1\"")
    });
    let args = ["-otype=cacheonly", &server.url("c")];
    build(&cooper, &args, b"").ok();
    let again = build(&cooper, &args, b"").ok();
    again.says("not modified").says("CACHED");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_pipe_that_says_nothing_can_be_interrupted() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::empty();
    context.sh("mkfifo Dockerfile stdin");
    // Whoever reads it waits for what never comes.
    let _writer = std::fs::File::options()
        .read(true)
        .write(true)
        .open(context.join("stdin"))
        .expect("the pipe");
    for (args, redirect) in [(".", "</dev/null"), ("-", "<stdin"), ("-f - .", "<stdin")] {
        let program = cooper.command();
        let mut command = cooper.bare_command("sh");
        let script = format!("exec \"$@\" build --progress=plain {args} {redirect}");
        command
            .args(["-c", &script, "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .current_dir(context.path());
        let mut build = process::start(command, b"");
        build.wait_until_says("[internal] load build");
        build.signal(rustix::process::Signal::INT);
        build.finish_within(Duration::from_secs(60)).exits(130);
    }
}
