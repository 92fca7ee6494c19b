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
    /// One picture in so many, and those after it, have noise in the place of their pixels.
    pub garbage: u32,
    /// Pictures of noise in a row.
    pub garbage_frames: u32,
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
    /// Pictures of noise still to come.
    noisy: u32,
    /// Kept from freeze to freeze, and for noise.
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
    Garbage,
    None,
}

impl FaultRules {
    /// A bit of everything, by chance: for soak runs. The same faults for the same `seed`.
    pub fn soak(seed: u64) -> Self {
        Self {
            disconnect: 500,
            disconnect_calls: 20,
            timeout: 200,
            corrupt: 100,
            freeze: 300,
            freeze_frames: 20,
            garbage: 200,
            garbage_frames: 10,
            seed: Some(seed),
        }
    }
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
            noisy: 0,
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
            let drawn = draw(&mut self.random) >> 32;
            return every > 0 && drawn.is_multiple_of(u64::from(every));
        }
        every > 0 && self.calls.is_multiple_of(u64::from(every))
    }

    /// The fault of this call.
    fn draw(&mut self) -> Fault {
        self.calls += 1;
        let FaultRules { disconnect, timeout, corrupt, freeze, garbage, .. } = self.rules;
        let [disconnect, timeout, corrupt, freeze, garbage] =
            [disconnect, timeout, corrupt, freeze, garbage].map(|every| self.happens(every));
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
            _ if garbage => Fault::Garbage,
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
                Idle::Reconnecting | Idle::Waiting => {}
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
        if matches!(fault, Fault::Garbage) {
            self.noisy = self.rules.garbage_frames.max(1);
        }
        if self.noisy > 0 {
            self.noisy -= 1;
            noise(&mut self.pixels, frame.pixels().len(), &mut self.random);
            let size = (frame.width(), frame.height());
            let noise = Frame::new(&self.pixels, frame.format(), size, frame.stride())?;
            return Ok(Next::Frame(noise.at(frame.sequence(), frame.time())));
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
            ..inner
        }
    }

    fn describe(&self) -> String {
        format!("{}, with injected faults", self.source.describe())
    }

    fn is_live(&self) -> bool {
        self.source.is_live()
    }

    fn renew(&mut self) {
        self.source.renew();
    }
}

/// A number by chance: xorshift64*, Vigna 2016.
fn draw(random: &mut u64) -> u64 {
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    random.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Fills `pixels` with `length` bytes of noise.
fn noise(pixels: &mut Vec<u8>, length: usize, random: &mut u64) {
    pixels.resize(length, 0);
    for eight in pixels.chunks_mut(8) {
        eight.copy_from_slice(&draw(random).to_le_bytes()[..eight.len()]);
    }
}

/// The frozen pixels at a new place in the stream.
fn again<'a>(pixels: &'a [u8], frozen: &Frozen, sequence: u64, time: Duration) -> Result<Frame<'a>> {
    Ok(Frame::new(pixels, frozen.format, frozen.size, frozen.stride)?.at(sequence, time))
}
