//! Bridges and rules of stores that are gone.
//!
//! A store's directory may be removed whole, and then nobody is left to take away what its networks
//! put on the machine. So each bridge bears the path of that directory as its alias, and the next
//! store that makes a network takes away those whose directory is no more.

use std::path::Path;

use cooper_runner::network::{Link, Links, Listed, Table};

use super::state::table_of;

/// How the names of bridges begin that were named after their networks' IDs.
pub(super) const PREFIX: &str = "co-";

/// Notes with a bridge that it is of the networks in `dir`. Without the note (the path may be too
/// long for the kernel) nobody but its own store ever removes it.
pub(super) fn note(links: &mut Links, bridge: &Link, dir: &Path) {
    if let Some(dir) = dir.to_str() {
        let _ = links.note(bridge, dir);
    }
}

/// Takes away bridges that nothing is connected to and whose store is gone, and its rules. One that
/// cannot be removed is in nobody's way but a subnet's.
pub(super) fn sweep() {
    let Ok(mut links) = Links::open() else { return };
    let all = links.list().unwrap_or_default();
    for (bridge, dir) in orphans(&all) {
        if links.delete(&bridge.name).is_ok() {
            let _ = Table::remove(&table_of(dir));
        }
    }
}

fn orphans(all: &[Listed]) -> impl Iterator<Item = (&Link, &Path)> {
    all.iter().filter_map(|listed| {
        let dir = Path::new(listed.note.as_deref()?);
        let ours = listed.link.name.starts_with(PREFIX) && dir.is_absolute();
        let used = || {
            all.iter()
                .any(|port| port.bridge == Some(listed.link.index))
        };
        // What cannot be looked at may well be there.
        let gone = || matches!(dir.try_exists(), Ok(false));
        (ours && gone() && !used()).then_some((&listed.link, dir))
    })
}
