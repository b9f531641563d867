//! Places where a test may let the process die, without a goodbye, as if it had been killed there.
//!
//! `FIREWORKS_TEST_CRASH=committed:3` kills it when it comes to the place `committed` for the third time. It is
//! compiled into debug builds only, which the tests run: in a release a place is nothing at all.

/// A place to die at.
#[inline]
pub fn place(name: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A place, and how often it may still be passed.
    static CRASH: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();

    pub(super) fn pass(name: &str) {
        let crash = CRASH.get_or_init(|| {
            let crash = std::env::var("FIREWORKS_TEST_CRASH").ok()?;
            let (place, passes) = crash.split_once(':')?;
            Some((place.to_owned(), AtomicU64::new(passes.parse().ok()?)))
        });
        if let Some((_, passes)) = crash.as_ref().filter(|(place, _)| place == name)
            && passes.fetch_sub(1, Ordering::AcqRel) == 1
        {
            std::process::abort();
        }
    }
}
