//! Networks of containers: which there are, who is connected, and what follows from it.
//!
//! ```text
//! NetworkConfig ─→ attach ─→ Attachment ─┬→ namespace ─→ runner
//!      │             │                   ├→ /etc/hosts, /etc/resolv.conf
//!  networks,     endpoints.json          └→ service: names, ports on loopback
//!  addresses         └→ rules ─→ kernel
//! ```
//!
//! It owns names, addresses, ports and the records of them; interfaces, namespaces and rules are
//! made by [`cooper_runner::network`]. An [`Attachment`](attach::Attachment) is a few descriptors that the process
//! which keeps the container holds; everything they stand for ends with that process, at the
//! latest when the next command looks ([`Networks::sweep`]).

mod attach;
mod bridge;
mod config;
mod error;
mod files;
mod names;
mod orphans;
pub mod port;
mod record;
mod relay;
mod rules;
mod service;
mod state;
mod subnet;
mod user;
mod view;

pub use attach::{Guest, full_name, namespace};
pub use config::{EndpointConfig, Link, NetworkConfig, NetworkMode};
pub use error::NetworkError;
pub use files::hosts;
pub use record::{DEFAULT, Endpoint, Network, NewNetwork, parse_mac};
pub use service::init;
pub use state::Networks;
pub use user::shared;
pub use view::column;
