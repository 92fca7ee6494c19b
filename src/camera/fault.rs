//! Faults on purpose: a source around a source, for tests and soak runs.

use std::time::Duration;

use crate::error::Result;
use crate::frame::{Frame, FrameSource, Idle, Next, PixelFormat, SourceHealth};

/// Which faults to inject, and how often. A 0 switches a fault off.
///
/// At most one fault starts at a call; where several are due, the first of this list wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRules {
    /// One call in so many finds the device gone.
    pub disconnect: u32,
    /// Calls for which the device stays away, the first one included.
    pub disconnect_calls: u32,
    /// One call in so many times out, with the picture of that time lost.
    pub timeout: u32,
    /// One picture in so many is damaged and dropped.
    pub corrupt: u32,
    /// One picture in so many is frozen: those after it show its pixels.
    pub freeze: u32,
    /// Pictures that show the pixels of the frozen one.
    pub freeze_frames: u32,
    /// `None`: every n-th call exactly. `Some`: by chance with odds of one in n, the same for the same seed.
    pub seed: Option<u64>,
}

/// Wraps a source and injects faults by [`FaultRules`].
pub struct FaultInjector<S> {
    source: S,
    rules: FaultRules,
    random: u64,
    calls: u64,
    away: u32,
    frozen: Option<Frozen>,
    /// Kept from freeze to freeze.
    pixels: Vec<u8>,
    health: SourceHealth,
    /// Pictures of the source that were not handed on.
    swallowed: u64,
}

/// A picture that is shown again.
struct Frozen {
    left: u32,
    format: PixelFormat,
    size: (u32, u32),
    stride: usize,
}

/// What to do to the picture at hand.
enum Fault {
    Drop(Idle),
    Freeze,
    None,
}

impl<S: FrameSource> FaultInjector<S> {
    /// Injects faults into `source`.
    pub fn new(source: S, rules: FaultRules) -> Self {
        // A xorshift generator must not start at zero.
        let random = rules.seed.unwrap_or(0) ^ 0x9e37_79b9_7f4a_7c15;
        Self {
            source,
            rules,
            random: if random == 0 { 1 } else { random },
            calls: 0,
            away: 0,
            frozen: None,
            pixels: Vec::new(),
            health: SourceHealth::default(),
            swallowed: 0,
        }
    }

    /// The source inside.
    pub fn into_inner(self) -> S {
        self.source
    }

    /// Whether a fault with odds of one in `every` happens now. Each rule draws its own number at each call.
    fn happens(&mut self, every: u32) -> bool {
        if self.rules.seed.is_some() {
            // xorshift64*, Vigna 2016.
            self.random ^= self.random >> 12;
            self.random ^= self.random << 25;
            self.random ^= self.random >> 27;
            let drawn = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
            return every > 0 && drawn.is_multiple_of(u64::from(every));
        }
        every > 0 && self.calls.is_multiple_of(u64::from(every))
    }

    /// The fault of this call.
    fn draw(&mut self) -> Fault {
        self.calls += 1;
        let FaultRules { disconnect, timeout, corrupt, freeze, .. } = self.rules;
        let [disconnect, timeout, corrupt, freeze] =
            [disconnect, timeout, corrupt, freeze].map(|every| self.happens(every));
        if disconnect {
            self.away = self.rules.disconnect_calls.max(1);
        }
        if self.away > 0 {
            self.away -= 1;
            self.health.reconnects += u64::from(self.away == 0);
            return Fault::Drop(Idle::Reconnecting);
        }
        match (timeout, corrupt, freeze) {
            (true, _, _) => Fault::Drop(Idle::Timeout),
            (_, true, _) => Fault::Drop(Idle::Corrupt),
            (_, _, true) if self.frozen.is_none() => Fault::Freeze,
            _ => Fault::None,
        }
    }
}

impl<S: FrameSource> FrameSource for FaultInjector<S> {
    fn next_frame(&mut self) -> Result<Next<'_>> {
        let fault = self.draw();
        // The source runs on under every fault, as the world in front of a camera does.
        let frame = match self.source.next_frame()? {
            Next::Frame(frame) => frame,
            other => return Ok(other),
        };
        if let Fault::Drop(idle) = fault {
            self.swallowed += 1;
            match idle {
                Idle::Timeout => self.health.timeouts += 1,
                Idle::Corrupt => self.health.corrupt += 1,
                Idle::Reconnecting => {}
            }
            return Ok(Next::Idle(idle));
        }
        if let Some(frozen) = &mut self.frozen {
            let shown = again(&self.pixels, frozen, frame.sequence(), frame.time())?;
            frozen.left -= 1;
            if frozen.left == 0 {
                self.frozen = None;
            }
            return Ok(Next::Frame(shown));
        }
        if matches!(fault, Fault::Freeze) && self.rules.freeze_frames > 0 {
            self.pixels.clear();
            self.pixels.extend_from_slice(frame.pixels());
            self.frozen = Some(Frozen {
                left: self.rules.freeze_frames,
                format: frame.format(),
                size: (frame.width(), frame.height()),
                stride: frame.stride(),
            });
        }
        Ok(Next::Frame(frame))
    }

    fn health(&self) -> SourceHealth {
        let inner = self.source.health();
        SourceHealth {
            delivered: inner.delivered.saturating_sub(self.swallowed),
            corrupt: inner.corrupt + self.health.corrupt,
            stale: inner.stale,
            timeouts: inner.timeouts + self.health.timeouts,
            reconnects: inner.reconnects + self.health.reconnects,
        }
    }

    fn describe(&self) -> String {
        format!("{}, with injected faults", self.source.describe())
    }

    fn is_live(&self) -> bool {
        self.source.is_live()
    }
}

/// The frozen pixels at a new place in the stream.
fn again<'a>(pixels: &'a [u8], frozen: &Frozen, sequence: u64, time: Duration) -> Result<Frame<'a>> {
    Ok(Frame::new(pixels, frozen.format, frozen.size, frozen.stride)?.at(sequence, time))
}
