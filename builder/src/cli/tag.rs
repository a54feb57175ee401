//! `cooper tag` and `cooper rmi`: names of images.

use std::collections::BTreeSet;

use clap::Args;
use cooper_cache::{ImageRecord, StoreError};
use cooper_oci::{Digest, Reference};

use super::Settings;
use super::output::image_name;
use super::session::Session;
use crate::report::{Report, print_data};

/// Options of `cooper tag`.
#[derive(Args, Clone, Debug)]
pub struct TagArgs {
    /// The image, by name or ID
    pub source: String,
    /// Its additional name
    pub target: String,
}

impl TagArgs {
    /// Gives the image the name.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let target =
            image_name(&self.target).map_err(|error| error.report("the name", &self.target))?;
        let session = Session::open(settings)?;
        let record = session.image(&self.source)?;
        let images = session.store.images();
        let members = session.platforms(&self.source)?;
        let tagged = if members.is_empty() {
            images.tag(&target, &record.id)
        } else {
            images.tag_platforms(&target, &members)
        };
        tagged.map_err(|error| Report::from_error(&error))?;
        session.tell("tag", record.id.to_string(), &target.familiar());
        Ok(())
    }
}

/// Options of `cooper rmi`.
#[derive(Args, Clone, Debug)]
pub struct RmiArgs {
    /// Images, by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,

    /// Remove an image that has several names or containers
    #[arg(short, long)]
    pub force: bool,

    /// Images have no parents here that would be removed along
    #[arg(long, hide = true)]
    pub no_prune: bool,
}

/// What is to be done about one argument of `rmi`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Removal {
    untag: Vec<Reference>,
    delete: Option<Digest>,
}

impl RmiArgs {
    /// Takes names away, and removes images that have none left.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let used = super::ps::used_images(settings)?;
        let mut failures = Vec::new();
        for name in &self.images {
            if let Err(report) = self.remove(&session, name, &used) {
                failures.push(report);
            }
        }
        Report::of_all(failures)
    }

    fn remove(&self, session: &Session, name: &str, used: &BTreeSet<Digest>) -> Result<(), Report> {
        let record = session.image(name)?;
        let removal = self.plan(name, &record, &session.names(&record)?, used)?;
        let images = session.store.images();
        let failed = |error: StoreError| Report::from_error(&error);
        let mut others: BTreeSet<Digest> = BTreeSet::new();
        for reference in &removal.untag {
            let platforms = images.platforms(reference).map_err(failed)?;
            others.extend(platforms.into_iter().map(|one| one.image));
            images
                .untag(reference)
                .map_err(|error| Report::from_error(&error))?;
            session.tell("untag", record.id.to_string(), &reference.familiar());
            print_data(&format!("Untagged: {}\n", reference.familiar()))?;
        }
        let named = images.tags().map_err(failed)?;
        // The images of other platforms go with their last name, too.
        others.retain(|id| {
            *id != record.id && !used.contains(id) && named.iter().all(|(_, image)| image != id)
        });
        for id in removal.delete.iter().chain(&others) {
            images.remove(id).map_err(failed)?;
            session.tell("delete", id.to_string(), &id.to_string());
            print_data(&format!("Deleted: {id}\n"))?;
        }
        Ok(())
    }

    /// Returns what removing `name` means for the image that it names, as docker has it: a name
    /// is taken away, the last one with the image; an ID removes the image with its only name.
    fn plan(
        &self,
        name: &str,
        record: &ImageRecord,
        names: &[Reference],
        used: &BTreeSet<Digest>,
    ) -> Result<Removal, Report> {
        let by_name = name
            .parse::<Reference>()
            .ok()
            .map(|reference| reference.with_default_tag())
            .filter(|reference| names.contains(reference));
        let untag = match by_name {
            Some(reference) => vec![reference],
            None if names.len() > 1 && !self.force => {
                let names: Vec<_> = names.iter().map(Reference::familiar).collect();
                return Err(Report::new(format!(
                    "image {name} has several names: {}",
                    names.join(", ")
                ))
                .hint("remove them by name, or all with --force"));
            }
            None => names.to_vec(),
        };
        let last = untag.len() == names.len();
        if last && used.contains(&record.id) && !self.force {
            return Err(Report::new(format!("image {name} is used by a container"))
                .hint("`cooper ps -a` lists containers; --force removes the image all the same"));
        }
        Ok(Removal {
            untag,
            delete: last.then(|| record.id.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, names: &[&str], force: bool, used: bool) -> Result<Removal, String> {
        let record = ImageRecord {
            id: Digest::sha256("a"),
            layers: Vec::new(),
            manifest: None,
            attestations: None,
            created: None,
            size: 0,
        };
        let names: Vec<Reference> = names
            .iter()
            .map(|name| name.parse().expect("valid"))
            .collect();
        let used = used.then(|| record.id.clone()).into_iter().collect();
        let args = RmiArgs {
            images: Vec::new(),
            force,
            no_prune: false,
        };
        args.plan(name, &record, &names, &used)
            .map_err(|report| report.render(false))
    }

    #[test]
    fn names_are_taken_away_and_the_last_takes_the_image_along() {
        let removal = |untag: &[&str], delete: bool| {
            Ok(Removal {
                untag: untag
                    .iter()
                    .map(|name| name.parse().expect("valid"))
                    .collect(),
                delete: delete.then(|| Digest::sha256("a")),
            })
        };
        let one = ["a:latest"];
        let two = ["a:latest", "b:1"];
        assert_eq!(plan("a", &one, false, false), removal(&one, true));
        assert_eq!(plan("a", &two, false, false), removal(&one, false));
        assert_eq!(plan("a", &two, false, true), removal(&one, false));
        assert_eq!(
            plan("ca978112ca1b", &one, false, false),
            removal(&one, true)
        );
        assert_eq!(plan("ca978112ca1b", &two, true, false), removal(&two, true));
        assert_eq!(plan("ca978112ca1b", &[], false, false), removal(&[], true));
        assert_eq!(plan("a", &one, true, true), removal(&one, true));
        assert!(plan("ca978112ca1b", &two, false, false).is_err());
        assert!(plan("a", &one, false, true).is_err());
    }
}
