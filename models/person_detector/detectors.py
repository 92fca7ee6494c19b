"""What the cards say, in Python: letterbox, the three heads, suppression. The Rust program does the same."""

import tomllib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Detector:
    """Person boxes (left, top, width, height, score) in pixels of the given picture."""

    def __init__(self, card, model=None, plain=True):
        """`plain` switches the graph optimisation off: on x86 without VNNI the fused int8 kernels saturate, tract's do not."""
        self.card = tomllib.loads(Path(card).read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        if plain:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(
            str(model or Path(card).parent / self.card["file"]), options, providers=["CPUExecutionProvider"])
        entry = self.session.get_inputs()[0]
        self.name, (_, _, self.height, self.width) = entry.name, entry.shape
        self.output = self.card["output"]

    def prepare(self, picture):
        """The network's input, and what maps its pixels back: the two scales and the picture's offset."""
        said, (height, width) = self.card["input"], picture.shape[:2]
        if said["resize"] == "stretch":
            scales, offset = (self.width / width, self.height / height), (0, 0)
            canvas = cv2.resize(picture, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        else:
            scale = min(self.width / width, self.height / height)
            inside = round(width * scale), round(height * scale)
            offset = (0, 0)
            if said["align"] == "centre":
                offset = (self.width - inside[0]) // 2, (self.height - inside[1]) // 2
            scales = inside[0] / width, inside[1] / height
            canvas = np.full((self.height, self.width, 3), said["pad"], np.uint8)
            resized = cv2.resize(picture, inside, interpolation=cv2.INTER_LINEAR)
            canvas[offset[1]:offset[1] + inside[1], offset[0]:offset[0] + inside[0]] = resized
        if said["colour"] == "rgb":
            canvas = canvas[..., ::-1]
        normal = (canvas.astype(np.float32) - np.float32(said["mean"])) / np.float32(said["std"])
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None]), scales, offset

    def detect(self, picture, threshold=None):
        images, scales, offset = self.prepare(picture)
        outputs = self.session.run(None, {self.name: images})
        boxes, scores = HEADS[self.card["head"]](self, outputs)
        kept = scores >= (self.output["threshold"] if threshold is None else threshold)
        boxes, scores = boxes[kept], scores[kept]
        limits = np.array([picture.shape[1], picture.shape[0]] * 2)
        boxes = np.clip((boxes - np.array(offset * 2)) / np.array(scales * 2), 0, limits)
        kept = suppress(boxes, scores, self.output["nms_iou"])
        boxes = boxes[kept]
        return np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores[kept]])

    def grid(self):
        """Column, row and stride of every position, in the order of the output's rows."""
        rows = []
        for stride in self.output["strides"]:
            y, x = np.mgrid[: self.height // stride, : self.width // stride]
            rows.append(np.column_stack([x.ravel(), y.ravel(), np.full(x.size, stride)]))
        return np.concatenate(rows).astype(np.float32)


def nanodet(detector, outputs):
    scores, distributions = outputs[0][0], outputs[1][0]
    bins = detector.output["reg_max"] + 1
    grid = detector.grid()
    distributions = distributions.reshape(-1, 4, bins)
    shares = np.exp(distributions - distributions.max(2, keepdims=True))
    shares /= shares.sum(2, keepdims=True)
    sides = shares @ np.arange(bins, dtype=np.float32) * grid[:, 2:]
    centres = (grid[:, :2] + detector.output["centre_offset"]) * grid[:, 2:]
    return np.hstack([centres - sides[:, :2], centres + sides[:, 2:]]), scores[:, detector.output["class"]]


def yolox(detector, outputs):
    rows, grid = outputs[0][0], detector.grid()
    centres = (rows[:, :2] + grid[:, :2]) * grid[:, 2:]
    halves = np.exp(rows[:, 2:4]) * grid[:, 2:] / 2
    return np.hstack([centres - halves, centres + halves]), rows[:, 4] * rows[:, 5 + detector.output["class"]]


def fastestdet(detector, outputs):
    """Scores are the objectness to 0.6 times the class share to 0.4, as in the authors' own code."""
    planes = outputs[0][0]
    rows, grid = planes.reshape(planes.shape[0], -1).T, detector.grid()
    centres = (np.tanh(rows[:, 1:3]) + grid[:, :2]) * grid[:, 2:]
    halves = sigmoid(rows[:, 3:5]) * np.float32([detector.width, detector.height]) / 2
    return np.hstack([centres - halves, centres + halves]), rows[:, 0] ** 0.6 * rows[:, 5 + detector.output["class"]] ** 0.4


HEADS = {"nanodet": nanodet, "yolox": yolox, "fastestdet": fastestdet}


def overlap(a, b):
    """Intersection over union of every box of `a` with every box of `b`, both as left, top, right, bottom."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), 2)
    area = [np.prod(x[:, 2:4] - x[:, :2], 1) for x in (a, b)]
    return shared / np.maximum(area[0][:, None] + area[1][None] - shared, 1e-9)


def suppress(boxes, scores, limit):
    order, kept = np.argsort(-scores, kind="stable"), []
    overlaps = overlap(boxes, boxes)
    for i in order:
        if all(overlaps[i, k] <= limit for k in kept):
            kept.append(i)
    return kept


def corners(boxes):
    """left, top, width, height -> left, top, right, bottom"""
    boxes = np.asarray(boxes, float).reshape(-1, boxes.shape[-1] if len(boxes) else 5)
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]])


def match(found, wanted, limit=0.5):
    """For each found box (best score first) the index of the wanted box it takes, or -1."""
    taken, answer = set(), np.full(len(found), -1)
    if not len(found) or not len(wanted):
        return answer
    overlaps = overlap(corners(found), corners(wanted))
    for i in np.argsort(-found[:, 4], kind="stable"):
        for j in np.argsort(-overlaps[i]):
            if overlaps[i, j] < limit:
                break
            if j not in taken:
                taken.add(j)
                answer[i] = j
                break
    return answer
