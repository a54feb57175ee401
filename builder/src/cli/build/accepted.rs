//! Options that scripts give to docker or buildah and that mean nothing here, or that have an
//! answer other than being done.
//!
//! An option is taken in silence only where the build that comes out is the one asked for:
//! what cannot be had is an error that says what to do.

use clap::Args;

use super::super::value::boolean;
use crate::config::Environment;
use crate::report::Report;

/// Options that are taken and do nothing, or are refused with a reason.
#[derive(Args, Clone, Debug, Default)]
pub struct AcceptedArgs {
    /// There are no intermediate containers to keep
    #[arg(long, alias = "force-rm", hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", overrides_with = "rm")]
    pub rm: Option<String>,

    /// There is one builder
    #[arg(long, hide = true, value_name = "NAME")]
    pub builder: Option<String>,

    /// Intermediate results are always kept
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub layers: Option<String>,

    /// A context is read where it is
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub compress: Option<String>,

    /// Images are verified by their digests
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub disable_content_trust: Option<String>,

    /// Errors always say all there is
    #[arg(short = 'D', long, hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub debug: Option<String>,

    /// Source policies are not evaluated
    #[arg(long, hide = true, value_name = "POLICY")]
    pub policy: Vec<String>,

    /// Steps share one user namespace
    #[arg(long, hide = true, value_name = "MODE")]
    pub userns: Option<String>,

    /// Steps share one user namespace
    #[arg(long, hide = true, value_name = "MAP",
          visible_aliases = ["userns-gid-map", "userns-uid-map-user", "userns-gid-map-group"])]
    pub userns_uid_map: Vec<String>,
}

impl AcceptedArgs {
    /// Refuses what cannot be had.
    pub(super) fn check(&self, environment: &Environment) -> Result<(), Report> {
        if let Some(policy) = self
            .policy
            .iter()
            .find(|policy| !policy.contains("disabled=true"))
        {
            let heading = format!("--policy {policy}: source policies are not evaluated");
            return Err(Report::new(heading)
                .hint("pin images by digest in the Dockerfile, or pass --policy disabled=true"));
        }
        self.check_user_namespace()?;
        check_environment(environment)
    }

    fn check_user_namespace(&self) -> Result<(), Report> {
        let asked = match self.userns.as_deref() {
            None | Some("" | "host") => self.userns_uid_map.first().map(String::as_str),
            other => other,
        };
        match asked {
            None => Ok(()),
            Some(asked) => Err(Report::new(format!(
                "--userns {asked}: steps have no user namespace of their own"
            ))
            .hint("run cooper as a user other than root: then all of it is in a user namespace")),
        }
    }
}

/// Docker's switch in the environment must be readable, as docker has it.
fn check_environment(environment: &Environment) -> Result<(), Report> {
    const SWITCH: &str = "DOCKER_BUILDKIT";
    if let Some(value) = environment.text(SWITCH).filter(|value| !value.is_empty()) {
        boolean(SWITCH, &value).map_err(|error| error.report(SWITCH, &value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        accepted: AcceptedArgs,
    }

    fn check(args: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
        let line =
            Line::try_parse_from([&["build"], args].concat()).map_err(|error| error.to_string())?;
        line.accepted
            .check(&Environment::of(variables.iter().copied()))
            .map_err(|report| report.render(false))
    }

    #[test]
    fn what_changes_nothing_is_taken() {
        for args in [
            &["--rm", "--force-rm=false"][..],
            &["--builder=mine"],
            &["--layers", "--layers=false"][..1],
            &["--compress"],
            &["--disable-content-trust=false"],
            &["-D"],
            &["--debug"],
            &["--policy=disabled=true"],
            &["--userns=host"],
        ] {
            assert_eq!(check(args, &[]), Ok(()), "{args:?}");
        }
        for value in ["0", "1", "", "true"] {
            assert_eq!(check(&[], &[("DOCKER_BUILDKIT", value)]), Ok(()));
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let lines: &[&[&str]] = &[
            &["--policy=filename=p.rego"],
            &["--userns=auto"],
            &["--userns-uid-map=0:1000:1"],
        ];
        let mut reports: String = lines
            .iter()
            .map(|line| check(line, &[]).expect_err("refused"))
            .collect();
        reports += &check(&[], &[("DOCKER_BUILDKIT", "maybe")]).expect_err("refused");
        insta::assert_snapshot!(reports, @r#"
        ERROR: --policy filename=p.rego: source policies are not evaluated
          hint: pin images by digest in the Dockerfile, or pass --policy disabled=true
        ERROR: --userns auto: steps have no user namespace of their own
          hint: run cooper as a user other than root: then all of it is in a user namespace
        ERROR: --userns 0:1000:1: steps have no user namespace of their own
          hint: run cooper as a user other than root: then all of it is in a user namespace
        ERROR: invalid value "maybe" for DOCKER_BUILDKIT: DOCKER_BUILDKIT is neither true nor false: "maybe"
        "#);
    }
}
