//! `--attest`, `--provenance` and `--sbom`: what is said of images beside them.
//!
//! | Written | Means |
//! |---|---|
//! | `--provenance=VALUE` | `--attest=type=provenance,VALUE`; also true and false |
//! | `--sbom=VALUE` | `--attest=type=sbom,VALUE`; also true and false |
//!
//! Without any of them the configuration file says what there is, and by default nothing is: an
//! image is what its input makes it, to the last byte. `BUILDX_NO_DEFAULT_ATTESTATIONS` takes the
//! file's word away, as it takes away buildx's own default.

use clap::Args;

use super::super::value::{ValueError, boolean, csv};
use crate::config::{BuildSection, Environment};
use crate::options::{Attest, Provenance, ProvenanceMode};
use crate::report::Report;

/// Takes away what is attested where nothing was asked for.
const NO_DEFAULT: &str = "BUILDX_NO_DEFAULT_ATTESTATIONS";
/// How much of its provenance a build writes to its metadata file.
const METADATA: &str = "BUILDX_METADATA_PROVENANCE";
/// Whether a build writes what its checks found to its metadata file.
const WARNINGS: &str = "BUILDX_METADATA_WARNINGS";
/// The generator whose work is done here.
const SYFT: &str = "docker/buildkit-syft-scanner";
/// What a file with a list of packages is called.
const SBOM_FILE: &str = "sbom.spdx.json";

const KINDS: [&str; 2] = ["provenance", "sbom"];

/// Options about attestations.
#[derive(Args, Clone, Debug, Default)]
pub struct AttestArgs {
    /// Say how the image was made, or what it is made of: type=provenance|sbom[,KEY=VALUE…]
    #[arg(long, value_name = "ATTESTATION")]
    pub attest: Vec<String>,

    /// Say how the image was made; mode=min says nothing that was passed in
    #[arg(long, value_name = "BOOL|mode=min|max")]
    pub provenance: Option<String>,

    /// List the packages that the image is made of
    #[arg(long, value_name = "BOOL")]
    pub sbom: Option<String>,
}

impl AttestArgs {
    /// Returns what is attested.
    pub(super) fn resolve(
        &self,
        environment: &Environment,
        file: &BuildSection,
    ) -> Result<Attest, Report> {
        let mut asked = Asked::default();
        for text in &self.attest {
            let add = asked.add(text);
            add.map_err(|error| error.report("--attest", text))?;
        }
        for (kind, value) in KINDS.iter().zip([&self.provenance, &self.sbom]) {
            if let Some(value) = value {
                let add = asked.add(&long(kind, value));
                add.map_err(|error| error.report(&format!("--{kind}"), value))?;
            }
        }
        let switch = environment.text(NO_DEFAULT).filter(|text| !text.is_empty());
        let no_default = match switch {
            Some(text) => {
                boolean(NO_DEFAULT, &text).map_err(|error| error.report(NO_DEFAULT, &text))?
            }
            None => false,
        };
        for (kind, value) in KINDS.iter().zip([&file.provenance, &file.sbom]) {
            if let Some(value) = value.as_ref().filter(|_| !no_default && !asked.has(kind)) {
                let add = asked.add(&long(kind, value));
                let option = format!("the configuration key {kind}");
                add.map_err(|error| error.report(&option, value))?;
            }
        }
        Ok(Attest {
            provenance: asked.provenance.wanted(),
            sbom: asked.sbom.wanted(),
        })
    }
}

/// Returns how much of its provenance a build writes to its metadata file.
pub(super) fn metadata_mode(environment: &Environment) -> Result<Option<ProvenanceMode>, Report> {
    let text = environment.text(METADATA).unwrap_or_default();
    match (&*text, boolean(METADATA, &text)) {
        ("" | "min", _) | (_, Ok(true)) => Ok(Some(ProvenanceMode::Min)),
        ("max", _) => Ok(Some(ProvenanceMode::Max)),
        ("disabled", _) | (_, Ok(false)) => Ok(None),
        (other, Err(_)) => {
            let known = ["min", "max", "disabled"];
            Err(ValueError::unknown("mode", other, &known).report(METADATA, other))
        }
    }
}

/// Returns whether a build writes what its checks found to its metadata file.
pub(super) fn metadata_warnings(environment: &Environment) -> Result<bool, Report> {
    let text = environment.text(WARNINGS).filter(|text| !text.is_empty());
    text.map_or(Ok(false), |text| {
        boolean(WARNINGS, &text).map_err(|error| error.report(WARNINGS, &text))
    })
}

/// Returns what a shorthand stands for.
fn long(kind: &str, value: &str) -> String {
    match boolean(kind, value) {
        Ok(wanted) => format!("type={kind},disabled={}", !wanted),
        Err(_) if ["min", "max"].contains(&value) => format!("type={kind},mode={value}"),
        Err(_) => format!("type={kind},{value}"),
    }
}

/// What was asked for of each kind; that something is not wanted is asked for, too.
#[derive(Default)]
struct Asked {
    provenance: Wish<Provenance>,
    sbom: Wish<String>,
}

/// What is said of one kind.
#[derive(Default)]
enum Wish<T> {
    #[default]
    Unsaid,
    Unwanted,
    Wanted(T),
}

impl<T> Wish<T> {
    fn new(wanted: bool, what: T) -> Self {
        if wanted {
            Self::Wanted(what)
        } else {
            Self::Unwanted
        }
    }

    fn is_said(&self) -> bool {
        !matches!(self, Self::Unsaid)
    }

    fn wanted(self) -> Option<T> {
        match self {
            Self::Wanted(what) => Some(what),
            Self::Unsaid | Self::Unwanted => None,
        }
    }
}

impl Asked {
    fn has(&self, kind: &str) -> bool {
        match kind {
            "sbom" => self.sbom.is_said(),
            _ => self.provenance.is_said(),
        }
    }

    fn add(&mut self, text: &str) -> Result<(), ValueError> {
        let mut kind = None;
        let mut values = Vec::new();
        for field in csv(text)? {
            match field.split_once('=') {
                Some(("type", value)) => kind = Some(value.to_owned()),
                Some((key, value)) => values.push((key.to_ascii_lowercase(), value.to_owned())),
                None => {
                    let problem = format!("{field:?} is no KEY=VALUE pair");
                    return Err(ValueError::new(problem).hint("write KEY=VALUE, such as mode=min"));
                }
            }
        }
        let Some(kind) = kind else {
            return Err(ValueError::new("no type").hint("write type=provenance or type=sbom"));
        };
        if !KINDS.contains(&&*kind) {
            return Err(ValueError::unknown("attestation", &kind, &KINDS));
        }
        if self.has(&kind) {
            return Err(ValueError::new(format!("{kind} is given twice")));
        }
        let disabled = |(key, value): &(String, String)| match &**key {
            "disabled" => boolean(key, value),
            _ => Ok(false),
        };
        let off = values.iter().map(disabled).collect::<Result<Vec<_>, _>>()?;
        let on = !off.contains(&true);
        values.retain(|(key, _)| key != "disabled");
        if kind == "sbom" {
            self.sbom = Wish::new(on, sbom(&values)?);
        } else {
            self.provenance = Wish::new(on, provenance(&values)?);
        }
        Ok(())
    }
}

fn provenance(values: &[(String, String)]) -> Result<Provenance, ValueError> {
    // What is asked for without a mode is all there is, as BuildKit has it.
    let mut asked = Provenance {
        mode: ProvenanceMode::Max,
        ..Provenance::default()
    };
    for (key, value) in values {
        match &**key {
            "mode" => {
                asked.mode = match &**value {
                    "min" => ProvenanceMode::Min,
                    "max" => ProvenanceMode::Max,
                    other => return Err(ValueError::unknown("mode", other, &["min", "max"])),
                }
            }
            "builder-id" => asked.builder_id.clone_from(value),
            "reproducible" => asked.reproducible = boolean(key, value)?,
            "inline-only" => asked.inline_only = boolean(key, value)?,
            "filename" => asked.file_name = file_name(value)?,
            "version" if value == "v1" => {}
            "version" => {
                let problem = format!("provenance of version {value} cannot be made");
                return Err(ValueError::new(problem).hint("leave version out: it is v1"));
            }
            key => {
                let known = [
                    "mode",
                    "builder-id",
                    "reproducible",
                    "inline-only",
                    "filename",
                ];
                return Err(ValueError::unknown("key for type=provenance:", key, &known));
            }
        }
    }
    Ok(asked)
}

fn sbom(values: &[(String, String)]) -> Result<String, ValueError> {
    let mut file = SBOM_FILE.to_owned();
    for (key, value) in values {
        match &**key {
            "filename" => file = file_name(value)?,
            "generator" if value.is_empty() || value.contains(SYFT) => {}
            "generator" => {
                let problem = format!("the generator {value} is an image, and none is run");
                let hint = "leave generator out: cooper reads the records of packages itself";
                return Err(ValueError::new(problem).hint(hint));
            }
            key => {
                return Err(ValueError::unknown(
                    "key for type=sbom:",
                    key,
                    &["filename"],
                ));
            }
        }
    }
    Ok(file)
}

/// A file's name stays in the directory that it is put in.
fn file_name(value: &str) -> Result<String, ValueError> {
    if value.is_empty() || value.contains('/') || value.starts_with('.') {
        return Err(ValueError::new(format!("{value:?} is no name of a file")));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AttestArgs,
    }

    fn resolve(args: &[&str], variables: &[(&str, &str)]) -> Result<Attest, String> {
        let line =
            Line::try_parse_from([&["build"], args].concat()).map_err(|error| error.to_string())?;
        let file = BuildSection {
            provenance: Some("min".to_owned()),
            ..BuildSection::default()
        };
        let environment = Environment::of(variables.iter().copied());
        let resolved = line.args.resolve(&environment, &file);
        resolved.map_err(|report| report.render(false))
    }

    fn provenance(mode: ProvenanceMode) -> Provenance {
        Provenance {
            mode,
            ..Provenance::default()
        }
    }

    #[test]
    fn attestations_are_written_as_buildx_takes_them() {
        let (min, max) = (
            Some(provenance(ProvenanceMode::Min)),
            Some(provenance(ProvenanceMode::Max)),
        );
        let sbom = Some("sbom.spdx.json".to_owned());
        let own = Some(Provenance {
            mode: ProvenanceMode::Min,
            builder_id: "https://ci.example/1,2".to_owned(),
            reproducible: true,
            inline_only: true,
            file_name: "p.json".to_owned(),
        });
        let cases: [(&[&str], Option<Provenance>, Option<String>); 11] = [
            (&[], min.clone(), None),
            (&["--provenance=false"], None, None),
            (&["--provenance=disabled=true"], None, None),
            (&["--attest=type=provenance,disabled=1"], None, None),
            (&["--provenance", "true"], max.clone(), None),
            (
                &["--provenance=true", "--sbom=true"],
                max.clone(),
                sbom.clone(),
            ),
            (&["--provenance=min", "--sbom=0"], min.clone(), None),
            (&["--provenance=mode=max"], max.clone(), None),
            (
                &["--attest=type=sbom,generator=docker/buildkit-syft-scanner:1"],
                min,
                sbom,
            ),
            (
                &[
                    "--attest",
                    "type=provenance,mode=min,\"builder-id=https://ci.example/1,2\",\
                     reproducible=true,inline-only=true,filename=p.json,version=v1",
                ],
                own,
                None,
            ),
            (
                &[
                    "--attest=type=sbom,filename=x.json",
                    "--attest=type=provenance",
                ],
                max,
                Some("x.json".to_owned()),
            ),
        ];
        for (args, provenance, sbom) in cases {
            assert_eq!(
                resolve(args, &[]),
                Ok(Attest { provenance, sbom }),
                "{args:?}"
            );
        }
        let without = resolve(&[], &[(NO_DEFAULT, "1")]);
        assert_eq!(without, Ok(Attest::default()));
    }

    #[test]
    fn what_cannot_be_attested_is_refused() {
        let lines: &[&[&str]] = &[
            &["--attest=type=sbom,generator=x/y"],
            &["--attest=type=sbon"],
            &["--attest=mode=max"],
            &["--attest=provenance"],
            &["--provenance=mode=most"],
            &["--provenance=version=v0.2"],
            &["--provenance=filename=../x"],
            &["--sbom=true", "--attest=type=sbom"],
        ];
        let reports: String = lines
            .iter()
            .map(|line| resolve(line, &[]).expect_err("refused"))
            .chain(resolve(&[], &[(NO_DEFAULT, "maybe")]).err())
            .collect();
        insta::assert_snapshot!(reports, @r#"
        ERROR: invalid value "type=sbom,generator=x/y" for --attest: the generator x/y is an image, and none is run
          hint: leave generator out: cooper reads the records of packages itself
        ERROR: invalid value "type=sbon" for --attest: unknown attestation "sbon"
          hint: did you mean "sbom"?
        ERROR: invalid value "mode=max" for --attest: no type
          hint: write type=provenance or type=sbom
        ERROR: invalid value "provenance" for --attest: "provenance" is no KEY=VALUE pair
          hint: write KEY=VALUE, such as mode=min
        ERROR: invalid value "mode=most" for --provenance: unknown mode "most"
          hint: known are min, max
        ERROR: invalid value "version=v0.2" for --provenance: provenance of version v0.2 cannot be made
          hint: leave version out: it is v1
        ERROR: invalid value "filename=../x" for --provenance: "../x" is no name of a file
        ERROR: invalid value "true" for --sbom: sbom is given twice
        ERROR: invalid value "maybe" for BUILDX_NO_DEFAULT_ATTESTATIONS: BUILDX_NO_DEFAULT_ATTESTATIONS is neither true nor false: "maybe"
        "#);
    }

    #[test]
    fn the_metadata_file_tells_the_least_unless_more_is_asked_for() {
        for (value, mode) in [
            ("", Some(ProvenanceMode::Min)),
            ("1", Some(ProvenanceMode::Min)),
            ("max", Some(ProvenanceMode::Max)),
            ("disabled", None),
            ("false", None),
            ("0", None),
        ] {
            let found = metadata_mode(&Environment::of([(METADATA, value)]));
            assert_eq!(found.map_err(|report| report.render(false)), Ok(mode));
        }
        for (value, wanted) in [("", false), ("0", false), ("1", true), ("true", true)] {
            let found = metadata_warnings(&Environment::of([(WARNINGS, value)]));
            assert_eq!(found.map_err(|report| report.render(false)), Ok(wanted));
        }
        let errors = [
            metadata_mode(&Environment::of([(METADATA, "all")])).map(|_| ()),
            metadata_warnings(&Environment::of([(WARNINGS, "all")])).map(|_| ()),
        ];
        let reports = errors.map(|error| error.expect_err("refused").render(false));
        insta::assert_snapshot!(reports.concat(), @r#"
        ERROR: invalid value "all" for BUILDX_METADATA_PROVENANCE: unknown mode "all"
          hint: known are min, max, disabled
        ERROR: invalid value "all" for BUILDX_METADATA_WARNINGS: BUILDX_METADATA_WARNINGS is neither true nor false: "all"
        "#);
    }
}
