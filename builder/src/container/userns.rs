//! Which ids a container has in a user namespace of its own.
//!
//! As for docker and podman the host's administrator hands them out in `/etc/subuid` and
//! `/etc/subgid`. A user named in the configuration file (docker's `userns-remap`) lends all
//! containers the same range; with `--userns=auto` each has one for itself, from those of the user
//! `containers`.

use std::fs;
use std::path::Path;

use cooper_runner::IdRange;
use thiserror::Error;

/// The user whose ids are handed out to single containers; podman's name for it.
const OWNER: &str = "containers";

/// What docker calls the user of `userns-remap = "default"`.
const DEFAULT: &str = "dockremap";

/// Ids of a container that has a range for itself.
const COUNT: u32 = 1 << 16;

/// Why a container gets no ids.
#[derive(Debug, Error)]
pub enum UsernsError {
    /// The user has none.
    #[error("user {name} has no ids in {file}")]
    None {
        /// The user.
        name: String,
        /// The file that would say so.
        file: &'static str,
    },
    /// All of them are taken.
    #[error("other containers have all the ids of user {OWNER}")]
    Taken,
}

impl UsernsError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::None { name, .. } => format!(
                "give it a range that nobody has: write {name}:100000:65536 to /etc/subuid and \
                 /etc/subgid"
            ),
            Self::Taken => {
                format!("remove containers, or give {OWNER} more in /etc/subuid and /etc/subgid")
            }
        }
    }
}

const USERS: &str = "/etc/subuid";
const GROUPS: &str = "/etc/subgid";

/// Returns the range of a user named as docker names it: `NAME[:GROUP]`, numbers, or `default`.
pub fn of_user(text: &str) -> Result<IdRange, UsernsError> {
    let text = if text == "default" { DEFAULT } else { text };
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    ranges(user, group, read(USERS), read(GROUPS)).map(|ranges| ranges[0])
}

/// Returns a range that overlaps with none of `taken`.
pub(super) fn free(taken: &[IdRange]) -> Result<IdRange, UsernsError> {
    pick(&ranges(OWNER, OWNER, read(USERS), read(GROUPS))?, taken)
}

fn read(path: &'static str) -> (&'static str, String) {
    (
        path,
        fs::read_to_string(Path::new(path)).unwrap_or_default(),
    )
}

/// Pairs the user's ranges of both files; there is one at least.
fn ranges(
    user: &str,
    group: &str,
    (users, user_text): (&'static str, String),
    (groups, group_text): (&'static str, String),
) -> Result<Vec<IdRange>, UsernsError> {
    let none = |name: &str, file| UsernsError::None {
        name: name.to_owned(),
        file,
    };
    let uids = granted(&user_text, user);
    let gids = granted(&group_text, group);
    if uids.is_empty() {
        return Err(none(user, users));
    }
    if gids.is_empty() {
        return Err(none(group, groups));
    }
    let both = uids.into_iter().zip(gids);
    Ok(both
        .map(|((uid, users), (gid, groups))| IdRange {
            uid,
            gid,
            count: users.min(groups),
        })
        .collect())
}

/// Returns the first ids and counts that lines `NAME:FIRST:COUNT` grant a user.
fn granted(text: &str, name: &str) -> Vec<(u32, u32)> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let first: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        let usable = owner == name && count > 0 && first > 0;
        (usable && first.checked_add(count).is_some()).then_some((first, count))
    });
    lines.collect()
}

fn pick(ranges: &[IdRange], taken: &[IdRange]) -> Result<IdRange, UsernsError> {
    let blocks = ranges.iter().flat_map(|range| {
        let count = COUNT.min(range.count);
        (0..range.count / count).map(move |index| IdRange {
            uid: range.uid + index * count,
            gid: range.gid + index * count,
            count,
        })
    });
    let mut free = blocks.filter(|block| !taken.iter().any(|taken| taken.overlaps(*block)));
    free.next().ok_or(UsernsError::Taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32, count: u32) -> IdRange {
        IdRange {
            uid: first,
            gid: first,
            count,
        }
    }

    #[test]
    fn ranges_are_those_of_the_user_in_both_files() {
        let of = |user: &str, group: &str| {
            let users = (
                USERS,
                "a:1000:10\nb:5000:20\n# c\na:x:1\nr:0:9\n".to_owned(),
            );
            let groups = (
                GROUPS,
                "a:7000:5\ng:8000:65536\nb:1:4294967295\n".to_owned(),
            );
            ranges(user, group, users, groups).map_err(|error| error.to_string())
        };
        let ids = |uid, gid, count| Ok(vec![IdRange { uid, gid, count }]);
        assert_eq!(of("a", "a"), ids(1000, 7000, 5));
        assert_eq!(of("b", "g"), ids(5000, 8000, 20));
        let none = |name, file| Err(format!("user {name} has no ids in {file}"));
        assert_eq!(of("c", "c"), none("c", USERS));
        assert_eq!(
            of("r", "r"),
            none("r", USERS),
            "root's own are not to be lent"
        );
        assert_eq!(of("b", "b"), none("b", GROUPS), "a range must end");
    }

    #[test]
    fn each_container_gets_a_block_of_its_own() {
        let all = [range(100_000, 2 * COUNT), range(500_000, 100)];
        let mut taken = Vec::new();
        for expected in [
            range(100_000, COUNT),
            range(100_000 + COUNT, COUNT),
            range(500_000, 100),
        ] {
            let picked = pick(&all, &taken).expect("is free");
            assert_eq!(picked, expected);
            taken.push(picked);
        }
        assert!(matches!(pick(&all, &taken), Err(UsernsError::Taken)));
        taken.remove(1);
        assert_eq!(pick(&all, &taken).ok(), Some(range(100_000 + COUNT, COUNT)));
    }
}
