//! Who the process is: user, groups and home by the root's own `/etc/passwd` and `/etc/group`.

use crate::channel::Fault;
use std::str::FromStr;

/// What identity a process runs with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups, the primary one first.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Option<String>,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

/// Resolves `user[:group]` and additional groups against the files' contents, as docker does:
/// names before numbers; a number that is not in the file is taken as it is, with group 0.
pub(crate) fn resolve(
    spec: &str,
    additional: &[String],
    passwd: &str,
    group_file: &str,
) -> Result<Identity, Fault> {
    let (user_part, group_part) = spec.split_once(':').unwrap_or((spec, ""));
    let wanted = if user_part.is_empty() { "0" } else { user_part };
    let user = find(users(passwd), wanted, |user| user.name, |user| user.uid);
    let uid = match (&user, number(wanted)) {
        (Some(user), _) => user.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(Fault::UnknownUser),
    };
    let gid = match group_part {
        "" => user.as_ref().map_or(0, |user| user.gid),
        name => group_id(name, group_file)?,
    };
    let mut ids = vec![gid];
    if let (Some(user), "") = (&user, group_part) {
        let listed = groups(group_file).filter(|group| group.members.contains(&user.name));
        ids.extend(listed.map(|group| group.gid));
    }
    for name in additional {
        ids.push(group_id(name, group_file)?);
    }
    let mut groups = Vec::with_capacity(ids.len());
    for id in ids {
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    let home = user
        .map(|user| user.home.to_owned())
        .filter(|home| !home.is_empty());
    Ok(Identity {
        uid,
        gid,
        groups,
        home,
    })
}

fn group_id(name: &str, group_file: &str) -> Result<u32, Fault> {
    let group = find(
        groups(group_file),
        name,
        |group| group.name,
        |group| group.gid,
    );
    let id = group.map(|group| group.gid).or_else(|| number(name));
    id.ok_or_else(|| Fault::UnknownGroup(name.to_owned()))
}

/// Returns the entry of this name, or else the first of this number.
fn find<T>(
    entries: impl Iterator<Item = T>,
    wanted: &str,
    name: impl Fn(&T) -> &str,
    id: impl Fn(&T) -> u32,
) -> Option<T> {
    let wanted_id = number(wanted);
    let mut by_number = None;
    for entry in entries {
        if name(&entry) == wanted {
            return Some(entry);
        }
        if by_number.is_none() && wanted_id == Some(id(&entry)) {
            by_number = Some(entry);
        }
    }
    by_number
}

/// Ids that the kernel treats as "unchanged" are no ids.
fn number(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    u32::from_str(text)
        .ok()
        .filter(|id| i32::try_from(*id).is_ok())
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(User {
            name,
            uid,
            gid,
            home,
        })
    })
}

fn groups(group_file: &str) -> impl Iterator<Item = Group<'_>> {
    group_file.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or("").split(',').collect();
        Some(Group { name, gid, members })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # no entry\n\
        daemon:x:1:1:daemon:/usr/sbin:/bin/sh\n\
        mail:x:8:12:mail:/var/mail:/bin/sh\n\
        homeless:x:9:9:::\n\
        77:x:5:5::/seven:\n";
    const GROUP: &str = "root:x:0:\nbin:x:2:root,daemon\ndaemon:x:1:\nusers:x:100:mail\n\
        disk:x:6:root,daemon\n";

    fn id(spec: &str) -> Result<(u32, u32, Vec<u32>, Option<String>), Fault> {
        let identity = resolve(spec, &[], PASSWD, GROUP)?;
        Ok((identity.uid, identity.gid, identity.groups, identity.home))
    }

    #[test]
    fn users_and_groups_resolve_as_docker_does() {
        let some = |home: &str| Some(home.to_owned());
        let table = [
            ("", (0, 0, vec![0, 2, 6], some("/root"))),
            ("root", (0, 0, vec![0, 2, 6], some("/root"))),
            ("daemon", (1, 1, vec![1, 2, 6], some("/usr/sbin"))),
            ("1", (1, 1, vec![1, 2, 6], some("/usr/sbin"))),
            ("mail:users", (8, 100, vec![100], some("/var/mail"))),
            ("mail:7", (8, 7, vec![7], some("/var/mail"))),
            ("mail", (8, 12, vec![12, 100], some("/var/mail"))),
            ("4242", (4242, 0, vec![0], None)),
            ("4242:4343", (4242, 4343, vec![4343], None)),
            (":users", (0, 100, vec![100], some("/root"))),
            ("homeless", (9, 9, vec![9], None)),
            ("77", (5, 5, vec![5], some("/seven"))),
        ];
        for (spec, expected) in table {
            assert_eq!(id(spec), Ok(expected), "{spec:?}");
        }
    }

    #[test]
    fn unknown_names_are_told_apart() {
        assert_eq!(id("nobody"), Err(Fault::UnknownUser));
        assert_eq!(id("-1"), Err(Fault::UnknownUser));
        assert_eq!(id("4294967295"), Err(Fault::UnknownUser));
        assert_eq!(
            id("mail:staff"),
            Err(Fault::UnknownGroup("staff".to_owned()))
        );
    }

    #[test]
    fn additional_groups_are_added_once() {
        let extra = ["disk".to_owned(), "500".to_owned()];
        let identity = resolve("daemon", &extra, PASSWD, GROUP).unwrap();
        assert_eq!(identity.groups, [1, 2, 6, 500]);
    }

    #[test]
    fn files_may_be_missing() {
        let identity = resolve("0", &[], "", "").unwrap();
        assert_eq!(
            identity,
            Identity {
                uid: 0,
                gid: 0,
                groups: vec![0],
                home: None
            }
        );
    }
}
