//! How the process ends.

use std::io::Write;

/// What the process ends with: zero, a command's own code, or that of a container's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// All went well.
    pub const SUCCESS: Self = Self(0);

    /// Ends the process at once.
    ///
    /// Nothing that is registered for its exit runs: the kernel takes the memory back as a whole,
    /// which is sooner done than giving it back piece by piece.
    pub fn leave(self) -> ! {
        // What cannot be written any more has nobody to read it.
        let _ = std::io::stdout().flush();
        cooper_runner::leave(self.0)
    }
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}
