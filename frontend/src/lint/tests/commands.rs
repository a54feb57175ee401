//! What single instructions should not do.

use super::{Case, table};

#[test]
fn json_args_recommended() {
    let message = |name: &str| {
        format!(
            "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
        )
    };
    table(
        "JSONArgsRecommended",
        &[
            (
                "FROM a\nCMD x y\n",
                &[&format!("2 [x y] {}", message("CMD"))],
            ),
            (
                "FROM a\nENTRYPOINT x\n",
                &[&format!("2 [x] {}", message("ENTRYPOINT"))],
            ),
            (
                "FROM a\nCMD ['x']\n",
                &[&format!("2 [['x']] {}", message("CMD"))],
            ),
            ("FROM a\nCMD [\"x\"]\n", &[]),
            ("FROM a\nSHELL [\"/bin/bash\", \"-c\"]\nCMD x\n", &[]),
            ("FROM a AS b\nSHELL [\"/bin/bash\"]\nFROM b\nCMD x\n", &[]),
            (
                "FROM a\nCMD x\nSHELL [\"/bin/bash\"]\n",
                &[&format!("2 [x] {}", message("CMD"))],
            ),
            ("FROM a\nHEALTHCHECK CMD x\nONBUILD CMD x\n", &[]),
        ],
    );
    let with_shell = Case {
        image: |config| config.config.shell.push("/bin/bash".to_owned()),
        ..Case::default()
    };
    with_shell.table("JSONArgsRecommended", &[("FROM a\nCMD x\n", &[])]);
}

#[test]
fn maintainer_deprecated() {
    table(
        "MaintainerDeprecated",
        &[
            (
                "FROM a\nMAINTAINER b\n",
                &["2 [MAINTAINER] Maintainer instruction is deprecated in favor of using label"],
            ),
            ("FROM a\nLABEL maintainer=b\n", &[]),
        ],
    );
}

#[test]
fn workdir_relative_path() {
    let message = |path: &str| {
        format!("Relative workdir \"{path}\" can have unexpected results if the base image changes")
    };
    table(
        "WorkdirRelativePath",
        &[
            (
                "FROM a\nWORKDIR app/src\n",
                &[&format!("2 [app/src] {}", message("app/src"))],
            ),
            (
                "FROM a\nARG D=x\nWORKDIR $D\n",
                &[&format!("3 [$D] {}", message("x"))],
            ),
            (
                "FROM scratch\nWORKDIR a\nWORKDIR b\n",
                &[&format!("2 [a] {}", message("a"))],
            ),
            ("FROM a\nARG D=/x\nWORKDIR $D\nWORKDIR b\n", &[]),
            ("FROM a AS b\nWORKDIR /b\nFROM b\nWORKDIR c\n", &[]),
            (
                "FROM a AS b\nWORKDIR /b\nFROM a\nWORKDIR c\n",
                &[&format!("4 [c] {}", message("c"))],
            ),
        ],
    );
}

#[test]
fn multiple_instructions_disallowed() {
    let message = |name: &str| {
        format!(
            "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        )
    };
    table(
        "MultipleInstructionsDisallowed",
        &[
            (
                "FROM a\nCMD [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]\n",
                &[
                    &format!("2 [CMD] {}", message("CMD")),
                    &format!("3 [CMD] {}", message("CMD")),
                ],
            ),
            (
                "FROM a\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"b\"]\n",
                &[&format!("2 [ENTRYPOINT] {}", message("ENTRYPOINT"))],
            ),
            (
                "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD a\n",
                &[&format!("2 [HEALTHCHECK] {}", message("HEALTHCHECK"))],
            ),
            (
                "FROM a\nCMD [\"a\"]\nENTRYPOINT [\"b\"]\nHEALTHCHECK CMD c\nONBUILD CMD d\n",
                &[],
            ),
            ("FROM a AS b\nCMD [\"a\"]\nFROM b\nCMD [\"b\"]\n", &[]),
            ("FROM a\nUSER a\nUSER b\n", &[]),
        ],
    );
}

#[test]
fn copy_ignored_file() {
    let ignoring = Case {
        ignore: "*/tmp/*\nsecret\nnode_modules\n!node_modules/keep\n*.log\n",
        ..Case::default()
    };
    let message = |name: &str, path: &str| {
        format!("Attempting to {name} file \"{path}\" that is excluded by .dockerignore")
    };
    ignoring.table(
        "CopyIgnoredFile",
        &[
            (
                "FROM a\nCOPY secret /\n",
                &[&format!("2 [secret] {}", message("Copy", "secret"))],
            ),
            (
                "FROM a\nCOPY ./a/tmp/x b /\n",
                &[&format!("2 [./a/tmp/x] {}", message("Copy", "./a/tmp/x"))],
            ),
            (
                "FROM a\nARG F=secret/key\nADD $F /\n",
                &[&format!("3 [$F] {}", message("Add", "secret/key"))],
            ),
            (
                "FROM a\nCOPY node_modules node_modules/keep . *.log /\n",
                &[],
            ),
            (
                "FROM a\nCOPY --from=b secret /\nADD https://secret /\n",
                &[],
            ),
        ],
    );
    table("CopyIgnoredFile", &[("FROM a\nCOPY secret /\n", &[])]);
}

#[test]
fn expose_proto_casing() {
    table(
        "ExposeProtoCasing",
        &[
            (
                "FROM a\nEXPOSE 80/TcP\n",
                &["2 [80/TcP] Defined protocol '80/TcP' in EXPOSE instruction should be lowercase"],
            ),
            (
                "FROM a\nARG P=UDP\nEXPOSE 1 2/$P\n",
                &["3 [2/$P] Defined protocol '2/UDP' in EXPOSE instruction should be lowercase"],
            ),
            ("FROM a\nEXPOSE 80/tcp 81\n", &[]),
        ],
    );
}

#[test]
fn expose_invalid_format() {
    let message = "EXPOSE instruction should not define an IP address or host-port mapping, found";
    table(
        "ExposeInvalidFormat",
        &[
            (
                "FROM a\nEXPOSE 127.0.0.1:80:80 90\n",
                &[&format!("2 [127.0.0.1:80:80] {message} '127.0.0.1:80:80'")],
            ),
            (
                "FROM a\nEXPOSE 8080:80\n",
                &[&format!("2 [8080:80] {message} '8080:80'")],
            ),
            ("FROM a\nEXPOSE 80 81-82/udp\n", &[]),
        ],
    );
}
