//! What is wrong with bake files, as users read it: one case for each kind.

use super::super::fault::CODES;
use super::super::{Fault, ResolveError};
use super::{Case, faults};

#[test]
fn several_faults_are_told_in_one_go() {
    let text = r#"
target "a" {
  tgas = ["x"]
  args = { A = UNKNWN }
}
target "b" {
  tags = upper("x")
  no-cache = "maybe"
}
variable "UNKNOWN" {}
"#;
    insta::assert_snapshot!("several-faults", faults("docker-bake.hcl", text));
}

#[test]
fn each_kind_of_fault_has_a_place_and_advice() {
    let cases = [
        "target \"a\" {\n  tags = [\n}\n",
        "taget \"a\" {}\n",
        "target {}\n",
        "target \"a b\" {}\n",
        "target \"a\" {\n  args { A = 1 }\n}\n",
        "target \"a\" {\n  args = { A = uper(\"x\") }\n}\n",
        "target \"a\" {\n  args = { A = split(\",\") }\n}\n",
        "target \"a\" {\n  args = { A = regex(\"(\", \"x\") }\n}\n",
        "target \"a\" {\n  args = { A = \"x${[1]}\" }\n}\n",
        "target \"a\" {\n  args = { A = 1 + true }\n}\n",
        "target \"a\" {\n  args = { A = 1 / 0 }\n}\n",
        "target \"a\" {\n  args = { A = [1][3] }\n}\n",
        "target \"a\" {\n  args = { A = { k = 1 }.kk }\n}\n",
        "target \"a\" {\n  args = [\"A=1\"]\n}\n",
        "target \"a\" {\n  platform = [\"linux/amd64\"]\n}\n",
        "target \"a\" {\n  output = [{ dest = \"x\" }]\n}\n",
        "target \"a\" {\n  secret = [\"id=x,scr=y\"]\n}\n",
        "target \"a\" {\n  args = { A = target.b.args.X }\n}\n",
        "target \"a\" {\n  tags = [target.a.tags[0]]\n}\n",
        "variable \"A\" { default = B }\nvariable \"B\" { default = A }\n",
        "function \"f\" {\n  params = [x]\n  result = f(x)\n}\nv = f(1)\ntarget \"a\" {\n  tags = [v]\n}\n",
        "variable \"A\" {\n  default = \"x\"\n  validation {\n    condition     = A == \"y\"\n    error_message = \"A must be y\"\n  }\n}\n",
        "variable \"A\" {\n  type    = number\n  default = \"x\"\n}\n",
        "variable \"A\" {\n  type = lst(string)\n}\n",
        "target \"a\" {\n  matrix = { x = [1, 2] }\n}\n",
        "target \"a\" {\n  name = \"x\"\n}\n",
        "group \"a\" {\n  targets = [\"b\"]\n  matrix  = {}\n}\n",
        "target \"a\" {\n  args = { A = try(b, c) }\n}\n",
        "target \"a\" {\n  args = { A = bcrypt(\"x\") }\n}\n",
        "target \"a\" {\n  args = { A = { for x in [1, 1] : x => x } }\n}\n",
    ];
    let all: Vec<_> = cases
        .iter()
        .map(|text| faults("docker-bake.hcl", text))
        .collect();
    insta::assert_snapshot!("each-kind-of-fault", all.join(""));
}

#[test]
fn faults_of_json_are_placed_within_its_texts() {
    let cases = [
        "{\"target\": {\"a\": {\"tags\": [\"x:${TAGG}\"]}}}",
        "{\"target\": {\"a\": {\"tags\": [\"\\t${\"]}}}",
        "{\"target\": {\"a\": {\"tags\": \"x\",}}}",
        "{\"target\": {\"a\" {}}}",
        "{\"target\": [1]}",
        "{\"target\": nul}",
    ];
    let all: Vec<_> = cases
        .iter()
        .map(|text| faults("docker-bake.json", text))
        .collect();
    insta::assert_snapshot!("faults-of-json", all.join(""));
}

#[test]
fn faults_of_what_surrounds_a_file() {
    let shown = |faults: Vec<Fault>| {
        let report = crate::report::Report::new("");
        let report = faults
            .iter()
            .fold(report, |report, fault| report.excerpt(fault.excerpt()));
        // One very long line says nothing more than its beginning.
        let text = report.render(false);
        let lines = text
            .lines()
            .map(|line| line.chars().take(120).collect::<String>());
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    let mut all = String::new();
    for text in [
        "variable \"A\" {\n  type    = number\n  default = 1\n}\n",
        "variable \"A\" {\n  default = { a = 1 }\n}\n",
    ] {
        let case = Case {
            variables: &[("A", "x")],
            ..Case::of("docker-bake.hcl", text)
        };
        all += &shown(case.read().expect_err("it has faults"));
    }
    let chain = (0..2_000).fold(String::new(), |text, n| {
        format!("{text}variable \"v{n}\" {{ default = v{} }}\n", n + 1)
    });
    let faults = Case::of("docker-bake.hcl", &chain).read();
    let mut faults = faults.expect_err("it has faults").into_iter();
    all += &shown(
        faults
            .find(|fault| fault.excerpt().code == "too-deep")
            .into_iter()
            .collect(),
    );
    let parent = "target \"app\" {\n  inherits = [\"_bsae\"]\n}\ntarget \"_base\" {}\n";
    let definition = Case::of("docker-bake.hcl", parent).read().expect("valid");
    match definition.plan(&["app".to_owned()], &[]) {
        Err(ResolveError::UnknownParent {
            fault: Some(fault), ..
        }) => all += &shown(vec![*fault]),
        other => panic!("{other:?}"),
    }
    // Each name is pointed at where it stands in its list.
    let app = "target \"app\" {\n  contexts = {\n    base = \"target:bsae\"\n  }\n}\n";
    for (text, asked) in [
        (
            "group \"all\" {\n  targets = [\"app\", \"wbe\"]\n}\ntarget \"app\" {}\ntarget \"web\" {}\n",
            "all",
        ),
        (app, "app"),
    ] {
        let definition = Case::of("docker-bake.hcl", text).read().expect("valid");
        match definition.plan(&[asked.to_owned()], &[]) {
            Err(ResolveError::UnknownTarget {
                fault: Some(fault), ..
            }) => all += &shown(vec![*fault]),
            other => panic!("{other:?}"),
        }
    }
    // What the option that an attribute becomes does not take.
    let text = "target \"app\" {\n  output = [\"type=locl,dest=x\"]\n}\n";
    let definition = Case::of("docker-bake.hcl", text).read().expect("valid");
    let plan = definition.plan(&["app".to_owned()], &[]).expect("valid");
    let place = plan.targets["app"].place("output").expect("is written");
    all += &shown(vec![Fault::new(
        "attribute",
        place,
        "output cannot be used",
    )]);
    insta::assert_snapshot!("faults-of-surroundings", all);
}

#[test]
fn each_kind_of_fault_has_a_snapshot() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bake/tests/snapshots");
    let mut seen = String::new();
    for entry in std::fs::read_dir(dir).expect("there are snapshots") {
        let path = entry.expect("a readable directory").path();
        seen += &std::fs::read_to_string(path).expect("a text");
    }
    for code in CODES {
        assert!(seen.contains(&format!("error[{code}]")), "{code}");
    }
}

#[test]
fn deep_and_long_definitions_neither_crash_nor_hang() {
    // As large as the main thread's, on which definitions are read.
    let stack = std::thread::Builder::new().stack_size(8 << 20);
    let thread = stack.spawn(deep_and_long).expect("a thread");
    thread.join().expect("no panic");
}

fn deep_and_long() {
    for text in [
        "v = ".to_owned() + &"(".repeat(10_000),
        "v = ".to_owned() + &"[".repeat(10_000),
        format!("v = 1{}", " + 1".repeat(10_000)),
        format!("v = \"{}\"", "${".repeat(5_000)),
        (0..2_000).fold(String::new(), |text, n| {
            format!("{text}variable \"v{n}\" {{ default = v{} }}\n", n + 1)
        }),
    ] {
        let case = Case::of("docker-bake.hcl", &text);
        assert!(case.read().is_err());
    }
    for text in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
        let case = Case::of("docker-bake.json", &text);
        assert!(case.read().is_err());
    }
    let laughs = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1)
    });
    for text in [laughs, "[".repeat(10_000)] {
        let case = Case::of("compose.yaml", &text);
        assert!(case.read().is_err());
    }
}
