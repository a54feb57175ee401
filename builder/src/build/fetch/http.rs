//! Downloads: one file as a layer of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cooper_cache::{
    CopyItem, Entry, FileBytes, RelPath, ResolveError, Source, Staging, StoreError, Timestamp,
};
use cooper_frontend::ir::HttpSource;
use cooper_oci::Digest;
use cooper_solver::{CacheKey, StableHasher};
use serde::{Deserialize, Serialize};

use super::{Fetcher, Watch, is_archive};
use crate::build::aside::waiting;
use crate::build::error::OpError;
use crate::build::output::Root;
use crate::git::{host_of, split_credentials};
use crate::http::{Download, Downloaded, HttpRequest, Meter};
use crate::progress::size;

/// Mode of a downloaded file.
const MODE: u32 = 0o600;
/// How often a download says how far it has come.
const PAUSE: Duration = Duration::from_secs(1);
/// What a download is called that is a context.
pub(crate) const CONTEXT_FILE: &str = "context";
/// Secrets with a whole `Authorization` header, and with a token to make one of, for a host.
const HEADER_SECRET: &str = "HTTP_AUTH_HEADER_";
const TOKEN_SECRET: &str = "HTTP_AUTH_TOKEN_";

/// What is known of the last download.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    root: Root,
    digest: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// Credentials for a server, and the secret that they came from.
struct Credentials {
    header: String,
    secret: Option<String>,
}

impl Fetcher {
    /// Downloads the file and returns a root that holds it alone.
    ///
    /// Its time is the server's `Last-Modified`, or the epoch if the server does not say. A
    /// server that says that the file is still the same does not send it again; one that is
    /// known to be what is wanted is not even asked for.
    pub(crate) fn http(&self, source: &HttpSource, watch: Watch<'_>) -> Result<Root, OpError> {
        let known = self.fetched(source, watch)?;
        self.note_found(split_credentials(&source.url).0, &known.digest);
        Ok(known.root)
    }

    fn fetched(&self, source: &HttpSource, watch: Watch<'_>) -> Result<Known, OpError> {
        let (url, in_url) = split_credentials(&source.url);
        let credentials = match in_url {
            Some(header) => Some(Credentials {
                header,
                secret: None,
            }),
            None => self.credentials(&url),
        };
        let key = key(source, credentials.as_ref());
        let known: Option<Known> = self.recorded(&key);
        let wanted = source.checksum.as_ref().map(Digest::as_str);
        let known = match known {
            Some(known) if wanted == Some(&known.digest) => return Ok(known),
            known => known,
        };
        (watch.log)(format!("downloading {url}\n").as_bytes());
        let header = credentials.map(|credentials| credentials.header);
        let staging = self.layers.prepare()?;
        let body = staging.work().join("download");
        let download = self.download(&url, source, header, known.as_ref(), body.clone(), watch)?;
        let done = match (download, known) {
            (Download::Complete(done), _) => done,
            (Download::NotModified, Some(known)) => {
                (watch.log)(b"not modified\n");
                return Ok(known);
            }
            (Download::NotModified, None) => return Err(OpError::Unasked { url }),
        };
        let root = self.layer_of(source, &done, staging, &body)?;
        let known = Known {
            digest: done.digest.to_string(),
            etag: done.etag,
            last_modified: done.last_modified,
            root,
        };
        self.record(&key, &known, &known.root);
        Ok(known)
    }

    /// Asks the server; nobody waits for its answer after a cancellation.
    fn download(
        &self,
        url: &str,
        source: &HttpSource,
        authorization: Option<String>,
        known: Option<&Known>,
        body: PathBuf,
        watch: Watch<'_>,
    ) -> Result<Download<File>, OpError> {
        let client = self.client.clone();
        let (url, checksum) = (url.to_owned(), source.checksum.clone());
        let etag = known.and_then(|known| known.etag.clone());
        let last_modified = known.and_then(|known| known.last_modified.clone());
        let asked = url.clone();
        let meter = Arc::new(Meter::default());
        let (measured, begun) = (meter.clone(), Instant::now());
        let work = move || {
            let request = HttpRequest {
                url: &asked,
                etag: etag.as_deref(),
                last_modified: last_modified.as_deref(),
                checksum: checksum.as_ref(),
                authorization: authorization.as_deref(),
                meter: Some(&measured),
            };
            let mut open = || File::create(&body);
            client.http().download(&request, &mut open)
        };
        let mut told = 0;
        let result = waiting(watch.cancel, work, PAUSE, || {
            let (received, total) = meter.read();
            if received != told {
                told = received;
                (watch.log)(so_far(received, total, begun.elapsed()).as_bytes());
            }
        })?;
        if let Ok(Download::Complete(done)) = &result {
            (watch.log)(in_all(done.size, begun.elapsed()).as_bytes());
        }
        result.map_err(|source| OpError::Download {
            url,
            source: Box::new(source),
        })
    }

    fn layer_of(
        &self,
        source: &HttpSource,
        done: &Downloaded<File>,
        staging: Staging,
        body: &Path,
    ) -> Result<Root, OpError> {
        let mtime = done.last_modified.as_deref().and_then(http_date);
        let path = RelPath::from(source.filename.as_str());
        let (kind, bytes) = staging.take(body)?;
        let mut entry = Entry::new(path, kind, MODE);
        entry.mtime = mtime.unwrap_or_default();
        let items = vec![
            CopyItem {
                entry: Entry::dir(RelPath::root(), 0o755),
                source: Source::None,
            },
            CopyItem {
                entry,
                source: bytes,
            },
        ];
        let layer = self.layers.commit_packed(staging, items, None, &|| true)?;
        let layer = layer.id().clone();
        Ok(Root::default().with(layer, self.now()))
    }

    /// Returns what the build's secrets have for the server, by its name with or without a port.
    fn credentials(&self, url: &str) -> Option<Credentials> {
        let host = host_of(url)?;
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let find = |prefix: &str, scheme: &str| {
            [host, name].iter().find_map(|host| {
                let id = format!("{prefix}{host}");
                let value = String::from_utf8(self.secrets.get(&id)?).ok()?;
                Some(Credentials {
                    header: format!("{scheme}{}", value.trim()),
                    secret: Some(id),
                })
            })
        };
        find(HEADER_SECRET, "").or_else(|| find(TOKEN_SECRET, "Bearer "))
    }
}

/// What an http address gives that is a context.
pub(crate) struct HttpContext {
    /// An archive's files, or the one file as [`CONTEXT_FILE`].
    pub(crate) root: Root,
    /// Whether it is the one file.
    pub(crate) is_file: bool,
}

impl Fetcher {
    /// Downloads a context; an archive is unpacked.
    pub(crate) fn http_context(&self, url: &str, watch: Watch<'_>) -> Result<HttpContext, OpError> {
        let source = HttpSource {
            url: url.to_owned(),
            filename: CONTEXT_FILE.to_owned(),
            checksum: None,
        };
        let root = self.http(&source, watch)?;
        let file = self.file_of(&root)?;
        if !is_archive(&file)? {
            return Ok(HttpContext {
                root,
                is_file: true,
            });
        }
        Ok(HttpContext {
            root: self.unpacked(&file, watch.cancel)?,
            is_file: false,
        })
    }

    /// Returns the one file of a context.
    fn file_of(&self, root: &Root) -> Result<FileBytes, OpError> {
        let tree = self.layers.tree(&root.ids())?;
        let path = RelPath::from(CONTEXT_FILE);
        let missing = || StoreError::from(ResolveError::NotFound { path: path.clone() });
        Ok(tree.get(&path).ok_or_else(missing)?.bytes())
    }
}

/// Returns the name of what is known of an address, asked with these credentials.
fn key(source: &HttpSource, credentials: Option<&Credentials>) -> CacheKey {
    let mut hasher = StableHasher::new("cooper.http-download");
    hasher.write(&source.url);
    hasher.write(&source.filename);
    hasher.write(
        &source
            .checksum
            .as_ref()
            .map(Digest::algorithm)
            .map(|algorithm| algorithm.as_str().to_owned()),
    );
    hasher.write(&credentials.and_then(|credentials| credentials.secret.clone()));
    hasher.finish_key()
}

/// Parses an HTTP date (RFC 9110, section 5.6.7, the preferred form).
fn http_date(text: &str) -> Option<Timestamp> {
    let stamp = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(text)
        .ok()?;
    Some(Timestamp {
        secs: stamp.as_second(),
        nanos: 0,
    })
}

/// Says how far a download has come, and how fast: `12.50MB of 80.00MB (8.30MB/s)`.
fn so_far(received: u64, total: Option<u64>, elapsed: Duration) -> String {
    let of = total.map_or_else(String::new, |total| format!(" of {}", size(total)));
    format!(
        "{}{of} ({}/s)\n",
        size(received),
        size(rate(received, elapsed))
    )
}

/// Says what a download came to.
fn in_all(received: u64, elapsed: Duration) -> String {
    let (all, seconds) = (size(received), elapsed.as_secs_f64());
    let rate = size(rate(received, elapsed));
    format!("downloaded {all} in {seconds:.1}s ({rate}/s)\n")
}

/// Returns bytes a second.
fn rate(bytes: u64, elapsed: Duration) -> u64 {
    (bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_says_how_far_it_is_and_how_fast() {
        let two = Duration::from_secs(2);
        assert_eq!(
            so_far(12_500_000, Some(80_000_000), two),
            "12.50MB of 80.00MB (6.25MB/s)\n"
        );
        assert_eq!(so_far(500, None, two), "500B (250B/s)\n");
        assert_eq!(so_far(0, Some(7), Duration::ZERO), "0B of 7B (0B/s)\n");
        assert_eq!(
            in_all(80_000_000, Duration::from_millis(9_640)),
            "downloaded 80.00MB in 9.6s (8.30MB/s)\n"
        );
    }

    #[test]
    fn last_modified_becomes_the_time_of_the_file() {
        assert_eq!(
            http_date("Tue, 15 Nov 1994 12:45:26 GMT"),
            Some(Timestamp {
                secs: 784_903_526,
                nanos: 0
            })
        );
        assert_eq!(http_date("yesterday"), None);
    }
}
