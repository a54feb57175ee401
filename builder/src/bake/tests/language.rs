//! The expression language: fragments of a target → what is printed of it.

use serde_json::json;

use super::{Case, target};

/// Evaluates an expression as an argument of a target.
fn value(expression: &str, before: &str) -> serde_json::Value {
    let text = format!("{before}\ntarget \"default\" {{\n  args = {{ v = {expression} }}\n}}\n");
    target(&text, &[])["args"]["v"].take()
}

#[test]
fn expressions_have_values() {
    let before = r#"
        variable "S" { default = "text" }
        variable "N" { default = 5 }
        variable "T" { default = true }
        variable "L" { default = ["a", "b", "c"] }
        variable "O" { default = { k = "v", n = { m = [1, 2] } } }
        G = "global"
        function "twice" {
            params = [x]
            result = x * 2
        }
        function "all" {
            params          = [first]
            variadic_params = rest
            result          = "${first}:${join("-", rest)}:${N}"
        }
    "#;
    for (expression, expected) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 / 4", "2.5"),
        ("10 % 3 - -1", "2"),
        ("0.1 + 0.2 < 0.31 ? \"yes\" : \"no\"", "yes"),
        ("N > 4 && !(N == 6) || false", "true"),
        ("\"${S}-${N}\"", "text-5"),
        ("\"$${S} %%{S}\"", "$${S} %%{S}"),
        ("T", "true"),
        ("G", "global"),
        ("L[1]", "b"),
        ("L.2", "c"),
        ("O.n.m[1]", "2"),
        ("O[\"k\"]", "v"),
        ("join(\",\", [for x in L : upper(x)])", "A,B,C"),
        (
            "join(\",\", [for i, x in L : \"${i}${x}\" if x != \"b\"])",
            "0a,2c",
        ),
        (
            "jsonencode({for i, x in L : x => i})",
            "{\"a\":0,\"b\":1,\"c\":2}",
        ),
        (
            "jsonencode({for x in [\"a1\", \"b1\", \"a2\"] : substr(x, 0, 1) => x...})",
            "{\"a\":[\"a1\",\"a2\"],\"b\":[\"b1\"]}",
        ),
        ("join(\",\", [{ n = 1 }, { n = 2 }][*].n)", "1,2"),
        ("join(\",\", [{ n = [7] }, { n = [8] }].*.n[0])", "7"),
        ("max([1, 5, 3]...)", "5"),
        ("twice(twice(3))", "12"),
        ("all(1, 2, 3)", "1:2-3:5"),
        ("try(O.missing, L[9], \"fallback\")", "fallback"),
        ("can(O.missing) ? 1 : 0", "0"),
        ("convert(\"42\", number) + 1", "43"),
        (
            "jsonencode(convert([\"b\", \"a\", \"b\"], set(string)))",
            "[\"a\",\"b\"]",
        ),
        ("\"%{ if T }on%{ else }off%{ endif }\"", "on"),
        ("\"%{ for x in L ~}  ${x} %{ endfor }\"", "a b c "),
        ("\"a ${~ S ~} b\"", "atextb"),
        ("\"\\u00e9\\t\\\"\\\\\"", "é\t\"\\"),
        ("equal(S, \"text\") ? \"same\" : undefined_name", "same"),
        ("BAKE_LOCAL_PLATFORM", "linux/amd64"),
        ("BAKE_CMD_CONTEXT", "cwd://"),
        ("<<X\none\n  two ${N}\nX\n", "one\n  two 5\n"),
        ("<<-X\n    one\n      two\n    X\n", "one\n  two\n"),
    ] {
        assert_eq!(value(expression, before), expected, "{expression}");
    }
}

#[test]
fn numbers_keep_their_digits() {
    for (expression, expected) in [
        ("9007199254740993 + 1", "9007199254740994"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("2.0", "2"),
        ("1 / 3 > 0.33 ? 1 : 0", "1"),
        ("-7 % 3", "-1"),
    ] {
        assert_eq!(value(expression, ""), expected, "{expression}");
    }
}

#[test]
fn the_environment_overrides_variables_by_their_type() {
    let text = r#"
        variable "S" { default = "s" }
        variable "B" { default = false }
        variable "N" { default = 1 }
        variable "NOTHING" { default = null }
        variable "BARE" {}
        variable "TYPED" { type = number }
        variable "L" {
            type    = list(string)
            default = ["x"]
        }
        variable "M" {
            type    = map(number)
            default = { a = 1 }
        }
        plain = "not a variable"
        target "default" {
            args = {
                s = S, b = B ? "yes" : "no", n = N + 1, null = NOTHING, bare = BARE, typed = TYPED
                l = join("+", L), m = jsonencode(M), plain = plain
            }
        }
    "#;
    let defaults = json!({
        "b": "no", "bare": "", "l": "x", "m": "{\"a\":1}", "n": "2",
        "plain": "not a variable", "s": "s",
    });
    assert_eq!(target(text, &[])["args"], defaults);
    let set = [
        ("S", ""),
        ("B", "1"),
        ("N", "41"),
        ("NOTHING", "some"),
        ("BARE", "filled"),
        ("TYPED", "3"),
        ("L", "p,\"q,r\""),
        ("M", "{\"b\":2}"),
        ("plain", "ignored"),
    ];
    let overridden = json!({
        "b": "yes", "bare": "filled", "l": "p+q,r", "m": "{\"b\":2}", "n": "42", "null": "some",
        "plain": "not a variable", "s": "", "typed": "3",
    });
    assert_eq!(target(text, &set)["args"], overridden);
    let lists = target(text, &[("L", "[\"j\",\"k\"]")]);
    assert_eq!(lists["args"]["l"], "j+k");
}

#[test]
fn collections_come_from_the_environment_as_fields_or_as_json() {
    let text = |kind: &str| {
        format!(
            "variable \"V\" {{ type = {kind} }}\n\
             target \"default\" {{\n  args = {{ v = jsonencode(V) }}\n}}\n"
        )
    };
    let pair = "object({a=string,b=number})";
    #[rustfmt::skip]
    let cases = [
        ("list(string)", "V", r#"hello,"with""quote""#, r#"["hello","with\"quote"]"#),
        ("list(string)", "V", "[x]", r#"["[x]"]"#),
        ("list(number)", "V", "2,1", "[2,1]"),
        ("set(number)", "V", "2,1,2", "[1,2]"),
        ("tuple([number,string])", "V", "1,2", r#"[1,"2"]"#),
        ("map(string)", "V", "a=b=c,d=", r#"{"a":"b=c","d":""}"#),
        (pair, "V", "b=1,a=2", r#"{"a":"2","b":1}"#),
        ("list(string)", "V_JSON", r#"["with,comma","with\"quote"]"#, r#"["with,comma","with\"quote"]"#),
        ("list(list(number))", "V_JSON", "[[1],[]]", "[[1],[]]"),
        ("string", "V_JSON", r#""bar""#, r#""bar""#),
    ];
    for (kind, name, value, expected) in cases {
        let text = text(kind);
        let found = target(&text, &[(name, value)]);
        assert_eq!(found["args"]["v"], expected, "{kind} {value}");
    }
    // JSON goes before, and is for declared types alone.
    let both = [("V", "csv"), ("V_JSON", "\"json\"")];
    let value = |text: &str| target(text, &both)["args"]["v"].clone();
    assert_eq!(value(&text("string")), "\"json\"");
    assert_eq!(
        value(&text("string").replace("type = string", "")),
        "\"csv\""
    );
    // A variable that is called so itself is set as itself.
    let two = text("string") + "variable \"V_JSON\" { type = string }\n";
    assert_eq!(value(&two), "\"csv\"");
    for (kind, name, value, words) in [
        (
            "list(list(string))",
            "V",
            "a",
            "list(list(string)) is written as JSON",
        ),
        ("map(string)", "V", "a", "\"a\" is no KEY=VALUE pair"),
        ("tuple([string])", "V", "a,b", "tuple([string]) is needed"),
        (
            "string",
            "V_JSON",
            "bar",
            "value for V_JSON does not fit: it is no JSON for string",
        ),
    ] {
        let text = text(kind);
        let variables = [(name, value)];
        let files = vec![("docker-bake.hcl", text.as_str())];
        let case = Case {
            files,
            variables: &variables,
            ..Case::default()
        };
        let faults = case.read().expect_err("refused");
        let said = faults[0].to_string();
        assert!(said.contains(words), "{kind}: {said}");
    }
}

#[test]
fn variables_may_depend_on_each_other_in_any_order() {
    let text = r#"
        variable "IMAGE" { default = "${REGISTRY}/${name}:${TAG}" }
        name = "app"
        variable "REGISTRY" { default = "r.example" }
        variable "TAG" { default = REGISTRY == "r.example" ? "stable" : "dev" }
        target "default" { tags = [IMAGE] }
    "#;
    assert_eq!(target(text, &[])["tags"], json!(["r.example/app:stable"]));
    let dev = target(text, &[("REGISTRY", "other")]);
    assert_eq!(dev["tags"], json!(["other/app:dev"]));
}

#[test]
fn targets_may_refer_to_attributes_of_others() {
    let text = r#"
        target "base" {
            context = "src"
            args    = { V = 1, W = target.default.labels.own }
            tags    = ["b:${target.base.args.V}"]
        }
        target "default" {
            args    = merge(target.base.args, { X = target.base.tags[0], Y = group.g.targets[0] })
            context = target.base.context
            labels  = { own = "l" }
        }
        group "g" { targets = ["base"] }
    "#;
    let expected = json!({
        "context": "src",
        "args": { "V": "1", "W": "l", "X": "b:1", "Y": "base" },
        "labels": { "own": "l" },
    });
    assert_eq!(target(text, &[]), expected);
}

#[test]
fn a_matrix_makes_a_target_of_each_combination() {
    let text = r#"
        target "default" {
            name   = "app-${os}-${sanitize(item.version)}"
            matrix = {
                os   = ["bookworm", "trixie"]
                item = [{ version = "1.0", extra = "x" }, { version = "2.0", extra = "y" }]
            }
            args   = { OS = os, VERSION = item.version }
            tags   = ["app:${item.version}-${os}"]
            target = item.extra
        }
        target "user" { inherits = ["app-trixie-2_0"] }
    "#;
    let case = Case {
        names: &["default", "user"],
        ..Case::of("docker-bake.hcl", text)
    };
    let printed = case.print();
    assert_eq!(
        printed["group"]["default"]["targets"],
        json!([
            "app-bookworm-1_0",
            "app-bookworm-2_0",
            "app-trixie-1_0",
            "app-trixie-2_0",
            "user"
        ])
    );
    assert_eq!(
        printed["target"]["user"],
        json!({
            "context": ".", "dockerfile": "Dockerfile",
            "args": { "OS": "trixie", "VERSION": "2.0" },
            "tags": ["app:2.0-trixie"], "target": "y",
        })
    );
}

#[test]
fn json_says_the_same_as_hcl() {
    let hcl = r#"
        variable "TAG" { default = "latest" }
        function "up" {
            params = [s]
            result = upper(s)
        }
        group "default" { targets = ["a"] }
        target "a" {
            args = { N = 1, B = true, "k-${TAG}" = up(TAG), L = join(",", ["${TAG}", "x\ty"]) }
            tags = ["a:${TAG}"]
            output = [{ type = "local", dest = "d" }]
        }
    "#;
    let json = r#"{
        "//": "comments are ignored",
        "variable": { "TAG": { "default": "latest" } },
        "function": { "up": { "params": ["s"], "result": "${upper(s)}" } },
        "group": { "default": { "targets": ["a"] } },
        "target": { "a": [{
            "args": {
                "N": 1, "B": true, "k-${TAG}": "${up(TAG)}",
                "L": "${join(\",\", [TAG, \"x\ty\"])}"
            },
            "tags": ["a:${TAG}"],
            "output": [{ "type": "local", "dest": "d" }]
        }] }
    }"#
    .replace("x\\ty", "x\\\\ty");
    let print = |name: &str, text: &str| Case::of(name, text).print();
    let expected = print("docker-bake.hcl", hcl);
    assert_eq!(expected["target"]["a"]["args"]["k-latest"], "LATEST");
    assert_eq!(print("docker-bake.json", &json), expected);
    assert_eq!(print("stdin", &json), expected);
    assert_eq!(print("stdin", hcl), expected);
}
