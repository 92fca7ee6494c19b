//! Brings a tensor into the order that an operation reads.

use super::super::program::{Operand, Unit, Walk, Work};
use super::super::tensor::Quantisation;
use super::Reader;
use super::view::View;

impl Reader<'_> {
    /// A tensor `[1, channels, height, width]` as channels of a picture; moves bytes only if they lie otherwise.
    pub(super) fn picture(&mut self, view: &View, quantisation: Quantisation, time: usize) -> Option<Operand> {
        let [1, channels, height, width] = *view.shape() else { return None };
        let base = self.pictures[view.base];
        let lies = |axis: usize, stride: usize| {
            view.single(axis).is_some_and(|factor| factor.length == 1 || factor.stride == stride)
        };
        let whole_pixels = [base.height, base.width] == [height, width] && view.offset + channels <= base.channels;
        if whole_pixels && lies(1, 1) && lies(2, base.width * base.channels) && lies(3, base.channels) {
            return Some(Operand { picture: view.base, first: view.offset, channels, quantisation });
        }
        let units = [(0, Unit::Channel), (1, Unit::Channel), (1, Unit::Row), (1, Unit::Pixel)];
        let picture = self.rearranged(view, [height, width, channels], &units, quantisation, time);
        Some(Operand { picture, first: 0, channels, quantisation })
    }

    /// Any tensor as rows as long as its last axis: either a picture whose pixels are these rows, or a matrix.
    pub(super) fn rows(&mut self, view: &View, quantisation: Quantisation, time: usize) -> Operand {
        let shape = view.shape();
        let channels = shape.last().copied().unwrap_or(1);
        let base = self.pictures[view.base];
        if view.is_dense_rows() && base.channels == channels && shape.iter().product::<usize>() == base.len() {
            return Operand { picture: view.base, first: 0, channels, quantisation };
        }
        self.matrix(view, quantisation, time)
    }

    /// Any tensor as a picture one pixel wide whose pixels are its rows, as long as its last axis.
    pub(super) fn matrix(&mut self, view: &View, quantisation: Quantisation, time: usize) -> Operand {
        let shape = view.shape();
        let channels = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).product();
        let dense = view.is_dense_rows() && shape.iter().product::<usize>() == self.pictures[view.base].len();
        if dense && self.pictures[view.base].sizes() == [rows, 1, channels] {
            return Operand { picture: view.base, first: 0, channels, quantisation };
        }
        let mut stride = rows;
        let mut units: Vec<_> = shape.iter().map(|_| (1, Unit::Channel)).collect();
        let last = units.len().saturating_sub(1);
        for (unit, length) in units[..last].iter_mut().zip(&shape) {
            stride /= length;
            *unit = (stride, Unit::Row);
        }
        let picture = self.rearranged(view, [rows, 1, channels], &units, quantisation, time);
        Operand { picture, first: 0, channels, quantisation }
    }

    /// Any tensor in the order of its axes, as one row.
    pub(super) fn flat(&mut self, view: &View, quantisation: Quantisation, time: usize) -> Operand {
        let length = view.shape().iter().product();
        let flat = |view: &View| view.is_dense_rows().then_some(view.base);
        if let Some(picture) = flat(view).filter(|base| self.pictures[*base].sizes() == [1, 1, length]) {
            return Operand { picture, first: 0, channels: length, quantisation };
        }
        let mut stride = length;
        let units: Vec<_> = view
            .shape()
            .iter()
            .map(|side| {
                stride /= side;
                (stride, Unit::Channel)
            })
            .collect();
        let picture = self.rearranged(view, [1, 1, length], &units, quantisation, time);
        Operand { picture, first: 0, channels: length, quantisation }
    }

    /// All bytes of a picture, if the tensor has each of them once.
    pub(super) fn whole(&self, view: &View, quantisation: Quantisation) -> Option<Operand> {
        let base = self.pictures[view.base];
        let all = view.shape().iter().product::<usize>() == base.len();
        all.then_some(Operand { picture: view.base, first: 0, channels: base.channels, quantisation })
    }

    fn rearranged(
        &mut self,
        view: &View,
        sizes: [usize; 3],
        units: &[(usize, Unit)],
        quantisation: Quantisation,
        time: usize,
    ) -> usize {
        let key = (view.clone(), sizes);
        if let Some(made) =
            self.rearranged.get(&key).filter(|made| self.pictures[**made].zero_point == quantisation.zero_point)
        {
            let made = *made;
            // Needed earlier than by whoever asked first.
            let maker = &mut self.operations[self.makers[made]];
            maker.time = maker.time.min(time);
            return made;
        }
        let strides: Vec<usize> = units.iter().map(|unit| unit.0).collect();
        let walk = view.loops(&strides).into_iter().map(|(axis, each)| Walk { each, unit: units[axis].1 }).collect();
        let base = self.pictures[view.base];
        let read = Operand { picture: view.base, first: 0, channels: base.channels, quantisation };
        let work = Work::Rearrange { first: view.offset, walk };
        let made = self.push(work, vec![read], sizes, quantisation.zero_point, time);
        self.rearranged.insert(key, made);
        made
    }
}
