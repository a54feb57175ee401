//! Files that grow in one direction each.

#![expect(clippy::format_collect, reason = "the text is made once")]

/// A kind of file.
pub(crate) struct Shape {
    /// What there is much of.
    pub(crate) name: &'static str,
    /// Makes a file with so many of it.
    pub(crate) make: fn(usize) -> String,
    /// Whether there is nothing wrong with it.
    pub(crate) is_valid: bool,
    /// How many are an ordinary number.
    pub(crate) size: usize,
}

const BASE: &str = "FROM a\n";

/// All kinds.
pub(crate) const SHAPES: &[Shape] = &[
    Shape {
        name: "many RUNs",
        is_valid: true,
        make: |n| format!("{BASE}{}", "RUN make all\n".repeat(n)),
        size: 2_000,
    },
    Shape {
        name: "many ENVs",
        is_valid: true,
        make: |n| {
            (0..n).fold(BASE.to_owned(), |text, i| {
                text + &format!("ENV v{i}=$v{}\n", i / 2)
            })
        },
        size: 2_000,
    },
    Shape {
        name: "many warnings",
        is_valid: true,
        make: |n| {
            (0..n).fold(BASE.to_owned(), |text, i| {
                text + &format!("env v{i} $v{}\nEXPOSE 1 \\\n\n 2\n", i + 1)
            })
        },
        size: 1_000,
    },
    Shape {
        name: "long ENV",
        is_valid: true,
        make: |n| {
            (0..n).fold(format!("{BASE}ENV x=1"), |text, i| {
                text + &format!(" \\\n v{i}=$x")
            })
        },
        size: 4_000,
    },
    Shape {
        name: "continued RUN",
        is_valid: true,
        make: |n| format!("{BASE}RUN a {}\n", "\\\n b".repeat(n)),
        size: 20_000,
    },
    Shape {
        name: "long heredoc",
        is_valid: true,
        make: |n| {
            format!(
                "{BASE}RUN <<EOF\n{}EOF\n",
                "line of a script $x\n".repeat(n)
            )
        },
        size: 20_000,
    },
    Shape {
        name: "many heredocs",
        is_valid: true,
        make: |n| {
            let marks: String = (0..n).map(|i| format!(" \\\n <<f{i}")).collect();
            let bodies: String = (0..n).map(|i| format!("x\nf{i}\n")).collect();
            format!("{BASE}COPY{marks} /d/\n{bodies}")
        },
        size: 1_000,
    },
    Shape {
        name: "open braces",
        is_valid: false,
        make: |n| format!("{BASE}ENV a={}\n", "${a:-\\\n".repeat(n)),
        size: 10_000,
    },
    Shape {
        name: "many flags",
        is_valid: true,
        make: |n| format!("{BASE}RUN {} x\n", "--mount=target=/a \\\n".repeat(n)),
        size: 1_000,
    },
    Shape {
        name: "many errors",
        is_valid: false,
        make: |n| format!("{BASE}{}", "NOPE x\n".repeat(n)),
        size: 10_000,
    },
    Shape {
        name: "many stages",
        is_valid: true,
        make: |n| {
            (0..n).fold("FROM a AS s0\n".to_owned(), |text, i| {
                text + &format!("FROM s{i} AS s{}\nRUN x\n", i + 1)
            })
        },
        size: 50,
    },
    Shape {
        name: "binary",
        is_valid: false,
        make: |n| "\u{1}\0\u{fffd}\n".repeat(n),
        size: 50_000,
    },
    Shape {
        name: "patterns",
        is_valid: true,
        make: |n| {
            let long = "ab".repeat(n);
            format!(
                "{BASE}ENV a={} \\\n b={}\nENV c=${{b//a*c/x}} d=${{b#*c}}\n",
                "x", long
            )
        },
        size: 2_000,
    },
];
