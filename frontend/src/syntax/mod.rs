//! Text to syntax tree.

mod directive;
mod line;

use crate::error::Diagnostics;
use crate::source::SourceFile;
use directive::DirectiveReader;
pub use directive::Directives;
use line::Lines;

/// A parsed Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// What the comments at the top ask for.
    pub directives: Directives,
}

/// Parses a Dockerfile; on failure the list holds every independent error.
pub fn parse(source: &SourceFile) -> Result<Dockerfile, Diagnostics> {
    let mut reader = DirectiveReader::default();
    let mut errors = Vec::new();
    Lines::new(source.text()).for_each(|line| reader.offer(line, &mut errors));
    if errors.is_empty() {
        Ok(Dockerfile {
            directives: reader.directives,
        })
    } else {
        Err(errors)
    }
}
