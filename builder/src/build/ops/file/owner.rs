//! `--chown` and the owner of WORKDIR: numbers, or names looked up in the image.

use cooper_cache::{MergedTree, RelPath};

use super::FileError;
use super::new_layer::Owner;

/// Resolves `user[:group]` against /etc/passwd and /etc/group of `base`.
///
/// A user given by number without a group has the group of the same number; a user
/// given by name has the group of its passwd entry. An unknown user is 0:0, and an
/// unknown group the user's own, as BuildKit has it. Without a base (`FROM scratch`,
/// `--link`) a name is an error.
pub(super) fn resolve(spec: &str, base: &MergedTree, has_base: bool) -> Result<Owner, FileError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    if !has_base && [Some(user), group].into_iter().flatten().any(is_name) {
        return Err(FileError::NamedOwner {
            spec: spec.to_owned(),
        });
    }
    let from_user = user_ids(user, base);
    let gid = match group {
        None | Some("") => from_user.gid,
        Some(number) if !is_name(number) => parse(number, spec)?,
        Some(name) => field(base, "etc/group", name, 2).unwrap_or(from_user.gid),
    };
    let uid = if user.is_empty() || is_name(user) {
        from_user.uid
    } else {
        parse(user, spec)?
    };
    Ok(Owner { uid, gid })
}

fn is_name(text: &str) -> bool {
    !text.bytes().all(|b| b.is_ascii_digit())
}

fn parse(number: &str, spec: &str) -> Result<u32, FileError> {
    number.parse().map_err(|_| FileError::OwnerRange {
        spec: spec.to_owned(),
    })
}

fn user_ids(user: &str, base: &MergedTree) -> Owner {
    if user.is_empty() {
        return Owner::default();
    }
    if !is_name(user) {
        let id = user.parse().unwrap_or_default();
        return Owner { uid: id, gid: id };
    }
    let uid = field(base, "etc/passwd", user, 2);
    let gid = field(base, "etc/passwd", user, 3);
    uid.zip(gid)
        .map(|(uid, gid)| Owner { uid, gid })
        .unwrap_or_default()
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
