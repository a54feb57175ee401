//! What secrets look like: the forms that a known value takes, and the shapes of credentials
//! that nobody told of.
//!
//! Both the redaction of logs and the search of what leaves the machine go by this.

mod forms;
mod search;
mod shapes;

pub use forms::{Coding, forms, is_public, needles};
pub use search::{Search, Sought, config_place};
pub use shapes::SHAPES;
