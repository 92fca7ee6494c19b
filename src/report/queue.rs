//! A bounded queue between the pipeline and one sink.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait before somebody who waits for a reader looks whether to hurry.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Time for what is queued at the end, in all and without an item that leaves: a slow reader is worth waiting for, one that
/// stalled is not.
const DRAIN: Duration = Duration::from_secs(2);
const STANDSTILL: Duration = Duration::from_millis(500);

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
    /// When an item was taken out last, or the queue was closed after that.
    moved: Instant,
    /// When it was closed.
    closed: Option<Instant>,
}

impl<T> Queue<T> {
    /// A queue of `capacity` items, at least one.
    pub fn new(capacity: usize, overflow: Overflow) -> Self {
        let capacity = capacity.max(1);
        let items = VecDeque::with_capacity(capacity);
        let state = State { items, capacity, gap: 0, dropped: 0, moved: Instant::now(), closed: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), overflow }
    }

    /// Puts `item` at the end. Into a closed queue nothing goes: the item is dropped and counted.
    ///
    /// Once `hurry` is set, [`Overflow::Block`] waits no longer and drops the oldest too, so that a program that is
    /// asked to end is not held by a reader that stopped.
    pub fn push(&self, item: T, hurry: &AtomicBool) {
        let mut state = self.lock();
        while self.overflow == Overflow::Block
            && state.is_full()
            && state.closed.is_none()
            && !hurry.load(Ordering::Relaxed)
        {
            // Woken by the reader as a rule; the time limit is for the flag, which wakes nobody.
            state = match self.changed.wait_timeout(state, LOOK_UP) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        if state.closed.is_some() {
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
                state.moved = Instant::now();
                self.changed.notify_all();
                return Some((item, std::mem::take(&mut state.gap)));
            }
            if state.closed.is_some() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets nothing more in; what is inside can still be taken out. Wakes everyone who waits.
    pub fn close(&self) {
        self.lock().close();
        self.changed.notify_all();
    }

    /// Closes the queue and drops what is inside, counted.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.close();
        let left = state.items.len() as u64;
        state.items.clear();
        state.drop_some(left);
        self.changed.notify_all();
    }

    /// Waits until the thread that empties the closed queue has ended, and breaks the channel `done` by that: for 2 s, or
    /// half a second in which no item leaves. Then the rest is dropped and counted, and the thread, which may hang in the
    /// kernel, is left to itself. Returns whether everything left in time.
    ///
    /// The time begins when the queue was closed. With [`Overflow::Block`] it begins once `hurry` is set, at the earliest: nothing is lost without need.
    pub fn outlast(&self, done: &Receiver<()>, hurry: &AtomicBool) -> bool {
        let mut begin = None;
        // Nothing is ever sent: the channel breaks when the thread ends.
        while done.recv_timeout(LOOK_UP) != Err(RecvTimeoutError::Disconnected) {
            let now = Instant::now();
            let patient = self.overflow == Overflow::Block && !hurry.load(Ordering::Relaxed);
            if patient {
                begin = Some(now);
            }
            let (closed, moved) = self.lock().times();
            let (closed, moved) = begin.map_or((closed, moved), |begin| (closed.max(begin), moved.max(begin)));
            if !patient && (now - closed >= DRAIN || now - moved >= STANDSTILL) {
                self.abandon();
                return false;
            }
        }
        true
    }

    /// Whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
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

    fn close(&mut self) {
        if self.closed.is_none() {
            self.moved = Instant::now();
            self.closed = Some(self.moved);
        }
    }

    /// When it was closed, and when an item left last.
    fn times(&self) -> (Instant, Instant) {
        (self.closed.unwrap_or(self.moved), self.moved)
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

    /// A closed queue of two items whose reader never takes the second, and the channel that breaks when it ends.
    fn stalled(overflow: Overflow) -> (Arc<Queue<u32>>, Receiver<()>) {
        let queue = Arc::new(Queue::new(4, overflow));
        (0..2).for_each(|n| queue.push(n, &PATIENT));
        queue.pop();
        queue.close();
        let (ended, done) = std::sync::mpsc::channel();
        // As a thread that hangs in the kernel, it keeps its end of the channel.
        std::mem::forget(ended);
        (queue, done)
    }

    #[test]
    fn a_reader_that_stalled_is_given_up_and_what_it_left_is_counted() {
        let (queue, done) = stalled(Overflow::DropOldest);
        let start = Instant::now();
        assert!(!queue.outlast(&done, &PATIENT));
        assert!((STANDSTILL..DRAIN).contains(&start.elapsed()), "{:?}", start.elapsed());
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_slow_reader_gets_more_time_than_a_stalled_one() {
        let queue = Arc::new(Queue::new(100, Overflow::DropOldest));
        (0..100).for_each(|n| queue.push(n, &PATIENT));
        queue.close();
        let (ended, done) = std::sync::mpsc::channel::<()>();
        let reader = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                while queue.pop().is_some() {
                    thread::sleep(Duration::from_millis(100));
                }
                drop(ended);
            })
        };
        let start = Instant::now();
        assert!(!queue.outlast(&done, &PATIENT), "a hundred items of 0.1 s each");
        assert!(start.elapsed() >= DRAIN, "{:?}", start.elapsed());
        reader.join().unwrap();
        assert!((50..95).contains(&queue.dropped()), "{}", queue.dropped());
    }

    #[test]
    fn a_reader_that_everybody_waits_for_is_given_up_only_in_a_hurry() {
        let (queue, done) = stalled(Overflow::Block);
        let hurry = Arc::new(AtomicBool::new(false));
        let signal = {
            let hurry = Arc::clone(&hurry);
            thread::spawn(move || {
                thread::sleep(DRAIN + STANDSTILL);
                hurry.store(true, Ordering::Relaxed);
            })
        };
        let start = Instant::now();
        assert!(!queue.outlast(&done, &hurry));
        assert!(start.elapsed() >= DRAIN + STANDSTILL, "{:?}", start.elapsed());
        signal.join().unwrap();
    }
}
