//! Go templates, as far as `--format` needs them: what docker's scripts print of an image or a
//! list.
//!
//! | Written | Gives |
//! |---|---|
//! | `{{.A.B}}` | the field of a field; text as it is, lists as `[a b]`, maps as `map[k:v]` |
//! | `{{json .A}}`, `{{.A \| json}}` | the value as JSON |
//! | `{{len .A}}`, `{{index .A 0}}`, `{{index .A "k"}}` | its length, one of its values |
//! | `{{join .A ","}}`, `{{lower .A}}`, `{{upper .A}}`, `{{println .A}}` | text |
//! | `{{range .A}}…{{end}}`, `{{if .A}}…{{else}}…{{end}}` | `.` is the value in turn |
//!
//! `\n` and `\t` in the text outside of braces are a new line and a tab. Variables, comparisons
//! and nested templates are not known.

use serde_json::Value;
use thiserror::Error;

use crate::report::did_you_mean;

/// A template that cannot be read or does not fit the value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TemplateError(String);

fn error<T>(text: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(text.into()))
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Node>);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Print(Vec<Call>),
    Range(Vec<Call>, Vec<Node>, Vec<Node>),
    If(Vec<Call>, Vec<Node>, Vec<Node>),
}

/// One stage of a pipeline; an operand alone has no name.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    name: Option<String>,
    operands: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<String>),
    Literal(Value),
}

const FUNCTIONS: [&str; 7] = ["json", "len", "index", "join", "lower", "upper", "println"];

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Parts { rest: text };
        let (nodes, end) = parts.nodes()?;
        match end {
            None => Ok(Self(nodes)),
            Some(word) => error(format!("{{{{{word}}}}} without a range or an if before it")),
        }
    }
}

/// What is left of a template's text.
struct Parts<'a> {
    rest: &'a str,
}

impl Parts<'_> {
    /// Reads up to the end of the text, or an `else` or `end`, which is returned.
    fn nodes(&mut self) -> Result<(Vec<Node>, Option<String>), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let Some((text, rest)) = self.rest.split_once("{{") else {
                push_text(&mut nodes, self.rest);
                self.rest = "";
                return Ok((nodes, None));
            };
            let Some((action, rest)) = rest.split_once("}}") else {
                return error("{{ without }}");
            };
            let (action, text, rest) = trimmed(action, text, rest);
            push_text(&mut nodes, text);
            self.rest = rest;
            let (word, operand) = action.split_once(' ').unwrap_or((action, ""));
            match word {
                "else" | "end" => return Ok((nodes, Some(action.to_owned()))),
                "range" => {
                    let (body, other) = self.block("range")?;
                    nodes.push(Node::Range(pipeline(operand)?, body, other));
                }
                "if" => {
                    let (body, other) = self.block("if")?;
                    nodes.push(Node::If(pipeline(operand)?, body, other));
                }
                _ => nodes.push(Node::Print(pipeline(action)?)),
            }
        }
    }

    fn block(&mut self, word: &str) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
        let (body, end) = self.nodes()?;
        match end.as_deref() {
            Some("end") => return Ok((body, Vec::new())),
            Some("else") => {}
            _ => return error(format!("{{{{{word}}}}} without {{{{end}}}}")),
        }
        match self.nodes()? {
            (other, Some(end)) if end == "end" => Ok((body, other)),
            _ => error("{{else}} without {{end}}"),
        }
    }
}

/// Applies the marks `{{-` and `-}}`, which take away the space on their side.
fn trimmed<'a>(action: &'a str, text: &'a str, rest: &'a str) -> (&'a str, &'a str, &'a str) {
    let (action, text) = match action.strip_prefix("- ") {
        Some(action) => (action, text.trim_end()),
        None => (action, text),
    };
    let (action, rest) = match action.strip_suffix(" -") {
        Some(action) => (action, rest.trim_start()),
        None => (action, rest),
    };
    (action.trim(), text, rest)
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    if !text.is_empty() {
        let text = text.replace("\\n", "\n").replace("\\t", "\t");
        nodes.push(Node::Text(text));
    }
}

fn pipeline(text: &str) -> Result<Vec<Call>, TemplateError> {
    let words = words(text)?;
    words
        .split(|word| word == "|")
        .map(|words| {
            let (first, rest) = match words {
                [] => return error("empty {{}}"),
                [first, rest @ ..] => (first, rest),
            };
            if first.starts_with(['.', '"']) {
                if let Some(word) = rest.first() {
                    return error(format!("unexpected {word} after {first}"));
                }
                let operands = vec![operand(first)?];
                return Ok(Call {
                    name: None,
                    operands,
                });
            }
            if !FUNCTIONS.contains(&first.as_str()) {
                let known = FUNCTIONS.join(", ");
                return error(format!("unknown function {first:?}; known are {known}"));
            }
            let operands: Result<_, _> = rest.iter().map(|word| operand(word)).collect();
            Ok(Call {
                name: Some(first.clone()),
                operands: operands?,
            })
        })
        .collect()
}

/// Splits at spaces outside of quotes.
fn words(text: &str) -> Result<Vec<String>, TemplateError> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for char in text.chars() {
        match char {
            '"' => quoted = !quoted,
            '|' if !quoted => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                words.push("|".to_owned());
                continue;
            }
            ' ' if !quoted => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                continue;
            }
            _ => {}
        }
        word.push(char);
    }
    if quoted {
        return error(format!("a quote is not closed in {text:?}"));
    }
    words.extend((!word.is_empty()).then_some(word));
    Ok(words)
}

fn operand(word: &str) -> Result<Operand, TemplateError> {
    if let Some(path) = word.strip_prefix('.') {
        let names = path.split('.').filter(|name| !name.is_empty());
        return Ok(Operand::Path(names.map(str::to_owned).collect()));
    }
    match serde_json::from_str(word) {
        Ok(value) => Ok(Operand::Literal(value)),
        Err(_) => error(format!("{word:?} is neither a field nor a value")),
    }
}

impl Template {
    /// Returns the text of the template for `value`.
    pub fn render(&self, value: &Value) -> Result<String, TemplateError> {
        let mut out = String::new();
        render(&self.0, value, &mut out)?;
        Ok(out)
    }
}

fn render(nodes: &[Node], dot: &Value, out: &mut String) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(calls) => out.push_str(&text(&evaluate(calls, dot)?)),
            Node::If(calls, then, other) => {
                let branch = if is_true(&evaluate(calls, dot)?) {
                    then
                } else {
                    other
                };
                render(branch, dot, out)?;
            }
            Node::Range(calls, body, other) => {
                let value = evaluate(calls, dot)?;
                let items: Vec<&Value> = match &value {
                    Value::Array(items) => items.iter().collect(),
                    Value::Object(items) => items.values().collect(),
                    Value::Null => Vec::new(),
                    one => return error(format!("range cannot go over {one}")),
                };
                if items.is_empty() {
                    render(other, dot, out)?;
                }
                items
                    .into_iter()
                    .try_for_each(|item| render(body, item, out))?;
            }
        }
    }
    Ok(())
}

fn evaluate(calls: &[Call], dot: &Value) -> Result<Value, TemplateError> {
    let mut piped: Option<Value> = None;
    for call in calls {
        let operands = call.operands.iter().map(|operand| match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Path(path) => field(dot, path),
        });
        let mut operands: Vec<Value> = operands.collect::<Result<_, _>>()?;
        operands.extend(piped.take());
        piped = Some(match &call.name {
            None => operands.remove(0),
            Some(name) => function(name, &operands)?,
        });
    }
    Ok(piped.unwrap_or_default())
}

fn field(dot: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut value = dot;
    for name in path {
        value = match value {
            Value::Null => return Ok(Value::Null),
            Value::Object(fields) => fields
                .get(name)
                .ok_or_else(|| unknown_field(name, fields.keys().map(String::as_str)))?,
            _ => return error(format!("there is no field {name} in a plain value")),
        };
    }
    Ok(value.clone())
}

fn unknown_field<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> TemplateError {
    let near = did_you_mean(name, known);
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    TemplateError(format!("there is no field {name}{near}"))
}

fn function(name: &str, operands: &[Value]) -> Result<Value, TemplateError> {
    let length = |count: usize| Value::from(count);
    Ok(match (name, operands) {
        ("json", [value]) => value.to_string().into(),
        ("len", [Value::Array(items)]) => length(items.len()),
        ("len", [Value::Object(items)]) => length(items.len()),
        ("len", [Value::String(text)]) => length(text.len()),
        ("len", [Value::Null]) => length(0),
        ("index", [value, keys @ ..]) => {
            keys.iter()
                .try_fold(value.clone(), |value, key| match (&value, key) {
                    (Value::Array(items), Value::Number(at)) => at
                        .as_u64()
                        .and_then(|at| items.get(usize::try_from(at).ok()?))
                        .cloned()
                        .ok_or_else(|| TemplateError(format!("there is no index {at}"))),
                    (Value::Object(items), Value::String(key)) => {
                        Ok(items.get(key).cloned().unwrap_or_else(|| "".into()))
                    }
                    _ => error(format!("{key} is no index of {value}")),
                })?
        }
        ("join", [Value::Array(items), Value::String(between)]) => items
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(between)
            .into(),
        ("join", [Value::Null, _]) => "".into(),
        ("lower", [value]) => text(value).to_lowercase().into(),
        ("upper", [value]) => text(value).to_uppercase().into(),
        ("println", values) => {
            (values.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").into()
        }
        _ => return error(format!("{name} does not take these operands")),
    })
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
    }
}

/// Returns what Go prints of `value`.
fn text(value: &Value) -> String {
    match value {
        // What is null in docker's documents is a list without items.
        Value::Null => "[]".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(items) => {
            let mut items: Vec<_> = items
                .iter()
                .map(|(key, value)| format!("{key}:{}", text(value)))
                .collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str) -> Result<String, String> {
        let value = json!({
            "Id": "sha256:1", "Size": 10, "Tags": ["a:1", "b:2"], "None": null,
            "Config": { "Cmd": ["sh", "-c"], "Labels": { "b": "2", "a.c": "1" }, "Tty": false },
        });
        let template: Template = template
            .parse()
            .map_err(|error: TemplateError| error.to_string())?;
        template.render(&value).map_err(|error| error.to_string())
    }

    #[test]
    fn templates_give_what_docker_prints() {
        for (template, expected) in [
            ("{{.Id}}", "sha256:1"),
            ("{{ .Id }}\\t{{.Size}}", "sha256:1\t10"),
            (
                "{{.Config.Cmd}} {{.Config.Labels}}",
                "[sh -c] map[a.c:1 b:2]",
            ),
            ("{{json .Config.Cmd}}", r#"["sh","-c"]"#),
            ("{{.Config.Cmd | json}}", r#"["sh","-c"]"#),
            ("{{json .None}} {{.None}} {{.Config.Tty}}", "null [] false"),
            ("{{index .Config.Labels \"a.c\"}}{{index .Tags 1}}", "1b:2"),
            ("{{len .Tags}}", "2"),
            ("{{join .Tags \", \" | upper}}", "A:1, B:2"),
            ("{{range .Tags}}{{.}};{{end}}", "a:1;b:2;"),
            ("{{range .None}}x{{else}}none{{end}}", "none"),
            ("{{if .Config.Tty}}yes{{else}}no{{end}}", "no"),
            ("a {{- .Size -}} b", "a10b"),
            ("plain", "plain"),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_template_is_said() {
        for (template, expected) in [
            ("{{.ID", "{{ without }}"),
            ("{{.Ids}}", "there is no field Ids; did you mean Id?"),
            ("{{range .Tags}}", "{{range}} without {{end}}"),
            ("{{end}}", "{{end}} without a range or an if before it"),
            (
                "{{title .Id}}",
                "unknown function \"title\"; known are json, len, index, join, lower, upper, println",
            ),
            ("{{index .Tags 9}}", "there is no index 9"),
            ("{{}}", "empty {{}}"),
        ] {
            assert_eq!(rendered(template), Err(expected.to_owned()), "{template}");
        }
    }
}
