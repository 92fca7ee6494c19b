//! Bytes in another order: what is left of transposing, reshaping and slicing once they are put together.

use super::super::tensor::Layout;

/// One of nested loops over bytes: `length` rounds, so many bytes further each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) struct Loop {
    pub(in crate::int8) length: usize,
    pub(in crate::int8) from: usize,
    pub(in crate::int8) to: usize,
}

/// `y[to] = x[from]` over nested loops, the innermost last.
#[derive(Clone, Debug)]
pub(in crate::int8) struct Rearrange {
    from: usize,
    to: usize,
    loops: Vec<Loop>,
}

impl Rearrange {
    /// Reads from byte `from` of a source without gaps, writes from byte `to` on.
    pub(in crate::int8) fn new(from: usize, to: usize, loops: &[Loop]) -> Self {
        let mut loops: Vec<Loop> = loops.iter().filter(|each| each.length != 1).copied().collect();
        // Writes go forward; neighbours that walk both sides as one run are one loop.
        loops.sort_by_key(|each| std::cmp::Reverse(each.to));
        let mut joined: Vec<Loop> = Vec::with_capacity(loops.len());
        for inner in loops {
            match joined.last_mut() {
                Some(outer) if outer.from == inner.from * inner.length && outer.to == inner.to * inner.length => {
                    *outer = Loop { length: outer.length * inner.length, ..inner };
                }
                _ => joined.push(inner),
            }
        }
        Self { from, to, loops: joined }
    }

    /// Writes only where the loops go.
    pub(in crate::int8) fn run(&self, x: &[u8], y: &mut [u8]) {
        nest(x, self.from, y, self.to, &self.loops);
    }
}

fn nest(x: &[u8], from: usize, y: &mut [u8], to: usize, loops: &[Loop]) {
    match loops {
        [] => y[to] = x[from],
        [inner] => row(x, from, y, to, *inner),
        [outer, rest @ ..] => {
            for round in 0..outer.length {
                nest(x, from + round * outer.from, y, to + round * outer.to, rest);
            }
        }
    }
}

fn row(x: &[u8], from: usize, y: &mut [u8], to: usize, inner: Loop) {
    if inner.length == 0 {
        return;
    }
    let last = inner.length - 1;
    let source = &x[from..=from + last * inner.from];
    let target = &mut y[to..=to + last * inner.to];
    if inner.from == 1 && inner.to == 1 {
        target.copy_from_slice(source);
        return;
    }
    let values = source.iter().step_by(inner.from.max(1));
    for (target, value) in target.iter_mut().step_by(inner.to.max(1)).zip(values) {
        *target = *value;
    }
}

/// Whether the pixels and rows of a layout lie without gaps.
pub(super) fn dense(layout: &Layout) -> bool {
    layout.pixel == layout.channels && layout.row == layout.width * layout.channels && layout.margin == 0
}
