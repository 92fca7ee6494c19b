"""What a run of the board must show, and how it is compared with the host."""

import functools
import json
import re
import struct
import subprocess
import zlib

from vm import Run

# Arm and x86 add floats in another order: similarities and scores differ in the fourth digit, boxes of the network by
# fractions of a pixel. A box that is off by more, or another identity, is a fault.
BOX_TOLERANCE = 1.0
RATIO_TOLERANCE = 0.01


class Verdict:
    """Collects what is wrong; prints what is right, unless quiet."""

    def __init__(self, quiet=False):
        self.wrong = []
        self.quiet = quiet

    def say(self, text):
        if not self.quiet:
            print(text, flush=True)

    def check(self, holds, text):
        self.say(f"{'ok   ' if holds else 'WRONG'} {text}")
        if not holds:
            self.wrong.append(text)
        return holds


class Piece(Run):
    """Bytes of a run, all arrived at once."""

    def __init__(self, data, name="piece"):
        super().__init__(name)
        self.bytes, self.arrivals = data, [(0, 0.0)]


def messages(run):
    """(time of arrival, message) of each NDJSON line; what is cut off or foreign is left to `listen`."""
    for time, line in run.lines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and "type" in message:
            yield time, message


def of(kind, run):
    return [message for _, message in messages(run) if message["type"] == kind]


def logged(run, text):
    return any(text in line for _, line in run.log)


def listen(program, run, folder):
    """The counts of `nformer-edge listen` for what came over the line."""
    path = folder / f"{run.name}.line"
    path.write_bytes(run.bytes)
    done = subprocess.run([program, "listen", path], capture_output=True, text=True, check=True)
    summary = re.search(
        r"received (\d+) \(hello (\d+), sighting (\d+), event (\d+), health (\d+)\), lost (\d+), corrupt (\d+), "
        r"foreign (\d+), restarts (\d+)",
        done.stderr,
    )
    names = ("messages", "hello", "sighting", "event", "health", "lost", "corrupt", "foreign", "restarts")
    return dict(zip(names, map(int, summary.groups())))


def in_order(verdict, program, run, folder, least):
    """A run in which nothing was lost and everything was said."""
    counts = listen(program, run, folder)
    # What stands on the line before the first message (a delimiter) and after the last is no message.
    whole = counts["lost"] == counts["corrupt"] == counts["restarts"] == 0
    said = counts["hello"] >= 1 and counts["sighting"] >= least and counts["health"] >= 1
    return verdict.check(
        whole and said and run.code == 0,
        f"{run.name}: exit code {run.code}, {counts['sighting']} sightings, {counts['health']} health, "
        f"lost {counts['lost']}, corrupt {counts['corrupt']}, restarts {counts['restarts']}",
    )


def key(message):
    return message["frame"], message["track"], message.get("kind", "")


def same_as_host(verdict, run, reference):
    """Sightings and events against those of the host (lines of NDJSON)."""
    host = [json.loads(line) for line in reference.splitlines()]
    worst_box = worst_ratio = 0.0
    compared = 0
    for kind in ("sighting", "event"):
        wanted = {key(message): message for message in host if message["type"] == kind}
        found = {key(message): message for message in of(kind, run)}
        missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        if not verdict.check(
            not missing and not extra and wanted, f"{run.name}: {len(wanted)} {kind}s, missing {missing[:5]}, not on the host {extra[:5]}"
        ):
            return
        for name in wanted:
            ours, theirs = found[name], wanted[name]
            fields = [field for field in ("identity", "state", "other") if ours.get(field) != theirs.get(field)]
            if fields:
                verdict.check(False, f"{run.name}: {name}: {fields}: {ours} on the host {theirs}")
                return
            if kind == "sighting":
                compared += 1
                worst_box = max([worst_box] + [abs(a - b) for a, b in zip(ours["bbox"], theirs["bbox"])])
                for field in ("score", "similarity"):
                    if None not in (ours[field], theirs[field]):
                        worst_ratio = max(worst_ratio, abs(ours[field] - theirs[field]))
                    elif ours[field] != theirs[field]:
                        worst_ratio = 1.0
    verdict.check(
        worst_box <= BOX_TOLERANCE and worst_ratio <= RATIO_TOLERANCE,
        f"{run.name}: {compared} sightings equal the host's: boxes within {worst_box:.1f} px, ratios within {worst_ratio:.4f}",
    )


@functools.cache
def pixels(png):
    """Width, height, and bytes of an RGB or grey PNG of eight bits."""
    at, data = 8, b""
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    assert depth == 8 and colour in (0, 2), (depth, colour)
    step = 3 if colour == 2 else 1
    data, row_bytes = zlib.decompress(data), width * step
    above, rows = bytearray(row_bytes), bytearray()
    for y in range(height):
        start = y * (row_bytes + 1)
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + row_bytes])
        for x in range(row_bytes):
            left = row[x - step] if x >= step else 0
            up = above[x]
            corner = above[x - step] if x >= step else 0
            if kind == 1:
                row[x] = (row[x] + left) & 255
            elif kind == 2:
                row[x] = (row[x] + up) & 255
            elif kind == 3:
                row[x] = (row[x] + (left + up) // 2) & 255
            elif kind == 4:
                guess = left + up - corner
                distances = (abs(guess - left), abs(guess - up), abs(guess - corner))
                row[x] = (row[x] + (left, up, corner)[distances.index(min(distances))]) & 255
        rows += row
        above = row
    return width, height, bytes(rows)


@functools.cache
def picture_difference(png, reference, grey=False):
    """Mean difference of two pictures in levels; of their luma (Rec. 709, which vivid weighs colours by where it draws without
    them) where `grey`. None if their sizes differ."""
    ours, theirs = pixels(png), pixels(reference)
    if ours[:2] != theirs[:2]:
        return None
    a, b = ours[2], theirs[2]
    if grey:
        a, b = ([(2126 * p[i] + 7152 * p[i + 1] + 722 * p[i + 2]) / 10000 for i in range(0, len(p), 3)] for p in (a, b))
    return sum(abs(x - y) for x, y in zip(a, b)) / len(a)
