//! `RUN --mount=…`: fields as written, and their meaning once variables have
//! been expanded.

use crate::error::{Code, Diagnostic};
use crate::ir::CacheSharing;
use crate::quantity;
use crate::source::{Span, Spanned};
use crate::syntax::grammar;

/// The fields of one `--mount`, unexpanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    /// Fields in order.
    pub fields: Vec<MountField>,
    /// The whole value.
    pub span: Span,
}

/// One `key[=value]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountField {
    /// The key in lower case.
    pub key: String,
    /// The value, unexpanded.
    pub value: Option<Spanned<String>>,
    /// The whole field's place.
    pub span: Span,
}

impl MountField {
    /// Reads a field as it is written, and without its quotes.
    fn parse(raw: &Spanned<String>, field: &str) -> Self {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) if raw.value == field => {
                (key, Some(raw.part(raw.len() - value.len()..raw.len())))
            }
            Some((key, value)) => (key, Some(Spanned::new(value.to_owned(), raw.span))),
            None => (field, None),
        };
        Self {
            key: key.to_lowercase(),
            value,
            span: raw.span,
        }
    }
}

/// What sort of mount it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the Dockerfile")]
pub enum MountType {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountType {
    /// Returns the name in a Dockerfile.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// A checked mount; texts are empty where nothing was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What sort of mount it is.
    pub kind: MountType,
    /// `from`.
    pub from: String,
    /// `source`.
    pub source: String,
    /// `target`.
    pub target: String,
    /// `id`.
    pub id: String,
    /// `env` (secret).
    pub env: Option<String>,
    /// Whether it is read-only.
    pub readonly: bool,
    /// `required` (secret, ssh).
    pub required: bool,
    /// `size` in bytes (tmpfs).
    pub size: Option<u64>,
    /// `sharing` (cache).
    pub sharing: Option<CacheSharing>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
    "size",
    "env",
];

impl MountSpec {
    pub(super) fn parse(value: &Spanned<String>) -> Result<Self, Diagnostic> {
        let fields = grammar::split_fields(value).ok_or_else(|| {
            Diagnostic::error(Code::InvalidMount, value.span, "failed to parse csv mounts")
                .with_help("separate fields with commas; quote a field as a whole")
        })?;
        let fields = fields
            .into_iter()
            .map(|(at, raw, field)| MountField::parse(&value.part(at..at + raw), &field))
            .collect();
        Ok(Self {
            fields,
            span: value.span,
        })
    }

    /// Returns the `from` field as written.
    pub fn from(&self) -> Option<Spanned<String>> {
        let field = self.fields.iter().rfind(|field| field.key == "from")?;
        let value = field.value.clone().filter(|value| !value.is_empty())?;
        Some(value)
    }

    /// Finds the meaning of all fields. `expand` turns a value into what it
    /// means in the stage's environment.
    pub fn evaluate(
        &self,
        mut expand: impl FnMut(&Spanned<String>) -> Result<String, Diagnostic>,
    ) -> Result<Mount, Diagnostic> {
        let mut mount = Mount::default();
        let mut readonly = None;
        for field in &self.fields {
            let value = match &field.value {
                Some(value) if field.key != "from" => Some(expand(value)?),
                value => value.as_ref().map(|value| value.value.clone()),
            };
            mount.set(field, value.as_deref(), &mut readonly)?;
        }
        mount.readonly =
            readonly.unwrap_or(!matches!(mount.kind, MountType::Cache | MountType::Tmpfs));
        mount.validate(self.span)?;
        Ok(mount)
    }
}

fn invalid(field: &MountField, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::InvalidMount, field.span, message)
}

impl Mount {
    fn set(
        &mut self,
        field: &MountField,
        value: Option<&str>,
        readonly: &mut Option<bool>,
    ) -> Result<(), Diagnostic> {
        let Some(value) = value else {
            return self.set_bare(field, readonly);
        };
        match field.key.as_str() {
            "type" => self.kind = mount_type(field, value)?,
            "from" => value.clone_into(&mut self.from),
            "source" | "src" => value.clone_into(&mut self.source),
            "target" | "dst" | "destination" => value.clone_into(&mut self.target),
            "id" => value.clone_into(&mut self.id),
            "env" => self.env = Some(value.to_owned()),
            "readonly" | "ro" => *readonly = Some(boolean(field, value)?),
            "readwrite" | "rw" => *readonly = Some(!boolean(field, value)?),
            "required" => {
                self.only_for(field, &[MountType::Secret, MountType::Ssh])?;
                self.required = boolean(field, value)?;
            }
            "size" => {
                self.only_for(field, &[MountType::Tmpfs])?;
                let size = quantity::size(value).ok_or_else(|| {
                    invalid(field, format!("invalid value for size: {value}"))
                        .with_help("write a number of bytes, or one with a unit such as 64m or 1g")
                })?;
                self.size = Some(size);
            }
            "sharing" => self.sharing = Some(sharing(field, value)?),
            "mode" => self.mode = Some(number(field, value, 8)?),
            "uid" => self.uid = Some(number(field, value, 10)?),
            "gid" => self.gid = Some(number(field, value, 10)?),
            key => {
                let written = format!("{key}={value}");
                return Err(
                    invalid(field, format!("unexpected key '{key}' in '{written}'"))
                        .with_suggestion(key, KEYS),
                );
            }
        }
        Ok(())
    }

    fn set_bare(
        &mut self,
        field: &MountField,
        readonly: &mut Option<bool>,
    ) -> Result<(), Diagnostic> {
        match field.key.as_str() {
            "readonly" | "ro" => *readonly = Some(true),
            "readwrite" | "rw" => *readonly = Some(false),
            "required" => {
                self.only_for(field, &[MountType::Secret, MountType::Ssh])?;
                self.required = true;
            }
            key => {
                let message = format!("invalid field '{key}' must be a key=value pair");
                return Err(invalid(field, message).with_suggestion(key, KEYS));
            }
        }
        Ok(())
    }

    fn only_for(&self, field: &MountField, kinds: &[MountType]) -> Result<(), Diagnostic> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        let (key, kind) = (&field.key, self.kind.name());
        Err(invalid(
            field,
            format!("unexpected key '{key}' for mount type '{kind}'"),
        )
        .with_help(format!("only after type={}", names.join(" or type="))))
    }

    fn validate(&self, span: Span) -> Result<(), Diagnostic> {
        let kind = self.kind.name();
        let fail = |message: String| Err(Diagnostic::error(Code::InvalidMount, span, message));
        if matches!(self.kind, MountType::Bind | MountType::Tmpfs) {
            let given = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((key, _)) = given.iter().find(|(_, value)| value.is_some()) {
                return fail(format!("{key} not allowed for {kind:?} type mounts"));
            }
        }
        if self.env.is_some() && self.kind != MountType::Secret {
            return fail(format!("env not allowed for {kind:?} type mounts"));
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return fail(format!("invalid cache sharing set for {kind} mount"));
        }
        match self.kind {
            MountType::Secret if !self.from.is_empty() => {
                fail("secret mount should not have a from".to_owned())
            }
            MountType::Secret if !self.source.is_empty() && !self.id.is_empty() => {
                fail("both source and id can't be set".to_owned())
            }
            MountType::Secret
                if [&self.source, &self.target, &self.id]
                    .iter()
                    .all(|s| s.is_empty()) =>
            {
                fail("invalid secret mount. one of source, target required".to_owned())
            }
            MountType::Bind | MountType::Cache | MountType::Tmpfs if self.target.is_empty() => {
                fail(format!("a {kind} mount needs a target"))
            }
            _ => Ok(()),
        }
    }
}

fn mount_type(field: &MountField, value: &str) -> Result<MountType, Diagnostic> {
    let kinds = [
        MountType::Bind,
        MountType::Cache,
        MountType::Tmpfs,
        MountType::Secret,
        MountType::Ssh,
    ];
    let lower = value.to_lowercase();
    kinds
        .into_iter()
        .find(|kind| kind.name() == lower)
        .ok_or_else(|| {
            invalid(field, format!("unsupported mount type {value:?}"))
                .with_help("types: bind, cache, tmpfs, secret, ssh")
                .with_suggestion(value, kinds.map(MountType::name))
        })
}

fn sharing(field: &MountField, value: &str) -> Result<CacheSharing, Diagnostic> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(CacheSharing::Shared),
        "private" => Ok(CacheSharing::Private),
        "locked" => Ok(CacheSharing::Locked),
        _ => Err(
            invalid(field, format!("unsupported sharing value {value:?}"))
                .with_help("use shared, private or locked")
                .with_suggestion(value, ["shared", "private", "locked"]),
        ),
    }
}

fn number(field: &MountField, value: &str, radix: u32) -> Result<u32, Diagnostic> {
    let help = if radix == 8 {
        "write an octal mode, such as 0440 or 0755"
    } else {
        "write a number"
    };
    u32::from_str_radix(value, radix).map_err(|_| {
        let message = format!("invalid value {value} for {}", field.key);
        invalid(field, message).with_help(help)
    })
}

fn boolean(field: &MountField, value: &str) -> Result<bool, Diagnostic> {
    quantity::boolean(value)
        .ok_or_else(|| invalid(field, format!("invalid value for {}: {value}", field.key)))
}
