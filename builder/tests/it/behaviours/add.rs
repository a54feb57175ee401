//! ADD of local files.

use super::{Case, Expect, check, fails_in, tree_in};
use crate::support::NONE;

#[test]
fn archives_are_known_by_their_content() {
    check(&[
        Case {
            name: "compressed tars of every kind are unpacked",
            setup: "mkdir t; printf x >t/f; tar -C t -czf a.dat f; mv t/f t/g
                    tar -C t -cJf b.dat g; mv t/g t/h; tar -C t -cjf c.dat h; mv t/h t/i
                    tar -C t -cf d.dat i",
            dockerfile: "FROM busybox\nADD a.dat b.dat c.dat d.dat /1/\n",
            args: NONE,
            expect: Expect::Tree(&[
                "1/ 755 0:0",
                r#"1/f 644 0:0 "x""#,
                r#"1/g 644 0:0 "x""#,
                r#"1/h 644 0:0 "x""#,
                r#"1/i 644 0:0 "x""#,
            ]),
        },
        Case {
            name: "a fake archive is a file",
            setup: "printf nonsense >a.tgz; printf lone | gzip -n >b.gz",
            dockerfile: "FROM busybox\nADD a.tgz /1/\nADD b.gz /1/\nRUN gunzip /1/b.gz\n",
            args: NONE,
            expect: Expect::Tree(&[
                "1/ 755 0:0",
                r#"1/a.tgz 644 0:0 "nonsense""#,
                r#"1/b 644 0:0 "lone""#,
            ]),
        },
        Case {
            name: "COPY never unpacks",
            setup: "printf x >f; tar -cf a.tar f; mkdir d; mv a.tar d",
            dockerfile: "FROM busybox\nCOPY d/a.tar /1/\nRUN tar -tf /1/a.tar && rm /1/a.tar\n",
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0"]),
        },
        Case {
            name: "--checksum is for downloads",
            setup: "printf x >f",
            dockerfile: "FROM busybox\nADD --checksum=sha256:\
                0000000000000000000000000000000000000000000000000000000000000000 f /\n",
            args: NONE,
            expect: Expect::Fails(&["checksum"]),
        },
    ]);
}

#[test]
fn what_archives_may_do() {
    check(&[
        Case {
            name: "an entry above the top lands inside",
            setup: "printf x >up; tar -P --transform 's,^,../,' -cf a.tar up; rm up",
            dockerfile: "FROM busybox\nADD a.tar /1/\n",
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", r#"1/up 644 0:0 "x""#]),
        },
        Case {
            name: "a whiteout removes a file",
            setup: "mkdir etc; : >etc/.wh.passwd; tar -cf a.tar etc/.wh.passwd",
            dockerfile: "FROM busybox\nADD a.tar /\n",
            args: NONE,
            expect: Expect::Tree(&["- etc/passwd"]),
        },
        Case {
            name: "--chown leaves setuid alone, --chmod leaves entries alone",
            setup: "printf x >s; chmod 4755 s; tar -cf a.tar s",
            dockerfile: "FROM busybox\nADD --chown=5:6 --chmod=600 a.tar /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"s 4755 5:6 "x""#]),
        },
        Case {
            name: "owners inside an archive are kept",
            setup: "printf x >f; tar --owner=7 --group=8 --numeric-owner -cf a.tar f",
            dockerfile: "FROM busybox\nADD a.tar /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"f 644 7:8 "x""#]),
        },
        Case {
            name: "directories that are only implied are root's",
            setup: "mkdir -p i/j; chmod 700 i i/j; printf x >i/j/f
                    tar --owner=7 --group=8 --numeric-owner -cf a.tar i/j/f",
            dockerfile: "FROM busybox\nADD a.tar /\n",
            args: NONE,
            expect: Expect::Tree(&["i/ 755 0:0", "i/j/ 755 0:0", r#"i/j/f 644 7:8 "x""#]),
        },
        Case {
            name: "an archive sets the mode of a directory that exists",
            setup: "mkdir -m 700 t; tar --owner=7 --group=8 --numeric-owner -cf a.tar t",
            dockerfile: "FROM busybox\nRUN mkdir /t\nADD a.tar /\n",
            args: NONE,
            expect: Expect::Tree(&["t/ 700 7:8"]),
        },
        Case {
            name: "a symlink where the archive implies a directory is followed",
            setup: "mkdir t; printf x >t/f; tar -cf a.tar t/f",
            dockerfile: "FROM busybox\nRUN mkdir /real && ln -s real /t\nADD a.tar /\n",
            args: NONE,
            expect: Expect::Tree(&["real/ 755 0:0", r#"real/f 644 0:0 "x""#, "t -> real"]),
        },
        Case {
            name: "hard links and symlinks are kept",
            setup: "mkdir t; printf x >t/a; ln t/a t/b; ln -s a t/c; tar -cf a.tar t",
            dockerfile: "FROM busybox\nADD a.tar /\n",
            args: NONE,
            expect: Expect::Tree(&["t/ 755 0:0", r#"t/a 644 0:0 "x""#, "t/b == t/a", "t/c -> a"]),
        },
        Case {
            name: "an entry below a symlink that leads out is an error",
            setup: "python3 -c '
import io, tarfile
out = tarfile.open(\"a.tar\", \"w\")
link = tarfile.TarInfo(\"l\"); link.type = tarfile.SYMTYPE; link.linkname = \"../../outside\"
out.addfile(link)
file = tarfile.TarInfo(\"l/f\"); file.size = 1
out.addfile(file, io.BytesIO(b\"x\"))
out.close()'",
            dockerfile: "FROM busybox\nADD a.tar /1/\n",
            args: NONE,
            expect: Expect::Fails(&["a.tar", "leads outside the destination"]),
        },
    ]);
}

#[test]
fn archives_beside_other_sources() {
    check(&[
        tree_in(
            "an archive and a file",
            "printf x >r; tar cf a.tar r; printf f >f",
            "FROM busybox\nADD a.tar f /1/\nADD f a.tar /2/\n",
            &[
                "1/ 755 0:0",
                r#"1/f 644 0:0 "f""#,
                r#"1/r 644 0:0 "x""#,
                "2/ 755 0:0",
                r#"2/f 644 0:0 "f""#,
                r#"2/r 644 0:0 "x""#,
            ],
        ),
        tree_in(
            "the later source wins",
            "printf x >r; tar cf a.tar r; printf f >r",
            "FROM busybox\nADD a.tar r /1/\nADD r a.tar /2/\n",
            &[
                "1/ 755 0:0",
                r#"1/r 644 0:0 "f""#,
                "2/ 755 0:0",
                r#"2/r 644 0:0 "x""#,
            ],
        ),
        tree_in(
            "an archive's file takes the place of a directory before it",
            "mkdir -p e/d; printf x >e/d/r; printf f >d; tar cf a.tar d",
            "FROM busybox\nADD e a.tar /1/\n",
            &["1/ 755 0:0", r#"1/d 644 0:0 "f""#],
        ),
        tree_in(
            "the archive's own top directory changes nothing",
            "mkdir -m 700 t; printf x >t/f; tar --owner=5 --group=5 -C t -cf a.tar .; rm -r t",
            "FROM busybox\nRUN mkdir -m 711 /old\nADD a.tar /old/\nADD a.tar /new/\n",
            &[
                "new/ 755 0:0",
                r#"new/f 644 5:5 "x""#,
                "old/ 711 0:0",
                r#"old/f 644 5:5 "x""#,
            ],
        ),
        tree_in(
            "a new destination takes the --chown owner",
            "printf x >f; tar cf a.tar f",
            "FROM busybox\nADD --chown=7:8 a.tar /n/\n",
            &["n/ 755 7:8", r#"n/f 644 7:8 "x""#],
        ),
        fails_in(
            "an archive onto a file",
            "printf x >f; tar cf a.tar f",
            "FROM busybox\nRUN touch /t\nADD a.tar /t\n",
            &["cannot copy \"a.tar\"", "/t"],
        ),
        fails_in(
            "an archive that breaks off is refused",
            "head -c 20000 /dev/urandom >r; tar cf a.tar r; truncate -s 8000 a.tar",
            "FROM busybox\nADD a.tar /1/\n",
            &["cannot copy \"a.tar\"", "malformed archive"],
        ),
        tree_in(
            "a directory that holds an archive is copied",
            "mkdir d; printf x >r; tar cf d/a.tar r; rm r",
            "FROM busybox\nADD d /1/\nRUN tar tf /1/a.tar && rm /1/a.tar\n",
            &["1/ 755 0:0"],
        ),
    ]);
}
