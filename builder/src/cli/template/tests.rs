//! What docker's scripts write, and what Go prints of it.

use serde_json::json;

use super::*;

fn rendered(template: &str) -> Result<String, String> {
    let value = json!({
        "Id": "sha256:1", "Size": 10, "Share": 0.5, "Tags": ["a:1", "b:2"], "None": null,
        "Config": { "Cmd": ["sh", "-c"], "Labels": { "b": "2", "a.c": "1" }, "Tty": false },
        "Mounts": [
            { "Type": "bind", "Source": "/a", "RW": true },
            { "Type": "volume", "Source": "v", "RW": false },
        ],
        "Ports": { "80/tcp": [{ "HostPort": "8080" }], "443/tcp": null },
        "Labels": "team=x,stage=test", "mediaType": "m", "oci": { "os": "linux" },
    });
    let template: Template = template
        .parse()
        .map_err(|error: TemplateError| error.to_string())?;
    template.render(&value).map_err(|error| error.to_string())
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(rendered(template).as_deref(), Ok(*expected), "{template}");
    }
}

#[test]
fn fields_and_text() {
    check(&[
        ("plain", "plain"),
        ("{{.Id}}", "sha256:1"),
        ("{{ .Id }}\\t{{.Size}}", "sha256:1\t10"),
        (
            "{{.Config.Cmd}} {{.Config.Labels}}",
            "[sh -c] map[a.c:1 b:2]",
        ),
        ("{{.None}} {{.None.Deeper}} {{.Config.Tty}}", "[] [] false"),
        ("{{(index .Mounts 1).Source}}", "v"),
        ("{{.MediaType}} {{.mediaType}} {{.Oci.OS}}", "m m linux"),
        ("{{$.Id}}{{with .Config}}{{$.Size}}{{end}}", "sha256:110"),
        ("{{.Label \"stage\"}}/{{.Label \"none\"}}", "test/"),
        (
            "{{true}} {{\"}}\"}} {{`a\\b`}} {{'a'}} {{0x10}} {{-3}} {{1_000}}",
            "true }} a\\b 97 16 -3 1000",
        ),
        ("{{\"tab\\tnew\\u00e9\\x41\"}}", "tab\tnewéA"),
    ]);
}

#[test]
fn space_and_comments() {
    check(&[
        ("a {{- .Size -}} b", "a10b"),
        ("a \n{{- .Size}} b", "a10 b"),
        ("a {{.Size -}}\n\t b", "a 10b"),
        ("{{- 3 -}}", "3"),
        ("a{{/* a comment with }} */}}b", "ab"),
        ("a {{- /* trims */ -}} b", "ab"),
        ("{{\n .Size\n}}", "10"),
        ("{{ -3 }}", "-3"),
    ]);
}

#[test]
fn conditions_and_ranges() {
    check(&[
        ("{{if .Config.Tty}}yes{{else}}no{{end}}", "no"),
        ("{{if .None}}a{{else if eq .Size 10}}b{{else}}c{{end}}", "b"),
        (
            "{{if .None}}a{{else if .None}}b{{else if .Id}}c{{end}}",
            "c",
        ),
        (
            "{{with .None}}x{{else}}none{{end}}{{with .Id}} {{.}}{{end}}",
            "none sha256:1",
        ),
        ("{{with .None}}x{{else with .Size}}{{.}}{{end}}", "10"),
        ("{{range .Tags}}{{.}};{{end}}", "a:1;b:2;"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        (
            "{{range $i, $t := .Tags}}{{$i}}={{$t}} {{end}}",
            "0=a:1 1=b:2 ",
        ),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}},{{end}}",
            "a.c=1,b=2,",
        ),
        ("{{range 3}}{{.}}{{end}}", "012"),
        (
            "{{range .Mounts}}{{if .RW}}{{.Source}}:{{.Type}}{{end}}{{end}}",
            "/a:bind",
        ),
        (
            "{{range .Tags}}{{if eq . \"b:2\"}}{{break}}{{end}}{{.}}{{end}}",
            "a:1",
        ),
        (
            "{{range .Tags}}{{if eq . \"a:1\"}}{{continue}}{{end}}{{.}}{{end}}",
            "b:2",
        ),
        (
            "{{range $p, $b := .Ports}}{{$p}}->{{range $b}}{{.HostPort}}{{else}}-{{end}} {{end}}",
            "443/tcp->- 80/tcp->8080 ",
        ),
        (
            "{{range $i, $e := .Tags}}{{if $i}}, {{end}}{{$e}}{{end}}",
            "a:1, b:2",
        ),
    ]);
}

#[test]
fn variables_and_templates() {
    check(&[
        ("{{$x := .Size}}{{$x}}{{$x = 11}}{{$x}}", "1011"),
        (
            "{{$x := 1}}{{if true}}{{$x = 2}}{{$y := 3}}{{$y}}{{end}}{{$x}}",
            "32",
        ),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{with $c := .Config}}{{$c.Cmd}}{{end}}", "[sh -c]"),
        (
            "{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Size}}{{template \"t\" .Id}}",
            "<10><sha256:1>",
        ),
        ("{{block \"t\" .Size}}[{{.}}]{{end}}", "[10]"),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("{{json .Config.Cmd}}", r#"["sh","-c"]"#),
        ("{{.Config.Cmd | json}}", r#"["sh","-c"]"#),
        (
            "{{json .None}} {{json .}}",
            &format!("null {}", rendered("{{. | json}}").unwrap()),
        ),
        ("{{index .Config.Labels \"a.c\"}}{{index .Tags 1}}", "1b:2"),
        (
            "{{index .Mounts 0 \"Type\"}} {{index .Config.Labels \"none\"}}",
            "bind ",
        ),
        (
            "{{len .Tags}} {{len .Id}} {{len .None}} {{len .Config}}",
            "2 8 0 3",
        ),
        (
            "{{slice .Id 7}} {{slice .Id 0 3}} {{slice .Tags 1}}",
            "1 sha [b:2]",
        ),
        ("{{join .Tags \", \" | upper}}", "A:1, B:2"),
        (
            "{{index (split .Id \":\") 1}} {{len (split \"abc\" \"\")}}",
            "1 3",
        ),
        (
            "{{upper \"a\"}}{{lower \"B\"}} {{title \"two words, it's\"}}",
            "Ab Two Words, It'S",
        ),
        ("[{{pad .Id 1 2}}] [{{pad \"\" 1 2}}]", "[ sha256:1  ] []"),
        ("{{truncate .Id 3}} {{truncate .Id 99}}", "sha sha256:1"),
        ("{{replace .Id \"sha256:\" \"\"}}", "1"),
        ("{{print 1 2 \"a\" 3}} {{print .Tags}}", "1 2a3 [a:1 b:2]"),
        ("{{println 1 \"a\"}}", "1 a\n"),
        (
            "{{html \"<a>\"}} {{urlquery \"a b&c\"}}",
            "&lt;a&gt; a+b%26c",
        ),
    ]);
}

/// What the docker command line (28.2, Go 1.24) answers.
#[test]
fn gos_functions_print_what_go_prints() {
    check(&[
        ("{{println nil}}", "<nil>\n"),
        (
            "{{print nil 1 nil nil \"a\" nil}}",
            "<nil> 1 <nil> <nil>a<nil>",
        ),
        (
            "{{printf \"%v %s %d %T\" nil nil nil nil}}",
            "<nil> %!s(<nil>) %!d(<nil>) <nil>",
        ),
        (
            "{{html nil}}|{{urlquery nil}}",
            "&lt;no value&gt;|%3Cno+value%3E",
        ),
        (
            "{{not nil}} {{or nil 1}} {{json nil}} {{eq nil nil}}",
            "true 1 null true",
        ),
        (
            "{{js \"a'b\\\"c<d>&=\\\\ \\n\\t\\u00e9\"}}",
            r#"a\'b\"c\u003Cd\u003E\u0026\u003D\\ \u000A\u0009é"#,
        ),
        ("{{js 1 2 \"x\"}}", "1 2x"),
        ("{{html \"a\\x00b\"}}", "a\u{fffd}b"),
        ("{{index .Id}} {{slice .Tags 0 1 2}}", "sha256:1 [a:1]"),
        (
            "{{print 1 2 \"a\" \"b\" 3 4 true}}{{print}}{{println}}",
            "1 2ab3 4 true\n",
        ),
        (
            "{{printf \"%6.2f|%e|%g|%v\" 1.5 1.5 1e21 1e6}}",
            "  1.50|1.500000e+00|1e+21|1e+06",
        ),
        ("{{printf \"%[2]s %[1]s\" \"a\" \"b\"}}", "b a"),
        ("{{printf \"%[3]s\" \"a\"}}", "%!s(BADINDEX)"),
        (
            "{{printf \"%*d|%-*d|%.*f\" 5 3 5 3 1 2.55}}",
            "    3|3    |2.5",
        ),
        (
            "{{printf \"%5t|%-5t|%05s|%+q|%#q\" true true \"ab\" \"\\u00e9\" \"a\"}}",
            " true|true |000ab|\"\\u00e9\"|`a`",
        ),
        (
            "{{printf \"%c %U %#U\" 233 233 233}}",
            "é U+00E9 U+00E9 'é'",
        ),
        ("{{printf \"%v %+v %#v\" \"a\" \"a\" \"a\"}}", "a a \"a\""),
        (
            "{{printf \"%08.3f|%+.2e\" 3.14159 12345.678}}",
            "0003.142|+1.23e+04",
        ),
        (
            "{{printf \"% d|%x|% x|%X\" 5 \"abc\" \"abc\" \"z\"}}",
            " 5|616263|61 62 63|7A",
        ),
        (
            "{{printf \"%q %s %5s %d\" .Tags .Tags .Tags .Tags}}",
            "[\"a:1\" \"b:2\"] [a:1 b:2] [  a:1   b:2] [%!d(string=a:1) %!d(string=b:2)]",
        ),
        (
            "{{printf \"%q|%s\" .Config.Labels .None}}",
            "map[\"a.c\":\"1\" \"b\":\"2\"]|[]",
        ),
        (
            "{{title \"ÀB éc a_b x-y\"}}{{len \"é\"}}{{index \"abc\" 1}}",
            "ÀB Éc A_b X-Y298",
        ),
    ]);
}

#[test]
fn comparisons() {
    check(&[
        (
            "{{eq .Size 10}} {{eq .Size 1 10}} {{ne .Id \"x\"}}",
            "true true true",
        ),
        (
            "{{lt 1 2}} {{le 2 2}} {{gt 1.5 1}} {{ge \"a\" \"b\"}}",
            "true true true false",
        ),
        (
            "{{not .None}} {{and .Id .Size}} {{and .None .Size.X}} {{or .None .Id}}",
            "true 10 [] sha256:1",
        ),
        ("{{or .Id .Id.X.Y}} {{and 1 0 .Id.X}}", "sha256:1 0"),
        ("{{eq .None nil}} {{eq 1 1.0}}", "true true"),
        (
            "{{if and (eq .Size 10) (not .Config.Tty)}}both{{end}}",
            "both",
        ),
    ]);
}

#[test]
fn printf() {
    check(&[
        (
            "{{printf \"%s|%5s|%-5s|%.3s\" \"ab\" \"ab\" \"ab\" \"abcde\"}}",
            "ab|   ab|ab   |abc",
        ),
        (
            "{{printf \"%d|%5d|%-5d|%05d|%+d\" 7 7 7 -7 7}}",
            "7|    7|7    |-0007|+7",
        ),
        (
            "{{printf \"%x|%X|%#x|%o|%b|%c|%U\" 255 255 255 8 5 65 65}}",
            "ff|FF|0xff|10|101|A|U+0041",
        ),
        (
            "{{printf \"%q %v %t %T\" \"a\\\"b\\n\" .Tags true .Size}}",
            "\"a\\\"b\\n\" [a:1 b:2] true int",
        ),
        (
            "{{printf \"%.2f|%6.1f|%e|%g\" .Share .Share .Share .Share}}",
            "0.50|   0.5|5.000000e-01|0.5",
        ),
        ("{{printf \"%x %%\" \"hi\"}}", "6869 %"),
        ("{{.Size | printf \"%s-%d\" .Id}}", "sha256:1-10"),
        (
            "{{printf \"%d\" \"x\"}} {{printf \"%s\"}} {{printf \"a\" 1}}",
            "%!d(string=x) %!s(MISSING) a%!(EXTRA int=1)",
        ),
    ]);
}

#[test]
fn what_go_refuses_is_refused() {
    for (template, expected) in [
        (
            "{{.id}}",
            "in {{.id}}: there is no field id; did you mean Id?",
        ),
        ("{{nil}}", "in {{nil}}: nil is no value by itself"),
        ("{{call .Id}}", "in {{call .Id}}: call cannot take a string"),
        (
            "{{slice .Id 1 2 3}}",
            "in {{slice .Id 1 2 3}}: a string is sliced by two bounds",
        ),
    ] {
        assert_eq!(rendered(template), Err(expected.to_owned()), "{template}");
    }
}

#[test]
fn what_is_wrong_with_a_template_is_said() {
    for (template, expected) in [
        ("{{.ID", "in {{.ID: the action has no end: }} is missing"),
        (
            "{{.Ids}}",
            "in {{.Ids}}: there is no field Ids; did you mean Id?",
        ),
        (
            "a {{.Id.X}}",
            "in {{.Id.X}}: there is no field X in a plain value",
        ),
        ("{{range .Tags}}", "in {{range .Tags}}: {{end}} is missing"),
        (
            "{{if .Id}}a{{else}}b{{else}}c{{end}}",
            "in {{else}}: a second {{else}}",
        ),
        ("{{end}}", "{{end}} without a block that it ends"),
        ("{{else}}", "{{else}} without a block that it belongs to"),
        (
            "{{titel .Id}}",
            "in {{titel .Id}}: there is no function titel; did you mean title?",
        ),
        (
            "{{index .Tags 9}}",
            "in {{index .Tags 9}}: there is no index 9: the length is 2",
        ),
        (
            "{{index .Tags 2}}",
            "in {{index .Tags 2}}: there is no index 2: the length is 2",
        ),
        (
            "{{slice .Id 3 1}}",
            "in {{slice .Id 3 1}}: a slice from 3 to 1",
        ),
        ("{{}}", "in {{}}: a value is missing"),
        ("{{.Id .Size}}", "in {{.Id .Size}}: .Id is no function"),
        (
            "{{.Id | 3}}",
            "in {{.Id | 3}}: a value is piped into something that is no function",
        ),
        ("{{(.Id}}", "in {{(.Id}}: a ( without ) after it"),
        ("{{.Id)}}", "in {{.Id)}}: a ) without ( before it"),
        ("{{$x}}", "in {{$x}}: there is no variable $x"),
        (
            "{{if true}}{{$y := 1}}{{end}}{{$y}}",
            "in {{$y}}: there is no variable $y",
        ),
        ("{{\"a}}", "in {{\"a}}: a string has no end: \" is missing"),
        (
            "{{\"\\q\"}}",
            "in {{\"\\q\"}}: \\q means nothing in a string",
        ),
        ("{{1x}}", "in {{1x}}: 1x is no number"),
        (
            "{{/* a }}",
            "in {{/* a }}: the comment has no end: */ is missing",
        ),
        ("{{break}}", "in {{break}}: break is not inside of a range"),
        ("{{template \"x\"}}", "there is no template \"x\""),
        ("{{len 1}}", "in {{len 1}}: a number has no length"),
        (
            "{{eq .Tags 1}}",
            "in {{eq .Tags 1}}: a list and a number cannot be compared",
        ),
        (
            "{{lt 1 \"a\"}}",
            "in {{lt 1 \"a\"}}: a number and a string cannot be compared",
        ),
        (
            "{{join .Id \",\"}}",
            "in {{join .Id \",\"}}: join cannot take a string and a string",
        ),
        (
            "{{range .Id}}{{end}}",
            "in {{range .Id}}: range cannot go over \"sha256:1\"",
        ),
        (
            "{{join .Tags print}}",
            "in {{join .Tags print}}: the function print as an operand needs parentheses",
        ),
        (
            "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}",
            "templates call each other more than 100 deep",
        ),
    ] {
        assert_eq!(rendered(template), Err(expected.to_owned()), "{template}");
    }
    let deep = "{{if true}}".repeat(200);
    assert!(
        rendered(&deep)
            .unwrap_err()
            .contains("nests more than 100 deep")
    );
    let deep = format!("{{{{{}1}}}}", "(".repeat(5000));
    assert!(
        rendered(&deep)
            .unwrap_err()
            .contains("nests more than 100 deep")
    );
}
