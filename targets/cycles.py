"""The inner loops of the convolutions in compiled assembly, and their cycles by llvm-mca. Called by cycles-aarch64.sh.

    cycles.py LLVM-MCA FOLDER        FOLDER holds rpi4.s and rpi5.s

The loop of a kernel is the innermost one (a backward branch and its target, no other such inside) with the most products
that also has the kernel's own instruction.
"""

import heapq
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

# Multiply-adds of an instruction on whole registers.
PRODUCTS = {"smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8, "sdot": 16}
JUMP = re.compile(r"(b|b\.\w+|cbn?z|tbn?z)\t(?:.*, )?(\.L\w+)$")

# File, name, clocks in GHz, llvm-mca's model, and by Arm's optimisation guides the instructions that are decoded and the
# micro-operations that are dispatched in a cycle.
Board = namedtuple("Board", "file name clocks model decoded dispatched")
BOARDS = [
    Board("rpi4", "Cortex-A72", (1.5, 1.8), "cortex-a72", 3, 5),
    Board("rpi5", "Cortex-A76", (2.4,), "neoverse-n1", 4, 8),
]
# Name, the instruction that tells it from others, and the board's file where only one board runs it.
KERNELS = [("dense, smull", "sadalp", "rpi4"), ("dense, sdot", "sdot", "rpi5"), ("depthwise", "saddw2", None)]
TAPS = 9

# MobileNetV2 at 224x224, in millions: multiply-adds and outputs of its dense layers (the first one, 1x1, the classifier), and
# multiply-adds of its depthwise ones.
DENSE, OUTPUTS, DEPTHWISE = 280.06, 4.377, 20.72

Loop = namedtuple("Loop", "first last")


class Assembly:
    """Instructions of the functions of int8, their labels, and their loops as ranges of instructions."""

    def __init__(self, path):
        self.code, self.labels, function, wanted = [], {}, "", False
        for line in path.read_text().splitlines():
            label = re.match(r"([.\w$]+):", line)
            if label:
                self.labels[label[1]] = len(self.code)
                if not label[1].startswith(".L"):
                    function = label[1]
                    wanted = "4int8" in function and "6linear" not in function
            elif wanted and re.match(r"\t[a-z]", line):
                self.code.append(line.strip())
        self.loops = []
        for at, text in enumerate(self.code):
            jump = JUMP.match(text)
            if jump and self.labels.get(jump[2], at + 1) <= at:
                self.loops.append(Loop(self.labels[jump[2]], at))

    def products(self, loop):
        return sum(PRODUCTS.get(text.split()[0], 0) for text in self.code[loop.first : loop.last + 1])

    def has(self, loop, mnemonic):
        return any(text.split()[0] == mnemonic for text in self.code[loop.first : loop.last + 1])

    def innermost(self, mnemonic):
        """The innermost loop with the most products among those that have the instruction."""

        def holds_another(loop):
            return any(other != loop and loop.first <= other.first and other.last <= loop.last for other in self.loops)

        found = [loop for loop in self.loops if self.has(loop, mnemonic) and not holds_another(loop)]
        return max(found, key=self.products, default=None)

    def around(self, inner):
        """The smallest loop around another."""
        found = [loop for loop in self.loops if loop.first < inner.first and inner.last < loop.last]
        return min(found, key=lambda loop: loop.last - loop.first, default=None)

    def shortest(self, start, end, loop):
        """The fewest instructions from `start` to `end`, without calls and without leaving the loop."""
        queue, seen = [(0, start, ())], set()
        while queue:
            length, at, path = heapq.heappop(queue)
            if at == end:
                return list(path)
            if at in seen or not loop.first <= at <= loop.last:
                continue
            seen.add(at)
            text = self.code[at]
            if text.startswith(("bl\t", "blr\t", "ret", "brk")):
                continue
            jump = JUMP.match(text)
            following = [] if jump and jump[1] == "b" else [at + 1]
            if jump and jump[2] in self.labels:
                following.append(self.labels[jump[2]])
            for target in following:
                heapq.heappush(queue, (length + 1, target, (*path, text)))
        return None


def cycles(mca, board, code, report):
    """Cycles of one pass through the code, passes following each other: llvm-mca's, but not fewer than decoding takes."""
    rounds = 200
    command = [mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={board.model}", "-mattr=+dotprod"]
    command += [f"-dispatch={board.dispatched}", f"-iterations={rounds}", "-bottleneck-analysis"]
    text = "\n".join(code) + "\n"
    report.with_suffix(".s").write_text(text)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    report.write_text(done.stdout + done.stderr)
    total = re.search(r"^Total Cycles:\s+(\d+)$", done.stdout, re.M)
    if done.returncode or not total:
        sys.exit(f"llvm-mca could not read a loop: see {report}\n{done.stderr[:2000]}")
    return max(int(total[1]) / rounds, len(code) / board.decoded)


def row(board, name, code, products, took):
    rate = products / took
    if products == 0:
        print(f"| {board.name} | {name} | {len(code)} | {took:.1f} | | | |")
        return
    speed = ", ".join(f"{rate * clock:.1f}" for clock in board.clocks)
    clocks = ", ".join(f"{clock:g}" for clock in board.clocks)
    print(f"| {board.name} | {name} | {len(code)} | {took:.1f} | {products} | {rate:.1f} | {speed} at {clocks} GHz |")


class Tile:
    """A depthwise tile of 3x3: two outputs, sixteen channels each. Two taps a pass, then requantisation and stores, on the
    shortest way: whole blocks of sixteen channels, and an activation that is only limits."""

    products = 2 * 16 * TAPS
    outputs = 2 * 16

    def __init__(self, assembly, inner):
        loop = assembly.around(inner)
        before = loop and assembly.shortest(loop.first, inner.first, loop)
        after = loop and assembly.shortest(inner.last + 1, loop.last, loop)
        if before is None or after is None:
            sys.exit("no way through the loop around the depthwise one")
        self.ending = [*after, assembly.code[loop.last]]
        self.whole = before + assembly.code[inner.first : inner.last + 1] * -(-TAPS // 2) + self.ending


def estimate(mca, folder, board):
    """The board's rows, and its cycles for MobileNetV2 in millions: products of dense layers, their outputs, depthwise."""
    assembly = Assembly(folder / f"{board.file}.s")
    found = {}
    for name, mnemonic, only in KERNELS:
        if only not in (None, board.file):
            continue
        inner = assembly.innermost(mnemonic)
        if inner is None:
            sys.exit(f"{board.name}: no loop with {mnemonic}")
        rows = [(name, assembly.code[inner.first : inner.last + 1], assembly.products(inner))]
        if name == "depthwise":
            tile = Tile(assembly, inner)
            rows.append(("depthwise 3x3, whole tile", tile.whole, tile.products))
            rows.append(("32 outputs to bytes", tile.ending, 0))
        for name, code, products in rows:
            took = cycles(mca, board, code, folder / f"{board.file}-{name.replace(' ', '-').replace(',', '')}.txt")
            row(board, name, code, products, took)
            found[name.split(",")[0]] = products / took if products else took / Tile.outputs
    return [DENSE / found["dense"], OUTPUTS * found["32 outputs to bytes"], DEPTHWISE / found["depthwise 3x3"]]


def main():
    mca, folder = sys.argv[1], Path(sys.argv[2])
    print("| processor | loop | instructions | cycles | multiply-adds | a cycle | at most GMAC/s |")
    print("|---|---|---|---|---|---|---|")
    sums = [estimate(mca, folder, board) for board in BOARDS]
    print("\nMobileNetV2 at 224x224, one core, ms at least: products of dense layers + their outputs to bytes + depthwise")
    for board, parts in zip(BOARDS, sums, strict=True):
        for clock in board.clocks:
            terms = " + ".join(f"{part / clock:.1f}" for part in parts)
            print(f"{board.name} at {clock:g} GHz: {terms} = {sum(parts) / clock:.1f}")


if __name__ == "__main__":
    main()
