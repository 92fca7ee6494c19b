"""Drives the comparison of onnx.sh: our worker, tract, ONNX Runtime and ncnn in turn, medians, a table, a JSON line."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from onnx_evaluate import evaluate
from onnx_graph import cosine, session
from onnx_models import pictures_of, write_models
from onnx_ncnn import Ncnn

# Runs in a row: the first pays for caches that the one before has filled, the median is of the others.
BLOCK = 3
CLOCKS = {"wall": 0, "cpu": 1}
FEATURES = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")


LOAD_ONNX_RUNTIME = """
import sys, time
sys.path.insert(0, sys.argv[2])
from onnx_graph import session
start = time.process_time()
session(sys.argv[1])
print((time.process_time() - start) * 1e3)
"""


class Worker:
    """Our side: one file in a process of its own."""

    def __init__(self, program, path, mode):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([program, path, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        _, self.load_wall, self.load_cpu, self.bytes = self._words(int)

    def _words(self, kind):
        answer = self.process.stdout.readline().split()
        if not answer:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(" ".join(self.errors.read().split())[:300] or "the worker ended")
        return [word.decode() if word == b"ready" else kind(word) for word in answer]

    def _send(self, *parts):
        try:
            for part in parts:
                self.process.stdin.write(part)
            self.process.stdin.flush()
        except BrokenPipeError:
            # The reason comes with the missing answer.
            pass

    def run(self, x):
        """Outputs for one input, flat."""
        data = np.ascontiguousarray(x, "<f4").tobytes()
        if len(data) != self.bytes:
            raise RuntimeError(f"the input has {len(data)} bytes, the model takes {self.bytes}")
        self._send(b"run\n", data)
        _, _, *lengths = self._words(int)
        return [np.frombuffer(self.process.stdout.read(length), "<f4") for length in lengths]

    def time(self, count):
        self._send(f"time {count}\n".encode())
        words = self._words(int)
        return list(zip(words[::2], words[1::2]))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Timed:
    """Anything that runs in this process."""

    def __init__(self, work):
        self.work = work

    def time(self, count):
        return [timed(self.work) for _ in range(count)]


def timed(work):
    """Nanoseconds on the wall clock, and of the processor in this thread."""
    wall, busy = time.perf_counter_ns(), time.thread_time_ns()
    work()
    busy = time.thread_time_ns() - busy
    return time.perf_counter_ns() - wall, busy


def load_onnx_runtime(path):
    """Processor time of a session's start in a fresh process, in ms."""
    command = [sys.executable, "-c", LOAD_ONNX_RUNTIME, path, Path(__file__).parent]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def interleaved(contenders, rounds, seconds):
    """All times of each contender: a block a round, in turn, for at most about `seconds`."""
    times = {name: [] for name in contenders}
    for contender in contenders.values():
        contender.time(BLOCK)
    end = time.monotonic() + seconds
    for _ in range(rounds):
        for name, contender in contenders.items():
            times[name] += contender.time(BLOCK)
        if time.monotonic() > end:
            break
    return times


def compare(program, folder, entry, rounds, seconds, inputs, clock):
    """Everything about one model."""
    int8, twin = str(folder / entry["int8"]), str(folder / entry["float"])
    pictures = pictures_of(entry["pictures"], inputs, entry["shape"][1:], 1000)[:, None]
    feeds = [{entry["input"]: x} for x in pictures]
    exact, fused = session(int8, optimised=False), session(int8)
    references = [exact.run(None, feed) for feed in feeds]
    result = {"entry": entry, "load_ort": load_onnx_runtime(int8)}
    result["cosine_ort"] = min(cosine(fused.run(None, feed), reference) for feed, reference in zip(feeds, references))
    contenders = {}
    try:
        ours = Worker(program, int8, "int8")
        result["load"] = ours.load_cpu / 1e6
        # The first picture last: it is the one that is timed, as with the others.
        result["cosine"] = min(cosine(ours.run(x), reference) for x, reference in zip(pictures[::-1], references[::-1]))
        contenders["ours"] = ours
    except (RuntimeError, ValueError) as reason:
        print(f"{entry['name']}: ours does not run: {reason}")
    plain = contenders["tract"] = Worker(program, twin, "float")
    outputs = plain.run(pictures[0])
    contenders["ort_int8"] = Timed(lambda: fused.run(None, feeds[0]))
    if not entry["variant_of"]:
        runtime = session(twin)
        contenders["ort"] = Timed(lambda: runtime.run(None, feeds[0]))
        # Float peers must compute the same network, or their time means nothing. ncnn was checked when it was converted.
        if cosine(outputs, runtime.run(None, feeds[0])) < 0.9999:
            raise SystemExit(f"{entry['name']}: tract and ONNX Runtime differ on the float model; nothing to compare")
        if not entry["no_ncnn"]:
            contenders["ncnn"] = Timed(Ncnn(Path(twin).with_suffix(""), pictures[0]).run)
    times = interleaved(contenders, rounds, seconds)
    result["runs"] = len(times["tract"])
    result["busy"] = statistics.median(wall / cpu for values in times.values() for wall, cpu in values)
    result |= {name: statistics.median(value[clock] for value in values) / 1e6 for name, values in times.items()}
    for contender in contenders.values():
        if isinstance(contender, Worker):
            contender.close()
    return result


def ratio(result, other):
    return result["ours"] / result[other] if "ours" in result else None


def rounded(value, digits):
    return None if value is None else round(value, digits)


def line(result):
    cell = lambda value, form, width: f"{'-':>{width}}" if value is None else f"{value:{width}{form}}"
    entry = result["entry"]
    cells = [f"{entry['name']:<25}{entry['macs'] / 1e6:5.0f}{result['runs']:5}"]
    cells += [cell(result.get(name), ".2f", 8) for name in ("ours", "tract", "ort", "ort_int8", "ncnn")]
    cells += [cell(ratio(result, "ort_int8"), ".2f", 8), cell(ratio(result, "tract"), ".2f", 8)]
    cells += [cell(result.get(name), ".5f", 9) for name in ("cosine", "cosine_ort")]
    cells += [cell(result.get(name), ".0f", 7) for name in ("load", "load_ort")]
    return " ".join(cells)


HEADER = f"""{'':<35} {'time of one inference, ms':^44} {'ours divided by':^17} {'cosine, smallest':^19} {'load, CPU ms':^15}
{'model':<25}{'MMAC':>5}{'runs':>5} {'ours':>8} {'tract':>8} {'ORT':>8} {'ORT int8':>8} {'ncnn':>8} {'ORT int8':>8} {'tract':>8} {'ours':>9} {'ORT int8':>9} {'ours':>7} {'ORT':>7}"""


def cpu_features():
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    return [feature for feature in FEATURES if feature in words]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="at most 30 runs a model instead of 90, 3 pictures instead of 8")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu", help="processor time is right on a busy machine too")
    parser.add_argument("--evaluate", action="store_true", help="instead: retrieval by the shipped backbone")
    parser.add_argument("--only", nargs="+", help="names of models")
    args = parser.parse_args()
    if args.evaluate:
        evaluate(lambda path: Worker(args.worker, path, "int8"))
        return
    models = write_models(args.cache)
    features = cpu_features()
    saturates = platform.machine() == "x86_64" and not any("vnni" in feature for feature in features)
    clock = "processor time" if args.clock == "cpu" else "the wall clock"
    print(f"{platform.machine()}: {', '.join(features) or 'no features told'}; one thread each, interleaved, medians of {clock}")
    if saturates:
        print("no VNNI: ONNX Runtime's u8 x s8 kernels saturate here, its default int8 results are off")
    for entry in models:
        if entry["no_ncnn"] and not entry["variant_of"]:
            print(f"{entry['name']}: without ncnn: {entry['no_ncnn']}")
    print(HEADER, flush=True)
    ratios, slowed = {}, []
    for entry in models:
        if args.only and entry["name"] not in args.only:
            continue
        rounds, seconds, inputs = (10, 3, 3) if args.quick else (30, 60, 8)
        result = compare(args.worker, args.cache, entry, rounds, seconds, inputs, CLOCKS[args.clock])
        slowed.append(result["busy"])
        print(line(result), flush=True)
        ratios[entry["name"]] = {
            "ours_vs_ort_int8": rounded(ratio(result, "ort_int8"), 4),
            "ours_vs_tract_f32": rounded(ratio(result, "tract"), 4),
            "cosine": rounded(result.get("cosine"), 6),
        }
    print("cosines: to ONNX Runtime on the same file with graph optimisation off, of any output of any picture")
    if slowed:
        busy = ", this machine is busy" if max(slowed) > 1.1 else ""
        print(f"the wall clock showed {statistics.median(slowed):.2f} times the processor's time{busy}")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
