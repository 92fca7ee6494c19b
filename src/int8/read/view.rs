//! A tensor of the graph as a way to walk the bytes of a picture: transposing, reshaping and slicing move no bytes.

use super::super::program::Loop;

/// Steps that an index takes through the bytes: `length` of them, `stride` bytes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Factor {
    pub(super) length: usize,
    pub(super) stride: usize,
}

/// The axes of a tensor, each a product of factors (outermost first), over bytes numbered `[height, width, channels]`
/// as if they lay without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    /// Which bytes.
    pub(super) base: usize,
    /// Of the first byte.
    pub(super) offset: usize,
    axes: Vec<Vec<Factor>>,
}

impl View {
    /// All bytes of `base`, one factor an axis.
    pub(super) fn new(base: usize, factors: &[(usize, usize)]) -> Self {
        let axes = factors.iter().map(|&(length, stride)| simplified(vec![Factor { length, stride }])).collect();
        Self { base, offset: 0, axes }
    }

    /// `[1, channels, height, width]` of a picture of these sizes.
    pub(super) fn picture(base: usize, [height, width, channels]: [usize; 3]) -> Self {
        Self::new(base, &[(1, 0), (channels, 1), (height, width * channels), (width, channels)])
    }

    /// Values in row-major order as they lie.
    pub(super) fn rows(base: usize, shape: &[usize]) -> Self {
        let mut stride = 1;
        let mut factors = Vec::with_capacity(shape.len());
        for &length in shape.iter().rev() {
            factors.push((length, stride));
            stride *= length;
        }
        factors.reverse();
        Self::new(base, &factors)
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.iter().map(|factor| factor.length).product()).collect()
    }

    /// Values.
    pub(super) fn len(&self) -> usize {
        self.axes.iter().flatten().map(|factor| factor.length).product()
    }

    /// The same walk over other bytes of the same shape.
    pub(super) fn over(&self, base: usize) -> Self {
        Self { base, ..self.clone() }
    }

    /// The factor of an axis that has at most one; an axis of length 1 has stride 0.
    pub(super) fn single(&self, axis: usize) -> Option<Factor> {
        match self.axes.get(axis)?.as_slice() {
            [] => Some(Factor { length: 1, stride: 0 }),
            [factor] => Some(*factor),
            _ => None,
        }
    }

    pub(super) fn moved(&self, from: usize, to: usize) -> Option<Self> {
        if from >= self.axes.len() || to >= self.axes.len() {
            return None;
        }
        let mut view = self.clone();
        let axis = view.axes.remove(from);
        view.axes.insert(to, axis);
        Some(view)
    }

    /// Where `axis` is one run of steps, a part of it.
    pub(super) fn sliced(&self, axis: usize, start: usize, length: usize) -> Option<Self> {
        let factor = self.single(axis)?;
        if length == 0 || start.checked_add(length)? > factor.length {
            return None;
        }
        let mut view = self.clone();
        view.offset += start * factor.stride;
        view.axes[axis] = simplified(vec![Factor { length, ..factor }]);
        Some(view)
    }

    /// Other axes over the same order of values, if each new axis ends where a factor can be cut.
    pub(super) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let mut factors = simplified(self.axes.iter().flatten().copied().collect()).into_iter();
        let mut rest: Option<Factor> = None;
        let mut axes = Vec::with_capacity(shape.len());
        for &length in shape {
            let (mut parts, mut missing) = (Vec::new(), length);
            while missing > 1 {
                let factor = rest.take().or_else(|| factors.next())?;
                if missing % factor.length == 0 {
                    missing /= factor.length;
                    parts.push(factor);
                } else if factor.length % missing == 0 {
                    let inner = factor.length / missing;
                    parts.push(Factor { length: missing, stride: factor.stride * inner });
                    rest = Some(Factor { length: inner, stride: factor.stride });
                    missing = 1;
                } else {
                    return None;
                }
            }
            axes.push(simplified(parts));
        }
        (rest.is_none() && factors.next().is_none()).then_some(Self { axes, ..self.clone() })
    }

    /// All axes as one walk, without steps of length 1 and in as few factors as can be.
    fn walk(&self) -> Vec<Factor> {
        simplified(self.axes.iter().flatten().copied().collect())
    }

    /// Whether it is `[rows, columns]`, the rows `columns` bytes apart and side by side, from the first byte on.
    pub(super) fn is_dense_rows(&self) -> bool {
        self.offset == 0 && matches!(self.walk().as_slice(), [] | [Factor { stride: 1, .. }])
    }

    /// The loops, each with its axis, that write this tensor to where each axis has the stride given.
    pub(super) fn loops(&self, strides: &[usize]) -> Vec<(usize, Loop)> {
        let mut loops = Vec::new();
        for (axis, (factors, &stride)) in self.axes.iter().zip(strides).enumerate() {
            let mut inner: usize = factors.iter().map(|factor| factor.length).product();
            for factor in factors {
                inner /= factor.length;
                loops.push((axis, Loop { length: factor.length, from: factor.stride, to: stride * inner }));
            }
        }
        loops
    }

    /// The same walk over pixels of other width: for a result whose pixel at each place comes from the pixel there.
    /// The last axis must be the channels, all of them.
    pub(super) fn widened(&self, base: usize, channels: usize, to: usize) -> Option<Self> {
        let (last, outer) = self.axes.split_last()?;
        let whole = matches!(last.as_slice(), [] if channels == 1)
            || matches!(last.as_slice(), [factor] if *factor == Factor { length: channels, stride: 1 });
        let pixels = outer.iter().flatten().all(|factor| factor.stride % channels == 0);
        if !whole || !pixels || self.offset != 0 {
            return None;
        }
        let mut axes = outer.to_vec();
        for factor in axes.iter_mut().flatten() {
            factor.stride = factor.stride / channels * to;
        }
        axes.push(simplified(vec![Factor { length: to, stride: 1 }]));
        Some(Self { base, offset: 0, axes })
    }
}

/// Without factors of length 1, neighbours that are one run joined.
fn simplified(factors: Vec<Factor>) -> Vec<Factor> {
    let mut joined: Vec<Factor> = Vec::with_capacity(factors.len());
    for factor in factors.into_iter().filter(|factor| factor.length != 1) {
        match joined.last_mut() {
            Some(last) if last.stride == factor.stride * factor.length => {
                *last = Factor { length: last.length * factor.length, stride: factor.stride };
            }
            _ => joined.push(factor),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::int8::program::Rearrange;

    /// A row-major array of the bytes that a view names.
    #[derive(Clone, Debug)]
    struct Array {
        shape: Vec<usize>,
        values: Vec<u8>,
    }

    impl Array {
        /// Each value of an array of `shape` by its index.
        fn filled(shape: &[usize], value: impl Fn(&[usize]) -> u8) -> Self {
            let values = (0..shape.iter().product::<usize>()).map(|mut at| {
                let mut index = vec![0; shape.len()];
                for (place, side) in index.iter_mut().zip(shape).rev() {
                    *place = at % side;
                    at /= side;
                }
                value(&index)
            });
            Self { values: values.collect(), shape: shape.to_vec() }
        }

        fn at(&self, index: &[usize]) -> u8 {
            self.values[index.iter().zip(&self.shape).fold(0, |at, (place, side)| at * side + place)]
        }

        fn moved(&self, from: usize, to: usize) -> Self {
            let mut shape = self.shape.clone();
            let side = shape.remove(from);
            shape.insert(to, side);
            Self::filled(&shape, |index| {
                let mut index = index.to_vec();
                let place = index.remove(to);
                index.insert(from, place);
                self.at(&index)
            })
        }

        fn sliced(&self, axis: usize, start: usize, length: usize) -> Self {
            let mut shape = self.shape.clone();
            shape[axis] = length;
            Self::filled(&shape, |index| {
                let mut index = index.to_vec();
                index[axis] += start;
                self.at(&index)
            })
        }
    }

    /// The bytes in the order of the view's axes.
    fn read(view: &View, bytes: &[u8]) -> Vec<u8> {
        let shape = view.shape();
        let mut stride = shape.iter().product::<usize>();
        let strides: Vec<usize> = (shape.iter())
            .map(|side| {
                stride /= side;
                stride
            })
            .collect();
        let loops: Vec<Loop> = view.loops(&strides).into_iter().map(|(_, each)| each).collect();
        let mut found = vec![0; view.len()];
        Rearrange::new(view.offset, 0, &loops).run(bytes, &mut found);
        found
    }

    proptest! {
        /// A picture, then a few operators: the view names the bytes that the operators would have moved.
        #[test]
        fn a_view_is_what_moving_would_give(
            sizes in prop::array::uniform3(1_usize..5),
            steps in prop::collection::vec((0_usize..3, 0_usize..8, 0_usize..8, 0_usize..8), 0..6),
        ) {
            let [height, width, channels] = sizes;
            let bytes: Vec<u8> = (0..height * width * channels).map(|at| at as u8).collect();
            let mut view = View::picture(0, sizes);
            let mut array = Array::filled(&[1, channels, height, width], |index| {
                bytes[(index[2] * width + index[3]) * channels + index[1]]
            });
            for (what, a, b, c) in steps {
                let rank = array.shape.len();
                let (changed, expected) = match what {
                    0 => (view.moved(a % rank, b % rank), array.moved(a % rank, b % rank)),
                    1 => {
                        let axis = a % rank;
                        let start = b % array.shape[axis];
                        let length = 1 + c % (array.shape[axis] - start);
                        (view.sliced(axis, start, length), array.sliced(axis, start, length))
                    }
                    _ => {
                        // Joins two axes, or cuts one by a divisor.
                        let mut shape = array.shape.clone();
                        let axis = a % rank;
                        if b % 2 == 0 && axis + 1 < rank {
                            shape[axis] *= shape.remove(axis + 1);
                        } else if let Some(part) = (2..=shape[axis]).find(|part| shape[axis].is_multiple_of(*part)) {
                            shape[axis] /= part;
                            shape.insert(axis, part);
                        }
                        (view.reshaped(&shape), Array { shape, values: array.values.clone() })
                    }
                };
                // What no walk can do is none, never something else.
                if let Some(changed) = changed {
                    (view, array) = (changed, expected);
                    prop_assert_eq!(view.shape(), array.shape.clone());
                    prop_assert_eq!(read(&view, &bytes), array.values.clone());
                }
            }
        }
    }
}
