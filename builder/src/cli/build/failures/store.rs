//! The store and archives.

use super::*;

#[test]
fn each_fault_of_the_store_reads_well() {
    let path = || PathBuf::from("/var/lib/cooper/layers/x");
    let tree = |digit: char| digit.to_string().repeat(64).parse().expect("a digest");
    let samples = vec![
        StoreError::Io {
            action: "create",
            path: path(),
            source: denied(),
        },
        StoreError::ReadOnly {
            path: path(),
            source: ErrorKind::ReadOnlyFilesystem.into(),
        },
        StoreError::NoSpace {
            path: path(),
            source: ErrorKind::StorageFull.into(),
        },
        StoreError::Format {
            path: path(),
            found: text("9"),
            supported: text("1"),
        },
        StoreError::MissingBlob {
            digest: digest('a'),
        },
        StoreError::DigestMismatch {
            expected: digest('a'),
            actual: digest('b'),
        },
        StoreError::SizeMismatch {
            expected: 10,
            actual: 9,
        },
        StoreError::DiffIdMismatch {
            expected: cooper_oci::DiffId(digest('a')),
            actual: cooper_oci::DiffId(digest('b')),
        },
        StoreError::TreeMismatch {
            expected: tree('a'),
            actual: tree('b'),
        },
        StoreError::Mount(MountError::TooLarge { limit: 1 << 30 }),
        StoreError::MissingLayer { id: layer() },
        StoreError::Corrupt {
            path: path(),
            reason: text("it is empty"),
        },
        StoreError::Changed { path: path() },
        StoreError::Canceled,
        StoreError::Invalid {
            what: "layer id",
            value: text("x"),
        },
        StoreError::UnmappedOwner {
            path: "srv".into(),
            uid: 70_000,
            gid: 70_000,
        },
        StoreError::Archive(ArchiveError::TooMany { limit: 1 }),
        StoreError::Resolve(ResolveError::NotFound { path: "srv".into() }),
        StoreError::Meta {
            path: path(),
            message: text("corrupt page"),
        },
        full(),
        StoreError::Busy { path: path() },
    ];
    table("store", samples, |error| in_run(OpError::Store(error)));
}

#[test]
fn each_fault_of_an_archive_reads_well() {
    let path = || RelPath::from("srv/app");
    let samples = vec![
        ArchiveError::Malformed {
            after: Some(path()),
            source: ErrorKind::UnexpectedEof.into(),
        },
        ArchiveError::Escapes { path: text("../x") },
        ArchiveError::BadName {
            path: text("a//.."),
        },
        ArchiveError::DanglingLink {
            path: path(),
            target: text("none"),
        },
        ArchiveError::Device {
            path: path(),
            major: 1,
            minor: 3,
        },
        ArchiveError::UnknownType {
            path: path(),
            kind: 'Z',
        },
        ArchiveError::TooLarge { limit: 1 << 30 },
        ArchiveError::TooMany { limit: 1_000_000 },
        ArchiveError::InTheWay { path: path() },
    ];
    table("archive", samples, |error| {
        in_copy(FileError::Store(StoreError::Archive(error)))
    });
}
