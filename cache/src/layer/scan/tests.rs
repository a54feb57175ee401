//! Searching layers: what is found, where, and how often a layer is read for it.

use cooper_oci::Compression;

use super::*;
use crate::layer::{CopyItem, Source};
use crate::testing::store;
use crate::{ContentHash, Store};

const SECRET: &[u8] = b"correct-horse-battery";

fn group(string: &[u8]) -> NeedleGroup {
    NeedleGroup {
        identity: string.to_vec(),
        strings: vec![string.to_vec()],
    }
}

fn needles(store: &Store, string: &[u8]) -> Arc<Needles> {
    let needles = store.layers().needles(&[group(string)]).expect("needles");
    needles.expect("some")
}

fn layer(store: &Store, files: &[(&str, Vec<u8>)]) -> LayerId {
    let item = |(path, data): &(&str, Vec<u8>)| CopyItem {
        entry: Entry::file((*path).into(), 0o644, 0, ContentHash::UNHASHED),
        source: Source::Bytes(data.clone()),
    };
    let staging = store.layers().prepare().expect("prepare");
    let index = staging
        .populate(files.iter().map(item).collect())
        .expect("populate");
    let layer = store
        .layers()
        .commit_indexed(staging, index)
        .expect("commit");
    layer.id().clone()
}

fn paths(store: &Store, id: &LayerId, needles: &Needles) -> Vec<String> {
    let found = store
        .layers()
        .search(id, needles, &|_, _| true)
        .expect("search");
    found.iter().map(|found| found.path.to_string()).collect()
}

/// Ways to let a layer's tar go by.
fn passes(store: &Store, needles: &Arc<Needles>, id: &LayerId, how: usize) {
    let layers = store.layers().watching(needles.clone());
    let compression = [Compression::None, Compression::Gzip, Compression::Zstd];
    match how {
        0 => drop(layers.diff_id(id).expect("diff id")),
        _ => drop(layers.pack(id, compression[how - 1], None).expect("pack")),
    }
}

#[test]
fn one_of_very_many_strings_is_found_too() {
    let (_dir, store) = store();
    let mut groups: Vec<NeedleGroup> = (0..60)
        .map(|number| group(format!("needle-{number:04}-abcdef").as_bytes()))
        .collect();
    groups.push(group(b"SG."));
    let needles = store.layers().needles(&groups).expect("needles");
    let needles = needles.expect("some");
    let at_the_end = [&vec![b'n'; 3 << 20][..], b"needle-0042-abcdef"].concat();
    for (number, (data, there)) in [
        (at_the_end, true),
        (b"xSG.x".to_vec(), true),
        (b"needle-0099-abcdef needle-0042-abcde SG".to_vec(), false),
    ]
    .into_iter()
    .enumerate()
    {
        for how in 0..4 {
            let data = [&data[..], &[b'\n', b'0' + number as u8, b'0' + how as u8]].concat();
            let id = layer(&store, &[("f", data)]);
            passes(&store, &needles, &id, how);
            let clean = store.layers().is_clean(&id, &needles).expect("memo");
            assert_eq!(clean, !there, "{number} {how}");
            assert_eq!(paths(&store, &id, &needles).len(), usize::from(there));
        }
    }
}

#[test]
fn a_string_is_found_wherever_pieces_are_cut() {
    // Around the ends of read chunks, of gzip blocks and of zstd blocks, and of the file.
    let mib = 1 << 20;
    let ends = [mib, 2 * mib, 4 * mib, mib + 533, 4 * mib + 9 * 512];
    for (number, end) in ends.into_iter().enumerate() {
        for back in [0, 1, 10, SECRET.len() - 1, SECRET.len(), 512, 513, 533, 545] {
            let mut data = vec![b'x'; 4 * mib + 8000];
            let at = end - back;
            data[at..at + SECRET.len()].copy_from_slice(SECRET);
            data[..8].copy_from_slice(&(at as u64).to_le_bytes());
            let (_dir, store) = store();
            let needles = needles(&store, SECRET);
            let id = layer(&store, &[("f", data)]);
            passes(&store, &needles, &id, number % 4);
            assert!(
                !store.layers().is_clean(&id, &needles).expect("memo"),
                "{end} - {back}"
            );
            assert_eq!(paths(&store, &id, &needles), ["/f"], "{end} - {back}");
        }
    }
}

/// Makes a layer out of `files` that takes over what the layer `like` has too.
fn packed(store: &Store, files: &[(&str, Vec<u8>)], like: Option<&LayerId>) -> LayerId {
    let item = |(path, data): &(&str, Vec<u8>)| {
        let hash = ContentHash::of(data);
        CopyItem {
            entry: Entry::file((*path).into(), 0o644, data.len() as u64, hash),
            source: Source::Bytes(data.clone()),
        }
    };
    let staging = store.layers().prepare().expect("prepare");
    let items = files.iter().map(item).collect();
    let layers = store.layers();
    let layer = layers.commit_packed(staging, items, like, &|| true);
    layer.expect("commit").id().clone()
}

#[test]
fn a_digest_that_is_resumed_searches_what_is_new_and_what_was_not_clean() {
    // The second tar begins as the first one does, for longer than a mark is away.
    let bulk = || vec![b'x'; 6 << 20];
    let one = [("a", bulk()), ("b", SECRET.to_vec())];
    let (two, three) = (&one[..1], [("a", bulk()), ("z", SECRET.to_vec())]);
    for (first, before, second, found) in [
        (two, true, &three[..], (false, true)),
        (two, false, &three[..], (false, true)),
        (&one[..], true, &one[..1], (true, false)),
        (&one[1..], true, &one[..], (true, true)),
        (&one[..], false, &three[..1], (true, false)),
    ] {
        let (_dir, store) = store();
        let needles = needles(&store, SECRET);
        let like = packed(&store, first, None);
        if before {
            passes(&store, &needles, &like, 0);
        } else {
            store.layers().diff_id(&like).expect("diff id");
        }
        let id = packed(&store, second, Some(&like));
        passes(&store, &needles, &id, 0);
        let clean = |id: &LayerId| store.layers().is_clean(id, &needles).expect("memo");
        assert_eq!(clean(&like), before && !found.0);
        assert_eq!(clean(&id), !found.1);
    }
}

#[test]
fn a_stream_is_searched_however_it_is_cut() {
    let (_dir, store) = store();
    let needles = needles(&store, SECRET);
    let longest = Searcher::PIECE * 3;
    for size in [
        1,
        7,
        512,
        Searcher::PIECE - 1,
        Searcher::PIECE,
        9000,
        longest,
    ] {
        for at in (0..longest - SECRET.len()).step_by(61) {
            let mut data = vec![b'c'; longest];
            data[at..at + SECRET.len()].copy_from_slice(SECRET);
            for (data, there) in [(&data[..], true), (&data[..at + SECRET.len() - 1], false)] {
                let watch = Watch::new(&needles);
                let mut searcher = Searcher::new(&watch);
                data.chunks(size).for_each(|piece| searcher.pass(piece));
                searcher.finish();
                assert_eq!(watch.hit(), there, "{size} {at}");
            }
        }
    }
}

#[test]
fn a_refuted_find_does_not_hide_what_it_overlaps() {
    let (_dir, store) = store();
    let groups = [group(b"xx-BEGIN"), group(b"BEGINNING")];
    let needles = store.layers().needles(&groups).expect("needles");
    let mut seen = Vec::new();
    needles
        .expect("some")
        .each_in(b"xx-BEGINNING", |group, string, at| {
            seen.push((group, string, at));
            group == 1
        });
    assert_eq!(seen, [(0, 0, 0..8), (1, 1, 3..12)]);
}

#[test]
fn two_files_do_not_make_a_find_and_the_ends_of_files_do() {
    let (_dir, store) = store();
    let needles = needles(&store, SECRET);
    let (first, second) = SECRET.split_at(9);
    let id = layer(&store, &[("a", first.to_vec()), ("b", second.to_vec())]);
    for how in 0..4 {
        passes(&store, &needles, &id, how);
    }
    assert_eq!(paths(&store, &id, &needles), Vec::<String>::new());
    let end = [&b"key="[..], SECRET].concat();
    let id = layer(
        &store,
        &[("a", end), ("b", SECRET.to_vec()), ("c", vec![0; 9])],
    );
    assert_eq!(paths(&store, &id, &needles), ["/a", "/b"]);
}

#[test]
fn names_links_and_attributes_are_searched() {
    let (_dir, store) = store();
    let needles = needles(&store, SECRET);
    let name = String::from_utf8(SECRET.to_vec()).expect("text");
    let mut marked = Entry::file("x".into(), 0o644, 0, ContentHash::UNHASHED);
    marked.xattrs = vec![(b"user.note"[..].into(), SECRET.into())];
    let items = [
        Entry::dir(name.as_str().into(), 0o755),
        Entry::symlink("link".into(), SECRET),
        marked,
    ];
    let item = |entry: Entry| CopyItem {
        source: Source::Bytes(Vec::new()),
        entry,
    };
    let staging = store.layers().prepare().expect("prepare");
    let index = staging
        .populate(items.map(item).to_vec())
        .expect("populate");
    let layer = store
        .layers()
        .commit_indexed(staging, index)
        .expect("commit");
    let found = paths(&store, layer.id(), &needles);
    assert_eq!(found, [format!("/{name}"), "/link".into(), "/x".into()]);
    passes(&store, &needles, layer.id(), 2);
    assert!(!store.layers().is_clean(layer.id(), &needles).expect("memo"));
}

#[test]
fn a_layer_is_searched_once_for_the_same_strings() {
    let (dir, store) = store();
    let id = layer(&store, &[("f", b"nothing".to_vec())]);
    let (one, two) = (group(SECRET), group(b"another-one"));
    let of = |groups: &[NeedleGroup]| {
        let needles = store.layers().needles(groups).expect("needles");
        needles.expect("some")
    };
    let (first, second) = (
        of(std::slice::from_ref(&one)),
        of(std::slice::from_ref(&two)),
    );
    let clean = |needles: &Needles| store.layers().is_clean(&id, needles).expect("memo");
    assert!(!clean(&first));
    passes(&store, &first, &id, 1);
    assert!(clean(&first) && !clean(&second));
    // Packed already: only the search itself can tell.
    passes(&store, &second, &id, 1);
    assert!(!clean(&second));
    assert_eq!(paths(&store, &id, &second), Vec::<String>::new());
    assert!(clean(&second) && clean(&of(&[one, two])));
    // Nothing is read anymore.
    let fs = store.layers().get(&id).expect("get").expect("there").fs();
    fs::write(fs.join("f"), SECRET).expect("write");
    assert_eq!(paths(&store, &id, &first), Vec::<String>::new());
    let key = fs::metadata(dir.path().join("mark-key")).expect("a key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_follows_a_string_can_refute_it() {
    let (_dir, store) = store();
    let needles = needles(&store, b"AKIA");
    let mut data = vec![b' '; (1 << 20) + 600];
    let end = data.len();
    data[(1 << 20) - 2..(1 << 20) + 3].copy_from_slice(b"AKIA1");
    data[end - 5..].copy_from_slice(b"AKIA2");
    let id = layer(&store, &[("f", data)]);
    let confirmed = |wanted: &'static [u8]| {
        let confirm = |_: usize, after: &[u8]| after.starts_with(wanted);
        store
            .layers()
            .search(&id, &needles, &confirm)
            .expect("search")
            .len()
    };
    assert_eq!((confirmed(b"1"), confirmed(b"2")), (1, 1));
    assert_eq!(confirmed(b"3"), 0);
}

#[test]
fn nothing_to_look_for_is_no_search() {
    let (_dir, store) = store();
    assert!(store.layers().needles(&[]).expect("needles").is_none());
    assert!(
        store
            .layers()
            .needles(&[group(b"")])
            .expect("needles")
            .is_none()
    );
}
