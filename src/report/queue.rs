//! A bounded queue between the pipeline and one sink.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait before a sender that waits for its reader looks whether it has to hurry.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What a full queue does with one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Drops the oldest and counts it: the sender never waits.
    DropOldest,
    /// Makes the sender wait for the reader.
    Block,
}

/// A queue of a fixed number of items, allocated once.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    overflow: Overflow,
}

struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    /// Dropped since the last `pop`, so that the reader can leave a gap in its numbering.
    gap: u64,
    dropped: u64,
    closed: bool,
}

impl<T> Queue<T> {
    /// A queue of `capacity` items, at least one.
    pub fn new(capacity: usize, overflow: Overflow) -> Self {
        let capacity = capacity.max(1);
        let items = VecDeque::with_capacity(capacity);
        let state = State { items, capacity, gap: 0, dropped: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), overflow }
    }

    /// Puts `item` at the end. Into a closed queue nothing goes: the item is dropped and counted.
    ///
    /// Once `hurry` is set, [`Overflow::Block`] waits no longer and drops the oldest too, so that a program that is
    /// asked to end is not held by a reader that stopped.
    pub fn push(&self, item: T, hurry: &AtomicBool) {
        let mut state = self.lock();
        while self.overflow == Overflow::Block && state.is_full() && !state.closed && !hurry.load(Ordering::Relaxed) {
            // Woken by the reader as a rule; the time limit is for the flag, which wakes nobody.
            state = match self.changed.wait_timeout(state, LOOK_UP) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        if state.closed {
            state.dropped += 1;
            return;
        }
        if state.is_full() {
            state.items.pop_front();
            state.drop_some(1);
        }
        state.items.push_back(item);
        self.changed.notify_all();
    }

    /// The oldest item and how many were dropped before it; waits for one. None once the queue is closed and empty.
    pub fn pop(&self) -> Option<(T, u64)> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                self.changed.notify_all();
                return Some((item, std::mem::take(&mut state.gap)));
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets nothing more in; what is inside can still be taken out. Wakes everyone who waits.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Closes the queue and drops what is inside, counted.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = state.items.len() as u64;
        state.items.clear();
        state.drop_some(left);
        self.changed.notify_all();
    }

    /// Items dropped so far.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic elsewhere leaves counters and items in order: no step above can stop half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn is_full(&self) -> bool {
        self.items.len() >= self.capacity
    }

    fn drop_some(&mut self, count: u64) {
        self.gap += count;
        self.dropped += count;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    static PATIENT: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_full_queue_drops_its_oldest_and_tells_the_reader_where() {
        let queue = Queue::new(3, Overflow::DropOldest);
        (0..5).for_each(|n| queue.push(n, &PATIENT));
        assert_eq!(queue.dropped(), 2);
        assert_eq!(queue.pop(), Some((2, 2)));
        assert_eq!(queue.pop(), Some((3, 0)));
        queue.close();
        queue.push(9, &PATIENT);
        assert_eq!(queue.pop(), Some((4, 0)));
        assert_eq!(queue.pop(), None);
        assert_eq!(queue.dropped(), 3);
    }

    #[test]
    fn a_queue_never_grows() {
        let queue = Queue::new(4, Overflow::DropOldest);
        let before = queue.lock().items.capacity();
        (0..1000).for_each(|n| queue.push(n, &PATIENT));
        assert_eq!(queue.lock().items.capacity(), before);
        assert_eq!(queue.lock().items.len(), 4);
    }

    #[test]
    fn abandoning_counts_what_was_inside() {
        let queue = Queue::new(4, Overflow::DropOldest);
        (0..4).for_each(|n| queue.push(n, &PATIENT));
        queue.abandon();
        assert_eq!(queue.pop(), None);
        assert_eq!(queue.dropped(), 4);
    }

    #[test]
    fn a_blocking_queue_makes_the_sender_wait_and_loses_nothing() {
        let queue = Arc::new(Queue::new(2, Overflow::Block));
        let sent = Arc::new(AtomicU32::new(0));
        let sender = {
            let (queue, sent) = (Arc::clone(&queue), Arc::clone(&sent));
            thread::spawn(move || {
                for n in 0..50 {
                    queue.push(n, &PATIENT);
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                queue.close();
            })
        };
        thread::sleep(Duration::from_millis(50));
        assert!(sent.load(Ordering::SeqCst) <= 2, "the sender did not wait");
        let got: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        sender.join().unwrap();
        assert_eq!(got, (0..50).map(|n| (n, 0)).collect::<Vec<_>>());
    }

    #[test]
    fn closing_frees_a_waiting_sender() {
        let queue = Arc::new(Queue::new(1, Overflow::Block));
        queue.push(1, &PATIENT);
        let sender = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(2, &PATIENT))
        };
        thread::sleep(Duration::from_millis(20));
        queue.close();
        sender.join().unwrap();
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_sender_in_a_hurry_drops_the_oldest_instead_of_waiting() {
        let queue = Arc::new(Queue::new(1, Overflow::Block));
        let hurry = Arc::new(AtomicBool::new(false));
        queue.push(1, &PATIENT);
        let sender = {
            let (queue, hurry) = (Arc::clone(&queue), Arc::clone(&hurry));
            thread::spawn(move || queue.push(2, &hurry))
        };
        thread::sleep(Duration::from_millis(20));
        assert!(!sender.is_finished());
        hurry.store(true, Ordering::Relaxed);
        sender.join().unwrap();
        assert_eq!(queue.pop(), Some((2, 1)));
    }
}
