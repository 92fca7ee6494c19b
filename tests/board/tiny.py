"""tiny.py FOLDER: a ReID network that costs nothing, for runs in which the network is not the point: the mean of each colour
times a matrix. It is written as ONNX by hand, because nothing but Python's standard library is needed that way."""

import hashlib
import struct
import sys
from pathlib import Path

WIDTH = 256


def number(field, value):
    out = bytearray()
    for part in (field << 3, value):
        while part > 127:
            out.append(part & 127 | 128)
            part >>= 7
        out.append(part)
    return bytes(out)


def block(field, content):
    content = content.encode() if isinstance(content, str) else content
    head = number(field, len(content))
    return bytes([head[0] | 2]) + head[1:] + content


def node(kind, inputs, output):
    return block(1, b"".join(block(1, name) for name in inputs) + block(2, output) + block(4, kind))


def tensor_type(name, shape):
    dimensions = b"".join(block(1, number(1, side)) for side in shape)
    return block(1, name) + block(2, block(1, number(1, 1) + block(2, dimensions)))


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
# Any matrix of full rank does; this one is the same everywhere.
weights = [((row * WIDTH + column) * 2654435761 % 2**32) / 2**31 - 1 for row in range(3) for column in range(WIDTH)]
tensor = number(1, 3) + number(1, WIDTH) + number(2, 1) + block(8, "weights") + block(9, struct.pack(f"<{len(weights)}f", *weights))
graph = (
    node("GlobalAveragePool", ["picture"], "mean")
    + node("Flatten", ["mean"], "flat")
    + node("MatMul", ["flat", "weights"], "embedding")
    + block(2, "tiny")
    + block(5, tensor)
    + block(11, tensor_type("picture", [1, 3, 8, 4]))
    + block(12, tensor_type("embedding", [1, WIDTH]))
)
model = number(1, 8) + block(8, number(2, 13)) + block(7, graph)
(folder / "tiny.onnx").write_bytes(model)
(folder / "card.toml").write_text(
    f"""name = "tiny"
task = "reid"
file = "tiny.onnx"
sha256 = "{hashlib.sha256(model).hexdigest()}"
head = "embedding"
licence = "CC0-1.0"
source = "tests/board/tiny.py"

[input]
width = 4
height = 8
colour = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
resize = "stretch"

[output]
width = {WIDTH}
"""
)
