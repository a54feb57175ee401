//! The containers of a store: making, finding, listing and removing them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cooper_cache::Store;
use cooper_runner::{Cgroup, IdRange};
use rustix::fs::{FlockOperation, flock};

use super::config::UserMode;
use super::name;
use super::record::{
    Container, ContainerError, Found, Held, NewContainer, make_dir, open_lock, read, read_state,
    remove_dir, try_hold, write,
};
use super::state::{State, Status};
use super::userns;
use super::volume::{self, Volumes};
use crate::events::Journal;

/// The containers of a store.
#[derive(Clone, Debug)]
pub struct Containers {
    dir: PathBuf,
}

impl Containers {
    /// Returns the containers of the store at `root`.
    pub fn of(root: &Path) -> Self {
        Self {
            dir: root.join("containers"),
        }
    }

    /// Returns all containers, youngest first, after settling what killed monitors left.
    pub fn list(&self) -> Result<Vec<Found>, ContainerError> {
        let mut found = Vec::new();
        for dir in self.dirs()? {
            found.extend(self.look(&dir)?);
        }
        found.sort_by(|a, b| b.container.created.cmp(&a.container.created));
        Ok(found)
    }

    fn dirs(&self) -> Result<Vec<PathBuf>, ContainerError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ContainerError::io("list", &self.dir))?,
        };
        let mut dirs = Vec::new();
        for entry in entries {
            let dir = entry.map_err(ContainerError::io("list", &self.dir))?.path();
            if dir.is_dir() {
                dirs.push(dir);
            }
        }
        Ok(dirs)
    }

    /// Returns the containers that `name` (a name, or the start of an ID) could mean.
    pub fn find(&self, name: &str) -> Result<Vec<Found>, ContainerError> {
        let mut all = self.list()?;
        if let Some(named) = all.iter().position(|found| found.container.name == name) {
            return Ok(vec![all.swap_remove(named)]);
        }
        all.retain(|found| !name.is_empty() && found.container.id.starts_with(name));
        Ok(all)
    }

    /// Returns the one container that `name` means.
    pub fn one(&self, name: &str) -> Result<Found, ContainerError> {
        // Docker lists names with a slash before them, and takes them so.
        let name = name.strip_prefix('/').unwrap_or(name);
        let mut found = self.find(name)?;
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(ContainerError::Missing { name: name.into() }),
            _ => Err(ContainerError::Ambiguous { name: name.into() }),
        }
    }

    /// Gives a container another name.
    pub(crate) fn rename(&self, found: &Found, name: &str) -> Result<(), ContainerError> {
        let _making = self.lock_all()?;
        let name = self.free_name(Some(name))?;
        let container = Container {
            name,
            ..found.container.clone()
        };
        write(&found.dir.join("config.json"), &container)
    }

    /// Writes down a container that was changed.
    pub(crate) fn update(&self, container: &Container) -> Result<(), ContainerError> {
        let _making = self.lock_all()?;
        write(&self.dir.join(&container.id).join("config.json"), container)
    }

    /// Removes a container, with its anonymous volumes if it was made to go at its end.
    pub(crate) fn remove(&self, held: Held) -> Result<(), ContainerError> {
        let volumes = held.container.config.lifecycle.remove;
        self.remove_with(held, volumes)
    }

    /// Removes a container and, with `volumes`, its anonymous volumes that no other one mounts.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is removed is not held any more"
    )]
    pub(crate) fn remove_with(&self, held: Held, volumes: bool) -> Result<(), ContainerError> {
        self.forget(&held, volumes)?;
        remove_dir(&held.dir)
    }

    /// Does the part of a removal that others see: what stays is files that no container has,
    /// for whoever holds it to remove, or else for the next command that looks.
    pub(super) fn forget(&self, held: &Held, volumes: bool) -> Result<(), ContainerError> {
        if volumes && !held.container.anonymous_volumes.is_empty() {
            self.remove_volumes(&held.container)?;
        }
        if let Some(root) = self.dir.parent() {
            // A hold that stays keeps layers from the collector, and nothing else.
            let _ = Store::release_at(root, &held.container.id);
        }
        let record = held.dir.join("config.json");
        fs::remove_file(&record).map_err(ContainerError::io("remove", &record))?;
        held.tell(&held.container.event("destroy"));
        Ok(())
    }

    fn remove_volumes(&self, container: &Container) -> Result<(), ContainerError> {
        let mut others = Vec::new();
        for dir in self.dirs()? {
            others.extend(read::<Container>(&dir.join("config.json"))?);
        }
        others.retain(|other| other.id != container.id);
        let volumes = Volumes::of(self.dir.parent().unwrap_or(&self.dir));
        let mut names = container.anonymous_volumes.iter();
        names.try_for_each(|name| {
            let used = others
                .iter()
                .any(|other| volume::mounts(&other.config, name));
            if used { Ok(()) } else { volumes.remove(name) }
        })
    }

    /// Reads the container at `dir`; none if it is gone, or was to be removed and now is.
    fn look(&self, dir: &Path) -> Result<Option<Found>, ContainerError> {
        let path = dir.join("config.json");
        let Some(container) = read::<Container>(&path)? else {
            // Neither made to its end nor held: a process died while it made it.
            let _making = self.lock_all()?;
            let exclusive = FlockOperation::NonBlockingLockExclusive;
            if read::<Container>(&path)?.is_none() && try_hold(dir, exclusive)?.is_some() {
                remove_dir(dir)?;
            }
            return Ok(None);
        };
        let lock = try_hold(dir, FlockOperation::NonBlockingLockShared)?;
        let found = Found {
            container,
            state: read_state(dir)?,
            dir: dir.to_owned(),
            live: lock.is_none(),
        };
        drop(lock);
        let ended = found.state.status == Status::Exited;
        let goes = found.container.config.lifecycle.remove && ended;
        if found.live || !(goes || found.state.status.is_active()) {
            return Ok(Some(found));
        }
        self.settle(found)
    }

    /// Deals with what a killed monitor left: a process that outlives it, a state that is not
    /// true any more, a container that was to be removed.
    fn settle(&self, mut found: Found) -> Result<Option<Found>, ContainerError> {
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let Some(lock) = try_hold(&found.dir, exclusive)? else {
            // Another command is at it, or has started it again.
            return Ok(Some(found));
        };
        found.state = read_state(&found.dir)?;
        if let Some(orphan) = found.state.orphan() {
            // It may have ended just now.
            let _ = rustix::process::kill_process(orphan, rustix::process::Signal::KILL);
        }
        // What is still in the group shared the processes of others, and so outlived its monitor.
        let group = Cgroup::adopt(std::mem::take(&mut found.state.cgroup));
        group.kill();
        drop(group);
        if found.container.config.lifecycle.remove && found.state.status != Status::Created {
            self.remove(Held {
                container: found.container,
                state: found.state,
                dir: found.dir,
                lock,
            })?;
            return Ok(None);
        }
        if found.state.status.is_active() {
            found.state.bury(jiff::Timestamp::now().to_string());
            write(&found.dir.join("state.json"), &found.state)?;
            let died = found.container.event("die").with("exitCode", "137");
            Journal::of(self.dir.parent().unwrap_or(&self.dir)).write(&died);
        }
        Ok(Some(found))
    }

    /// Makes a container and holds it.
    pub(crate) fn create(&self, new: NewContainer) -> Result<Held, ContainerError> {
        make_dir(&self.dir)?;
        let _making = self.lock_all()?;
        let name = self.free_name(new.name.as_deref())?;
        let mut config = new.config;
        if config.isolation.users == UserMode::Auto {
            config.isolation.users = UserMode::Ids(userns::free(&self.ids()?)?);
        }
        let id =
            super::random_id().map_err(ContainerError::io("read", Path::new("/dev/urandom")))?;
        let dir = self.dir.join(&id);
        for path in [dir.clone(), dir.join("fs"), dir.join("work")] {
            make_dir(&path)?;
        }
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let lock = try_hold(&dir, exclusive)?.ok_or_else(|| ContainerError::Io {
            action: "lock",
            path: dir.clone(),
            source: io::ErrorKind::WouldBlock.into(),
        })?;
        let container = Container {
            id,
            name,
            created: new.created,
            config,
            anonymous_volumes: new.anonymous_volumes,
        };
        let held = Held {
            container,
            state: State::default(),
            dir,
            lock,
        };
        held.write()?;
        held.tell(&held.container.event("create"));
        Ok(held)
    }

    /// Returns the ids that containers have outside.
    fn ids(&self) -> Result<Vec<IdRange>, ContainerError> {
        let mut ids = Vec::new();
        for dir in self.dirs()? {
            let container = read::<Container>(&dir.join("config.json"))?;
            ids.extend(container.and_then(|container| container.config.isolation.users.ids()));
        }
        Ok(ids)
    }

    fn lock_all(&self) -> Result<File, ContainerError> {
        let path = self.dir.join("lock");
        let file = open_lock(&path)?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| ContainerError::io("lock", &path)(errno.into()))?;
        Ok(file)
    }

    fn free_name(&self, wanted: Option<&str>) -> Result<String, ContainerError> {
        let taken = self.names()?;
        if let Some(name) = wanted {
            if !name::is_valid(name) {
                return Err(ContainerError::InvalidName {
                    name: name.to_owned(),
                });
            }
            return match taken.get(name) {
                None => Ok(name.to_owned()),
                Some(id) => Err(ContainerError::NameTaken {
                    name: name.to_owned(),
                    holder: id.chars().take(12).collect(),
                }),
            };
        }
        let mut bytes = [0; 2];
        super::random(&mut bytes).map_err(ContainerError::io("read", Path::new("/dev/urandom")))?;
        let first = u32::from(u16::from_le_bytes(bytes));
        // Far more names than anyone has containers; the last resort says so.
        let free = (0..1 << 20)
            .map(|step| name::generate(first + step))
            .find(|name| !taken.contains_key(name));
        free.ok_or_else(|| ContainerError::InvalidName {
            name: String::new(),
        })
    }

    /// Returns the names that are taken, with their containers' IDs. What a killed monitor left
    /// to be removed has none any more.
    fn names(&self) -> Result<BTreeMap<String, String>, ContainerError> {
        let mut names = BTreeMap::new();
        for dir in self.dirs()? {
            if let Some(container) = read::<Container>(&dir.join("config.json"))? {
                let goes = container.config.lifecycle.remove
                    && read_state(&dir)?.status != Status::Created
                    && try_hold(&dir, FlockOperation::NonBlockingLockShared)?.is_some();
                if !goes {
                    names.insert(container.name, container.id);
                }
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: Option<&str>, remove: bool) -> NewContainer {
        NewContainer {
            name: name.map(str::to_owned),
            created: "2024-05-01T10:00:00Z".into(),
            config: crate::container::testing::config(remove),
            anonymous_volumes: Vec::new(),
        }
    }

    fn scene() -> (tempfile::TempDir, Containers) {
        let root = tempfile::tempdir().expect("a temporary directory");
        let containers = Containers::of(root.path());
        (root, containers)
    }

    #[test]
    fn a_container_is_live_while_it_is_held() {
        let (_root, containers) = scene();
        assert_eq!(containers.list().expect("lists"), []);
        let held = containers.create(new(Some("web"), false)).expect("makes");
        assert!(held.upper().is_dir() && held.work().is_dir());
        let listed = |live| {
            let found = containers.list().expect("lists");
            assert_eq!((found.len(), found[0].live), (1, live));
            found[0].clone()
        };
        let found = listed(true);
        assert_eq!(found.container, held.container);
        drop(held);
        listed(false);
        for name in ["web", "/web", &found.container.id[..5]] {
            let one = containers.one(name).expect("finds");
            assert_eq!(one.container, found.container);
        }
        let missing = containers.one("no");
        assert!(matches!(missing, Err(ContainerError::Missing { .. })));
        let held = found.hold().expect("nobody holds it");
        containers.remove(held).expect("removes");
        assert_eq!(containers.list().expect("lists"), []);
    }

    #[test]
    fn names_are_unique_and_made_up_when_not_given() {
        let (_root, containers) = scene();
        let first = containers.create(new(Some("web"), false)).expect("makes");
        let error = containers
            .create(new(Some("web"), false))
            .expect_err("taken");
        let holder = &first.container.id[..12];
        assert_eq!(
            error.to_string(),
            format!("the name web is taken by container {holder}")
        );
        assert!(containers.create(new(Some("no/name"), false)).is_err());
        let unnamed = containers.create(new(None, false)).expect("makes");
        let found = containers.one("web").expect("finds");
        let taken = containers.rename(&found, &unnamed.container.name);
        assert!(matches!(taken, Err(ContainerError::NameTaken { .. })));
        containers.rename(&found, "shop").expect("renames");
        let renamed = containers.one("shop").expect("finds");
        assert_eq!(renamed.container.id, first.container.id);
    }

    #[test]
    fn what_a_killed_monitor_left_is_settled() {
        let (root, containers) = scene();
        for (name, remove) in [("goes", true), ("stays", false)] {
            let mut held = containers.create(new(Some(name), remove)).expect("makes");
            held.state.status = Status::Running;
            held.write_state().expect("writes");
            assert!(containers.one(name).expect("finds").is_active());
        }
        let again = containers.create(new(Some("goes"), false));
        drop(again.expect("the name is free again"));
        let mut left = containers.list().expect("lists");
        left.retain(|found| found.state.status != Status::Created);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].container.name, "stays");
        let state = &left[0].state;
        assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
        assert!(!left[0].is_active());
        fs::create_dir(root.path().join("containers/abc")).expect("makes");
        assert_eq!(containers.list().expect("lists").len(), 2);
        let half_made = root.path().join("containers/abc");
        assert!(!half_made.exists(), "half-made ones are swept too");
    }

    #[test]
    fn one_that_was_only_made_stays_whatever_it_is_to_do_at_its_end() {
        let (_root, containers) = scene();
        drop(containers.create(new(Some("web"), true)).expect("makes"));
        assert_eq!(containers.list().expect("lists").len(), 1);
    }
}
