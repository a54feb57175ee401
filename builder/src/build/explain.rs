//! Why a step was executed, or was not, in words.
//!
//! A step is compared with what is remembered of it ([`StepMemory`]): what it does, and what it
//! read. For files that it copied, the layers that it made then and now tell which differ.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::slice::Iter;

use cooper_cache::{Entry, EntryKind, LayerId, LayerIndex, RelPath, Store};
use serde_json::Value;

use super::memory::{InputMemory, StepMemory};

/// How a step came by its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was known by what it does and what its inputs are made of.
    Known,
    /// What it reads was made anew, but came out the same.
    SameContent,
    /// Nobody needed it: what reads it was known.
    Unneeded,
    /// It ran.
    Executed {
        /// Although its result may have been known.
        forced: bool,
    },
}

/// How many changed files are named.
const NAMED: usize = 5;

/// Returns why `now` met its fate; `before` is what is remembered of it.
pub(crate) fn why(
    store: &Store,
    fate: Fate,
    before: Option<&StepMemory>,
    now: &StepMemory,
) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    match fate {
        Fate::Known => one("cached: nothing that it is made of has changed"),
        Fate::Unneeded => one("not needed: the result of what reads it is known"),
        Fate::SameContent => one("cached: what it reads was made anew, and came out the same"),
        Fate::Executed { forced: true } => one("executed: --no-cache asks for it"),
        Fate::Executed { forced: false } => match before {
            None => one("executed: no build here has had this step before"),
            Some(before) => changes(store, before, now),
        },
    }
}

fn changes(store: &Store, before: &StepMemory, now: &StepMemory) -> Vec<String> {
    let mut found = Vec::new();
    compare_ops(&before.op, &now.op, &mut found);
    compare_inputs(store, before, now, &mut found);
    if found.is_empty() {
        found.push("no result of this is in the cache any more".to_owned());
    }
    found
        .into_iter()
        .map(|text| format!("executed: {text}"))
        .collect()
}

/// Says in what two ops differ.
fn compare_ops(before: &Value, now: &Value, found: &mut Vec<String>) {
    let (Some((old_kind, old)), Some((kind, new))) = (variant(before), variant(now)) else {
        if before != now {
            found.push("it does something else now".to_owned());
        }
        return;
    };
    if old_kind != kind {
        found.push("it is another kind of instruction now".to_owned());
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                let former = old.get(name).unwrap_or(&Value::Null);
                if former != value {
                    compare_field(name, former, value, found);
                }
            }
        }
        _ if old != new => found.push("it does something else now".to_owned()),
        _ => {}
    }
}

/// Splits an enum's value into the variant's name and its content.
fn variant(value: &Value) -> Option<(&String, &Value)> {
    value
        .as_object()
        .filter(|fields| fields.len() == 1)?
        .iter()
        .next()
}

fn compare_field(name: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    let text = match name {
        "args" => "its command changed",
        "env" => return compare_variables(before, now, found),
        "cwd" => "its working directory changed",
        "user" => "its user changed",
        "hostname" => "its host name changed",
        "network" => "its network mode changed",
        "security" => "its security mode changed",
        "mounts" => return compare_mounts(before, now, found),
        "scripts" => "the text of its heredoc changed",
        "platform" => "its platform changed",
        "base" => "what it starts from changed",
        "actions" => return compare_actions(before, now, found),
        "devices" => "its devices changed",
        other => return found.push(format!("its {other} changed")),
    };
    found.push(text.to_owned());
}

/// Returns the items of a list by the name that `key` finds in them.
fn by_name<'a>(
    list: &'a Value,
    key: impl Fn(&'a Value) -> Option<&'a str>,
) -> BTreeMap<&'a str, &'a Value> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| Some((key(item)?, item))).collect()
}

fn compare_variables(before: &Value, now: &Value, found: &mut Vec<String>) {
    let named = |list| by_name(list, |item| item.get(0).and_then(Value::as_str));
    let (old, new) = (named(before), named(now));
    let start = found.len();
    say_differences(&old, &new, "the variable", found);
    if found.len() == start {
        found.push("the order of its variables changed".to_owned());
    }
}

fn compare_mounts(before: &Value, now: &Value, found: &mut Vec<String>) {
    let named = |list| by_name(list, |item| item.get("target").and_then(Value::as_str));
    let (old, new) = (named(before), named(now));
    say_differences(&old, &new, "the mount", found);
}

fn say_differences(
    old: &BTreeMap<&str, &Value>,
    new: &BTreeMap<&str, &Value>,
    what: &str,
    found: &mut Vec<String>,
) {
    for (name, value) in new {
        match old.get(name) {
            None => found.push(format!("{what} {name} is new")),
            Some(former) if former != value => found.push(format!("{what} {name} changed")),
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    found.extend(gone.map(|name| format!("{what} {name} is gone")));
}

fn compare_actions(before: &Value, now: &Value, found: &mut Vec<String>) {
    let (old, new) = (before.as_array(), now.as_array());
    let (Some(old), Some(new)) = (old, new) else {
        return found.push("what it copies changed".to_owned());
    };
    if old.len() != new.len() {
        return found.push("what it copies changed".to_owned());
    }
    for (old, new) in old.iter().zip(new) {
        let (Some((old_kind, old)), Some((kind, new))) = (variant(old), variant(new)) else {
            continue;
        };
        let fields = match (old, new) {
            (Value::Object(old), Value::Object(new)) if old_kind == kind => new
                .iter()
                .filter(|(name, value)| old.get(*name) != Some(value))
                .map(|(name, _)| name.as_str())
                .collect(),
            _ => vec!["kind"],
        };
        found.extend(fields.into_iter().map(|field| {
            let text = match field {
                "sources" => "the sources that it names changed",
                "dest" | "path" => "its destination changed",
                "chown" | "owner" => "the owner that it gives changed",
                "chmod" | "mode" => "the mode that it gives changed",
                "exclude" => "what it leaves out changed",
                "data" => "the text of its heredoc changed",
                _ => "what it copies changed",
            };
            text.to_owned()
        }));
    }
}

fn compare_inputs(store: &Store, before: &StepMemory, now: &StepMemory, found: &mut Vec<String>) {
    if before.inputs.is_empty() {
        // What it read then was never found out: its result was known by other means.
        return;
    }
    for (at, input) in now.inputs.iter().enumerate() {
        match before.inputs.get(at) {
            None => found.push(format!("it reads {} too now", input.name)),
            Some(old) if old.content != input.content => {
                let files = if is_base(now, at) {
                    Vec::new()
                } else {
                    copied_files(store, before, now)
                };
                found.push(changed_input(old, input, &files));
            }
            Some(_) => {}
        }
    }
}

fn changed_input(old: &InputMemory, input: &InputMemory, files: &[String]) -> String {
    if old.name != input.name {
        return format!("it reads {} now, not {}", input.name, old.name);
    }
    if files.is_empty() {
        return format!("{} gave other content", input.name);
    }
    format!("{} has other content: {}", input.name, files.join(", "))
}

/// Whether an input is what the step builds on.
fn is_base(step: &StepMemory, input: usize) -> bool {
    let base = variant(&step.op).and_then(|(_, op)| op.get("base"));
    input == 0 && base.and_then(Value::as_bool).unwrap_or(false)
}

/// Returns what a copy made now that it did not make then, file by file.
fn copied_files(store: &Store, before: &StepMemory, now: &StepMemory) -> Vec<String> {
    let copies = variant(&now.op).is_some_and(|(kind, _)| kind == "File");
    match (before.layers.last(), now.layers.last()) {
        (Some(was), Some(is)) if copies => changed_files(store, was, is),
        _ => Vec::new(),
    }
}

/// Returns what differs between two layers, file by file; nothing if one of them is gone.
fn changed_files(store: &Store, was: &LayerId, is: &LayerId) -> Vec<String> {
    let index = |id: &LayerId| {
        let layer = store.layers().get(id).ok().flatten()?;
        layer.index().ok()
    };
    let (Some(old), Some(new)) = (index(was), index(is)) else {
        return Vec::new();
    };
    let mut found = differences(&old, &new);
    if found.len() > NAMED {
        let more = found.len() - NAMED;
        found.truncate(NAMED);
        found.push(format!("and {more} more"));
    }
    found
}

/// Says what differs, what is new and changed in path order before what is gone.
fn differences(old: &LayerIndex, new: &LayerIndex) -> Vec<String> {
    let (mut found, mut gone) = (Vec::new(), Vec::new());
    let mut was = old.entries().iter().peekable();
    let mut drop_before = |was: &mut Peekable<Iter<'_, Entry>>, path: Option<&RelPath>| {
        while let Some(entry) = was.next_if(|entry| path.is_none_or(|path| entry.path < *path)) {
            gone.push(format!("{} is gone", entry.path));
        }
    };
    for entry in new.entries() {
        let path = &entry.path;
        drop_before(&mut was, Some(path));
        let Some(former) = was.next_if(|former| former.path == *path) else {
            found.push(format!("{path} is new"));
            continue;
        };
        let dir = matches!(entry.kind, EntryKind::Dir { .. });
        if former.kind != entry.kind && !dir {
            found.push(format!("{path} changed"));
        } else if former.mode != entry.mode {
            found.push(format!("the mode of {path} changed"));
        } else if (former.uid, former.gid) != (entry.uid, entry.gid) {
            found.push(format!("the owner of {path} changed"));
        }
    }
    drop_before(&mut was, None);
    found.extend(gone);
    found
}
