//! Whom a connection trusts, and what it shows: certificates out of files.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, parse_pem};

use super::{HttpConfig, HttpError};

/// Where distributions keep the bundle of trusted authorities.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What one server has of its own.
#[derive(Default)]
pub(super) struct Own {
    /// Files of authorities to trust besides the usual ones.
    pub(super) authorities: Vec<PathBuf>,
    /// What is shown to a server that asks who calls.
    pub(super) client: Option<ClientCert>,
}

/// Whether there are certificates for `server` (`host[:port]`) alone.
pub(super) fn has_own(config: &HttpConfig, server: &str) -> bool {
    is_name(server)
        && config
            .host_cert_dirs
            .iter()
            .any(|dir| dir.join(server).is_dir())
}

/// Reads the certificates for `server`: the authorities of all directories, and the client's of
/// the first that has one.
pub(super) fn own(config: &HttpConfig, server: &str) -> Result<Own, HttpError> {
    let mut own = Own::default();
    for dir in config.host_cert_dirs.iter().map(|dir| dir.join(server)) {
        let files = match files_in(&dir) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(HttpError::Ca { path: dir, source }),
        };
        for path in files {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => own.authorities.push(path),
                Some("cert") if own.client.is_none() => own.client = Some(client(&path)?),
                Some("key") if !path.with_extension("cert").is_file() => {
                    let missing = path.with_extension("cert");
                    return Err(HttpError::ClientCert { missing });
                }
                _ => {}
            }
        }
    }
    Ok(own)
}

/// A server's name as a directory: it must not lead elsewhere.
fn is_name(server: &str) -> bool {
    !server.is_empty() && !server.starts_with('.') && !server.contains(['/', '\\', '@'])
}

/// Reads a client's certificate and the key beside it.
fn client(certificate: &Path) -> Result<ClientCert, HttpError> {
    let unreadable = |path: &Path, source| HttpError::Ca {
        path: path.to_owned(),
        source,
    };
    let path = certificate.with_extension("key");
    if !path.is_file() {
        return Err(HttpError::ClientCert { missing: path });
    }
    let chain = read_certificates(certificate).map_err(|error| unreadable(certificate, error))?;
    let key = fs::read(&path).and_then(|pem| {
        PrivateKey::from_pem(&pem)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    let key = key.map_err(|error| unreadable(&path, error))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// Reads the authorities to trust: the configured ones or else the system's, and `extra`.
pub(super) fn root_certs(config: &HttpConfig, extra: &[PathBuf]) -> Result<RootCerts, HttpError> {
    let mut files = config.ca_files.clone();
    for dir in &config.ca_dirs {
        files.extend(certificate_files(dir).map_err(|source| HttpError::Ca {
            path: dir.clone(),
            source,
        })?);
    }
    if config.ca_files.is_empty() && config.ca_dirs.is_empty() {
        files.extend(
            SYSTEM_BUNDLES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.is_file()),
        );
    }
    let more = [config.extra_ca_files.as_slice(), extra].concat();
    if files.is_empty() && more.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    files.extend(more);
    let mut seen = HashSet::new();
    let mut certificates = Vec::new();
    for path in &files {
        let found = read_certificates(path).map_err(|source| HttpError::Ca {
            path: path.clone(),
            source,
        })?;
        certificates.extend(found.into_iter().filter(|c| seen.insert(c.der().to_vec())));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// Lists what OpenSSL would look at: links or files named `<hash>.<n>`, or
/// everything if the directory is not hashed.
fn certificate_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = files_in(dir)?;
    let hashed = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.split_once('.'));
        name.is_some_and(|(stem, n)| {
            stem.len() == 8
                && stem.bytes().all(|b| b.is_ascii_hexdigit())
                && n.bytes().all(|b| b.is_ascii_digit())
        })
    };
    if files.iter().any(hashed) {
        files.retain(hashed);
    }
    Ok(files)
}

fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_certificates(path: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let pem = fs::read(path)?;
    let invalid = |error: ureq::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(invalid)? {
            certificates.push(certificate);
        }
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read_from_files_and_hashed_directories() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("readme"), "not a certificate").unwrap();
        fs::write(dir.path().join("0a1b2c3d.0"), "").unwrap();
        assert_eq!(
            certificate_files(dir.path()).unwrap(),
            [dir.path().join("0a1b2c3d.0")]
        );
        let config = HttpConfig {
            ca_files: vec![dir.path().join("none")],
            ..HttpConfig::default()
        };
        let error = root_certs(&config, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot read the certificate authorities in {}",
                dir.path().join("none").display()
            )
        );
    }
}
