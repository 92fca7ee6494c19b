//! Keeps a panic inside a library that reads input from outside from ending the program.
//!
//! `tract` indexes and unwraps in places where a malformed graph reaches (an output that no node
//! makes, a convolution without a kernel shape, ...), and so does `zune-jpeg` with some damaged pictures. Both must give
//! an error; until these libraries return one everywhere, their panics are caught here.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `work`; a panic in it becomes the text of its message.
///
/// The message stays off standard error: the hook in force before is wrapped, once in the life of the
/// process, by one that is silent on a thread that is in here and hands on everything else. What `work`
/// changed half-way must not be used again after an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    outcome.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        format!("it breaks its reader ({text})")
    })
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_becomes_its_message() {
        let text = guarded(|| panic!("of {} parts", 2)).map(|()| 0).unwrap_err();
        assert!(text.contains("of 2 parts"), "{text}");
        let text = guarded(|| -> u8 { panic!("plain") }).unwrap_err();
        assert!(text.contains("plain"), "{text}");
        assert_eq!(guarded(|| 5), Ok(5));
    }
}
