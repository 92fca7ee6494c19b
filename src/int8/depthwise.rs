//! Placeholder.
use super::conv::{Conv, Output, Weights, Window};
use super::tensor::{Layout, Quantisation};
#[derive(Clone, Debug)]
pub(super) struct Depthwise(Conv);
impl Depthwise {
    pub(super) fn new(window: &Window, weights: &Weights, input: Quantisation, output: Output) -> Self { let mut c = Conv::new(window, weights, input, output); c.depth = true; Self(c) }
    pub(super) fn run(&self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) { self.0.run(x, from, y, to); }
    pub(super) fn bytes(&self) -> usize { self.0.bytes() }
}
