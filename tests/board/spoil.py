"""Proof that the judges can say no: each change below, made to what a board that passed has shown, must be found wrong."""

import copy
import json
import struct
import zlib

import judge


def rewrite(run, change):
    """Puts each message through `change`, which gives another one, or None for none."""
    lines, run.bytes, run.arrivals = list(run.lines()), b"", []
    for time, line in lines:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if isinstance(message, dict):
            message = change(message)
            if message is None:
                continue
            line = json.dumps(message, separators=(",", ":")).encode()
        run.arrivals.append((len(run.bytes), time))
        run.bytes += line + b"\n"


def without_one(kind):
    """A run that misses one message from its middle."""

    def spoil(run):
        count = len(judge.of(kind, run)) // 2
        left = iter(range(10**6))
        rewrite(run, lambda message: None if message["type"] == kind and next(left) == count else message)

    return spoil


def each(kind, **fields):
    """A run in whose messages of a kind fields are set, or put through a function."""

    def spoil(run):
        def change(message):
            if message["type"] == kind:
                for name, value in fields.items():
                    message[name] = value(message[name]) if callable(value) else value
            return message

        rewrite(run, change)

    return spoil


def unsaid(text):
    def spoil(run):
        run.log = [(time, line) for time, line in run.log if text not in line]

    return spoil


def ended(**fields):
    return lambda run: vars(run).update(fields)


def darker(run):
    """Its picture is another one."""
    width, height, rows = judge.pixels(run.pictures["frame.png"])
    step = len(rows) // height
    data = b"".join(b"\0" + bytes(level // 2 for level in rows[y * step : (y + 1) * step]) for y in range(height))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2 if step == 3 * width else 0, 0, 0, 0)
    run.pictures["frame.png"] = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def later(boot, fault, seconds=200.0):
    """Everything after the begin of a fault comes later."""
    begun = next(time for time, name, what in boot.faults if name == fault and what == "begun")

    def moved(time):
        return time + seconds * (time > begun)

    run = boot.run_named("faults")
    run.arrivals = [(at, moved(time)) for at, time in run.arrivals]
    run.log = [(moved(time), line) for time, line in run.log]
    boot.faults = [(moved(time), name, what) for time, name, what in boot.faults]
    boot.hold_until = moved(boot.hold_until)


def on(name, spoil):
    return lambda boot: spoil(boot.run_named(name))


def noted(old, new):
    def spoil(boot):
        boot.times = {note.replace(old, new): time for note, time in boot.times.items()}
        boot.notes = [note.replace(old, new) for note in boot.notes]

    return spoil


def moved(box):
    return [box[0] + 2.0, *box[1:]]


# What every comparison with the host must find.
COMPARED = {
    "a sighting less": without_one("sighting"),
    "an event less": without_one("event"),
    "boxes two pixels off": each("sighting", bbox=moved),
    "other identities": each("sighting", identity=999),
    "other scores": each("sighting", score=lambda score: score - 0.05),
}


def same_as_host(name):
    changes = COMPARED | {"exit code 1": ended(code=1), "no health": each("health", type="other")}
    return {f"{name}: {text}": on(name, change) for text, change in changes.items()}


def spoils(scenario):
    if scenario == "formats":
        return {
            "a message is lost": on("multi-nv12", without_one("sighting")),
            "bytes are lost": on("binary", lambda run: vars(run).update(bytes=run.bytes[:200] + run.bytes[260:])),
            "another format": on("multi-ym12", each("hello", source="camera /dev/video0: 320x180 YU12")),
            "another picture": on("single-rgb", darker),
            "a dark grey picture": on("multi-grey", darker),
            "no picture": on("single-i420", lambda run: run.pictures.clear()),
            "exit code 1": on("single-yuyv", ended(code=1)),
            "a run less": lambda boot: boot.runs.pop("multi-uyvy"),
            "no camera found": noted("vivid", "nothing"),
            "a model is bad": noted("@doctor ok    models: nformer", "@doctor BAD   models: nformer"),
        }
    if scenario == "armv7":
        return same_as_host("raw") | {
            "a message is lost": on("multi-nv12", without_one("sighting")),
            "bytes are lost": on("binary", lambda run: vars(run).update(bytes=run.bytes[:200] + run.bytes[260:])),
            "another format": on("multi-nm12", each("hello", source="camera /dev/video0: 320x180 NV12")),
            "another picture": on("multi-nv12", darker),
            "no picture": on("single-nv12", lambda run: run.pictures.clear()),
            "exit code 1": on("single-yuyv", ended(code=1)),
            "a run less": lambda boot: boot.runs.pop("multi-yuyv"),
            "no camera found": noted("vivid", "nothing"),
            "a model is bad": noted("@doctor ok    models: nformer", "@doctor BAD   models: nformer"),
            "another program": noted("processor: arm, ", "processor: aarch64, "),
            "another kernel": noted(" aarch64", " armv7l"),
            "stamps stand still": on("multi-nv12", each("sighting", time_ms=7)),
            "stamps go back": on("single-yuyv", each("sighting", time_ms=lambda time: 10**9 - time)),
            "seconds where milliseconds belong": on("multi-nm12", each("sighting", time_ms=lambda time: 1000 * time)),
            "31 bits of seconds": on("late-yuyv", each("sighting", wall=lambda wall: wall - 2**31 * 1000)),
            "no sandbox": on("raw", unsaid("files by Landlock")),
            "too large": noted(" at start, ", " at start, 1"),
            "no time at all": on("late-yuyv", each("sighting", wall=None)),
        }
    if scenario == "faults":
        lines = ("a damaged frame was dropped", "camera is back", "frames come again", "messages are dropped", "moves again", "files by Landlock")
        counters = ("corrupt", "reconnects", "timeouts", "report_dropped", "freezes")
        changes = {f"the log does not say {line!r}": on("faults", unsaid(line)) for line in lines}
        changes |= {f"health never counts {name}": on("faults", each("health", **{name: 0})) for name in counters}
        pauses = ("none", "qbuf", "disconnect", "silent", "clock-back", "reader-gone", "none-again")
        changes |= {f"a long pause at {name}": lambda boot, name=name: later(boot, name) for name in pauses}
        return changes | {
            "frames follow the wall clock": on("faults", each("sighting", time_ms=lambda time: -time)),
            "the wall clock does not jump": on("faults", each("sighting", wall=1_000_000)),
            "it begins anew": on("faults", restarted),
            "exit code 1": on("faults", ended(code=1)),
            "it does not end": on("faults", ended(stop_s=60.0)),
            "nothing kills it": on("killed", ended(code=0)),
            "killed by another hand": noted("oom_kill 1", "oom_kill 0"),
            "nothing was stored": on("again", unsaid("known again")),
            "others come back": on("again", each("sighting", identity=999)),
            "nobody comes back": on("again", each("sighting", identity=None)),
            "a large program": noted("@memory peak ", "@memory peak 99"),
        }
    if scenario == "clip":
        return {text: spoil for name in ("raw", "clip", "models") for text, spoil in same_as_host(name).items()}
    return same_as_host("usb") | {
        "usb: never lost": on("usb", unsaid("camera lost")),
        "usb: never back": on("usb", unsaid("camera is back")),
        "usb: no sandbox": on("usb", unsaid("files by Landlock")),
        "usb: back late": lambda boot: vars(boot).update(times={note: time - 100 for note, time in boot.times.items()}),
        "usb: not counted": on("usb", each("health", reconnects=0)),
        "usb: not unplugged": noted("@usb unplugged", "@usb"),
        "usb: another driver": noted("uvcvideo", "other"),
        "usb: another format": on("usb", each("hello", source="camera /dev/video0: 640x480 YUYV")),
    }


def restarted(run):
    """The first message comes once more in the middle."""
    hello = run.bytes.index(b"{")
    first = run.bytes[hello : run.bytes.index(b"\n", hello) + 1]
    middle = run.bytes.index(b"\n", len(run.bytes) // 2) + 1
    run.bytes = run.bytes[:middle] + first + run.bytes[middle:]


def prove(verdict, name, boot, judgement):
    """Checks that `judgement(boot, verdict)` finds each change of a scenario."""
    for text, spoil in spoils(name).items():
        silent = judge.Verdict(quiet=True)
        judgement(spoiled(boot, spoil), silent)
        verdict.check(silent.wrong, f"spoiled, {text}: {'found: ' + silent.wrong[0][:100] if silent.wrong else 'NOT FOUND'}")


def spoiled(boot, spoil):
    """A copy of the boot with a change."""
    other = copy.copy(boot)
    other.runs = {name: copy.copy(run) for name, run in boot.runs.items()}
    for run in other.runs.values():
        run.pictures = dict(run.pictures)
    spoil(other)
    return other
