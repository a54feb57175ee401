//! What `--cache-from` and `--cache-to` say of services: S3, Azure and GitHub Actions.
//!
//! What is not said is looked for in the environment, as the services' own tools do.

use cooper_frontend::quantity;

use super::super::output::Fields;
use super::super::value::{ValueError, duration};
use crate::config::Environment;
use crate::options::{
    ActionsPlace, ActionsVersion, BucketPlace, ContainerPlace, Listing, ServicePlace, Token,
};
use crate::report::Report;
use crate::shared_cache::Keys;

/// What is said of a bucket.
pub(super) const BUCKET_KEYS: [&str; 14] = [
    "bucket",
    "region",
    "prefix",
    "manifests_prefix",
    "blobs_prefix",
    "endpoint_url",
    "use_path_style",
    "name",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "part_size",
    "upload_parallelism",
    "touch_refresh",
];

/// What is said of a container.
pub(super) const CONTAINER_KEYS: [&str; 10] = [
    "account_url",
    "account_name",
    "secret_access_key",
    "container",
    "prefix",
    "manifests_prefix",
    "blobs_prefix",
    "name",
    "part_size",
    "upload_parallelism",
];

/// What is said of GitHub's cache.
pub(super) const ACTIONS_KEYS: [&str; 9] = [
    "scope",
    "url",
    "url_v2",
    "token",
    "version",
    "timeout",
    "repository",
    "ghtoken",
    "part_size",
];

/// The host of GitHub's own service, which speaks the second protocol.
const RESULTS_HOST: &str = "results-receiver.actions.githubusercontent.com";

/// Takes out what is said of a bucket.
pub(super) fn bucket(fields: &mut Fields) -> Result<BucketPlace, ValueError> {
    let usual = BucketPlace::default();
    let part_size = part_size(fields, usual.part_size)?;
    let parallel = parallel(fields, usual.parallel)?;
    let path_style = fields.flag("use_path_style")?.unwrap_or(false);
    let mut text = |key: &str| fields.take(key).filter(|value| !value.is_empty());
    let names = text("name").map(|names| names.split(';').map(str::to_owned).collect());
    let keys = match (text("access_key_id"), text("secret_access_key")) {
        (Some(access), Some(secret)) => Some(Keys {
            access,
            secret,
            session: text("session_token"),
        }),
        (None, None) => None,
        _ => {
            return Err(ValueError::new(
                "access_key_id and secret_access_key are given together or not at all",
            ));
        }
    };
    let touch_refresh = text("touch_refresh").map(|text| duration(&text));
    Ok(BucketPlace {
        bucket: text("bucket").unwrap_or_default(),
        region: text("region").unwrap_or_default(),
        prefix: text("prefix").unwrap_or_default(),
        manifests_prefix: text("manifests_prefix").unwrap_or(usual.manifests_prefix),
        blobs_prefix: text("blobs_prefix").unwrap_or(usual.blobs_prefix),
        endpoint: text("endpoint_url"),
        names: names.unwrap_or(usual.names),
        keys,
        path_style,
        part_size,
        parallel,
        touch_refresh: touch_refresh.transpose()?.unwrap_or(usual.touch_refresh),
    })
}

/// Takes out what is said of a container.
pub(super) fn container(fields: &mut Fields) -> Result<ContainerPlace, ValueError> {
    let usual = ContainerPlace::default();
    let part_size = part_size(fields, usual.part_size)?;
    let parallel = parallel(fields, usual.parallel)?;
    let mut text = |key: &str| fields.take(key).filter(|value| !value.is_empty());
    let names = text("name").map(|names| names.split(';').map(str::to_owned).collect());
    Ok(ContainerPlace {
        account_url: text("account_url").unwrap_or_default(),
        account_name: text("account_name"),
        key: text("secret_access_key").map(Token),
        container: text("container").unwrap_or_default(),
        prefix: text("prefix").unwrap_or_default(),
        manifests_prefix: text("manifests_prefix").unwrap_or(usual.manifests_prefix),
        blobs_prefix: text("blobs_prefix").unwrap_or(usual.blobs_prefix),
        names: names.unwrap_or(usual.names),
        part_size,
        parallel,
    })
}

/// Takes out what is said of GitHub's cache. Where its API is that lists the entries, the
/// environment says.
pub(super) fn actions(fields: &mut Fields) -> Result<ActionsPlace, ValueError> {
    let usual = ActionsPlace::default();
    let part_size = part_size(fields, usual.part_size)?;
    let mut text = |key: &str| fields.take(key).filter(|value| !value.is_empty());
    let (url, url_v2) = (text("url"), text("url_v2"));
    let is_githubs = |url: &String| url.contains(RESULTS_HOST);
    let version = match text("version").as_deref() {
        Some("1") => Some(ActionsVersion::V1),
        Some("2") => Some(ActionsVersion::V2),
        Some(other) => return Err(ValueError::unknown("version", other, &["1", "2"])),
        None if url_v2.is_some() || url.as_ref().is_some_and(is_githubs) => {
            Some(ActionsVersion::V2)
        }
        None => None,
    };
    let listing = match (text("repository"), text("ghtoken")) {
        (Some(repository), Some(token)) => Some(Listing {
            api: String::new(),
            repository,
            token: Token(token),
        }),
        (None, None) => None,
        _ => {
            return Err(ValueError::new(
                "repository and ghtoken are given together or not at all",
            ));
        }
    };
    let timeout = text("timeout").map(|text| duration(&text)).transpose()?;
    Ok(ActionsPlace {
        scope: text("scope").unwrap_or(usual.scope),
        version,
        url,
        url_v2,
        token: text("token").map(Token),
        timeout: timeout.unwrap_or(usual.timeout),
        listing,
        part_size,
    })
}

fn part_size(fields: &mut Fields, usual: u64) -> Result<u64, ValueError> {
    let Some(text) = fields.take("part_size") else {
        return Ok(usual);
    };
    quantity::size(&text)
        .filter(|size| *size > 0)
        .ok_or_else(|| {
            ValueError::new(format!("part_size {text:?} is no size")).hint("write bytes, or 64m")
        })
}

fn parallel(fields: &mut Fields, usual: usize) -> Result<usize, ValueError> {
    let Some(text) = fields.take("upload_parallelism") else {
        return Ok(usual);
    };
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| ValueError::new(format!("upload_parallelism {text:?} is no number above 0")))
}

/// Looks in the environment for what is not said of a service.
pub(in crate::cli) fn complete(
    place: &mut ServicePlace,
    environment: &Environment,
) -> Result<(), Report> {
    match place {
        ServicePlace::Bucket(place) => complete_bucket(place, environment),
        ServicePlace::Actions(place) => {
            complete_actions(place, environment);
            Ok(())
        }
        ServicePlace::Container(place) => complete_container(place, environment),
    }
}

fn complete_bucket(place: &mut BucketPlace, environment: &Environment) -> Result<(), Report> {
    let variable = |name: &str| environment.text(name).filter(|value| !value.is_empty());
    if place.bucket.is_empty() {
        place.bucket = variable("AWS_BUCKET").ok_or_else(|| {
            Report::new("a cache in S3 needs the name of a bucket").hint("add bucket=NAME")
        })?;
    }
    if place.region.is_empty() {
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        place.region = region.ok_or_else(|| {
            Report::new("a cache in S3 needs the region of its bucket")
                .hint("add region=NAME (us-east-1 for services that have none), or set AWS_REGION")
        })?;
    }
    if place.endpoint.is_none() {
        let endpoint = variable("AWS_ENDPOINT_URL_S3");
        place.endpoint = endpoint.or_else(|| variable("AWS_ENDPOINT_URL"));
    }
    if place.keys.is_none()
        && let (Some(access), Some(secret)) = (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        )
    {
        place.keys = Some(Keys {
            access,
            secret,
            session: variable("AWS_SESSION_TOKEN"),
        });
    }
    Ok(())
}

fn complete_container(place: &mut ContainerPlace, environment: &Environment) -> Result<(), Report> {
    let variable = |name: &str| {
        let value = environment.text(&format!("BUILDKIT_AZURE_STORAGE_{name}"));
        value.filter(|value| !value.is_empty())
    };
    if place.account_url.is_empty() {
        place.account_url = variable("ACCOUNT_URL").ok_or_else(|| {
            Report::new("a cache in Azure's storage needs the address of an account")
                .hint("add account_url=https://NAME.blob.core.windows.net")
        })?;
    }
    if place.account_name.is_none() {
        place.account_name = variable("ACCOUNT_NAME");
    }
    if place.container.is_empty() {
        let usual = ContainerPlace::default().container;
        place.container = variable("CONTAINER").unwrap_or(usual);
    }
    if place.prefix.is_empty() {
        place.prefix = variable("PREFIX").unwrap_or_default();
    }
    if place.key.is_none() {
        return Err(
            Report::new("a cache in Azure's storage needs a key of the account").hint(
                "add secret_access_key=KEY; Azure's other ways to sign in are not known here",
            ),
        );
    }
    Ok(())
}

/// The runner of a job says where the service is; outside of jobs nobody does, which is no error
/// before the cache is wanted.
fn complete_actions(place: &mut ActionsPlace, environment: &Environment) {
    let variable = |name: &str| environment.text(name).filter(|value| !value.is_empty());
    let unsaid = place.url.is_none() && place.url_v2.is_none();
    let second = variable("ACTIONS_CACHE_SERVICE_V2").and_then(|value| quantity::boolean(&value));
    if unsaid {
        let said = second.unwrap_or(false).then_some(ActionsVersion::V2);
        place.version = place.version.or(said);
        place.url_v2 = variable("ACTIONS_RESULTS_URL");
        place.url = variable("ACTIONS_CACHE_URL").or_else(|| place.url_v2.clone());
    }
    if place.token.is_none() {
        place.token = variable("ACTIONS_RUNTIME_TOKEN").map(Token);
    }
    if let Some(listing) = &mut place.listing {
        let api = variable("GITHUB_API_URL");
        listing.api = api.unwrap_or_else(|| "https://api.github.com".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::value::csv;
    use super::*;

    /// Returns version, address and token of what is written, as a job with `variables` has it.
    fn settled(text: &str, variables: &[(&str, &str)]) -> (ActionsVersion, String, String) {
        let fields = csv(text).expect("fields");
        let mut place = actions(&mut Fields::new(&fields).expect("pairs")).expect("valid");
        complete_actions(&mut place, &Environment::of(variables.iter().copied()));
        let url = place.service_url().unwrap_or_default().to_owned();
        (
            place.version.unwrap_or_default(),
            url,
            place.token.unwrap_or(Token(String::new())).0,
        )
    }

    #[test]
    fn the_service_is_the_one_that_is_named_or_that_the_runner_names() {
        use ActionsVersion::{V1, V2};
        let job = [
            ("ACTIONS_CACHE_URL", "http://one/"),
            ("ACTIONS_RESULTS_URL", "http://two/"),
            ("ACTIONS_RUNTIME_TOKEN", "t"),
        ];
        let with_v2 = [&job[..], &[("ACTIONS_CACHE_SERVICE_V2", "True")]].concat();
        for (text, variables, expected) in [
            ("scope=s", &job[..], (V1, "http://one/", "t")),
            ("scope=s", &with_v2, (V2, "http://two/", "t")),
            ("scope=s", &job[1..], (V1, "http://two/", "t")),
            ("version=2", &job[..], (V2, "http://two/", "t")),
            ("version=1", &with_v2, (V1, "http://one/", "t")),
            ("url=http://a/,token=x", &with_v2, (V1, "http://a/", "x")),
            ("url_v2=http://a/", &job[..], (V2, "http://a/", "t")),
            (
                "url=https://results-receiver.actions.githubusercontent.com/",
                &[],
                (
                    V2,
                    "https://results-receiver.actions.githubusercontent.com/",
                    "",
                ),
            ),
            ("scope=s", &[], (V1, "", "")),
        ] {
            let (version, url, token) = settled(text, variables);
            assert_eq!((version, &*url, &*token), expected, "{text}");
        }
    }
}
