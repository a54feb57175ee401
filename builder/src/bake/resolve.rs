//! From all targets and groups of a definition to those that are asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::functions::clean;
use super::overrides::Override;
use super::target::{Field, Group, Target};
use super::{Definition, ResolveError, is_remote};
use crate::bake::entry::Entry;
use crate::bake::shape::Entries;
use crate::report::did_you_mean;

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The targets, with all that they inherit.
    pub targets: BTreeMap<String, Target>,
    /// The groups they came from, and `default` for what was named on the command line.
    pub groups: BTreeMap<String, Group>,
}

/// Returns whether `name` fits a pattern after Go's `path.Match`; none if it is no pattern.
pub(super) fn matches(pattern: &str, name: &str) -> Option<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    fits(&pattern, &name)
}

fn fits(pattern: &[char], name: &[char]) -> Option<bool> {
    let Some((first, rest)) = pattern.split_first() else {
        return Some(name.is_empty());
    };
    match first {
        '*' => {
            for skipped in 0..=name.len() {
                if fits(rest, &name[skipped..])? {
                    return Some(true);
                }
            }
            Some(false)
        }
        '?' => match name.split_first() {
            Some((_, name)) => fits(rest, name),
            None => fits(rest, &[]).map(|_| false),
        },
        '[' => {
            let end = rest.iter().position(|c| *c == ']')?;
            let (set, rest) = (&rest[..end], &rest[end + 1..]);
            let (negated, set) = match set.split_first() {
                Some(('^', set)) => (true, set),
                _ => (false, set),
            };
            let Some((c, name)) = name.split_first() else {
                return Some(false);
            };
            if in_set(set, *c) == negated {
                return Some(false);
            }
            fits(rest, name)
        }
        '\\' => {
            let (literal, rest) = rest.split_first()?;
            match name.split_first() {
                Some((c, name)) if c == literal => fits(rest, name),
                _ => Some(false),
            }
        }
        literal => match name.split_first() {
            Some((c, name)) if c == literal => fits(rest, name),
            _ => Some(false),
        },
    }
}

fn in_set(set: &[char], c: char) -> bool {
    match set {
        [low, '-', high, rest @ ..] => (*low..=*high).contains(&c) || in_set(rest, c),
        [one, rest @ ..] => *one == c || in_set(rest, c),
        [] => false,
    }
}

impl Definition {
    /// Returns what the named targets and groups come to under `overrides`.
    pub fn plan(&self, names: &[String], overrides: &[Override]) -> Result<Plan, ResolveError> {
        let overrides = self.spread(overrides)?;
        let mut asked: Vec<String> = Vec::new();
        for name in names {
            for name in self.matching(&name.replace('.', "_"))? {
                if !asked.contains(&name) {
                    asked.push(name);
                }
            }
        }
        let mut plan = Plan::default();
        for name in &asked {
            let (targets, groups) = self.members(name, &mut BTreeSet::new());
            for target in targets {
                if !plan.targets.contains_key(&target) {
                    let resolved = self.resolve(&target, &overrides).map_err(|error| {
                        match self.group_of(&target).filter(|_| target != *name) {
                            Some(group) => {
                                let written = group.written.as_ref();
                                let place = written.map(|written| written.text(&target));
                                error.named_by(format!("the group {}", group.name), place)
                            }
                            None => error.called_as_asked(names),
                        }
                    });
                    plan.targets.insert(target.clone(), resolved?);
                }
            }
            for group in groups {
                let group = self.groups.iter().find(|other| other.name == group);
                plan.groups
                    .extend(group.map(|group| (group.name.clone(), group.clone())));
            }
        }
        default_group(&mut plan, &asked);
        let names: Vec<_> = plan.targets.keys().cloned().collect();
        for name in names {
            self.link(&name, &mut plan, &overrides, &mut Vec::new())?;
        }
        Ok(plan)
    }

    /// Returns the groups and targets that a name with wildcards stands for.
    fn matching(&self, pattern: &str) -> Result<Vec<String>, ResolveError> {
        if !pattern.contains(['*', '?', '[', ']']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let groups = self.groups.iter().map(|group| &group.name);
        let names = groups.chain(self.targets.iter().map(|target| &target.name));
        let found = names.filter(|name| matches(pattern, name) == Some(true));
        let found: Vec<_> = found.cloned().collect();
        if found.is_empty() {
            return Err(self.unknown(pattern));
        }
        Ok(found)
    }

    /// Returns which overrides concern which target.
    fn spread<'o>(
        &self,
        overrides: &'o [Override],
    ) -> Result<BTreeMap<String, Vec<&'o Override>>, ResolveError> {
        let mut out: BTreeMap<String, Vec<&Override>> = BTreeMap::new();
        for one in overrides {
            let exact = self.targets.iter().any(|target| target.name == one.pattern);
            let fits = |name: &str| {
                if exact {
                    one.pattern == name
                } else {
                    matches(&one.pattern, name) == Some(true)
                }
            };
            let mut found = false;
            for target in self.targets.iter().filter(|target| fits(&target.name)) {
                found = true;
                out.entry(target.name.clone()).or_default().push(one);
            }
            if !found {
                return Err(self.unknown(&one.pattern));
            }
        }
        Ok(out)
    }

    /// Returns the targets and the groups below a name, itself included.
    fn members(&self, name: &str, visited: &mut BTreeSet<String>) -> (Vec<String>, Vec<String>) {
        let Some(group) = self.groups.iter().find(|group| group.name == name) else {
            return (vec![name.to_owned()], Vec::new());
        };
        if !visited.insert(name.to_owned()) {
            return (Vec::new(), Vec::new());
        }
        let mut targets = Vec::new();
        let mut groups = vec![name.to_owned()];
        for member in &group.targets {
            // A group may have a target of its own name.
            let (more, inner) = if member == name {
                (vec![member.clone()], Vec::new())
            } else {
                self.members(member, visited)
            };
            targets.extend(more);
            groups.extend(inner);
        }
        (targets, groups)
    }

    /// Returns a group that names `member`.
    fn group_of(&self, member: &str) -> Option<&Group> {
        let mut groups = self.groups.iter();
        groups.find(|group| group.targets.iter().any(|target| target == member))
    }

    fn unknown(&self, name: &str) -> ResolveError {
        let targets = self.targets.iter().map(|target| target.name.as_str());
        let groups = self.groups.iter().map(|group| group.name.as_str());
        let known: Vec<_> = groups.chain(targets).collect();
        ResolveError::UnknownTarget {
            name: name.to_owned(),
            by: None,
            suggestion: did_you_mean(name, known.iter().copied()).map(str::to_owned),
            known: known.into_iter().map(str::to_owned).collect(),
            fault: None,
        }
    }

    /// Returns a target with what it inherits and its overrides.
    fn resolve(
        &self,
        name: &str,
        overrides: &BTreeMap<String, Vec<&Override>>,
    ) -> Result<Target, ResolveError> {
        let mut visited = BTreeMap::new();
        let target = self.inherit(name, overrides, &mut visited)?;
        let mut target = target.unwrap_or_else(|| Target::new(name));
        target.unset("inherits");
        for what in ["context", "dockerfile"] {
            if target.text(what) == Some("-") {
                let target = target.name;
                return Err(ResolveError::Stdin { target, what });
            }
        }
        let context = target.text("context").unwrap_or(".");
        let context = context.strip_prefix("cwd://").unwrap_or(context);
        if !is_remote(context) {
            let context = clean(context);
            target.set("context", Field::Text(context));
        }
        if target.text("dockerfile").is_none_or(str::is_empty) {
            target.set("dockerfile", Field::Text("Dockerfile".to_owned()));
        }
        Ok(target)
    }

    /// A target that is met again while it is being resolved adds nothing.
    fn inherit(
        &self,
        name: &str,
        overrides: &BTreeMap<String, Vec<&Override>>,
        visited: &mut BTreeMap<String, Option<Target>>,
    ) -> Result<Option<Target>, ResolveError> {
        if let Some(known) = visited.get(name) {
            return Ok(known.clone());
        }
        visited.insert(name.to_owned(), None);
        let own = self.targets.iter().find(|target| target.name == name);
        let own = own.ok_or_else(|| self.unknown(name))?;
        let mut target = Target::new(name);
        for parent in own.texts("inherits") {
            let parent = self.inherit(parent, overrides, visited);
            let parent = parent.map_err(|error| error.inherited_by(own))?;
            if let Some(parent) = parent {
                target.merge(&parent);
            }
        }
        target.merge(own);
        for one in overrides.get(name).into_iter().flatten() {
            one.apply(&mut target)?;
        }
        target.tidy();
        visited.insert(name.to_owned(), Some(target.clone()));
        Ok(Some(target))
    }

    /// Adds the targets that `target:NAME` contexts need.
    fn link(
        &self,
        name: &str,
        plan: &mut Plan,
        overrides: &BTreeMap<String, Vec<&Override>>,
        path: &mut Vec<String>,
    ) -> Result<(), ResolveError> {
        path.push(name.to_owned());
        let links: Vec<String> = plan.targets[name]
            .map("contexts")
            .filter_map(|(_, value)| value.strip_prefix("target:").map(str::to_owned))
            .collect();
        for other in links {
            if path.contains(&other) {
                return Err(ResolveError::LinkCycle {
                    from: name.to_owned(),
                    to: other,
                });
            }
            if !plan.targets.contains_key(&other) {
                let target = self.resolve(&other, overrides);
                let mut target = target.map_err(|error| {
                    let written =
                        plan.targets[name].place_of("contexts", &format!("target:{other}"));
                    error.named_by(format!("a context of the target {name}"), written)
                })?;
                let nowhere = Entry::parse(Entries::Output, "type=cacheonly").unwrap_or_default();
                target.set("output", Field::Entries(nowhere));
                target.linked = true;
                plan.targets.insert(other.clone(), target);
            }
            self.link(&other, plan, overrides, path)?;
            let inherited = plan.targets[&other].texts("entitlements").to_vec();
            if let Some(target) = plan.targets.get_mut(name)
                && !inherited.is_empty()
                && let Some(entitlements) = target.texts_mut("entitlements")
            {
                let new = inherited
                    .into_iter()
                    .filter(|one| !entitlements.contains(one));
                let new: Vec<_> = new.collect();
                entitlements.extend(new);
            }
        }
        path.pop();
        Ok(())
    }
}

/// What is named on the command line is the group `default`.
fn default_group(plan: &mut Plan, asked: &[String]) {
    let own = plan.groups.contains_key("default");
    for name in asked {
        if own && name == "default" {
            continue;
        }
        let group = plan
            .groups
            .entry("default".to_owned())
            .or_insert_with(|| Group {
                name: "default".to_owned(),
                ..Group::default()
            });
        group.targets.push(name.clone());
    }
    if let Some(group) = plan.groups.get_mut("default") {
        group.targets.sort();
        group.targets.dedup();
    }
}
