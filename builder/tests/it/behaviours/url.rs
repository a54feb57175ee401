//! ADD of a URL, against a server of the test's own on the loopback.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::{Tree, build_tree, busybox_tree, equal, fails, tree, written};
use crate::support::{Context, Cooper};

/// `hello\n` and its digest.
const BODY: &[u8] = b"hello\n";
const DIGEST: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

/// Serves until the test's process ends; returns the address.
fn serve(archive: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away early is its own affair.
            let _ = answer(stream, &archive);
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: TcpStream, archive: &[u8]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, extra, body): (_, String, &[u8]) = match path {
        "/dir/a.txt" => (
            "200 OK",
            "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\n".to_owned(),
            BODY,
        ),
        "/q?x=1" | "/plain" => ("200 OK", String::new(), BODY),
        "/t.tar" => ("200 OK", String::new(), archive),
        "/moved" => ("302 Found", "Location: /dir/a.txt\r\n".to_owned(), b""),
        "/" => ("200 OK", String::new(), b"index"),
        _ => ("404 Not Found", String::new(), b"no"),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}

fn archive() -> Vec<u8> {
    let context = Context::empty();
    context.sh("printf x >in; tar --owner=5 --group=6 -cf t.tar in");
    std::fs::read(context.join("t.tar")).expect("the archive")
}

fn added(cooper: &Cooper, instruction: &str) -> Result<Tree, String> {
    let context = Context::new(&format!("FROM busybox\n{instruction}\n"));
    build_tree(cooper, &context, &[])
}

#[test]
fn files_are_named_and_owned_as_the_destination_says() {
    let Some(cooper) = Cooper::new() else { return };
    let server = serve(archive());
    let rows: &[(&str, &[&str])] = &[
        (
            "ADD $S/dir/a.txt /d/",
            &["d/ 755 0:0", r#"d/a.txt 600 0:0 "hello\n""#],
        ),
        ("ADD $S/dir/a.txt /d", &[r#"d 600 0:0 "hello\n""#]),
        (
            "ADD $S/q?x=1 /d/",
            &["d/ 755 0:0", r#"d/q 600 0:0 "hello\n""#],
        ),
        ("ADD $S/moved /d", &[r#"d 600 0:0 "hello\n""#]),
        (
            "ADD --chown=5:6 --chmod=640 $S/plain /d/",
            &["d/ 755 5:6", r#"d/plain 640 5:6 "hello\n""#],
        ),
        ("ADD --checksum=$D $S/plain /d", &[r#"d 600 0:0 "hello\n""#]),
        (
            "ADD --unpack $S/t.tar /d/",
            &["d/ 755 0:0", r#"d/in 644 5:6 "x""#],
        ),
        (
            "ADD $S/plain $S/dir/a.txt /d/",
            &[
                "d/ 755 0:0",
                r#"d/a.txt 600 0:0 "hello\n""#,
                r#"d/plain 600 0:0 "hello\n""#,
            ],
        ),
    ];
    let base = busybox_tree(&cooper).expect("busybox");
    let mut wrong = String::new();
    for (instruction, lines) in rows {
        let instruction = instruction.replace("$S", &server).replace("$D", DIGEST);
        let result = added(&cooper, &instruction)
            .and_then(|tree| equal(tree::difference(base, &tree), lines));
        if let Err(difference) = result {
            let _ = write!(wrong, "\n### {instruction}\n{difference}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_archive_stays_packed_unless_asked_and_times_are_the_servers() {
    let Some(cooper) = Cooper::new() else { return };
    let server = serve(archive());
    let context = Context::new(&format!(
        "FROM busybox\nADD {server}/t.tar /d/\nADD {server}/dir/a.txt /d/\n\
         RUN tar -tf /d/t.tar; stat -c '%a %Y' /d/a.txt\n"
    ));
    let outcome = cooper.build(&context, &["-otype=cacheonly"]).ok();
    let said = written(&outcome.stderr);
    assert_eq!(said[said.len() - 2..], ["in", "600 784903526"], "{outcome}");
}

#[test]
fn what_cannot_be_downloaded_fails_with_its_address() {
    let Some(cooper) = Cooper::new() else { return };
    let server = serve(archive());
    let zeros = format!("sha256:{}", "0".repeat(64));
    for (instruction, texts) in [
        ("ADD $S/none /d", &["/none", "404"][..]),
        ("ADD --checksum=$Z $S/plain /d", &["/plain", DIGEST]),
        ("ADD http://127.0.0.1:1/x /d", &["http://127.0.0.1:1/x"]),
    ] {
        let instruction = instruction.replace("$S", &server).replace("$Z", &zeros);
        let context = Context::new(&format!("FROM busybox\n{instruction}\n"));
        let outcome = cooper.build(&context, &["--no-cache"]);
        if let Err(difference) = fails(&outcome, texts) {
            panic!("{instruction}: {difference}");
        }
    }
}
