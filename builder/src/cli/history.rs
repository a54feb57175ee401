//! `cooper history`: how an image came to be.

use clap::{ArgAction, Args};
use cooper_cache::ImageRecord;
use cooper_oci::{ImageConfig, Platform};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::images::{Format, short_id};
use super::session::Session;
use super::table::{Table, shorten};
use super::{Settings, human};
use crate::image::layer_sizes;
use crate::report::{Report, print_data};

/// Options of `cooper history`.
#[derive(Args, Clone, Debug)]
pub struct HistoryArgs {
    /// The image
    pub image: String,

    /// Do not shorten anything
    #[arg(long)]
    pub no_trunc: bool,

    /// Show only IDs
    #[arg(short, long)]
    pub quiet: bool,

    /// Platform, of images that are made for several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,

    /// Sizes and times for people
    #[arg(short = 'H', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", value_name = "BOOL",
          value_parser = super::value::switch)]
    pub human: bool,

    /// How to show it: table, json or a Go template, such as '{{.CreatedBy}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// One line: an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    id: Option<String>,
    created: Option<String>,
    created_by: String,
    size: u64,
    comment: String,
}

impl HistoryArgs {
    /// Prints the history.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let record = session.image_for(&self.image, self.platform.as_ref())?;
        let config = session.config(&record)?;
        let sizes = layer_sizes(&session.store.layers(), &record);
        let lines = lines(&record, &config, &sizes);
        let now = Timestamp::now();
        let values = lines.iter().map(|line| self.json(line, now));
        match self.format.render("IMAGE", values) {
            Some(text) if !self.quiet => print_data(&text?),
            _ => print_data(&self.render(&lines, now)),
        }
    }

    fn render(&self, lines: &[Line], now: Timestamp) -> String {
        if self.quiet {
            return lines.iter().map(|line| self.id(line) + "\n").collect();
        }
        if self.format == Format::Json {
            return lines
                .iter()
                .map(|line| self.json(line, now).to_string() + "\n")
                .collect();
        }
        let created = if self.human { "CREATED" } else { "CREATED AT" };
        let mut table = Table::list(["IMAGE", created, "CREATED BY", "SIZE", "COMMENT"]);
        for line in lines {
            table.row([
                self.id(line),
                self.created(line, now),
                self.text(&line.created_by),
                self.size(line),
                line.comment.clone(),
            ]);
        }
        table.render()
    }

    fn json(&self, line: &Line, now: Timestamp) -> Value {
        json!({
            "Comment": line.comment,
            "CreatedAt": line.created,
            "CreatedBy": self.text(&line.created_by),
            "CreatedSince": human::since(line.created.as_deref(), now),
            "ID": self.id(line),
            "Size": self.size(line),
        })
    }

    fn id(&self, line: &Line) -> String {
        match &line.id {
            None => "<missing>".to_owned(),
            Some(id) if self.no_trunc => id.clone(),
            Some(id) => short_id(id).to_owned(),
        }
    }

    fn created(&self, line: &Line, now: Timestamp) -> String {
        if self.human {
            return human::since(line.created.as_deref(), now);
        }
        line.created.clone().unwrap_or_default()
    }

    fn text(&self, text: &str) -> String {
        let text = text.replace(['\t', '\n'], " ");
        if self.no_trunc {
            text
        } else {
            shorten(&text, 45)
        }
    }

    fn size(&self, line: &Line) -> String {
        if self.human {
            human::size(line.size)
        } else {
            line.size.to_string()
        }
    }
}

/// Returns the lines, last instruction first. The last one carries the image's ID.
fn lines(record: &ImageRecord, config: &ImageConfig, sizes: &[u64]) -> Vec<Line> {
    let mut sizes = sizes.iter();
    let mut lines: Vec<_> = config
        .history
        .iter()
        .map(|item| Line {
            id: None,
            created: item.created.clone(),
            created_by: item.created_by.clone(),
            size: if item.empty_layer {
                0
            } else {
                sizes.next().copied().unwrap_or(0)
            },
            comment: item.comment.clone().unwrap_or_default(),
        })
        .collect();
    // Layers that no history tells of, as images of other tools have them.
    lines.extend(sizes.map(|size| Line {
        id: None,
        created: None,
        created_by: String::new(),
        size: *size,
        comment: String::new(),
    }));
    lines.reverse();
    if let Some(first) = lines.first_mut() {
        first.id = Some(record.id.to_string());
    }
    lines
}

#[cfg(test)]
mod tests {
    use cooper_oci::{Digest, History};

    use super::*;

    fn render(args: &HistoryArgs) -> String {
        let item = |created_by: &str, empty_layer| History {
            created: Some("2024-05-01T10:00:00Z".into()),
            created_by: created_by.into(),
            comment: Some("buildkit.dockerfile.v0".into()),
            empty_layer,
            ..History::default()
        };
        let config = ImageConfig {
            history: vec![
                item("ADD rootfs.tar / # buildkit", false),
                item("ENV A=b", true),
                item(
                    "RUN /bin/sh -c make -C /src all && make -C /src install # buildkit",
                    false,
                ),
                item("CMD [\"/bin/app\"]", true),
            ],
            ..ImageConfig::default()
        };
        let record = ImageRecord {
            id: Digest::sha256("a"),
            layers: Vec::new(),
            manifest: None,
            attestations: None,
            created: None,
            size: 0,
        };
        let now = "2024-05-01T12:00:00Z".parse().expect("valid");
        args.render(&lines(&record, &config, &[4_261_000, 1234]), now)
    }

    fn args() -> HistoryArgs {
        HistoryArgs {
            platform: None,
            image: "a".into(),
            no_trunc: false,
            quiet: false,
            human: true,
            format: Format::Table,
        }
    }

    #[test]
    fn the_last_instruction_comes_first() {
        insta::assert_snapshot!(render(&args()), @r#"
        IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT
        ca978112ca1b   2 hours ago   CMD ["/bin/app"]                                0B        buildkit.dockerfile.v0
        <missing>      2 hours ago   RUN /bin/sh -c make -C /src all && make -C /…   1.23kB    buildkit.dockerfile.v0
        <missing>      2 hours ago   ENV A=b                                         0B        buildkit.dockerfile.v0
        <missing>      2 hours ago   ADD rootfs.tar / # buildkit                     4.26MB    buildkit.dockerfile.v0
        "#);
    }

    #[test]
    fn machines_get_whole_values() {
        let args = HistoryArgs {
            no_trunc: true,
            human: false,
            ..args()
        };
        insta::assert_snapshot!(render(&args), @r#"
        IMAGE                                                                     CREATED AT             CREATED BY                                                           SIZE      COMMENT
        sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb   2024-05-01T10:00:00Z   CMD ["/bin/app"]                                                     0         buildkit.dockerfile.v0
        <missing>                                                                 2024-05-01T10:00:00Z   RUN /bin/sh -c make -C /src all && make -C /src install # buildkit   1234      buildkit.dockerfile.v0
        <missing>                                                                 2024-05-01T10:00:00Z   ENV A=b                                                              0         buildkit.dockerfile.v0
        <missing>                                                                 2024-05-01T10:00:00Z   ADD rootfs.tar / # buildkit                                          4261000   buildkit.dockerfile.v0
        "#);
    }

    #[test]
    fn ids_alone() {
        assert_eq!(
            render(&HistoryArgs {
                quiet: true,
                ..args()
            }),
            "ca978112ca1b\n<missing>\n<missing>\n<missing>\n"
        );
    }
}
