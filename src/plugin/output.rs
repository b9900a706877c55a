//! What is printed. A pipe that is closed early, as by head, is no failure.

use std::io::{ErrorKind, Write};

use serde::Serialize;

/// Standard output, with a memory of whether anybody still reads it.
#[derive(Default)]
pub struct Output {
    is_closed: bool,
    is_lost: bool,
}

impl Output {
    pub fn text(&mut self, text: &str) {
        if self.is_closed {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            self.is_closed = true;
            if error.kind() != ErrorKind::BrokenPipe {
                self.is_lost = true;
                self.note(&format!("kubectl okr: the output cannot be written: {error}"));
            }
        }
    }

    /// Whether nobody reads any more, as a command that goes on printing wants to know.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether somebody would still read, and did not get all: of a full disk, say.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.text(&(text + "\n")),
            Err(error) => self.note(&format!("kubectl okr: no JSON can be made of it: {error}")),
        }
    }

    pub fn yaml(&mut self, value: &impl Serialize) {
        match serde_saphyr::to_string(value) {
            Ok(text) => self.text(&text),
            Err(error) => self.note(&format!("kubectl okr: no YAML can be made of it: {error}")),
        }
    }

    /// To standard error, which nobody parses. Whether it can be written is nobody's concern.
    pub fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}
