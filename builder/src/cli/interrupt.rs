//! Ctrl-C: the first one asks for an end, the second one makes it.

use std::io;
use std::thread::JoinHandle;

use cooper_solver::CancelToken;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::report::Exit;

/// Turns interrupts into cancellation for as long as it lives.
#[derive(Debug)]
pub struct Interrupt {
    token: CancelToken,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Interrupt {
    /// Starts to listen.
    pub fn listen() -> io::Result<Self> {
        let token = CancelToken::new();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let listener = token.clone();
        let work = move || {
            for _ in signals.forever() {
                if listener.is_cancelled() {
                    // What cancellation has not ended by now the kernel ends with this process.
                    std::process::exit(Exit::Interrupted.code().into());
                }
                // The hooks may take a while, and the next interrupt must not wait for them.
                let token = listener.clone();
                std::thread::spawn(move || token.cancel());
            }
        };
        let thread = std::thread::Builder::new()
            .name("interrupt".into())
            .spawn(work)?;
        Ok(Self {
            token,
            handle,
            thread: Some(thread),
        })
    }

    /// Returns the token that an interrupt cancels.
    pub fn token(&self) -> &CancelToken {
        &self.token
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
