//! The hierarchies of a system, and where in them a group can be made.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::{CgroupError, make};

/// Which of the kernel's two interfaces a hierarchy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// One hierarchy a controller.
    One,
    /// One hierarchy for all.
    Two,
}

impl Version {
    /// Returns the version of the hierarchy that the group at `directory` is in.
    pub(super) fn of(directory: &Path) -> Self {
        if directory.join("cgroup.controllers").exists() {
            Self::Two
        } else {
            Self::One
        }
    }
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// What it controls.
    controllers: Vec<String>,
    /// The directory of this process' own group.
    pub(super) own: PathBuf,
}

/// All hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) hierarchies: Vec<Hierarchy>,
}

impl Mounted {
    pub(super) fn of_system() -> Result<Self, CgroupError> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| CgroupError::Unreadable {
                path: path.into(),
                source,
            })
        };
        let mut mounted = Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        for hierarchy in &mut mounted.hierarchies {
            if hierarchy.version == Version::Two {
                let file = hierarchy.mount.join("cgroup.controllers");
                let text = fs::read_to_string(file).unwrap_or_default();
                hierarchy.controllers = text.split_whitespace().map(str::to_owned).collect();
            }
        }
        Ok(mounted)
    }

    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`; controllers of version 2 stand in
    /// neither.
    pub(super) fn parse(mountinfo: &str, cgroup: &str) -> Self {
        let hierarchies = mountinfo.lines().filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, mount) = (left.next()?, left.next()?);
            let mut right = right.split(' ');
            let version = match right.next()? {
                "cgroup" => Version::One,
                "cgroup2" => Version::Two,
                _ => return None,
            };
            let options = right.nth(1).unwrap_or_default();
            let controllers: Vec<String> = match version {
                Version::One => options.split(',').map(str::to_owned).collect(),
                Version::Two => Vec::new(),
            };
            if controllers.iter().any(|name| name.starts_with("name=")) {
                return None;
            }
            let group = own_group(cgroup, version, &controllers).unwrap_or("/");
            // A part of the hierarchy may be all that is mounted.
            let inside = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
            Some(Hierarchy {
                version,
                own: Path::new(mount).join(inside.strip_prefix("/").unwrap_or(inside)),
                mount: mount.into(),
                controllers,
            })
        });
        Self {
            hierarchies: hierarchies.collect(),
        }
    }

    /// Returns whether a controller has a hierarchy of its own.
    pub(super) fn has_version_one(&self) -> bool {
        let mut hierarchies = self.hierarchies.iter();
        hierarchies.any(|one| one.version == Version::One)
    }

    /// Returns what the controller of block devices is called here.
    pub(super) fn io_controller(&self) -> &'static str {
        let one = self.hierarchies.iter().any(|one| one.has("blkio"));
        if one { "blkio" } else { "io" }
    }

    /// Returns the hierarchy of version 1 that holds processes still; version 2 does it anywhere.
    pub(super) fn freezer(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|one| one.has("freezer"))
    }

    /// Returns the hierarchies that have `controllers`; with `all`, the others too.
    pub(super) fn needed(
        &self,
        controllers: &[&'static str],
        all: bool,
    ) -> Result<Vec<&Hierarchy>, CgroupError> {
        for controller in controllers {
            if !self.hierarchies.iter().any(|one| one.has(controller)) {
                return Err(CgroupError::NoController { controller });
            }
        }
        let wanted = |one: &&Hierarchy| all || !one.among(controllers).is_empty();
        Ok(self.hierarchies.iter().filter(wanted).collect())
    }
}

/// Returns the path of a process' group in one hierarchy: the line with its controllers, or the
/// one with none for version 2.
fn own_group<'a>(cgroup: &'a str, version: Version, controllers: &[String]) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let is_it = match version {
            Version::Two => names.is_empty(),
            Version::One => names
                .split(',')
                .any(|name| controllers.iter().any(|known| known == name)),
        };
        is_it.then_some(path)
    })
}

impl Hierarchy {
    /// Gives a hierarchy of version 2 its controllers, which stand in a file of the kernel's.
    #[cfg(test)]
    pub(super) fn allow_for_tests(&mut self, controllers: &[&str]) {
        self.controllers = controllers.iter().map(|&name| name.to_owned()).collect();
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }

    /// Returns which of `controllers` it has.
    pub(super) fn among<'a>(&self, controllers: &[&'a str]) -> Vec<&'a str> {
        controllers
            .iter()
            .copied()
            .filter(|name| self.has(name))
            .collect()
    }

    /// Returns the directory below which groups are made, ready for the controllers `wanted`.
    pub(super) fn parent(
        &self,
        given: Option<&str>,
        wanted: &[&str],
    ) -> Result<PathBuf, CgroupError> {
        let directory = match given {
            Some(parent) => self.mount.join(relative(parent)),
            None if self.version == Version::One => self.own.clone(),
            None => {
                if let Some(found) = self.handed_over(wanted) {
                    return Ok(found);
                }
                // Perhaps the group of this very process was handed over. A group that hands
                // controllers on can hold no process itself.
                let aside = self.own.join("cooper");
                if make(&aside).is_ok() {
                    let _ = super::join(&aside);
                }
                self.own.clone()
            }
        };
        prepare(&self.mount, &directory, self.version, wanted)?;
        Ok(directory)
    }

    /// Returns the directory `cooper` in the uppermost of the groups around this process in which
    /// this user can make one: the root's for root, that of the user's services else.
    fn handed_over(&self, wanted: &[&str]) -> Option<PathBuf> {
        let around: Vec<&Path> = self
            .own
            .ancestors()
            .take_while(|directory| directory.starts_with(&self.mount))
            .collect();
        around.into_iter().rev().find_map(|directory| {
            let here = directory.join("cooper");
            let made = !here.is_dir();
            let ready = prepare(&self.mount, &here, self.version, wanted).is_ok();
            // One that another user made needs nothing more, and takes nothing of this one.
            if ready && rustix::fs::access(&here, Access::WRITE_OK).is_ok() {
                return Some(here);
            }
            if made {
                // Where none can be made there is none to remove.
                let _ = fs::remove_dir(&here);
            }
            None
        })
    }

    /// Returns the directory for groups without limits, if this user can have processes of this
    /// one's group born there: that takes the right to move out of a group around both.
    pub(super) fn divided(&self) -> Option<PathBuf> {
        let found = self.handed_over(&[])?;
        let members = found.parent()?.join(super::MEMBERS);
        rustix::fs::access(&members, Access::WRITE_OK).ok()?;
        Some(found)
    }

    /// Lets an existing group have the controllers `wanted`.
    pub(super) fn allow(&self, group: &Path, wanted: &[&str]) -> Result<(), CgroupError> {
        match group.parent() {
            Some(parent) if self.version == Version::Two => {
                prepare(&self.mount, parent, self.version, wanted)
            }
            _ => Ok(()),
        }
    }
}

/// Returns where a parent is in a hierarchy. A slice's name is its path: `a-b.slice` is in
/// `a.slice`.
fn relative(parent: &str) -> PathBuf {
    let parent = parent.trim_matches('/');
    let Some(name) = parent
        .strip_suffix(".slice")
        .filter(|name| !name.contains('/'))
    else {
        // No parent leads out of the hierarchy.
        return parent
            .split('/')
            .filter(|part| !matches!(*part, "" | "." | ".."))
            .collect();
    };
    let ends = name.match_indices('-').map(|(at, _)| at);
    ends.chain([name.len()])
        .map(|end| format!("{}.slice", &name[..end]))
        .collect()
}

/// Makes `directory` and what leads to it from `mount`, with the controllers `wanted` on all the
/// way.
fn prepare(
    mount: &Path,
    directory: &Path,
    version: Version,
    wanted: &[&str],
) -> Result<(), CgroupError> {
    let below = directory.strip_prefix(mount).unwrap_or(Path::new(""));
    let mut at = mount.to_owned();
    if version == Version::Two {
        enable(&at, wanted)?;
    }
    for part in below {
        at.push(part);
        if !at.is_dir() {
            make(&at)?;
        }
        match version {
            Version::Two => enable(&at, wanted)?,
            Version::One if at.join("cpuset.cpus").exists() => inherit_cpuset(&at)?,
            Version::One => {}
        }
    }
    Ok(())
}

/// Lets the groups below a directory of version 2 have controllers.
fn enable(directory: &Path, wanted: &[&str]) -> Result<(), CgroupError> {
    let file = directory.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).unwrap_or_default();
    for controller in wanted {
        if enabled.split_whitespace().any(|known| known == *controller) {
            continue;
        }
        fs::write(&file, format!("+{controller}")).map_err(|source| CgroupError::Enable {
            controller: (*controller).to_owned(),
            path: directory.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// Gives a new cpuset of version 1 what its parent has: empty, it takes no process.
pub(super) fn inherit_cpuset(directory: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = directory.join(file);
        let own = fs::read_to_string(&path).unwrap_or_default();
        let parent = directory.parent().map(|parent| parent.join(file));
        let Some(value) = parent.and_then(|parent| fs::read_to_string(parent).ok()) else {
            continue;
        };
        if own.trim().is_empty() {
            fs::write(&path, value.trim()).map_err(|source| CgroupError::Set {
                path,
                value: value.trim().to_owned(),
                source,
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_paths_or_slices() {
        for (parent, want) in [
            ("/a/b", "a/b"),
            ("a/../b/./", "a/b"),
            ("user.slice", "user.slice"),
            ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
            ("/x/a-b.slice", "x/a-b.slice"),
        ] {
            assert_eq!(relative(parent), Path::new(want), "{parent}");
        }
    }
}
