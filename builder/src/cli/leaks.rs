//! Options that decide about secrets in images that leave the store.

use clap::{ArgAction, Args};

use super::Settings;
use super::session::Session;
use crate::image::{self, Image};
use crate::report::Report;
use crate::secrecy::Search;

/// Permission for images and outputs to hold secrets.
pub(super) const SECRET_EXPORT: &str = "secret-export";

/// Options of commands that let images go.
#[derive(Args, Clone, Debug, Default)]
pub struct LeakArgs {
    /// Refuse images with keys or tokens that can be told by their looks
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub detect_credentials: Option<bool>,

    /// secret-export lets images go that hold secrets
    #[arg(long, value_name = "ENTITLEMENT", value_parser = [SECRET_EXPORT],
          hide_possible_values = true)]
    pub allow: Option<String>,
}

impl LeakArgs {
    /// Refuses images that hold secrets.
    pub fn check<'i>(
        &self,
        session: &Session,
        settings: &Settings,
        images: impl Iterator<Item = &'i Image>,
    ) -> Result<(), Report> {
        if self.allow.is_some() {
            return Ok(());
        }
        let credentials = self
            .detect_credentials
            .or(settings.file.build.detect_credentials)
            .unwrap_or(false);
        let store = &session.store;
        let search = || Search::new(&store.layers(), &[], true);
        let search = credentials.then(search).transpose();
        let search = search.map_err(|error| Report::from_error(&error))?;
        let mut found = Vec::new();
        for image in images {
            let leaks = image::leaks(store, image, search.as_ref());
            found.extend(leaks.map_err(|error| Report::from_error(&error))?);
        }
        if found.is_empty() {
            return Ok(());
        }
        let report = Report::new("the image does not leave: it holds secrets");
        let report = found.into_iter().fold(report, Report::cause);
        Err(report
            .hint("a file that a later layer removes leaves with the layer that has it")
            .hint("--allow secret-export lets the image go all the same"))
    }
}
