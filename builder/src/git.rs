//! Git repositories as sources of files, fetched by the `git` program.
//!
//! What is fetched is kept in bare mirrors, one for each address, so that the next build asks for
//! nothing but what is new. To the store a mirror is one more cache mount: it is held while it is
//! used, counted, and collected by age and size like the others:
//!
//! ```text
//! mounts/git-HEX/        bare repository; HEX is a hash of the address without credentials
//!   refs/cooper/OBJECT   what was fetched by its name
//!   refs/cooper/heads/…  what a server gave that gives nothing by name
//! mounts/git-HEX.lock    flock: held while the mirror is made or fetched into
//! ```
//!
//! Until it is collected as a whole, a mirror only grows: whoever holds it and knows a commit to
//! be in it needs no lock to read it, and no two locks are ever taken at once.
//!
//! Repositories and the Dockerfiles that name them may come from anywhere. Git is therefore run
//! without the user's and the system's configuration, with a clean environment, without hooks,
//! credential helpers and prompts, with a list of protocols, and never inside a repository that it
//! would have to find. Submodules are fetched here rather than by `git submodule`: their addresses
//! have to pass the same checks as ADD's.
//!
//! Credentials never stand on a command line: they go to git in its environment.

mod access;
mod checkout;
mod command;
mod error;
mod lfs;
mod mirror;
mod resolve;
mod submodule;

pub(crate) use access::{Access, host_of, split_credentials, token_header};
pub(crate) use checkout::{CheckoutOptions, checkout};
pub(crate) use command::{Git, Watch};
pub use error::GitError;
#[cfg(test)]
pub use error::Refusal;
pub(crate) use mirror::Mirrors;
pub(crate) use resolve::{Resolved, resolve};

/// Whether `text` is the full name of an object, in sha1 or sha256.
pub(crate) fn is_object_name(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
