//! `cooper images`: what the store holds.

use clap::Args;
use cooper_cache::ImageRecord;
use cooper_oci::Reference;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::image_filter::{ImageFilter, ImageFilters, name_fits};
use super::image_prune::admitted;
use super::session::Session;
use super::table::Table;
use super::template::{Template, TemplateError};
use super::{Settings, human};
use crate::image::image_size;
use crate::report::{Report, print_data};

/// Options of `cooper images`.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct ImagesArgs {
    /// Show only images of this name
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,

    /// Show only IDs
    #[arg(short, long)]
    pub quiet: bool,

    /// Show the digests under which images were pulled
    #[arg(long)]
    pub digests: bool,

    /// Do not shorten IDs
    #[arg(long)]
    pub no_trunc: bool,

    /// Show an image for each platform below its names, with what of it is on the disk
    #[arg(long, conflicts_with_all = ["quiet", "digests", "no_trunc", "format"])]
    pub tree: bool,

    /// Show every image; the store holds no hidden ones
    #[arg(short, long, hide = true)]
    pub all: bool,

    /// Show only those that fit: dangling=BOOL, label=NAME[=VALUE], label!=…, before=IMAGE,
    /// since=IMAGE, until=TIME or reference=PATTERN
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<ImageFilter>,

    /// How to show them: table, json or a Go template, such as '{{.Repository}}:{{.Tag}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// How a list is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Columns under a header
    #[default]
    Table,
    /// One JSON object a line
    Json,
    /// What a template gives for each line
    Lines(Template),
    /// The same in columns, which tabs separate, under a header
    Columns(Template),
}

impl std::str::FromStr for Format {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let columns = text
            .strip_prefix("table")
            .filter(|rest| rest.starts_with([' ', '\t', '{']));
        match (text, columns) {
            ("table" | "", _) => Ok(Self::Table),
            ("json", _) => Ok(Self::Json),
            (_, Some(template)) => template.trim_start().parse().map(Self::Columns),
            _ => text.parse().map(Self::Lines),
        }
    }
}

impl Format {
    /// Returns what a template makes of `lines`, whose IDs stand under the header `id`; nothing
    /// if the format is no template.
    pub fn render(
        &self,
        id: &str,
        lines: impl Iterator<Item = Value>,
    ) -> Option<Result<String, Report>> {
        let failed = |error: TemplateError| {
            Report::from_error(&error).context("--format does not fit this list")
        };
        match self {
            Self::Table | Self::Json => None,
            Self::Lines(template) => Some(
                lines
                    .map(|line| Ok(template.render(&line).map_err(failed)? + "\n"))
                    .collect(),
            ),
            Self::Columns(template) => {
                let mut table: Option<Table> = None;
                for line in lines {
                    let row = match template.render(&line) {
                        Ok(row) => row,
                        Err(error) => return Some(Err(failed(error))),
                    };
                    let header = template.render(&headers(&line, id)).unwrap_or_default();
                    table
                        .get_or_insert_with(|| Table::list(header.split('\t')))
                        .row(row.split('\t'));
                }
                Some(Ok(table.map_or_else(String::new, |table| table.render())))
            }
        }
    }
}

/// Returns `line` with each value replaced by its column's header.
fn headers(line: &Value, id: &str) -> Value {
    let header = |name: &String| match name.as_str() {
        "ID" => id.to_owned(),
        "CreatedSince" => "CREATED".to_owned(),
        "CPUPerc" => "CPU %".to_owned(),
        "MemPerc" => "MEM %".to_owned(),
        "MemUsage" => "MEM USAGE / LIMIT".to_owned(),
        "NetIO" => "NET I/O".to_owned(),
        "BlockIO" => "BLOCK I/O".to_owned(),
        "PIDs" => "PIDS".to_owned(),
        "TotalCount" => "TOTAL".to_owned(),
        name => {
            let space = |(at, char): (usize, char)| {
                let space = (at > 0 && char.is_ascii_uppercase()).then_some(' ');
                space.into_iter().chain([char.to_ascii_uppercase()])
            };
            name.chars().enumerate().flat_map(space).collect()
        }
    };
    let fields = line.as_object().into_iter().flat_map(serde_json::Map::keys);
    fields
        .map(|name| (name.clone(), Value::String(header(name))))
        .collect()
}

/// An image and names of it.
type Named = (ImageRecord, Vec<Reference>);

/// One line: an image under one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    id: String,
    name: Option<Reference>,
    /// Of a name that stands for several platforms.
    platform: Option<String>,
    digest: Option<String>,
    created: Option<String>,
    size: u64,
}

impl ImagesArgs {
    /// Prints the images.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let images = session
            .store
            .images()
            .list()
            .map_err(|error| Report::from_error(&error))?;
        let filters = ImageFilters::new(&self.filter, &session)?;
        let mut shown = Vec::with_capacity(images.len());
        let layers = session.store.layers();
        for (mut record, mut names) in images {
            if admitted(&session, &filters, &record, &names)? {
                names.retain(|name| filters.admits_name(name));
                if !self.quiet && !self.tree {
                    record.size = image_size(&layers, &record);
                }
                shown.push((record, names));
            }
        }
        if self.tree {
            let shown = self.wanted(shown)?;
            return print_data(&super::image_tree::tree(&session, &shown)?);
        }
        let mut lines = self.lines(shown)?;
        for line in &mut lines {
            let Some(name) = &line.name else { continue };
            let members = session.platforms(&name.to_string())?;
            let own = members
                .into_iter()
                .find(|one| one.image.to_string() == line.id);
            line.platform = own.map(|own| own.platform.to_string());
        }
        sort(&mut lines);
        let now = Timestamp::now();
        let values = lines.iter().map(|line| self.json(line, now));
        match self.format.render("IMAGE ID", values) {
            Some(text) if !self.quiet => print_data(&text?),
            _ => print_data(&self.render(&lines, now)),
        }
    }

    /// Returns the images that are asked for, with those of their names that are.
    fn wanted(&self, images: Vec<Named>) -> Result<Vec<Named>, Report> {
        let wanted = match &self.name {
            Some(name) if name.contains(['*', '?', '[']) => Some(Wanted::Pattern(name)),
            Some(name) => Some(Wanted::Name(
                name.parse::<Reference>()
                    .map_err(|error| Report::from_error(&error))?,
            )),
            None => None,
        };
        let fits = |name: &Reference| wanted.as_ref().is_none_or(|wanted| wanted.is(name));
        let fitting = images.into_iter().filter_map(|(record, mut names)| {
            let nameless = names.is_empty();
            names.retain(fits);
            let shown = !names.is_empty() || (nameless && wanted.is_none());
            shown.then_some((record, names))
        });
        Ok(fitting.collect())
    }

    /// Returns the lines to show: youngest first, one for each name.
    fn lines(&self, images: Vec<Named>) -> Result<Vec<Line>, Report> {
        let mut lines = Vec::new();
        for (record, names) in self.wanted(images)? {
            let digest = record
                .manifest
                .as_ref()
                .map(|manifest| manifest.digest.to_string());
            let line = |name| Line {
                id: record.id.to_string(),
                name,
                platform: None,
                digest: digest.clone(),
                created: record.created.clone(),
                size: record.size,
            };
            if names.is_empty() {
                lines.push(line(None));
            }
            lines.extend(names.into_iter().map(|name| line(Some(name))));
        }
        sort(&mut lines);
        Ok(lines)
    }

    fn render(&self, lines: &[Line], now: Timestamp) -> String {
        if self.quiet {
            let mut ids: Vec<_> = lines.iter().map(|line| self.id(&line.id)).collect();
            ids.dedup();
            return ids.into_iter().map(|id| id + "\n").collect();
        }
        if self.format == Format::Json {
            let text = |line: &Line| self.json(line, now).to_string() + "\n";
            return lines.iter().map(text).collect();
        }
        let mut header = vec![
            "REPOSITORY",
            "TAG",
            "PLATFORM",
            "DIGEST",
            "IMAGE ID",
            "CREATED",
            "SIZE",
        ];
        let platforms = lines.iter().any(|line| line.platform.is_some());
        header.retain(|column| platforms || *column != "PLATFORM");
        header.retain(|column| self.digests || *column != "DIGEST");
        let mut table = Table::list(header);
        for line in lines {
            let (repository, tag) = line.repository_and_tag();
            let mut cells = vec![repository, tag];
            cells.extend(platforms.then(|| line.platform.clone().unwrap_or_default()));
            cells.extend(
                self.digests
                    .then(|| line.digest.clone().unwrap_or_else(none)),
            );
            cells.push(self.id(&line.id));
            cells.push(human::since(line.created.as_deref(), now));
            cells.push(human::size(line.size));
            table.row(cells);
        }
        table.render()
    }

    fn id(&self, id: &str) -> String {
        if self.no_trunc {
            id.to_owned()
        } else {
            short_id(id).to_owned()
        }
    }

    fn json(&self, line: &Line, now: Timestamp) -> Value {
        let (repository, tag) = line.repository_and_tag();
        let mut value = json!({
            "Containers": "N/A",
            "CreatedAt": human::date(line.created.as_deref()),
            "CreatedSince": human::since(line.created.as_deref(), now),
            "Digest": line.digest.clone().unwrap_or_else(none),
            "ID": self.id(&line.id),
            "Repository": repository,
            "SharedSize": "N/A",
            "Size": human::size(line.size),
            "Tag": tag,
            "UniqueSize": "N/A",
        });
        // Docker's lines have none.
        if let Some(platform) = &line.platform {
            value["Platform"] = platform.as_str().into();
        }
        value
    }
}

impl Line {
    fn repository_and_tag(&self) -> (String, String) {
        match &self.name {
            Some(name) => (
                name.familiar_name(),
                name.tag().map_or_else(none, str::to_owned),
            ),
            None => (none(), none()),
        }
    }
}

/// The youngest first, then by name and platform.
fn sort(lines: &mut [Line]) {
    let time = |line: &Line| {
        line.created
            .as_deref()
            .and_then(|at| at.parse::<Timestamp>().ok())
    };
    lines.sort_by(|a, b| {
        let names = (&a.name, &a.platform).cmp(&(&b.name, &b.platform));
        time(b).cmp(&time(a)).then(names)
    });
}

fn none() -> String {
    "<none>".to_owned()
}

/// Returns the 12 digits that stand for an image.
pub fn short_id(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

/// What images are asked for by.
enum Wanted<'a> {
    Name(Reference),
    Pattern(&'a str),
}

impl Wanted<'_> {
    fn is(&self, name: &Reference) -> bool {
        match self {
            Self::Name(wanted) => {
                wanted.name() == name.name()
                    && (wanted.tag().is_none() || wanted.tag() == name.tag())
            }
            Self::Pattern(pattern) => name_fits(pattern, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use cooper_oci::{Descriptor, Digest};

    use super::*;

    fn images() -> Vec<(ImageRecord, Vec<Reference>)> {
        let record = |seed: &str, created: &str, size| ImageRecord {
            id: Digest::sha256(seed),
            layers: Vec::new(),
            manifest: None,
            attestations: None,
            created: Some(created.to_owned()),
            size,
        };
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.parse().expect("valid"))
                .collect()
        };
        let mut pulled = record("b", "2024-04-01T00:00:00Z", 133_400_000);
        pulled.manifest = Some(Descriptor::of(
            cooper_oci::media_type::OCI_MANIFEST,
            b"manifest",
        ));
        vec![
            (
                record("a", "2024-05-01T11:00:00Z", 4_261_000),
                names(&["app:latest", "r.example/team/app:v1"]),
            ),
            (pulled, names(&["debian:bookworm"])),
            (record("c", "2024-05-01T11:58:30Z", 0), names(&[])),
        ]
    }

    fn render(args: &ImagesArgs) -> String {
        let now = "2024-05-01T12:00:00Z".parse().expect("valid");
        args.render(&args.lines(images()).expect("valid"), now)
    }

    #[test]
    fn images_are_listed_youngest_first() {
        insta::assert_snapshot!(render(&ImagesArgs::default()), @r"
        REPOSITORY           TAG        IMAGE ID       CREATED              SIZE
        <none>               <none>     2e7d2c03a950   About a minute ago   0B
        app                  latest     ca978112ca1b   About an hour ago    4.26MB
        r.example/team/app   v1         ca978112ca1b   About an hour ago    4.26MB
        debian               bookworm   3e23e8160039   4 weeks ago          133MB
        ");
    }

    #[test]
    fn digests_ids_and_names_can_be_asked_for() {
        let digests = ImagesArgs {
            digests: true,
            name: Some("debian".into()),
            ..ImagesArgs::default()
        };
        insta::assert_snapshot!(render(&digests), @r"
        REPOSITORY   TAG        DIGEST                                                                    IMAGE ID       CREATED       SIZE
        debian       bookworm   sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f   3e23e8160039   4 weeks ago   133MB
        ");
        let quiet = ImagesArgs {
            quiet: true,
            ..ImagesArgs::default()
        };
        insta::assert_snapshot!(render(&quiet), @r"
        2e7d2c03a950
        ca978112ca1b
        3e23e8160039
        ");
        let other = ImagesArgs {
            name: Some("app:v2".into()),
            quiet: true,
            ..ImagesArgs::default()
        };
        assert_eq!(render(&other), "");
    }

    #[test]
    fn a_template_gives_lines_or_columns() {
        let args = ImagesArgs::default();
        let lines = args.lines(images()).expect("valid");
        let now = "2024-05-01T12:00:00Z".parse().expect("valid");
        let rendered = |format: &str| {
            let format: Format = format.parse().expect("valid");
            let values = lines.iter().take(2).map(|line| args.json(line, now));
            let text = format.render("IMAGE ID", values).expect("a template");
            text.unwrap_or_else(|report| report.render(false))
        };
        assert_eq!(
            rendered("{{.Repository}}:{{.Tag}}"),
            "<none>:<none>\napp:latest\n"
        );
        assert_eq!(
            rendered("table {{.ID}}\\t{{.CreatedSince}}"),
            "IMAGE ID       CREATED\n2e7d2c03a950   About a minute ago\n\
             ca978112ca1b   About an hour ago\n"
        );
        assert_eq!(
            rendered("{{.Tags}}"),
            "ERROR: --format does not fit this list\n  \
             caused by: in {{.Tags}}: there is no field Tags; did you mean Tag?\n"
        );
    }

    #[test]
    fn json_has_dockers_keys() {
        let json = ImagesArgs {
            format: Format::Json,
            name: Some("debian".into()),
            ..ImagesArgs::default()
        };
        insta::assert_snapshot!(render(&json), @r#"{"Containers":"N/A","CreatedAt":"2024-04-01 00:00:00 +0000 UTC","CreatedSince":"4 weeks ago","Digest":"sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f","ID":"3e23e8160039","Repository":"debian","SharedSize":"N/A","Size":"133MB","Tag":"bookworm","UniqueSize":"N/A"}"#);
    }
}
