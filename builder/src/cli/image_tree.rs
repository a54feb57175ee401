//! `cooper images --tree`: names, and below them an image for each of their platforms.
//!
//! The columns are docker's. Content is what of an image is kept as blobs, as it is sent; on the
//! disk are that and the layers that have been unpacked or made here. Layers that several images
//! share count for each.

use std::collections::{BTreeMap, BTreeSet};

use cooper_cache::{ImageRecord, Layers, PlatformImage};
use cooper_oci::{Digest, Reference};

use super::images::short_id;
use super::session::Session;
use super::table::Table;
use super::{container, human};
use crate::container::Containers;
use crate::report::Report;

/// Widths of docker's columns of sizes, which stand at their right.
const USAGE: usize = "DISK USAGE".len();
const CONTENT: usize = "CONTENT SIZE".len();

/// What is said of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Details {
    usage: u64,
    content: u64,
    used: bool,
}

/// Images that go by the same names.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    names: Vec<String>,
    id: Digest,
    created: Option<String>,
    /// Each with its platform.
    images: Vec<(String, Digest, Details)>,
}

/// Returns the tree of `images`, each of which comes with those of its names that are shown.
pub(super) fn tree(
    session: &Session,
    images: &[(ImageRecord, Vec<Reference>)],
) -> Result<String, Report> {
    let containers = Containers::of(session.store.root()).list();
    let containers = containers.map_err(|error| container::failed(&error))?;
    let used = containers.into_iter();
    let used: BTreeSet<_> = used.map(|found| found.container.config.image_id).collect();
    let layers = session.store.layers();
    let details = |(record, _): &(ImageRecord, _)| {
        let details = Details {
            used: used.contains(&record.id),
            ..sizes(session, &layers, record)
        };
        (record.id.clone(), details)
    };
    let details: BTreeMap<Digest, Details> = images.iter().map(details).collect();
    let mut nodes: BTreeMap<Vec<Digest>, Node> = BTreeMap::new();
    for (record, names) in images {
        let shown: Vec<_> = match names.as_slice() {
            [] => vec![None],
            names => names.iter().map(Some).collect(),
        };
        for name in shown {
            let members = members(session, record, name)?;
            let key = members.iter().map(|member| member.image.clone()).collect();
            let node = nodes.entry(key).or_insert_with(|| Node {
                names: Vec::new(),
                id: record.id.clone(),
                created: record.created.clone(),
                images: below(&members, &details),
            });
            let name = name.map(Reference::familiar);
            let new = name.filter(|name| !node.names.contains(name));
            node.names.extend(new);
        }
    }
    let mut nodes: Vec<_> = nodes.into_values().collect();
    nodes.sort_by(|a, b| b.created.cmp(&a.created).then(a.names.cmp(&b.names)));
    Ok(render(&nodes))
}

/// Returns the images that a name of `image` stands for, or the image alone.
fn members(
    session: &Session,
    image: &ImageRecord,
    name: Option<&Reference>,
) -> Result<Vec<PlatformImage>, Report> {
    let several = name.map(|name| session.platforms(&name.to_string()));
    let several = several.transpose()?.unwrap_or_default();
    if !several.is_empty() {
        return Ok(several);
    }
    Ok(vec![PlatformImage {
        platform: session.config(image)?.platform().normalized(),
        image: image.id.clone(),
    }])
}

/// Returns what stands below names; an image that was removed just now does not.
fn below(
    members: &[PlatformImage],
    details: &BTreeMap<Digest, Details>,
) -> Vec<(String, Digest, Details)> {
    let one = |member: &PlatformImage| {
        let details = details.get(&member.image)?;
        Some((member.platform.to_string(), member.image.clone(), *details))
    };
    members.iter().filter_map(one).collect()
}

fn sizes(session: &Session, layers: &Layers, record: &ImageRecord) -> Details {
    let blobs = session.store.blobs();
    let mut content = blobs.size(&record.id).unwrap_or(0);
    let mut unpacked = 0;
    for layer in &record.layers {
        let blob = layers.pending_blob(&layer.diff_id);
        content += blob.map_or(0, |blob| blob.size);
        if let Ok(Some(there)) = layers.get(&layer.layer) {
            unpacked += there.size().unwrap_or(0);
        }
    }
    Details {
        usage: content + unpacked,
        content,
        used: false,
    }
}

fn render(nodes: &[Node]) -> String {
    let mut table = Table::new(["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "USED"]);
    for (number, node) in nodes.iter().enumerate() {
        if number > 0 {
            table.row([""]);
        }
        let all = node.images.iter().map(|(_, _, details)| *details);
        let all = all.fold(Details::default(), |sum, one| Details {
            usage: sum.usage + one.usage,
            content: sum.content + one.content,
            used: sum.used || one.used,
        });
        match node.names.split_last() {
            None => row(&mut table, "<untagged>".to_owned(), &node.id, all),
            Some((last, others)) => {
                for name in others {
                    table.row([name.as_str()]);
                }
                row(&mut table, last.clone(), &node.id, all);
            }
        }
        let last = node.images.len().saturating_sub(1);
        for (number, (platform, id, details)) in node.images.iter().enumerate() {
            let branch = if number == last { "└─" } else { "├─" };
            row(&mut table, format!("{branch} {platform}"), id, *details);
        }
    }
    table.render()
}

fn row(table: &mut Table, name: String, id: &Digest, details: Details) {
    let (usage, content) = (human::size(details.usage), human::size(details.content));
    table.row([
        name,
        short_id(&id.to_string()).to_owned(),
        format!("{usage:>USAGE$}"),
        format!("{content:>CONTENT$}"),
        if details.used { " ✔" } else { "" }.to_owned(),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_above_the_platforms_that_they_are_for() {
        let id = |seed: &str| Digest::sha256(seed);
        let details = |usage, content, used| Details {
            usage,
            content,
            used,
        };
        let node = |names: &[&str], seed: &str, images| Node {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            id: id(seed),
            created: None,
            images,
        };
        let nodes = [
            node(
                &["app:1", "app:latest"],
                "a",
                vec![
                    (
                        "linux/amd64".to_owned(),
                        id("a"),
                        details(13_000_000, 4_200_000, true),
                    ),
                    (
                        "linux/arm64".to_owned(),
                        id("b"),
                        details(4_000_000, 4_000_000, false),
                    ),
                ],
            ),
            node(
                &[],
                "c",
                vec![("linux/amd64".to_owned(), id("c"), details(21, 21, false))],
            ),
        ];
        insta::assert_snapshot!(render(&nodes), @r"
        IMAGE            ID             DISK USAGE   CONTENT SIZE   USED
        app:1
        app:latest       ca978112ca1b         17MB          8.2MB    ✔
        ├─ linux/amd64   ca978112ca1b         13MB          4.2MB    ✔
        └─ linux/arm64   3e23e8160039          4MB            4MB

        <untagged>       2e7d2c03a950          21B            21B
        └─ linux/amd64   2e7d2c03a950          21B            21B
        ");
    }
}
