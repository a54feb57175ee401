//! Tables: what is written → what `--print` shows.

mod compose;
mod faults;
mod language;
mod merging;

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_frontend::SourceFile;
use serde_json::{Value as Json, json};

use super::{Definition, Fault, Override, Surroundings, print};

/// What a case is about besides its files.
#[derive(Default)]
struct Case<'a> {
    files: Vec<(&'a str, &'a str)>,
    variables: &'a [(&'a str, &'a str)],
    names: &'a [&'a str],
    sets: &'a [&'a str],
}

impl<'a> Case<'a> {
    /// A case of one file.
    fn of(name: &'a str, text: &'a str) -> Self {
        Self {
            files: vec![(name, text)],
            ..Self::default()
        }
    }

    fn read(&self) -> Result<Definition, Vec<Fault>> {
        let files = self
            .files
            .iter()
            .map(|(name, text)| Arc::new(SourceFile::new(*name, *text)));
        let files: Vec<_> = files.collect();
        let variables: BTreeMap<_, _> = self.variables.iter().copied().collect();
        let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        Definition::read(&files, &world(&variable))
    }

    fn print(&self) -> Json {
        let definition = self.read().unwrap_or_else(|faults| panic!("{faults:?}"));
        let sets = self
            .sets
            .iter()
            .map(|text| Override::parse(text, &|_| None));
        let sets = sets.filter_map(|parsed| parsed.expect("valid")).collect();
        let names: Vec<_> = match self.names {
            [] => vec!["default".to_owned()],
            names => names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let plan = definition.plan(&names, &Override::gather(sets));
        print::plan(&plan.unwrap_or_else(|error| panic!("{error}")))
    }
}

fn world(variable: &dyn Fn(&str) -> Option<String>) -> Surroundings<'_> {
    let builtin = [
        ("BAKE_CMD_CONTEXT", "cwd://"),
        ("BAKE_LOCAL_PLATFORM", "linux/amd64"),
    ];
    Surroundings {
        variable,
        dotenv: [("DOT".to_owned(), "from .env".to_owned())].into(),
        builtin: builtin
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        now: jiff::Timestamp::from_second(1_700_000_000).expect("a time"),
        home: Some("/home/u".to_owned()),
        random: &|bytes| bytes.fill(0xab),
    }
}

/// Returns what is printed of the target `default` of an HCL file, without what every target has.
fn target(text: &str, variables: &[(&str, &str)]) -> Json {
    let case = Case {
        variables,
        ..Case::of("docker-bake.hcl", text)
    };
    bare(case.print()["target"]["default"].take())
}

/// Leaves out context and Dockerfile if they are the usual ones.
fn bare(mut target: Json) -> Json {
    if let Some(fields) = target.as_object_mut() {
        fields.retain(|key, value| {
            !(key == "context" && value == "." || key == "dockerfile" && value == "Dockerfile")
        });
    }
    target
}

/// Returns the faults of a file as a user reads them.
fn faults(name: &str, text: &str) -> String {
    let faults = Case::of(name, text).read().expect_err("it has faults");
    let report = crate::report::Report::new("");
    let report = faults
        .iter()
        .fold(report, |report, fault| report.excerpt(fault.excerpt()));
    report.render(false)
}

#[test]
fn a_definition_is_printed_in_the_shape_of_buildx() {
    let text = r#"
        group "default" { targets = ["app", "db"] }
        group "all" { targets = ["default", "tools"] }
        target "app" {
            description = "the app"
            dockerfile  = "app.Dockerfile"
            args        = { B = 2, A = "1 < 2", N = null }
            output      = ["type=image,push=true", { type = "local", dest = "out" }]
            pull        = true
        }
        target "db" { tags = ["db:1"] }
        target "tools" {}
    "#;
    let case = Case {
        names: &["all"],
        ..Case::of("docker-bake.hcl", text)
    };
    insta::assert_snapshot!(print::pretty(&case.print()), @r#"
    {
      "group": {
        "all": {
          "targets": [
            "default",
            "tools"
          ]
        },
        "default": {
          "targets": [
            "all",
            "app",
            "db"
          ]
        }
      },
      "target": {
        "app": {
          "description": "the app",
          "context": ".",
          "dockerfile": "app.Dockerfile",
          "args": {
            "A": "1 \u003c 2",
            "B": "2"
          },
          "output": [
            {
              "push": "true",
              "type": "image"
            },
            {
              "dest": "out",
              "type": "local"
            }
          ],
          "pull": true
        },
        "db": {
          "context": ".",
          "dockerfile": "Dockerfile",
          "tags": [
            "db:1"
          ]
        },
        "tools": {
          "context": ".",
          "dockerfile": "Dockerfile"
        }
      }
    }
    "#);
}

#[test]
fn variables_are_listed_with_their_types() {
    let text = r#"
        variable "A" {
            default     = "x"
            description = "an a"
        }
        variable "B" { default = null }
        variable "C" {
            type    = list(string)
            default = ["p"]
        }
        variable "D" { default = 5 }
    "#;
    let case = Case {
        variables: &[("D", "7")],
        ..Case::of("docker-bake.hcl", text)
    };
    let rows = case.read().expect("valid").variables;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| json!([row.name, row.kind, row.value.to_json(), row.description]))
        .collect();
    assert_eq!(
        Json::Array(rows),
        json!([
            ["A", "string", "x", "an a"],
            ["B", null, null, ""],
            ["C", "list(string)", ["p"], ""],
            ["D", "number", 7, ""],
        ])
    );
}
