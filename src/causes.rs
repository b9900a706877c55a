//! What is said of an error: itself and its causes.

use std::error::Error;

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    causes(error).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Other people's errors may say their cause themselves.
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Why it came to the error, the nearest cause first.
pub fn causes<'a>(error: &'a (dyn Error + 'a)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}
