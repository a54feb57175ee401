//! Lists, sets and objects.

use std::collections::BTreeMap;

use super::{Arguments, Misuse, Outcome};
use crate::bake::eval;
use crate::bake::typing::set;
use crate::bake::value::Value;

/// The most elements that `setproduct` makes.
const LARGEST_PRODUCT: usize = 65_536;

pub(super) fn chunk_list(a: &Arguments<'_>) -> Outcome {
    let (items, size) = (a.list(0)?, a.size(1)?);
    let size = if size == 0 { items.len().max(1) } else { size };
    let chunks = items.chunks(size).map(|chunk| Value::List(chunk.to_vec()));
    Ok(Value::List(chunks.collect()))
}

pub(super) fn coalesce(a: &Arguments<'_>) -> Outcome {
    let first = a.values.iter().find(|value| **value != Value::Null);
    first
        .cloned()
        .ok_or_else(|| Misuse::new("all arguments are null"))
}

pub(super) fn coalesce_list(a: &Arguments<'_>) -> Outcome {
    for index in 0..a.len() {
        match a.value(index) {
            Value::List(items) if items.is_empty() => {}
            Value::Object(entries) if entries.is_empty() => {}
            Value::Null => {}
            Value::List(_) | Value::Object(_) => return Ok(a.value(index).clone()),
            _ => return Err(a.needed(index, "a list")),
        }
    }
    Err(Misuse::new("all arguments are empty"))
}

pub(super) fn compact(a: &Arguments<'_>) -> Outcome {
    let filled = a.list(0)?.iter().filter(|item| **item != Value::Null);
    let filled = filled.filter(|item| **item != Value::text(""));
    Ok(Value::List(filled.cloned().collect()))
}

pub(super) fn concat(a: &Arguments<'_>) -> Outcome {
    let mut all = Vec::new();
    for index in 0..a.len() {
        all.extend_from_slice(a.list(index)?);
    }
    Ok(Value::List(all))
}

pub(super) fn contains(a: &Arguments<'_>) -> Outcome {
    Ok(Value::Bool(a.list(0)?.contains(a.value(1))))
}

pub(super) fn distinct(a: &Arguments<'_>) -> Outcome {
    let mut out: Vec<Value> = Vec::new();
    for item in a.list(0)? {
        if !out.contains(item) {
            out.push(item.clone());
        }
    }
    Ok(Value::List(out))
}

pub(super) fn element(a: &Arguments<'_>) -> Outcome {
    let (items, index) = (a.list(0)?, a.whole(1)?);
    if items.is_empty() {
        return Err(Misuse::of(0, "the list is empty"));
    }
    let index = index.rem_euclid(items.len() as i128);
    Ok(items[index as usize].clone())
}

pub(super) fn flatten(a: &Arguments<'_>) -> Outcome {
    fn walk(items: &[Value], out: &mut Vec<Value>) {
        for item in items {
            match item {
                Value::List(inner) => walk(inner, out),
                item => out.push(item.clone()),
            }
        }
    }
    let mut out = Vec::new();
    walk(a.list(0)?, &mut out);
    Ok(Value::List(out))
}

pub(super) fn has_index(a: &Arguments<'_>) -> Value {
    Value::Bool(eval::element(a.value(0), a.value(1)).is_ok())
}

pub(super) fn index(a: &Arguments<'_>) -> Outcome {
    eval::element(a.value(0), a.value(1)).map_err(|message| Misuse::of(1, message))
}

pub(super) fn index_of(a: &Arguments<'_>) -> Outcome {
    let place = a.list(0)?.iter().position(|item| item == a.value(1));
    let place = place.ok_or_else(|| Misuse::of(1, "the list does not have it"))?;
    Ok(Value::whole(place as i128))
}

pub(super) fn keys(a: &Arguments<'_>) -> Outcome {
    Ok(Value::List(a.object(0)?.keys().map(Value::text).collect()))
}

pub(super) fn values(a: &Arguments<'_>) -> Outcome {
    Ok(Value::List(a.object(0)?.values().cloned().collect()))
}

pub(super) fn length(a: &Arguments<'_>) -> Outcome {
    match a.value(0) {
        Value::List(items) => Ok(Value::whole(items.len() as i128)),
        Value::Object(entries) => Ok(Value::whole(entries.len() as i128)),
        Value::String(_) => Err(Misuse::of(
            0,
            "a list or an object is needed; strlen is for strings",
        )),
        _ => Err(a.needed(0, "a list or an object")),
    }
}

pub(super) fn lookup(a: &Arguments<'_>) -> Outcome {
    let key = a.text(1)?;
    match a.object(0)?.get(&key) {
        Some(value) => Ok(value.clone()),
        None if a.len() == 3 => Ok(a.value(2).clone()),
        None => Err(Misuse::of(1, format!("the object has no key {key:?}"))),
    }
}

pub(super) fn merge(a: &Arguments<'_>) -> Outcome {
    let mut all = BTreeMap::new();
    for index in 0..a.len() {
        if *a.value(index) != Value::Null {
            all.extend(a.object(index)?.clone());
        }
    }
    Ok(Value::Object(all))
}

pub(super) fn reverse_list(a: &Arguments<'_>) -> Outcome {
    Ok(Value::List(a.list(0)?.iter().rev().cloned().collect()))
}

pub(super) fn slice(a: &Arguments<'_>) -> Outcome {
    let (items, start, end) = (a.list(0)?, a.size(1)?, a.size(2)?);
    let part = items.get(start..end);
    let count = items.len();
    let part = part.ok_or_else(|| {
        Misuse::new(format!(
            "the list has {count} elements, not those from {start} to {end}"
        ))
    })?;
    Ok(Value::List(part.to_vec()))
}

pub(super) fn sort(a: &Arguments<'_>) -> Outcome {
    let mut texts = a.texts(0)?;
    texts.sort();
    Ok(Value::List(texts.into_iter().map(Value::String).collect()))
}

pub(super) fn zipmap(a: &Arguments<'_>) -> Outcome {
    let (keys, values) = (a.texts(0)?, a.list(1)?);
    if keys.len() != values.len() {
        let message = format!("{} keys are not {} values", keys.len(), values.len());
        return Err(Misuse::new(message));
    }
    Ok(Value::Object(
        keys.into_iter().zip(values.iter().cloned()).collect(),
    ))
}

/// Combines all arguments, keeping what `keep` says of the number of sets that have an element.
fn combine(a: &Arguments<'_>, keep: impl Fn(usize) -> bool) -> Outcome {
    let mut all = Vec::new();
    for index in 0..a.len() {
        all.extend_from_slice(a.list(index)?);
    }
    let Value::List(all) = set(all) else {
        return Ok(Value::Null);
    };
    let holders = |item: &Value| {
        let has = |index: &usize| a.list(*index).is_ok_and(|list| list.contains(item));
        (0..a.len()).filter(has).count()
    };
    Ok(Value::List(
        all.into_iter().filter(|item| keep(holders(item))).collect(),
    ))
}

pub(super) fn set_union(a: &Arguments<'_>) -> Outcome {
    combine(a, |_| true)
}

pub(super) fn set_intersection(a: &Arguments<'_>) -> Outcome {
    let all = a.len();
    combine(a, |holders| holders == all)
}

pub(super) fn set_symmetric_difference(a: &Arguments<'_>) -> Outcome {
    combine(a, |holders| holders % 2 == 1)
}

pub(super) fn set_subtract(a: &Arguments<'_>) -> Outcome {
    let (from, what) = (a.list(0)?, a.list(1)?);
    let left = from.iter().filter(|item| !what.contains(item));
    Ok(set(left.cloned().collect()))
}

pub(super) fn set_product(a: &Arguments<'_>) -> Outcome {
    let mut out = vec![Vec::new()];
    for index in 0..a.len() {
        let items = a.list(index)?;
        if out.len().saturating_mul(items.len()) > LARGEST_PRODUCT {
            return Err(Misuse::new(format!(
                "there are more than {LARGEST_PRODUCT} elements"
            )));
        }
        out = out
            .iter()
            .flat_map(|tuple: &Vec<Value>| {
                items.iter().map(|item| {
                    let mut tuple = tuple.clone();
                    tuple.push(item.clone());
                    tuple
                })
            })
            .collect();
    }
    Ok(Value::List(out.into_iter().map(Value::List).collect()))
}
