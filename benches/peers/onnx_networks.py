"""The networks of the comparison: the shapes of well-known ones, random weights.

MobileNetV2 (arXiv 1801.04381), ResNet-18 (1512.03385), OSNet x0.25 (1905.00953), and a detector like NanoDet: a
ShuffleNetV2 body (1807.11164) with LeakyReLU, a PAN neck and one light head a stride.
"""

from onnx_graph import INPUT, Graph, smooth_pictures

REID, DETECTOR = (3, 256, 128), (3, 320, 320)

# As training leaves networks, and random ones are not: rectifiers pass more than they cut, and a residual branch adds
# little to its shortcut. With 0 and 1 every rounding error grows from layer to layer, and no two engines would agree.
CENTRE, BRANCH = 1.0, 0.3


def mobilenet_v2(act="relu6"):
    g = Graph("mobilenet_v2", smooth_pictures(8, *REID, 1), 1, CENTRE)
    x, channels = g.conv(INPUT, 32, 3, stride=2, act=act), 32
    for expansion, out, count, first in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for index in range(count):
            stride, wide = first if index == 0 else 1, channels * expansion
            y = g.conv(x, wide, 1, act=act) if expansion > 1 else x
            inner = stride == 1 and channels == out
            y = g.conv(g.conv(y, wide, 3, stride=stride, groups=wide, act=act), out, 1, gain=BRANCH if inner else 1.0)
            x, channels = g.add("Add", x, y) if inner else y, out
    return g, [embedding(g, g.conv(x, 1280, 1, act=act), 256)]


def resnet_18():
    g = Graph("resnet_18", smooth_pictures(8, *REID, 2), 2, CENTRE)
    x = g.add("MaxPool", g.conv(INPUT, 64, 7, stride=2, act="relu"), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for out in (64, 128, 256, 512):
        for index in range(2):
            stride = 2 if out > 64 and index == 0 else 1
            y = g.conv(g.conv(x, out, 3, stride=stride, act="relu"), out, 3, gain=BRANCH)
            x = g.add("Relu", g.add("Add", y, g.conv(x, out, 1, stride=stride) if stride == 2 else x))
    return g, [embedding(g, x, 256)]


def osnet_x025():
    g = Graph("osnet_x025", smooth_pictures(8, *REID, 3), 3, CENTRE)
    x = g.add("MaxPool", g.conv(INPUT, 16, 7, stride=2, act="relu"), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stage, out in enumerate((64, 96, 128)):
        for _ in range(2):
            x = omni_scale(g, x, out)
        if stage < 2:
            x = g.add("AveragePool", g.conv(x, out, 1, act="relu"), kernel_shape=[2, 2], strides=[2, 2])
    return g, [g.activation(embedding(g, g.conv(x, 128, 1, act="relu"), 512), "relu")]


def omni_scale(g, x, out):
    """Four streams of one to four light 3x3 convolutions, each weighed by the one gate they share, summed."""
    middle, total, narrow, wide = out // 4, None, None, None
    start = g.conv(x, middle, 1, act="relu")
    for depth in range(1, 5):
        y = start
        for _ in range(depth):
            y = g.conv(g.conv(y, middle, 1, bias=False), middle, 3, groups=middle, act="relu")
        pooled = g.add("GlobalAveragePool", y)
        narrow = narrow or g.conv_weights(pooled, max(middle // 16, 1), 1, centre=CENTRE)
        squeezed = g.conv(pooled, 0, 1, act="relu", weights=narrow)
        wide = wide or g.conv_weights(squeezed, middle, 1)
        y = g.add("Mul", y, g.add("Sigmoid", g.conv(squeezed, 0, 1, weights=wide)))
        total = y if total is None else g.add("Add", total, y)
    same = g.shape(x)[1] == out
    return g.add("Relu", g.add("Add", g.conv(total, out, 1, gain=BRANCH), x if same else g.conv(x, out, 1)))


def embedding(g, x, width):
    return g.gemm(g.add("GlobalAveragePool", x), width)


def nanodet_like():
    """Outputs `[1, H W, 112]` of the strides 8, 16 and 32: 80 classes and 4 x 8 of a box, float."""
    g = Graph("nanodet_like", smooth_pictures(8, *DETECTOR, 4), 4, CENTRE)
    x = g.add("MaxPool", g.conv(INPUT, 24, 3, stride=2, act="leaky"), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    levels = []
    for out, count in ((116, 4), (232, 8), (464, 4)):
        x = shuffle_down(g, x, out)
        for _ in range(count - 1):
            kept, moved = g.halves(x)
            x = shuffled(g, kept, light(g, g.conv(moved, out // 2, 1, act="leaky"), out // 2, act="leaky"))
        levels.append(g.conv(x, 96, 1, act="leaky"))
    for at in (1, 0):
        joined = g.add("Concat", levels[at], g.resize(levels[at + 1]), axis=1)
        levels[at] = light(g, g.conv(joined, 96, 1, act="leaky"), 96, act="leaky")
    for at in (1, 2):
        down = light(g, levels[at - 1], 96, stride=2, act="leaky")
        levels[at] = g.conv(g.add("Concat", levels[at], down, axis=1), 96, 1, act="leaky")
    rows = []
    for x in levels:
        for _ in range(2):
            x = light(g, x, 96, kernel=5, act="leaky")
        heads = g.conv(x, 112, 1)
        height, width = g.shape(heads)[2:]
        rows.append(g.add("Transpose", g.reshape(heads, 0, 112, height * width), perm=[0, 2, 1]))
    return g, rows


def light(g, x, out, kernel=3, stride=1, act=None):
    """A depthwise convolution and a 1x1 one."""
    return g.conv(g.conv(x, g.shape(x)[1], kernel, stride=stride, groups=g.shape(x)[1]), out, 1, act=act)


def shuffle_down(g, x, out):
    """ShuffleNetV2's step to half the size."""
    left = light(g, x, out // 2, stride=2, act="leaky")
    right = light(g, g.conv(x, out // 2, 1, act="leaky"), out // 2, stride=2, act="leaky")
    return shuffled(g, left, right)


def shuffled(g, left, right):
    """Joins two halves and mixes their channels."""
    x = g.add("Concat", left, right, axis=1)
    _, channels, height, width = g.shape(x)
    y = g.add("Transpose", g.reshape(x, 0, 2, channels // 2, height, width), perm=[0, 2, 1, 3, 4])
    return g.reshape(y, 0, channels, height, width)
