//! `--annotation` and the `annotation` keys of `-o`: a name and a value, and where they go.
//!
//! | `--annotation` | key of `-o` | |
//! |---|---|---|
//! | `K=V`, `manifest:K=V` | `annotation.K=V`, `annotation-manifest.K=V` | the image's manifest |
//! | `manifest-descriptor:K=V` | `annotation-manifest-descriptor.K=V` | the manifest's entry in the index |
//! | `index:K=V` | `annotation-index.K=V` | the index of several platforms |
//! | `index-descriptor:K=V` | `annotation-index-descriptor.K=V` | the index' entry in a layout |
//!
//! `manifest` and its descriptor take a platform: `manifest[linux/amd64]:K=V`. Several places are
//! joined with commas.

use cooper_oci::Platform;

use super::value::ValueError;
use crate::options::{Annotation, AnnotationPlace};

const PLACES: [(&str, AnnotationPlace); 4] = [
    ("manifest", AnnotationPlace::Manifest),
    ("manifest-descriptor", AnnotationPlace::ManifestDescriptor),
    ("index", AnnotationPlace::Index),
    ("index-descriptor", AnnotationPlace::IndexDescriptor),
];

/// Parses `[PLACE[,PLACE…]:]NAME=VALUE`, one annotation a place.
pub fn option(text: &str) -> Result<Vec<Annotation>, ValueError> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| ValueError::new("no value").hint("write NAME=VALUE"))?;
    // A name with a colon needs a place before it, so that a misspelt place is none.
    let (places, name) = key.split_once(':').unwrap_or(("manifest", key));
    if name.is_empty() {
        return Err(ValueError::new("the name is empty").hint("write NAME=VALUE"));
    }
    places
        .split(',')
        .map(|place| annotation(place, name, value))
        .collect()
}

/// Returns what the key of an output and its value annotate, if the key is one of annotations.
pub fn output_key(key: &str, value: &str) -> Option<Result<Annotation, ValueError>> {
    let rest = key.strip_prefix("annotation")?;
    if let Some(name) = rest.strip_prefix('.') {
        return Some(annotation("manifest", name, value));
    }
    let rest = rest.strip_prefix('-')?;
    // A platform may hold dots, and a name brackets.
    let end = match (rest.find('['), rest.find('.')) {
        (Some(open), Some(dot)) if open < dot => rest.find("].")? + 1,
        (_, dot) => dot?,
    };
    Some(annotation(&rest[..end], &rest[end + 1..], value))
}

/// Parses `PLACE[[PLATFORM]]`.
fn annotation(place: &str, name: &str, value: &str) -> Result<Annotation, ValueError> {
    let (word, platform) = match place
        .strip_suffix(']')
        .and_then(|text| text.split_once('['))
    {
        Some((word, platform)) => (word, Some(platform)),
        None => (place, None),
    };
    let Some((_, place)) = PLACES.into_iter().find(|(known, _)| *known == word) else {
        let known = PLACES.map(|(known, _)| known);
        return Err(ValueError::unknown("place", word, &known));
    };
    let index = matches!(
        place,
        AnnotationPlace::Index | AnnotationPlace::IndexDescriptor
    );
    if index && platform.is_some() {
        return Err(ValueError::new("an index is of all platforms").hint("leave [PLATFORM] out"));
    }
    let platform = platform.map(|text| {
        text.parse::<Platform>()
            .map_err(|error| ValueError::new(error.to_string()))
    });
    Ok(Annotation {
        place,
        platform: platform.transpose()?,
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(result: Result<Vec<Annotation>, ValueError>) -> Result<Vec<String>, String> {
        let tell = |one: Annotation| {
            let platform = one
                .platform
                .map_or(String::new(), |platform| format!("[{platform}]"));
            format!("{:?}{platform} {}={}", one.place, one.name, one.value)
        };
        result
            .map(|all| all.into_iter().map(tell).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_name_places_and_platforms() {
        let amd = "manifest[linux/amd64],manifest-descriptor:k=v";
        for (text, want) in [
            ("k=v", Ok(&["Manifest k=v"][..])),
            ("k=", Ok(&["Manifest k="])),
            ("manifest:a:k=v=w", Ok(&["Manifest a:k=v=w"])),
            ("a:k=v", Err("unknown place \"a\"")),
            ("manifest:k=v", Ok(&["Manifest k=v"])),
            ("index:k=v", Ok(&["Index k=v"])),
            ("index,manifest:k=v", Ok(&["Index k=v", "Manifest k=v"])),
            (
                amd,
                Ok(&["Manifest[linux/amd64] k=v", "ManifestDescriptor k=v"]),
            ),
            ("index-descriptor:k=v", Ok(&["IndexDescriptor k=v"])),
            ("k", Err("no value")),
            ("index:=v", Err("the name is empty")),
            (
                "index[linux/amd64]:k=v",
                Err("an index is of all platforms"),
            ),
            ("manifest,indx:k=v", Err("unknown place \"indx\"")),
        ] {
            let want = want
                .map(|all| all.iter().map(ToString::to_string).collect())
                .map_err(str::to_owned);
            assert_eq!(told(option(text)), want, "{text}");
        }
    }

    #[test]
    fn outputs_have_keys_for_each_place() {
        for (key, want) in [
            ("annotation.a.b", Some("Manifest a.b=v")),
            ("annotation-manifest.k", Some("Manifest k=v")),
            ("annotation-index.k", Some("Index k=v")),
            (
                "annotation-manifest-descriptor[linux/arm/v7].k",
                Some("ManifestDescriptor[linux/arm/v7] k=v"),
            ),
            ("annotations.k", None),
            ("dest", None),
        ] {
            let found = output_key(key, "v").map(|one| told(one.map(|one| vec![one])));
            let want = want.map(|text| Ok(vec![text.to_owned()]));
            assert_eq!(found, want, "{key}");
        }
    }
}
