//! `--chown` and the owner of WORKDIR: numbers, or names looked up in the image.

use cooper_cache::{MergedTree, RelPath};

use super::FileError;
use super::new_layer::Owner;

/// Where the names of owners are looked up.
pub(super) struct Owners<'a> {
    pub(super) base: &'a MergedTree,
    /// Whether there is a base at all: not with `FROM scratch` or `--link`.
    pub(super) has_base: bool,
    /// Takes a line that warns the user.
    pub(super) warn: &'a dyn Fn(&str),
}

impl Owners<'_> {
    /// Resolves `user[:group]` against /etc/passwd and /etc/group of the base; nothing is root.
    ///
    /// A user given by number without a group has the group of the same number; a user
    /// given by name has the group of its passwd entry; `user:` has group 0. An unknown user is 0:0, and an
    /// unknown group the user's own, as BuildKit has it, but not without a warning.
    /// Without a base a name is an error.
    pub(super) fn find(&self, spec: Option<&str>) -> Result<Owner, FileError> {
        let Some(spec) = spec else {
            return Ok(Owner::default());
        };
        let (user, group) = match spec.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (spec, None),
        };
        if !self.has_base && (is_name(user) || group.is_some_and(is_name)) {
            return Err(FileError::NamedOwner {
                spec: spec.to_owned(),
            });
        }
        let mut owner = self.user(user, spec)?;
        if let Some(group) = group {
            owner.gid = self.group(group, owner.gid, spec)?;
        }
        Ok(owner)
    }

    fn user(&self, user: &str, spec: &str) -> Result<Owner, FileError> {
        if user.is_empty() {
            return Ok(Owner::default());
        }
        if !is_name(user) {
            let id = parse(user, spec)?;
            return Ok(Owner { uid: id, gid: id });
        }
        let uid = field(self.base, "etc/passwd", user, 2);
        let gid = field(self.base, "etc/passwd", user, 3);
        if let Some((uid, gid)) = uid.zip(gid) {
            return Ok(Owner { uid, gid });
        }
        (self.warn)(&format!(
            "user \"{user}\" is not in /etc/passwd of the image; the owner is 0:0"
        ));
        Ok(Owner::default())
    }

    fn group(&self, group: &str, own: u32, spec: &str) -> Result<u32, FileError> {
        if group.is_empty() {
            return Ok(0);
        }
        if !is_name(group) {
            return parse(group, spec);
        }
        let found = field(self.base, "etc/group", group, 2);
        if found.is_none() {
            (self.warn)(&format!(
                "group \"{group}\" is not in /etc/group of the image; the group is {own}"
            ));
        }
        Ok(found.unwrap_or(own))
    }
}

fn is_name(text: &str) -> bool {
    !text.bytes().all(|b| b.is_ascii_digit())
}

fn parse(number: &str, spec: &str) -> Result<u32, FileError> {
    number.parse().map_err(|_| FileError::OwnerRange {
        spec: spec.to_owned(),
    })
}

/// Returns the number in column `column` of the line whose first column is `name`.
fn field(base: &MergedTree, file: &str, name: &str, column: usize) -> Option<u32> {
    let resolved = base.resolve(&RelPath::from(file), true).ok()?;
    let bytes = base.read(&resolved.path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(column)?.trim().parse().ok()
}
