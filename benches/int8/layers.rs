//! The convolutions that are measured.

/// Height and width, input channels, outputs (none: depthwise), kernel, stride.
pub(crate) type Shape = ([usize; 2], usize, Option<usize>, usize, usize);

pub(crate) const LAYERS: [(&str, Shape); 14] = [
    ("first layer", ([256, 128], 3, Some(32), 3, 2)),
    ("first layer 7x7", ([256, 128], 3, Some(64), 7, 2)),
    ("1x1 16 to 96", ([128, 64], 16, Some(96), 1, 1)),
    ("1x1 96 to 24", ([64, 32], 96, Some(24), 1, 1)),
    ("1x1 144 to 32", ([32, 16], 144, Some(32), 1, 1)),
    ("1x1 64 to 384", ([16, 8], 64, Some(384), 1, 1)),
    ("1x1 960 to 160", ([8, 4], 960, Some(160), 1, 1)),
    ("1x1 320 to 1280", ([8, 4], 320, Some(1280), 1, 1)),
    ("3x3 64 to 64", ([64, 32], 64, Some(64), 3, 1)),
    ("3x3 512 to 512", ([8, 4], 512, Some(512), 3, 1)),
    ("depthwise 3x3 of 32", ([128, 64], 32, None, 3, 1)),
    ("depthwise 3x3 of 144", ([64, 32], 144, None, 3, 1)),
    ("depthwise 3x3 of 144 by 2", ([64, 32], 144, None, 3, 2)),
    ("depthwise 5x5 of 240", ([16, 8], 240, None, 5, 1)),
];

/// The convolutions of MobileNetV2.
pub(crate) fn mobilenet() -> Vec<Shape> {
    let (mut picture, mut channels) = ([128, 64], 32);
    let mut layers = vec![([256, 128], 3, Some(channels), 3, 2)];
    let stages =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    for (factor, outputs, count, first) in stages {
        for number in 0..count {
            let (stride, wide) = (if number == 0 { first } else { 1 }, channels * factor);
            if factor > 1 {
                layers.push((picture, channels, Some(wide), 1, 1));
            }
            layers.push((picture, wide, None, 3, stride));
            picture = picture.map(|side| side / stride);
            layers.push((picture, wide, Some(outputs), 1, 1));
            channels = outputs;
        }
    }
    layers.push((picture, channels, Some(1280), 1, 1));
    layers
}

/// The convolutions of ResNet-18.
pub(crate) fn resnet() -> Vec<Shape> {
    let (mut picture, mut channels) = ([64, 32], 64);
    let mut layers = vec![([256, 128], 3, Some(64), 7, 2)];
    for (outputs, first) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
        for stride in [first, 1] {
            layers.push((picture, channels, Some(outputs), 3, stride));
            if stride > 1 {
                layers.push((picture, channels, Some(outputs), 1, stride));
            }
            picture = picture.map(|side| side / stride);
            layers.push((picture, outputs, Some(outputs), 3, 1));
            channels = outputs;
        }
    }
    layers
}
