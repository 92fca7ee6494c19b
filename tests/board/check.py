"""check.py FOLDER HOST_BINARY KERNEL BOOT...: boots the board for each of the named scenarios and judges what it did."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import judge
import spoil
from vm import Boot

# The file system of a boot, where it is not the one with the product for arm64.
INITRAMFS = {"armv7": "initramfs-armv7"}
FORMATS = {"yuyv": "YUYV", "nv12": "NV12", "rgb": "RGB3", "grey": "GREY", "uyvy": "UYVY", "i420": "YU12", "nm12": "NM12", "ym12": "YM12"}
# The boot of each scenario has this many runs, and `doctor` finds so many things sound: there is no seccomp filter for 32-bit Arm.
RUNS, SOUND = {"formats": 15, "armv7": 8}, {"formats": 6, "armv7": 5}
# Milliseconds from 1970 to where 32 bits of seconds with a sign end.
LATE = 2**31 * 1000
# Levels. vivid draws the bars in each format itself, and chroma at half the width blurs their edges.
PICTURE_TOLERANCE = 3.0
# What the log must say of each fault, and which counter of `health` must grow.
FAULTS = {
    "corrupt": ("a damaged frame was dropped", "corrupt"),
    "qbuf": ("camera is back", "reconnects"),
    "fatal": ("camera is back", "reconnects"),
    "reqbufs": ("camera is back", "reconnects"),
    "streamon": ("camera is back", "reconnects"),
    "disconnect": ("camera is back", "reconnects"),
    "silent": ("frames come again", "timeouts"),
    "frozen": ("the picture moves again", "freezes"),
    "clock-forward": (None, None),
    "clock-back": (None, None),
    "reader-slow": ("messages are dropped", "report_dropped"),
    "reader-gone": (None, None),
    "none": (None, None),
    "none-again": (None, None),
}
# Longest pause in seconds that a fault may cause where the emulator has the processor to itself: three times what was seen. It is
# allowed to be as many times longer as frames without any fault came later than `CALM` after each other, `BUSIEST` times at most.
LIMITS = {"silent": 10.0, "reader-gone": 12.0}
LIMIT, CALM, BUSIEST = 5.0, 0.25, 10.0
# Seconds to end in after SIGTERM.
STOP_LIMIT = 15.0
# Milliseconds from one frame to the next of a camera, on a board that is emulated on a busy machine.
LONGEST_STEP = 30_000
# What a board with 512 MB has to spare.
MOST_MB = 100.0
# Seconds from plug to picture: attempts to open are five apart at most.
PLUG_LIMIT = 30.0
# Sightings that must come before a fault counts as over; one frame in ten belongs to a second.
ENOUGH = 10


def parsed(data):
    return [message for _, message in judge.messages(judge.Piece(data))]


def seen(boot, what, host, folder):
    """Whether what the guest waits for has arrived."""
    run = boot.current
    if what == "bytes":
        counts = judge.listen(host, run, folder)
        return counts["hello"] >= 1 and counts["sighting"] >= 3 and counts["health"] >= 1
    start = run.bytes.find(b"\n", boot.mark[1]) + 1 if boot.mark[1] else 0
    arrived = parsed(run.bytes[start:])
    kinds = [message["type"] for message in arrived]
    if what == "sightings":
        return kinds.count("sighting") >= 5 and kinds.count("health") >= 1
    if what in ("stored", "known"):
        named = [place for place, message in enumerate(arrived) if message["type"] == "sighting" and message["identity"] is not None]
        saves = [message["state_saved"] for message in arrived[named[0] :] if message["type"] == "health"] if named else []
        # One that was under way when the name was given, and one after it.
        return bool(named) if what == "known" else saves != [] and saves[-1] >= saves[0] + 2
    _, fault, _ = boot.faults[-1]
    line, counter = FAULTS[fault]
    said = [time for time, text in run.log[boot.mark[0] :] if line and line in text]
    if line and not said:
        return False
    if counter:
        before = [message[counter] for message in parsed(run.bytes[: boot.mark[1]]) if message["type"] == "health"]
        after = [message[counter] for message in arrived if message["type"] == "health"]
        if not before or not after or after[-1] <= before[-1]:
            return False
    since = max(said[0] if said else boot.faults[-1][0], boot.hold_until, boot.away_until)
    return sum(time > since and message["type"] == "sighting" for time, message in judge.messages(run)) >= ENOUGH


def formats(boot, verdict, host, folder):
    """Every format gives the same picture, by both APIs."""
    reference = boot.run_named("single-yuyv").pictures.get("frame.png")
    for name, run in boot.runs.items():
        if name == "raw":
            continue
        judge.in_order(verdict, host, run, folder, 3)
        if name == "binary":
            continue
        fourcc = FORMATS[name.split("-")[1]]
        verdict.check(any(f"320x180 {fourcc}" in hello["source"] for hello in judge.of("hello", run)), f"{name}: the camera runs in {fourcc}")
        picture = run.pictures.get("frame.png")
        difference = picture and reference and judge.picture_difference(picture, reference, fourcc == "GREY")
        good = difference is not None and difference <= PICTURE_TOLERANCE
        verdict.check(good, f"{name}: its picture differs from YUYV's by {difference} levels in the mean")
    verdict.check(len(boot.runs) == RUNS[boot.name], f"{len(boot.runs)} of {RUNS[boot.name]} runs took place")
    for api in ("@devices ", "@devices-multi "):
        notes = [note.removeprefix(api) for note in boot.notes if note.startswith(api)]
        verdict.check(any("vivid" in note for note in notes), f"{api}names vivid and its {len(notes) - 2} formats")
    doctor = [note for note in boot.notes if note.startswith("@doctor ok")]
    sound = SOUND[boot.name]
    verdict.check(len(doctor) == sound, f"doctor finds {len(doctor)} of {sound} things sound: {[note.split()[2] for note in doctor]}")


def over_after(boot, name, begun):
    return min((time for time, other, what in boot.faults if other == name and what == "over" and time > begun), default=None)


def pause(times, begun, over):
    """The longest time without a sighting, from the last one before the fault on."""
    before = [time for time in times if time <= begun][-1:] or [begun]
    inside = before + [time for time in times if begun < time <= over]
    return max((b - a for a, b in zip(inside, inside[1:])), default=over - begun)


def faults(boot, verdict, host, folder):
    """Each fault is survived, said, and over after a bounded time."""
    run = boot.run_named("faults")
    arrived = list(judge.messages(run))
    times = [time for time, message in arrived if message["type"] == "sighting"]
    calm = [pause(times, begun, over_after(boot, name, begun) or begun) for begun, name, what in boot.faults if what == "begun" and name.startswith("none")]
    busy = min(max(1.0, max(calm, default=0.0) / CALM), BUSIEST)
    verdict.say(f"      longest pause without a fault {max(calm, default=0.0):.2f} s: limits are multiplied by {busy:.1f}")
    health = [(time, message) for time, message in arrived if message["type"] == "health"]
    rows = []
    for begun, name, what in boot.faults:
        if what != "begun":
            continue
        over = over_after(boot, name, begun)
        if not verdict.check(over is not None, f"{name}: the product lived through it"):
            continue
        line, counter = FAULTS[name]
        limit = LIMITS.get(name, LIMIT) * busy
        if name == "reader-slow":
            limit += boot.hold_until - begun
        gap = pause(times, begun, over)
        alive = sum(begun < time <= over for time in times)
        said = [json.loads(text)["message"] for time, text in run.log if begun <= time <= over and text.endswith("}")]
        verdict.check(alive >= ENOUGH and gap <= limit, f"{name}: {alive} sightings, longest pause {gap:.2f} s (limit {limit:.1f})")
        if line:
            verdict.check(any(line in text for text in said), f"{name}: the log says {line!r}: {said}")
        growth = ""
        if counter:
            before = [message[counter] for time, message in health if time <= begun]
            after = [message[counter] for time, message in health if time <= over]
            growth = f"{counter} +{after[-1] - before[-1]}" if before and after else "no health"
            verdict.check(bool(before and after) and after[-1] > before[-1], f"{name}: health says {growth}")
        rows.append((name, f"{gap:.2f}", growth, "; ".join(dict.fromkeys(said))))
    counts = judge.listen(host, run, folder)
    dropped = health[-1][1]["report_dropped"] if health else 0
    verdict.check(counts["restarts"] == 0 and counts["corrupt"] <= 2, f"faults: one run, {counts}")
    verdict.check(counts["lost"] >= dropped > 0, f"faults: the reader misses {counts['lost']}, the board counted {dropped} drops")
    times_ms = [message["time_ms"] for _, message in arrived if message["type"] == "sighting"]
    steps = [b - a for a, b in zip(times_ms, times_ms[1:])]
    verdict.check(min(steps, default=-1) >= 0 and max(steps, default=0) < 60000, "faults: the frames' time ignores the wall clock")
    walls = [message["wall"] or 0 for _, message in arrived if message["type"] == "sighting"]
    jumps = [round((b - a) / 1000) for a, b in zip(walls, walls[1:]) if abs(b - a) > 1000_000]
    verdict.check([round(jump / 100) for jump in jumps] == [36, -72], f"faults: `wall` follows the clock's jumps {jumps} s")
    verdict.check(run.code == 0 and run.stop_s is not None and run.stop_s < STOP_LIMIT, f"faults: SIGTERM ends it in {run.stop_s} s, exit code {run.code}")
    confined(verdict, run)
    memory(boot, verdict, host, folder)
    verdict.say("\n| fault | longest pause of the sightings, s | health | log |\n|---|---|---|---|")
    for row in rows:
        verdict.say("| " + " | ".join(row) + " |")
    verdict.say("")


def confined(verdict, run):
    """The program gave up what it does not need, and lived on."""
    said = [json.loads(line)["message"] for _, line in run.log if "sandbox: " in line]
    verdict.check(any("files by Landlock" in text for text in said), f"{run.name}: in a sandbox: {said}")


def memory(boot, verdict, host, folder):
    """Killed by the kernel for want of memory, and started again: it knows whom it knew."""
    killed, again = boot.run_named("killed"), boot.run_named("again")
    notes = [note for note in boot.notes if note.startswith("@memory ")]
    kills = [int(number) for note in notes for number in re.findall(r"oom_kill ([0-9]+)", note)]
    verdict.check(killed.code == 128 + 9 and kills == [1], f"killed: exit code {killed.code}, killed by the kernel for memory: {kills}")
    before, after = ([message["identity"] for message in judge.of("sighting", run) if message["identity"] is not None] for run in (killed, again))
    verdict.check(before and after and set(after) == set(before), f"again: identities {sorted(set(after))}, before the kill {sorted(set(before))}")
    known = [json.loads(line)["message"] for _, line in again.log if "known again" in line]
    verdict.check(len(known) == 1, f"again: {known}")
    judge.in_order(verdict, host, again, folder, 1)
    peak = [int(number) for note in notes for number in re.findall(r"peak ([0-9]+)", note)]
    verdict.check(len(peak) == 1 and 0 < peak[0] <= MOST_MB * 1e6, f"again: at most {peak} bytes of the group's memory")


@functools.cache
def on_host(command, given):
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def clip(boot, verdict, host, folder, names=("raw", "clip", "models")):
    """The board sees what the host sees in the same pictures."""
    common = ["--tracks.keep_lost_ms", "600000", "--tracks.embeddings_per_frame", "1"]
    motion, tiny = ["--detector.kind", "motion"], ["--models.backbone", str(folder / "tiny/card.toml")]
    last = folder / "last"
    last.mkdir(exist_ok=True)
    for picture in sorted((folder / "clip").iterdir())[-4:]:
        (last / picture.name).write_bytes(picture.read_bytes())
    raw = b"".join(path.read_bytes() for path in sorted((folder / "raw").iterdir()))
    size = ["--clip.width", "320", "--clip.height", "240"]
    jobs = {
        "raw": (["--source", "-", *size, *motion, *tiny], raw),
        "clip": (["--source", str(folder / "clip"), *motion], None),
        "models": (["--source", str(last)], None),
        "usb": (["--source", str(folder / "clip"), *motion, *tiny], None),
    }
    for name in names:
        arguments, given = jobs[name]
        run = boot.run_named(name)
        # The same motion in the same time: the board is as slow as its emulation.
        seen = judge.of("sighting", run)
        frames = seen[-1]["frame"] - seen[0]["frame"] if seen else 0
        rate = str(1000 * frames / (seen[-1]["time_ms"] - seen[0]["time_ms"])) if frames else "0.5"
        command = (host, "run", "--models.dir", "models", *arguments, *common, "--clip.fps", rate)
        said = on_host(command, given)
        (folder / f"{name}.host").write_bytes(said)
        judge.in_order(verdict, host, run, folder, 1)
        judge.same_as_host(verdict, run, said.decode())


def armv7(boot, verdict, host, folder):
    """32 bits on a kernel of 64: formats, motion as the host sees it, and what time it is."""
    formats(boot, verdict, host, folder)
    clip(boot, verdict, host, folder, ["raw"])
    machine = [note.split()[-1] for note in boot.notes if note.startswith("@boot ")]
    word = [note for note in boot.notes if note.startswith("@doctor ok    processor: arm, ")]
    verdict.check(machine == ["aarch64"] and len(word) == 1 and " neon" in word[0], f"a program for {word} on a kernel for {machine}")
    confined(verdict, boot.run_named("raw"))
    memory = [note for note in boot.notes if note.startswith("@memory resident set, MB: ")]
    sizes = [float(number) for note in memory for number in re.findall(r"[0-9]+\.[0-9]", note)]
    verdict.check(len(sizes) == 2 and max(sizes) <= MOST_MB, f"with the shipped models: {memory}")
    for name, run in boot.runs.items():
        if name == "binary":
            continue
        seen = judge.of("sighting", run)
        # A stamp cut in half or at the wrong place stands still, goes back or is far off.
        steps = [(after["time_ms"] - before["time_ms"]) / (after["frame"] - before["frame"]) for before, after in zip(seen, seen[1:]) if after["frame"] > before["frame"]]
        good = steps and min(steps) > 0 and max(steps) < LONGEST_STEP
        verdict.check(good, f"{name}: {min(steps, default=0):.1f} to {max(steps, default=0):.1f} ms from frame to frame")
    walls = [message.get("wall") for message in judge.of("sighting", boot.run_named("late-yuyv"))]
    good = walls and all(wall and LATE < wall < 2 * LATE for wall in walls) and walls == sorted(walls)
    verdict.check(good, f"late-yuyv: {len(walls)} sightings say a time after 2038: {walls[:1]}")


def usb(boot, verdict, host, folder):
    """The kernel's driver of USB cameras, and the plug pulled out in the middle of the clip."""
    clip(boot, verdict, host, folder, ["usb"])
    run = boot.run_named("usb")
    found = [note for note in boot.notes if note.startswith("@devices-usb ")]
    verdict.check(any("uvcvideo" in note for note in found) and any("640x480" in note for note in found), f"usb: `devices` finds the camera: {found}")
    verdict.check(any("640x480 MJPG" in hello["source"] for hello in judge.of("hello", run)), "usb: the camera runs in MJPG")
    pulled, put = ([boot.times[note] for note in boot.notes if note.startswith(f"@usb {what}")] for what in ("unplugged", "plugged-in"))
    if not verdict.check(len(pulled) == len(put) == 1, f"usb: unplugged {len(pulled)} times, plugged in {len(put)} times"):
        return
    lost, back = ([time for time, line in run.log if text in line] for text in ("camera lost", "camera is back"))
    order = len(lost) == len(back) == 1 and pulled[0] <= lost[0] <= back[0] and put[0] <= back[0]
    order = order and back[0] - put[0] <= PLUG_LIMIT
    verdict.check(order, f"usb: log: lost {[f'{time - pulled[0]:.1f}' for time in lost]}, back {[f'{time - put[0]:.1f}' for time in back]} s after the plug")
    health = judge.of("health", run)
    verdict.check(bool(health) and health[-1]["reconnects"] == 1, f"usb: health says reconnects {health[-1]['reconnects'] if health else None}")
    before, after = (any(test(time) for time, message in judge.messages(run) if message["type"] == "sighting") for test in (lambda time: time < pulled[0], lambda time: time > put[0]))
    verdict.check(before and after, "usb: sightings before and after")
    confined(verdict, run)


def main():
    folder, host, kernel, *names = sys.argv[1:]
    folder = Path(folder)
    verdict = judge.Verdict()
    for name in names:
        boot = Boot(name, kernel, str(folder / INITRAMFS.get(name, "initramfs")), folder, lambda boot, what: seen(boot, what, host, folder))
        verdict.check(boot.complete, f"boot {name}: came to its end, {boot.seconds:.0f} s")
        for note in boot.notes:
            if note.startswith("@failed"):
                verdict.check(False, note)
        judgement = {"formats": formats, "faults": faults, "clip": clip, "usb": usb, "armv7": armv7}[name]
        judgement(boot, verdict, host, folder)
        if not verdict.wrong:
            spoil.prove(verdict, name, boot, lambda boot, silent: judgement(boot, silent, host, folder))
        for run in boot.runs.values():
            for _, line in run.log:
                if "resident set" in line or "summary: frame " in line or "frames at" in line:
                    print(f"      {run.name}: {json.loads(line)['message']}")
    print(f"\n{'FAILED: ' + str(len(verdict.wrong)) if verdict.wrong else 'passed'}")
    for text in verdict.wrong:
        print(f"  {text}")
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
