//! A cache service as GitHub's is: both of its protocols, held to strictly.
//!
//! Written after what is published: the client in actions/toolkit (`packages/cache`) with its
//! protocol buffers, the REST API of Azure's Blob service, and GitHub's documentation of which
//! branch reads what. What a client does that these have not is answered with 400 and remembered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::http::{Request, Response, Server};

const TWIRP: &str = "/twirp/github.actions.results.api.v1.CacheService/";
const REST: &str = "/_apis/artifactcache/";

/// A running service with what it keeps.
pub(crate) struct ActionsService {
    server: Server,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    entries: Mutex<Vec<Entry>>,
    violations: Mutex<Vec<String>>,
    /// How many requests are answered before the service goes away; all by default.
    answers: AtomicUsize,
    address: Mutex<String>,
    /// Transfers of content that are under way, and the most that ever were.
    transfers: Mutex<(usize, usize)>,
    /// How many transfers wait for each other.
    gathered: AtomicUsize,
    arrived: Condvar,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    key: String,
    version: String,
    scope: String,
    /// Blocks or ranges, by name or start.
    parts: BTreeMap<String, Vec<u8>>,
    bytes: Option<Vec<u8>>,
    committed: bool,
}

/// What a token allows: the scope that is written, and those that are read.
struct Claims {
    write: String,
    read: Vec<String>,
}

/// Returns the token of a job that writes for `write` and reads what `read` wrote, too.
pub(crate) fn token(write: &str, read: &[&str]) -> String {
    let mut scopes = vec![json!({ "Scope": write, "Permission": 3 })];
    scopes.extend(
        read.iter()
            .map(|name| json!({ "Scope": name, "Permission": 1 })),
    );
    let claims =
        json!({ "ac": Value::from(scopes).to_string(), "nbf": 0, "exp": 4_102_444_800u64 });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.c2lnbmVk",
        part(&json!({ "alg": "none" })),
        part(&claims)
    )
}

fn claims(header: &str) -> Option<Claims> {
    let token = header.strip_prefix("Bearer ")?;
    let [_, payload, "c2lnbmVk"] = token.split('.').collect::<Vec<_>>()[..] else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let scopes: Vec<Value> = serde_json::from_str(claims["ac"].as_str()?).ok()?;
    let name = |scope: &Value| scope["Scope"].as_str().unwrap_or_default().to_owned();
    let writes = |scope: &&Value| scope["Permission"] == 3;
    Some(Claims {
        write: name(scopes.iter().find(writes)?),
        read: scopes.iter().map(name).collect(),
    })
}

type Answer = Result<Response, String>;

impl ActionsService {
    pub(crate) fn start() -> Self {
        let state = Arc::new(State::default());
        state.answers.store(usize::MAX, Ordering::Relaxed);
        let kept = Arc::clone(&state);
        let server = Server::start(move |request| kept.answer(request));
        *state.address.lock().unwrap() = server.url("");
        Self { server, state }
    }

    /// Returns the service's address.
    pub(crate) fn url(&self) -> String {
        self.server.url("")
    }

    /// Answers only so many requests from now on.
    pub(crate) fn answer_only(&self, count: usize) {
        self.state.answers.store(count, Ordering::Relaxed);
    }

    /// Holds transfers of content until so many are under way, or none comes for a while; returns
    /// the most that there have been.
    pub(crate) fn gather(&self, count: usize) -> usize {
        self.state.gathered.store(count, Ordering::Relaxed);
        let mut transfers = self.state.transfers.lock().unwrap();
        std::mem::take(&mut transfers.1)
    }

    /// Returns the requests whose method and path begin so.
    pub(crate) fn requests(&self, beginning: &str) -> Vec<Request> {
        let mut requests = self.server.requests();
        requests.retain(|request| {
            format!("{} {}", request.method, request.path).starts_with(beginning)
        });
        requests
    }

    /// Returns how many bytes of content have been sent.
    pub(crate) fn sent(&self) -> usize {
        let requests = self.server.requests();
        let content = requests.iter().filter(|request| {
            let part = request.query.contains("comp=blocklist");
            request.method == "PATCH" || (request.method == "PUT" && !part)
        });
        content.map(|request| request.body.len()).sum()
    }

    /// Returns the keys of all entries.
    pub(crate) fn keys(&self) -> Vec<String> {
        let entries = self.state.entries.lock().unwrap();
        entries.iter().map(|entry| entry.key.clone()).collect()
    }

    /// Forgets the entries that `gone` names.
    pub(crate) fn evict(&self, gone: impl Fn(&str) -> bool) {
        let mut entries = self.state.entries.lock().unwrap();
        for entry in entries.iter_mut().filter(|entry| gone(&entry.key)) {
            // Numbers of entries stay.
            *entry = Entry::default();
        }
    }

    /// Fails if a client has done what the protocols have not.
    pub(crate) fn assert_lawful(&self) {
        let violations = self.state.violations.lock().unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

impl State {
    fn answer(&self, request: &Request) -> Response {
        let left = |count: usize| count.checked_sub(1);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.answers.fetch_update(set, fetch, left).is_err() {
            return Response::none();
        }
        let path = request.path.as_str();
        let answer = if let Some(call) = path.strip_prefix(TWIRP) {
            self.twirp(call, request)
        } else if let Some(call) = path.strip_prefix(REST) {
            self.rest(call, request)
        } else if let Some(number) = path.strip_prefix("/content/") {
            self.meet();
            let answer = self.content(number, request);
            self.transfers.lock().unwrap().0 -= 1;
            answer
        } else if path.starts_with("/repos/") {
            self.listing(request)
        } else {
            Err("there is no such path".to_owned())
        };
        answer.unwrap_or_else(|violation| {
            let line = format!("{} {path}?{}: {violation}", request.method, request.query);
            self.violations.lock().unwrap().push(line);
            Response::new("400 Bad Request", violation)
        })
    }

    fn meet(&self) {
        let mut transfers = self.transfers.lock().unwrap();
        transfers.0 += 1;
        transfers.1 = transfers.1.max(transfers.0);
        self.arrived.notify_all();
        let alone =
            |transfers: &mut (usize, usize)| transfers.1 < self.gathered.load(Ordering::Relaxed);
        let patience = Duration::from_secs(5);
        drop(self.arrived.wait_timeout_while(transfers, patience, alone));
    }

    /// Returns the number of the committed entry: with the key itself, else the newest that begins
    /// with one of `beginnings`, in the order of the scopes.
    fn find(
        &self,
        claims: &Claims,
        key: &str,
        beginnings: &[String],
        version: &str,
    ) -> Option<usize> {
        let entries = self.entries.lock().unwrap();
        let all = || entries.iter().enumerate().rev();
        let usable = |scope: &str, entry: &Entry| {
            entry.committed && entry.scope == scope && entry.version == version
        };
        claims.read.iter().find_map(|scope| {
            let exact = all().find(|(_, entry)| usable(scope, entry) && entry.key == key);
            let newest = || {
                beginnings.iter().find_map(|start| {
                    all().find(|(_, entry)| usable(scope, entry) && entry.key.starts_with(start))
                })
            };
            exact.or_else(newest).map(|(number, _)| number)
        })
    }

    /// Returns the number of the new entry, unless there is one.
    fn reserve(&self, claims: &Claims, key: &str, version: &str) -> Result<Option<usize>, String> {
        if key.is_empty() || key.len() > 512 || key.contains(',') {
            return Err(format!("no key: {key:?}"));
        }
        if version.len() != 64 {
            return Err(format!("no version: {version:?}"));
        }
        let mut entries = self.entries.lock().unwrap();
        let is_same = |entry: &Entry| {
            entry.key == key && entry.version == version && entry.scope == claims.write
        };
        if entries.iter().any(is_same) {
            return Ok(None);
        }
        entries.push(Entry {
            key: key.to_owned(),
            version: version.to_owned(),
            scope: claims.write.clone(),
            ..Entry::default()
        });
        Ok(Some(entries.len() - 1))
    }

    fn location(&self, number: usize, right: &str) -> String {
        let address = self.address.lock().unwrap();
        format!("{address}content/{number}?sv=2021&sp={right}&sig=secret%2B{number}")
    }

    fn twirp(&self, call: &str, request: &Request) -> Answer {
        if request.method != "POST" || request.header("content-type") != "application/json" {
            return Err("Twirp's calls are POSTs of JSON".to_owned());
        }
        let Some(claims) = claims(request.header("authorization")) else {
            return Ok(twirp_error("401 Unauthorized", "unauthenticated"));
        };
        let body: Value = serde_json::from_slice(&request.body).map_err(|e| e.to_string())?;
        let fields = body.as_object().ok_or("no message")?;
        let known: &[&str] = match call {
            "CreateCacheEntry" => &["key", "version"],
            "FinalizeCacheEntryUpload" => &["key", "version", "size_bytes"],
            "GetCacheEntryDownloadURL" => &["key", "version", "restore_keys"],
            _ => return Err("there is no such call".to_owned()),
        };
        if let Some(field) = fields.keys().find(|field| !known.contains(&field.as_str())) {
            return Err(format!("unknown field {field}"));
        }
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let (key, version) = (text("key"), text("version"));
        match call {
            "CreateCacheEntry" => Ok(match self.reserve(&claims, key, version)? {
                None => twirp_error("409 Conflict", "already_exists"),
                Some(number) => json_of(&json!({
                    "ok": true, "signed_upload_url": self.location(number, "w"),
                })),
            }),
            "FinalizeCacheEntryUpload" => {
                let size = text("size_bytes")
                    .parse::<usize>()
                    .map_err(|e| e.to_string())?;
                let mut entries = self.entries.lock().unwrap();
                let mut all = entries.iter_mut().enumerate();
                let (number, entry) = all
                    .find(|(_, entry)| entry.key == key && entry.scope == claims.write)
                    .ok_or("it was not reserved")?;
                if entry.committed {
                    return Err("it is final already".to_owned());
                }
                if entry.bytes.as_ref().map(Vec::len) != Some(size) {
                    return Err(format!("its size is not {size}"));
                }
                entry.committed = true;
                Ok(json_of(
                    &json!({ "ok": true, "entry_id": number.to_string() }),
                ))
            }
            _ => {
                let beginnings = body["restore_keys"].as_array().cloned().unwrap_or_default();
                let beginnings: Vec<_> = beginnings
                    .iter()
                    .map(|key| key.as_str().unwrap_or_default().to_owned())
                    .collect();
                // What is false or empty is left out.
                let Some(number) = self.find(&claims, key, &beginnings, version) else {
                    return Ok(json_of(&json!({})));
                };
                let matched = self.entries.lock().unwrap()[number].key.clone();
                Ok(json_of(&json!({
                    "ok": true, "signed_download_url": self.location(number, "r"),
                    "matched_key": matched,
                })))
            }
        }
    }

    fn rest(&self, call: &str, request: &Request) -> Answer {
        if request.header("accept") != "application/json;api-version=6.0-preview.1" {
            return Err("no version of the API".to_owned());
        }
        let Some(claims) = claims(request.header("authorization")) else {
            return Ok(Response::new("401 Unauthorized", r#"{"message":"who?"}"#));
        };
        let is_json = request.header("content-type") == "application/json";
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method.as_str(), call.strip_prefix("caches/")) {
            ("GET", None) if call == "cache" => {
                let (keys, version) = (request.field("keys"), request.field("version"));
                let keys: Vec<_> = keys.split(',').map(str::to_owned).collect();
                let Some(number) = self.find(&claims, &keys[0], &keys, &version) else {
                    return Ok(Response::new("204 No Content", ""));
                };
                let entry = self.entries.lock().unwrap()[number].clone();
                Ok(json_of(&json!({
                    "cacheKey": entry.key, "scope": entry.scope,
                    "archiveLocation": self.location(number, "r"),
                })))
            }
            ("POST", None) if call == "caches" && is_json => {
                let text = |name: &str| body[name].as_str().unwrap_or_default();
                Ok(match self.reserve(&claims, text("key"), text("version"))? {
                    None => Response::new(
                        "409 Conflict",
                        "\u{feff}{\"typeKey\":\"ArtifactCacheItemAlreadyExistsException\"}",
                    ),
                    Some(number) => {
                        let made = json!({ "cacheId": number + 1 }).to_string();
                        Response::new("201 Created", made)
                    }
                })
            }
            ("PATCH", Some(number)) => self.range(number, &claims, request),
            ("POST", Some(number)) if is_json => {
                let size = body["size"].as_u64().ok_or("no size")?;
                self.join(number, &claims, size)
            }
            _ => Err("there is no such call".to_owned()),
        }
    }

    fn range(&self, number: &str, claims: &Claims, request: &Request) -> Answer {
        if request.header("content-type") != "application/octet-stream" {
            return Err("a part is an octet-stream".to_owned());
        }
        let range = request.header("content-range");
        let range = range
            .strip_prefix("bytes ")
            .and_then(|range| range.strip_suffix("/*"));
        let (start, end) = range
            .and_then(|range| range.split_once('-'))
            .ok_or("no range")?;
        let number_of = |text: &str| text.parse::<usize>().map_err(|error| error.to_string());
        let (start, end) = (number_of(start)?, number_of(end)?);
        if end + 1 - start != request.body.len() {
            return Err("the range is not the body's".to_owned());
        }
        let mut entries = self.entries.lock().unwrap();
        let entry = reserved(&mut entries, number, claims)?;
        // A part that is sent again takes the place of the first.
        entry
            .parts
            .insert(format!("{start:012}"), request.body.clone());
        Ok(Response::new("204 No Content", ""))
    }

    fn join(&self, number: &str, claims: &Claims, size: u64) -> Answer {
        let mut entries = self.entries.lock().unwrap();
        let entry = reserved(&mut entries, number, claims)?;
        let mut bytes = Vec::new();
        for (start, part) in &entry.parts {
            if start.parse() != Ok(bytes.len()) {
                return Err(format!("a hole at {}", bytes.len()));
            }
            bytes.extend_from_slice(part);
        }
        if bytes.len() as u64 != size {
            return Err(format!("its size is {}, not {size}", bytes.len()));
        }
        entry.bytes = Some(bytes);
        entry.committed = true;
        Ok(Response::new("204 No Content", ""))
    }

    /// Azure's part: reads and writes by the signature in the URL alone.
    fn content(&self, number: &str, request: &Request) -> Answer {
        if !request.header("authorization").is_empty() {
            return Err("a signature and a token at once".to_owned());
        }
        if request.field("sig") != format!("secret+{number}") {
            return Ok(Response::new(
                "403 Forbidden",
                "<Error><Code>AuthenticationFailed</Code></Error>",
            ));
        }
        let number: usize = number.parse().map_err(|_| "no number")?;
        let mut entries = self.entries.lock().unwrap();
        let entry = entries.get_mut(number).ok_or("there is no such blob")?;
        match (request.method.as_str(), request.field("sp").as_str()) {
            ("GET", "r") => {
                let bytes = entry.bytes.clone().ok_or("nothing was uploaded")?;
                let range = request.header("range");
                let start = range
                    .strip_prefix("bytes=")
                    .and_then(|range| range.strip_suffix('-'));
                Ok(match start.and_then(|start| start.parse::<usize>().ok()) {
                    None => Response::ok(bytes),
                    Some(start) => Response::new("206 Partial Content", &bytes[start..]),
                })
            }
            ("PUT", "w") if !entry.committed => put_blob(entry, request),
            _ => Err("not allowed by this signature".to_owned()),
        }
    }

    /// The REST API of GitHub itself.
    fn listing(&self, request: &Request) -> Answer {
        if request.header("authorization") != "Bearer ghs_token" {
            let body = json!({ "message": "Bad credentials" }).to_string();
            return Ok(Response::new("401 Unauthorized", body));
        }
        if request.path != "/repos/owner/name/actions/caches" {
            return Err("another repository".to_owned());
        }
        let entries = self.entries.lock().unwrap();
        let (key, scope) = (request.field("key"), request.field("ref"));
        let shown = entries
            .iter()
            .filter(|entry| entry.committed && entry.scope == scope && entry.key.starts_with(&key));
        let number = |name: &str| {
            request
                .field(name)
                .parse::<usize>()
                .map_err(|e| e.to_string())
        };
        let (page, count) = (number("page")?, number("per_page")?);
        let shown: Vec<_> = shown
            .skip((page - 1) * count)
            .take(count)
            .map(|entry| json!({ "key": entry.key, "version": entry.version, "ref": scope }))
            .collect();
        Ok(json_of(
            &json!({ "total_count": entries.len(), "actions_caches": shown }),
        ))
    }
}

/// Returns the entry of an identifier of the first protocol, if it is still to be filled.
fn reserved<'e>(
    entries: &'e mut [Entry],
    number: &str,
    claims: &Claims,
) -> Result<&'e mut Entry, String> {
    let number: usize = number.parse().map_err(|_| "no identifier")?;
    let entry = number
        .checked_sub(1)
        .and_then(|number| entries.get_mut(number));
    let ours = |entry: &&mut Entry| !entry.committed && entry.scope == claims.write;
    entry
        .filter(ours)
        .ok_or_else(|| "it is not reserved".to_owned())
}

/// "Put Blob", "Put Block" and "Put Block List".
fn put_blob(entry: &mut Entry, request: &Request) -> Answer {
    if request.header("x-ms-version").is_empty() || request.header("content-length").is_empty() {
        return Err("no x-ms-version or no length".to_owned());
    }
    let created = Ok(Response::new("201 Created", ""));
    match request.field("comp").as_str() {
        "" if request.header("x-ms-blob-type") != "BlockBlob" => {
            Err("no type of a blob".to_owned())
        }
        "" => {
            entry.bytes = Some(request.body.clone());
            created
        }
        "block" => {
            let name = request.field("blockid");
            STANDARD.decode(&name).map_err(|error| error.to_string())?;
            if entry.parts.keys().any(|other| other.len() != name.len()) {
                return Err("names of blocks differ in length".to_owned());
            }
            entry.parts.insert(name, request.body.clone());
            created
        }
        "blocklist" => {
            let list = String::from_utf8_lossy(&request.body).into_owned();
            let mut bytes = Vec::new();
            for name in list.split("<Latest>").skip(1) {
                let name = name.split('<').next().unwrap_or_default();
                bytes.extend(entry.parts.get(name).ok_or("there is no such block")?);
            }
            entry.bytes = Some(bytes);
            created
        }
        other => Err(format!("comp={other}")),
    }
}

fn json_of(value: &Value) -> Response {
    Response::ok(value.to_string()).with("Content-Type", "application/json")
}

fn twirp_error(status: &str, code: &str) -> Response {
    Response::new(status, json!({ "code": code, "msg": "no" }).to_string())
}
