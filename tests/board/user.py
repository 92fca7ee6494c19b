"""user.py FOLDER HOST_BINARY arm64|armv7 PREFIX...: the product as a process under QEMU's user emulation, with the models that are
shipped, against the host. PREFIX is the emulator with its options; the processor's name is put behind it."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import judge
import spoil

# The program's file; for each processor, what `doctor` must say of it and must not: dot product instructions, or none.
PRODUCTS = {
    "arm64": ("nformer-edge", {"cortex-a72": ("aarch64, ", "dotprod"), "cortex-a76": ("dotprod", "avx2")}),
    "armv7": ("nformer-edge-armv7", {"cortex-a7": ("processor: arm, ", "dotprod")}),
}
# Both people of the bundled clip are whole by then; this many are enough for a similarity.
LAST = 5
SETTINGS = ["--tracks.spacing", "1", "--clip.fps", "5"]
# What is asked of a product that has no boots of its own to show it in.
ANSWERS = {"--version": "nformer-edge ", "models verify --models.dir models": "ok      nformer", "memory --static-only --models.dir models": "resident set, MB"}


def started(command):
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=False)
    return done, time.monotonic() - began


def main():
    folder, host, product, *prefix = sys.argv[1:]
    folder = Path(folder)
    name, processors = PRODUCTS[product]
    verdict = judge.Verdict()
    pictures = folder / "user"
    pictures.mkdir(exist_ok=True)
    for picture in sorted((folder / "clip").iterdir())[-LAST:]:
        (pictures / picture.name).write_bytes(picture.read_bytes())
    job = ["run", "--source", str(pictures), "--models.dir", "models", *SETTINGS]
    reference, seconds = started([host, *job])
    verdict.check(reference.returncode == 0, f"host: exit code {reference.returncode}, {seconds:.1f} s")
    boards = {processor: [*prefix, "-cpu", processor, str(folder / name)] for processor in processors}
    with ThreadPoolExecutor() as pool:
        jobs = {processor: pool.submit(started, [*board, *job]) for processor, board in boards.items()}
    for processor, board in boards.items():
        done, seconds = started([*board, "--help"])
        verdict.check(done.returncode == 0 and b"Usage" in done.stdout, f"{processor}: --help, {seconds:.1f} s")
        for arguments, wanted in ANSWERS.items() if product == "armv7" else ():
            done, seconds = started([*board, *arguments.split()])
            said = (done.stdout + done.stderr).decode()
            verdict.check(done.returncode == 0 and wanted in said, f"{processor}: {arguments}, {seconds:.1f} s: {said.strip().splitlines()[-1:]}")
        done, seconds = started([*board, "doctor", "--models.dir", "models"])
        text = (done.stdout + done.stderr).decode()
        found = next((line for line in text.splitlines() if line.startswith("ok    processor: ")), "")
        has, lacks = processors[processor]
        exact = "neon" in found and has in found and lacks not in found
        sound = done.returncode == 0 and text.count("is what its card says") == 3 and exact
        verdict.check(sound, f"{processor}: doctor, exit code {done.returncode}, {seconds:.1f} s")
        print("      " + text.strip().replace("\n", "\n      "))
        done, seconds = jobs[processor].result()
        verdict.check(done.returncode == 0, f"{processor}: {LAST} pictures, exit code {done.returncode}, {seconds:.1f} s")
        (folder / f"user-{processor}.log").write_bytes(done.stderr)
        (folder / f"user-{processor}.ndjson").write_bytes(done.stdout)
        run = judge.Piece(done.stdout, processor)
        judge.same_as_host(verdict, run, reference.stdout.decode())
        if product == "armv7":
            same_detections(verdict, run, judge.Piece(reference.stdout))
    for text, change in spoil.COMPARED.items():
        run, silent = judge.Piece(done.stdout), judge.Verdict(quiet=True)
        change(run)
        judge.same_as_host(silent, run, reference.stdout.decode())
        verdict.check(silent.wrong, f"spoiled, {text}: {'found' if silent.wrong else 'NOT FOUND'}")
    if product == "armv7":
        run, silent = judge.Piece(done.stdout), judge.Verdict(quiet=True)
        spoil.each("sighting", score=lambda score: round(score + 0.0001, 4))(run)
        same_detections(silent, run, judge.Piece(reference.stdout))
        verdict.check(silent.wrong, f"spoiled, the last digit of a score: {'found' if silent.wrong else 'NOT FOUND'}")
    if product == "arm64":
        too_new(verdict, prefix, folder)
    return 1 if verdict.wrong else 0


def same_detections(verdict, run, reference):
    """Whole numbers are the same everywhere: boxes and scores, which come from an int8 model through a few floats, to the last
    digit printed. The kernels that the host has by hand are plain loops on the board."""
    ours, theirs = ([(message["bbox"], message["score"]) for message in judge.of("sighting", one)] for one in (run, reference))
    same = sum(one == other for one, other in zip(ours, theirs))
    verdict.check(same == len(theirs) == len(ours) > 0, f"{run.name}: {same} of {len(theirs)} boxes and scores are the host's to the last digit")


def too_new(verdict, prefix, folder):
    """The binary of a newer board says what is missing; it does not die of an illegal instruction."""
    for processor, runs in (("cortex-a76", True), ("cortex-a72", False)):
        done, _ = started([*prefix, "-cpu", processor, str(folder / "nformer-edge-rpi5"), "--version"])
        said = done.stderr.decode().strip()
        named = "built for the board `rpi5`" in said and "dotprod" in said
        sound = done.returncode == 0 and b"nformer-edge" in done.stdout if runs else done.returncode == 1 and named
        verdict.check(sound, f"{processor}: the binary for a Raspberry Pi 5, exit code {done.returncode}: {said}")


if __name__ == "__main__":
    sys.exit(main())
