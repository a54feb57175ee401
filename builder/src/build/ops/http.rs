//! ADD of a URL: one downloaded file as a layer of its own.

use std::fs::File;
use std::io;

use cooper_cache::{CopyItem, Entry, RelPath, Source, Timestamp};
use cooper_frontend::ir::HttpSource;
use cooper_solver::{ExecContext, Stream};

use crate::build::engine::Engine;
use crate::build::error::OpError;
use crate::build::output::Root;
use crate::http::{Download, HttpRequest};

/// Mode of a downloaded file.
const MODE: u32 = 0o600;

/// Downloads the file and returns a root that holds it alone.
///
/// Its time is the server's `Last-Modified`, or the epoch if the server does not say.
pub(super) fn fetch(
    engine: &Engine,
    request: &HttpSource,
    cx: &ExecContext<'_>,
) -> Result<Root, OpError> {
    let download = |source| OpError::Download {
        url: request.url.clone(),
        source: Box::new(source),
    };
    cx.log(
        Stream::Stderr,
        format!("downloading {}\n", request.url).as_bytes(),
    );
    let asked = HttpRequest {
        url: &request.url,
        checksum: request.checksum.as_ref(),
        ..HttpRequest::default()
    };
    let staging = engine.layers().prepare()?;
    let body = staging.work().join("download");
    let mut open = || File::create(&body);
    let Download::Complete(done) = engine
        .http()
        .download(&asked, &mut open)
        .map_err(download)?
    else {
        let answer = format!(
            "{} says that a file it never sent has not changed",
            request.url
        );
        return Err(OpError::Io {
            action: "use a server's answer",
            source: io::Error::new(io::ErrorKind::InvalidData, answer),
        });
    };
    let mtime = done
        .last_modified
        .as_deref()
        .and_then(http_date)
        .unwrap_or_default();
    let mut entry = Entry::file(
        RelPath::from(request.filename.as_str()),
        MODE,
        done.size,
        cooper_cache::ContentHash::UNHASHED,
    );
    entry.mtime = mtime;
    let items = vec![
        CopyItem {
            entry: Entry::dir(RelPath::root(), 0o755),
            source: Source::None,
        },
        CopyItem {
            entry,
            source: Source::Foreign(body),
        },
    ];
    let index = staging.populate(items)?;
    let layer = engine.layers().commit_indexed(staging, index)?.id().clone();
    Ok(Root::default().with(layer, engine.now()))
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

#[cfg(test)]
mod tests {
    use super::*;

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
