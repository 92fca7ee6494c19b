"""Drives the comparison of fusion.sh: our worker process and PyTorch in turn, medians, a table, a JSON line."""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy
import torch
from safetensors.numpy import load_file, save_file

from nformer_torch import DenseNFormer

WIDTH, HEADS, LANDMARKS = 256, 2, 5
SHARED = Path(os.environ.get("NFORMER_EDGE_SHARED", "../shared"))


class Worker:
    """Our side: one question a line, one answer a line."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the worker ended at `{' '.join(map(str, words))}`")
        return answer.split()


def random_weights(layers, path):
    """Seeded weights with the statistics of a fresh network, fixed agents included."""
    generator = numpy.random.default_rng(layers)
    normal = lambda scale, *shape: (generator.standard_normal(shape) * scale).astype(numpy.float32)
    tensors = {}
    for layer in range(layers):
        name = f"layers.{layer}."
        for part, out, inputs in (("qkv", 3 * WIDTH, WIDTH), ("out", WIDTH, WIDTH),
                                  ("ffn1", 4 * WIDTH, WIDTH), ("ffn2", WIDTH, 4 * WIDTH)):
            tensors[f"{name}{part}.weight"] = normal(inputs**-0.5, out, inputs)
            tensors[f"{name}{part}.bias"] = normal(0.1, out)
        for part in ("norm1", "norm2"):
            tensors[f"{name}{part}.weight"] = 1 + normal(0.1, WIDTH)
            tensors[f"{name}{part}.bias"] = normal(0.1, WIDTH)
        tensors[f"{name}agents.k"] = normal(0.3, HEADS, LANDMARKS, WIDTH // HEADS)
        tensors[f"{name}agents.q"] = normal(0.3, HEADS, LANDMARKS, WIDTH // HEADS)
    for part, scale in (("weight", 0.1), ("bias", 0.1), ("running_mean", 0.1)):
        tensors[f"bn.{part}"] = normal(scale, WIDTH) + (part == "weight")
    tensors["bn.running_var"] = 1 + numpy.abs(normal(0.2, WIDTH))
    save_file(tensors, path, metadata={"heads": str(HEADS), "top_k": "5"})
    return {name: torch.from_numpy(value) for name, value in tensors.items()}


def rows_file(worker, cache):
    """Real crops through the shipped backbone in time order, or made-up clusters where there are none."""
    crops = SHARED / "data" / "market1501" / "images"
    if crops.is_dir():
        path = cache / "rows-real.safetensors"
        if not path.exists():
            worker.ask("embed", crops.resolve(), path.resolve())
        return path, "real crops in time order"
    print(f"SKIPPED: no crops in {crops}; made-up clusters instead")
    path = cache / "rows-made-up.safetensors"
    generator = numpy.random.default_rng(1)
    centres = generator.standard_normal((300, WIDTH))
    # Three people at a time are in view for a while.
    who = numpy.concatenate([generator.integers(start, start + 3, 10) for start in range(260)])
    rows = centres[who] + 0.7 * generator.standard_normal((len(who), WIDTH))
    rows /= numpy.linalg.norm(rows, axis=1, keepdims=True)
    save_file({"input": rows.astype(numpy.float32)}, path)
    return path, "made-up clusters"


def time_torch(model, x, top_k):
    start = time.perf_counter()
    model(x, top_k)
    return (time.perf_counter() - start) * 1e6


def percentile(values, share):
    return float(numpy.percentile(values, share))


def compare(worker, model, rows, size, top_k, news, rounds):
    """Everything about one buffer size, in turn within each round: medians in microseconds, and rows computed."""
    times = {"torch": [], "full": [], "full_int8": [], "online3_int8": [], **{f"online{new}": [] for new in news}}
    counts = {new: [] for new in news}
    x = rows[:size]
    for round_ in range(rounds + 2):
        sample = {"torch": time_torch(model, x, top_k)}
        sample["full"] = float(worker.ask("full", size, top_k)[0])
        for new in news:
            micros, *computed = worker.ask("online", size, new, top_k)
            sample[f"online{new}"] = float(micros)
            if round_ >= 2:
                counts[new].append([int(count) for count in computed])
        # The first rounds warm caches and build the networks.
        if round_ >= 2:
            for name, value in sample.items():
                times[name].append(value)
    # A network of the other precision replaces the first in the worker: in a block of its own, torch beside it.
    for round_ in range(rounds + 2):
        value = float(worker.ask("full_int8", size, top_k)[0])
        beside = time_torch(model, x, top_k)
        three = float(worker.ask("online_int8", size, 3, top_k)[0])
        if round_ >= 2:
            times["full_int8"].append(value)
            times["online3_int8"].append(three)
            times["torch"].append(beside)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return medians, counts


def check_equal(worker, model, rows, cache):
    """Our full pass against PyTorch, and the incremental rows against our full pass; stops if they differ."""
    out = cache / "output.safetensors"
    worker.ask("output", 128, 5, out.resolve())
    ours = load_file(out)["output"]
    theirs = model(rows[:128], 5).numpy()
    largest = float(numpy.abs(ours - theirs).max())
    for _ in range(20):
        worker.ask("online", 128, 3, 5)
    drift = float(worker.ask("check")[0])
    print(f"largest difference: full pass to PyTorch {largest:.1e}, incremental to full pass {drift:.1e}")
    if largest > 1e-3 or drift > 1e-4:
        raise SystemExit("the results differ; nothing was timed")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="the JSON line's figures only, fewer rounds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    worker = Worker(args.worker)
    path, kind = rows_file(worker, args.cache)
    rows = torch.from_numpy(load_file(path)["input"])
    rounds = 15 if args.quick else 40
    print(f"rows: {len(rows)} of {kind}; {rounds} rounds, one thread, medians in ms")

    def load(layers):
        weights = args.cache / f"weights-{layers}.safetensors"
        tensors = random_weights(layers, weights)
        worker.ask("load", weights.resolve(), path.resolve())
        return DenseNFormer(tensors, layers, HEADS)

    model = load(4)
    check_equal(worker, model, rows, args.cache)
    print(f"\n{'N':>5} {'k':>3} {'layers':>6} {'torch':>9} {'full':>9} {'int8':>9} {'online 1':>9} {'online 3':>9} {'online 8':>9} {'3 in int8':>9}"
          f"   rows computed for 3 new ones, mean (p95) by layer")
    ratios = {}

    def line(model, layers, size, top_k):
        medians, counts = compare(worker, model, rows, size, top_k, (1, 3, 8), rounds)
        three = numpy.array(counts[3])
        spread = ", ".join(f"{column.mean():.0f} ({percentile(column, 95):.0f})" for column in three.T)
        cells = " ".join(f"{medians[name] / 1000:9.3f}" for name in ("torch", "full", "full_int8", "online1", "online3", "online8", "online3_int8"))
        print(f"{size:>5} {top_k:>3} {layers:>6} {cells}   {spread}", flush=True)
        return medians

    sizes = [256] if args.quick else [64, 128, 256, 512]
    for size in sizes:
        medians = line(model, 4, size, 5)
        if size == 256:
            ratios = {
                "full_vs_torch": medians["full"] / medians["torch"],
                "full_int8_vs_torch": medians["full_int8"] / medians["torch"],
                "online3_vs_full": medians["online3"] / medians["full"],
                "online3_vs_torch": medians["online3"] / medians["torch"],
                "online3_int8_vs_torch": medians["online3_int8"] / medians["torch"],
            }
    if not args.quick:
        for top_k in (10, 20):
            line(model, 4, 256, top_k)
        for layers in (1, 2):
            line(load(layers), layers, 256, 5)
        model = load(4)
        rounds = 10
        for size in (1024, 2048):
            line(model, 4, size, 5)
    print(json.dumps({name: round(value, 4) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
