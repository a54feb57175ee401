//! CMD and ENTRYPOINT.

use super::{check, config};

#[test]
fn commands() {
    check(&[
        config(
            "ENTRYPOINT clears an inherited CMD",
            "FROM busybox\nENTRYPOINT [\"e\"]\n",
            &[("/config/Entrypoint", "[\"e\"]"), ("/config/Cmd", "null")],
        ),
        config(
            "but not one of its own stage, whatever the order",
            "FROM busybox\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n",
            &[("/config/Cmd", "[\"c\"]")],
        ),
        config(
            "and the parent stage's is inherited too",
            "FROM busybox AS p\nCMD [\"c\"]\nFROM p\nENTRYPOINT [\"e\"]\n",
            &[("/config/Cmd", "null")],
        ),
        config(
            "`CMD []` removes it",
            "FROM busybox\nCMD []\n",
            &[("/config/Cmd", "null")],
        ),
        config(
            "no argument at all",
            "FROM busybox\nCMD\nENTRYPOINT\n",
            &[
                ("/config/Cmd", r#"["/bin/sh","-c",""]"#),
                ("/config/Entrypoint", r#"["/bin/sh","-c",""]"#),
            ],
        ),
        config(
            "what is no JSON is shell form",
            "FROM busybox\nCMD [\"a\"] b\nENTRYPOINT ['a']\n",
            &[
                ("/config/Cmd", r#"["/bin/sh","-c","[\"a\"] b"]"#),
                ("/config/Entrypoint", r#"["/bin/sh","-c","['a']"]"#),
            ],
        ),
        config(
            "shell form keeps inner blanks; a continuation joins without a newline",
            "FROM busybox\nCMD echo  a \\\n  b\n",
            &[("/config/Cmd", r#"["/bin/sh","-c","echo  a   b"]"#)],
        ),
        config(
            "SHELL",
            "FROM busybox\nSHELL [\"/bin/ash\", \"-ec\"]\nCMD x\n",
            &[
                ("/config/Cmd", r#"["/bin/ash","-ec","x"]"#),
                ("/config/Shell", r#"["/bin/ash","-ec"]"#),
            ],
        ),
    ]);
}
