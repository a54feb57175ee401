//! Each function: an expression → the JSON of its value.

use std::sync::Arc;

use cooper_frontend::SourceFile;

use super::super::eval::Scope;
use super::super::module::{Module, Surroundings};
use super::super::{ast, hcl};
use super::FUNCTIONS;

fn evaluate(expression: &str) -> Result<String, String> {
    let file = Arc::new(SourceFile::new("x.hcl", format!("v = {expression}\n")));
    let body = hcl::parse(&file).map_err(|fault| fault.to_string())?;
    let expr: ast::Expr = body.attributes[0].value.clone();
    let surroundings = Surroundings {
        variable: &|_| None,
        dotenv: std::collections::BTreeMap::new(),
        builtin: std::collections::BTreeMap::new(),
        now: jiff::Timestamp::from_second(1_700_000_000).expect("a time"),
        home: Some("/home/u".to_owned()),
        random: &|bytes| bytes.fill(0xab),
    };
    let module = Module::new(Vec::new(), &surroundings).expect("empty");
    let value = module.eval(&expr, &Scope::default());
    value
        .map(|value| value.to_json().to_string())
        .map_err(|fault| fault.to_string())
}

/// Expressions and the JSON of their values.
const CASES: &[(&str, &str)] = &[
    ("absolute(-42)", "42"),
    ("add(123, 1)", "124"),
    ("and(true, false)", "false"),
    ("base64decode(\"SGVsbG8=\")", "\"Hello\""),
    ("base64encode(\"Hello\")", "\"SGVsbG8=\""),
    (
        "[basename(\"/usr/bin/x\"), basename(\"/\"), basename(\"\")]",
        "[\"x\",\"/\",\".\"]",
    ),
    ("byteslen(\"é\")", "2"),
    ("bytesslice(\"Docker\", 0, 3)", "\"Doc\""),
    ("can(parseint(\"123\", 10))", "true"),
    ("[ceil(3.14), ceil(-0.5), ceil(2)]", "[4,0,2]"),
    ("chomp(\"Hello\\n\\n\")", "\"Hello\""),
    ("chunklist([1,2,3,4,5], 2)", "[[1,2],[3,4],[5]]"),
    (
        "[cidrhost(\"10.0.0.0/16\", 5), cidrhost(\"10.0.0.0/16\", -1)]",
        "[\"10.0.0.5\",\"10.0.255.255\"]",
    ),
    ("cidrnetmask(\"10.0.0.0/16\")", "\"255.255.0.0\""),
    ("cidrsubnet(\"10.0.0.0/16\", 4, 2)", "\"10.0.32.0/20\""),
    (
        "cidrsubnets(\"10.0.0.0/16\", 4, 4, 8)",
        "[\"10.0.0.0/20\",\"10.0.16.0/20\",\"10.0.32.0/24\"]",
    ),
    ("cidrsubnet(\"fd00::/48\", 16, 10)", "\"fd00:0:0:a::/64\""),
    ("coalesce(null, \"docker\", \"x\")", "\"docker\""),
    ("coalescelist([], [1,2], [3])", "[1,2]"),
    ("compact([\"a\", \"\", \"b\", \"\"])", "[\"a\",\"b\"]"),
    ("concat([1,2],[3,4])", "[1,2,3,4]"),
    ("contains([1,2,3], 2)", "true"),
    ("convert(\"42\", number)", "42"),
    (
        "csvdecode(\"name,age\\nAlice,30\")",
        "[{\"age\":\"30\",\"name\":\"Alice\"}]",
    ),
    (
        "[dirname(\"/usr/bin/x\"), dirname(\"x\"), dirname(\"/x\")]",
        "[\"/usr/bin\",\".\",\"/\"]",
    ),
    ("distinct([1,2,2,3,3,3])", "[1,2,3]"),
    ("divide(10, 4)", "2.5"),
    (
        "[element([\"a\",\"b\",\"c\"], 1), element([\"a\",\"b\"], 3)]",
        "[\"b\",\"b\"]",
    ),
    ("equal(2, 2)", "true"),
    ("flatten([[1,2],[[3],4],5])", "[1,2,3,4,5]"),
    ("floor(3.99)", "3"),
    (
        "format(\"Hello, %s! %05d %.2f %q %t %v %%\", \"W\", 42, 1.5, \"q\", true, [1])",
        "\"Hello, W! 00042 1.50 \\\"q\\\" true [1] %\"",
    ),
    ("format(\"%[2]s %[1]s %s\", \"a\", \"b\")", "\"b a b\""),
    (
        "format(\"%-4s|%4s|%x|%X|%b|%o|%+d|%e|%g\", \"l\", \"r\", 255, 255, 5, 8, 3, 12345.678, 0.5)",
        "\"l   |   r|ff|FF|101|10|+3|1.234568e+04|0.5\"",
    ),
    (
        "formatdate(\"YYYY-MM-DD hh:mm:ss\", \"2025-09-16T12:04:05Z\")",
        "\"2025-09-16 12:04:05\"",
    ),
    (
        "formatdate(\"EEEE, D-MMM-YY H 'o''clock' AA ZZZ\", \"2025-09-06T15:00:00+02:00\")",
        "\"Saturday, 6-Sep-25 3 o'clock PM +0200\"",
    ),
    (
        "formatlist(\"Hi %s %d\", [\"A\", \"B\"], 1)",
        "[\"Hi A 1\",\"Hi B 1\"]",
    ),
    (
        "formattimestamp(\"YYYY-MM-DD'T'hh:mm:ssZ\", 1690328596)",
        "\"2023-07-25T23:43:16Z\"",
    ),
    ("greaterthan(5, 2)", "true"),
    ("greaterthanorequalto(5, 5)", "true"),
    (
        "[hasindex([10], 0), hasindex([10], 1), hasindex({a=1}, \"a\")]",
        "[true,false,true]",
    ),
    ("homedir()", "\"/home/u\""),
    ("indent(2, \"a\\nb\")", "\"a\\n  b\""),
    ("index({foo = \"bar\"}, \"foo\")", "\"bar\""),
    ("indexof([\"a\",\"b\",\"c\"], \"b\")", "1"),
    ("[int(3.75), int(-3.75)]", "[3,-3]"),
    ("join(\",\", [\"a\",\"b\"], [1])", "\"a,b,1\""),
    ("jsondecode(\"{\\\"a\\\":[1,null]}\")", "{\"a\":[1,null]}"),
    (
        "jsonencode({name=\"D\", stars=5})",
        "\"{\\\"name\\\":\\\"D\\\",\\\"stars\\\":5}\"",
    ),
    ("keys({foo = 1, bar = 2})", "[\"bar\",\"foo\"]"),
    ("[length([1,2]), length({a=1})]", "[2,1]"),
    ("lessthan(10, 3)", "false"),
    ("lessthanorequalto(5, 7)", "true"),
    ("log(100, 10)", "2"),
    (
        "[lookup({a=\"x\"}, \"a\", \"n\"), lookup({a=\"x\"}, \"c\", \"n\")]",
        "[\"x\",\"n\"]",
    ),
    ("lower(\"HÉ\")", "\"hé\""),
    ("max(3, 9, 7)", "9"),
    ("md5(\"hello\")", "\"5d41402abc4b2a76b9719d911017c592\""),
    (
        "merge({a=1, b=2}, {b=3, c=4}, null)",
        "{\"a\":1,\"b\":3,\"c\":4}",
    ),
    ("min(3, 9, 7)", "3"),
    ("modulo(10, 3)", "1"),
    ("multiply(6, 7)", "42"),
    ("negate(7)", "-7"),
    ("not(true)", "false"),
    ("notequal(4, \"4\")", "true"),
    ("or(true, false)", "true"),
    ("[parseint(\"ff\", 16), parseint(\"-101\", 2)]", "[255,-5]"),
    ("[pow(3, 2), pow(2, -1)]", "[9,0.5]"),
    (
        "[range(3), range(1, 3), range(3, 0), range(0, 5, 2)]",
        "[[0,1,2],[1,2],[3,2,1],[0,2,4]]",
    ),
    (
        "[regex(\"h.llo\", \"hello\"), regex(\"(h)(e)\", \"hello\")]",
        "[\"hello\",[\"h\",\"e\"]]",
    ),
    (
        "regex(\"(?P<major>[0-9]+)[.](?P<minor>[0-9]+)\", \"v1.22\")",
        "{\"major\":\"1\",\"minor\":\"22\"}",
    ),
    (
        "regex_replace(\"darwin/arm64\", \"^(darwin)/(.*)\", \"linux/$2\")",
        "\"linux/arm64\"",
    ),
    ("regexall(\"[a-z]+\", \"abc123xyz\")", "[\"abc\",\"xyz\"]"),
    ("replace(\"banana\", \"na\", \"--\")", "\"ba----\""),
    ("reverse(\"stressed\")", "\"desserts\""),
    ("reverselist([1,2,3])", "[3,2,1]"),
    ("sanitize(\"My App! v1.0\")", "\"My_App__v1_0\""),
    (
        "[for c in [\"1.x\", \">=1.2, <2\", \"~1.2\", \"^1.1\", \"=1.2.3\", \"1.0 - 1.3\", \"<1 || >1.2.2\"] : semvercmp(\"v1.2.3\", c)]",
        "[true,true,true,true,true,true,true]",
    ),
    (
        "[for c in [\"2\", \">1.2.3\", \"~1.1\", \"^2\", \"!=1.2\", \">1.2\", \"<=1.1\", \"<1.2.3\"] : semvercmp(\"1.2.3\", c)]",
        "[false,false,false,false,false,false,false,false]",
    ),
    (
        "[semvercmp(\"1.0.0-rc.2\", \">=1.0\"), semvercmp(\"1.0.0-rc.10\", \">1.0.0-rc.2\"), semvercmp(\"0.2.9\", \"^0.2.3\"), semvercmp(\"0.3.0\", \"^0.2.3\"), semvercmp(\"3\", \"*\")]",
        "[false,true,true,false,true]",
    ),
    ("sethaselement([1,2,3], 2)", "true"),
    (
        "setintersection([\"a\",\"b\",\"c\"], [\"b\",\"c\",\"d\"])",
        "[\"b\",\"c\"]",
    ),
    (
        "setproduct([\"x\",\"y\"], [1,2])",
        "[[\"x\",1],[\"x\",2],[\"y\",1],[\"y\",2]]",
    ),
    ("setsubtract([1,2,3], [2])", "[1,3]"),
    ("setsymmetricdifference([1,2,3], [3,4])", "[1,2,4]"),
    (
        "setunion([\"b\",\"a\"], [\"b\",\"c\"])",
        "[\"a\",\"b\",\"c\"]",
    ),
    (
        "sha1(\"hello\")",
        "\"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\"",
    ),
    (
        "sha256(\"hello\")",
        "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"",
    ),
    ("substr(sha512(\"hello\"), 0, 16)", "\"9b71d224bd62f378\""),
    ("[signum(0), signum(12), signum(-1.5)]", "[0,1,-1]"),
    ("slice([\"a\",\"b\",\"c\",\"d\"], 1, 3)", "[\"b\",\"c\"]"),
    ("sort([\"b\",\"c\",\"a\"])", "[\"a\",\"b\",\"c\"]"),
    ("split(\",\", \"a,b,c\")", "[\"a\",\"b\",\"c\"]"),
    ("strlen(\"Dé\")", "2"),
    (
        "[substr(\"abcdef\", 2, 3), substr(\"abcdef\", -2, -1), substr(\"abc\", 9, 1)]",
        "[\"cde\",\"ef\",\"\"]",
    ),
    ("subtract(10, 3)", "7"),
    (
        "timeadd(\"2025-09-24T12:00:00Z\", \"1h30m\")",
        "\"2025-09-24T13:30:00Z\"",
    ),
    (
        "timeadd(\"2025-09-24T12:00:00+02:00\", \"-90s\")",
        "\"2025-09-24T11:58:30+02:00\"",
    ),
    ("timestamp()", "\"2023-11-14T22:13:20Z\""),
    (
        "title(\"hello world-from_docker\")",
        "\"Hello World-From_docker\"",
    ),
    ("trim(\"--hello--\", \"-\")", "\"hello\""),
    ("trimprefix(\"docker-build\", \"docker-\")", "\"build\""),
    ("trimspace(\"   hello   \")", "\"hello\""),
    ("trimsuffix(\"filename.txt\", \".txt\")", "\"filename\""),
    ("try(parseint(\"zz\", 10), index({a=1}, \"b\"), 255)", "255"),
    (
        "unixtimestampparse(1690328596)",
        "{\"day\":25,\"hour\":23,\"iso_week\":30,\"iso_year\":2023,\"minute\":43,\"month\":7,\"month_name\":\"July\",\"rfc3339\":\"2023-07-25T23:43:16Z\",\"second\":16,\"weekday\":2,\"weekday_name\":\"Tuesday\",\"year\":2023,\"year_day\":206}",
    ),
    ("upper(\"hello\")", "\"HELLO\""),
    ("urlencode(\"a b=c&d\")", "\"a+b%3Dc%26d\""),
    ("uuidv4()", "\"abababab-abab-4bab-abab-abababababab\""),
    (
        "uuidv5(\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\", \"www.example.com\")",
        "\"2ed6657d-e927-568b-95e1-2665a8aea6a2\"",
    ),
    (
        "uuidv5(\"dns\", \"www.example.com\")",
        "\"2ed6657d-e927-568b-95e1-2665a8aea6a2\"",
    ),
    ("values({a=1, c=3, b=2})", "[1,2,3]"),
    (
        "zipmap([\"name\",\"stars\"], [\"Docker\", 5])",
        "{\"name\":\"Docker\",\"stars\":5}",
    ),
];

#[test]
fn functions_compute_what_those_of_buildx_do() {
    for (expression, expected) in CASES {
        assert_eq!(
            evaluate(expression).as_deref(),
            Ok(*expected),
            "{expression}"
        );
    }
    // These only fail, in the next test.
    let failing = ["bcrypt", "rsadecrypt"];
    for function in FUNCTIONS
        .iter()
        .filter(|function| !failing.contains(&function.name))
    {
        let call = format!("{}(", function.name);
        assert!(
            CASES
                .iter()
                .any(|(expression, _)| expression.contains(&call)),
            "{} has no case",
            function.name
        );
    }
}

#[test]
fn functions_say_what_is_wrong() {
    for (expression, expected) in [
        (
            "base64decode(\"?\")",
            "base64decode: it is no base64: Invalid symbol 63, offset 0.",
        ),
        (
            "bcrypt(\"x\")",
            "bcrypt: password hashes cannot be made here: compute the value before and pass it in a variable",
        ),
        (
            "chunklist([1], -1)",
            "chunklist: the number may not be negative",
        ),
        (
            "cidrhost(\"10.0.0.0/24\", 256)",
            "cidrhost: the prefix has no such host",
        ),
        ("coalesce(null)", "coalesce: all arguments are null"),
        ("element([], 0)", "element: the list is empty"),
        (
            "format(\"%d\", \"x\")",
            "format: %d needs a number, not a string",
        ),
        (
            "format(\"%s\")",
            "format: %s needs argument 1, which is not given",
        ),
        (
            "format(\"x\", 1)",
            "format: the format uses 0 arguments, but 1 are given",
        ),
        (
            "formatdate(\"YYYYY\", \"2025-09-16T12:00:00Z\")",
            "formatdate: \"YYYYY\" is no part of a time; quote letters that are meant as they are",
        ),
        (
            "formatdate(\"YYYY\", \"yesterday\")",
            "formatdate: \"yesterday\" is no RFC 3339 time such as 2025-09-16T12:00:00Z",
        ),
        (
            "formatlist(\"%s%s\", [1], [1, 2])",
            "formatlist: the list has 2 elements, an earlier one 1",
        ),
        (
            "jsondecode(\"{\")",
            "jsondecode: it is no JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            "length(\"x\")",
            "length: a list or an object is needed; strlen is for strings",
        ),
        ("log(0, 10)", "log: the result is too large"),
        ("lookup({}, \"a\")", "lookup: the object has no key \"a\""),
        ("lower([1])", "lower: a string is needed, not a list"),
        ("lower(null)", "lower: a string is needed, not null"),
        ("lower()", "lower: 1 arguments are needed, not 0"),
        ("modulo(1, 0)", "modulo: cannot divide by zero"),
        (
            "parseint(\"9\", 8)",
            "parseint: \"9\" is no whole number in base 8",
        ),
        ("range(0, 5, -1)", "range: the step leads away from the end"),
        (
            "range(0, 100000)",
            "range: there are more than 1024 numbers",
        ),
        (
            "regex(\"a\", \"b\")",
            "regex: the pattern does not match any of it",
        ),
        (
            "rsadecrypt(\"a\", \"b\")",
            "rsadecrypt: RSA decryption cannot be made here: compute the value before and pass it in a variable",
        ),
        (
            "slice([1], 0, 2)",
            "slice: the list has 1 elements, not those from 0 to 2",
        ),
        (
            "timeadd(\"2025-09-24T12:00:00Z\", \"soon\")",
            "timeadd: \"soon\" is no duration such as 1h30m",
        ),
        (
            "uuidv5(\"x\", \"y\")",
            "uuidv5: \"x\" is no UUID, dns, url, oid or x500",
        ),
        ("zipmap([\"a\"], [])", "zipmap: 1 keys are not 0 values"),
    ] {
        assert_eq!(
            evaluate(expression).as_ref().map_err(String::as_str),
            Err(expected),
            "{expression}"
        );
    }
}

#[test]
fn functions_are_sorted_by_name() {
    assert!(FUNCTIONS.is_sorted_by_key(|function| function.name));
}
