"""user.py FOLDER HOST_BINARY PREFIX...: the product for arm64 as a process under QEMU's user emulation, with the models that are
shipped, against the host. PREFIX is the emulator with its options; the processor's name is put behind it."""

import subprocess
import sys
import time
from pathlib import Path

import judge
from vm import Run

# Without the dot product instructions, and with them.
PROCESSORS = ("cortex-a72", "cortex-a76")
# Both people of the bundled clip are whole by then; this many are enough for a similarity.
LAST = 5
SETTINGS = ["--tracks.spacing", "1", "--clip.fps", "5"]


def started(command):
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=False)
    return done, time.monotonic() - began


def main():
    folder, host, *prefix = sys.argv[1:]
    folder = Path(folder)
    verdict = judge.Verdict()
    pictures = folder / "user"
    pictures.mkdir(exist_ok=True)
    for picture in sorted((folder / "clip").iterdir())[-LAST:]:
        (pictures / picture.name).write_bytes(picture.read_bytes())
    job = ["run", "--source", str(pictures), "--models.dir", "models", *SETTINGS]
    reference, seconds = started([host, *job])
    verdict.check(reference.returncode == 0, f"host: exit code {reference.returncode}, {seconds:.1f} s")
    for processor in PROCESSORS:
        board = [*prefix, "-cpu", processor, str(folder / "nformer-edge")]
        done, seconds = started([*board, "--help"])
        verdict.check(done.returncode == 0 and b"Usage" in done.stdout, f"{processor}: --help, {seconds:.1f} s")
        done, seconds = started([*board, "doctor", "--models.dir", "models"])
        text = (done.stdout + done.stderr).decode()
        sound = done.returncode == 0 and text.count("is what its card says") == 3 and "processor: aarch64" in text
        verdict.check(sound, f"{processor}: doctor, exit code {done.returncode}, {seconds:.1f} s")
        print("      " + text.strip().replace("\n", "\n      "))
        done, seconds = started([*board, *job])
        verdict.check(done.returncode == 0, f"{processor}: {LAST} pictures, exit code {done.returncode}, {seconds:.1f} s")
        (folder / f"user-{processor}.log").write_bytes(done.stderr)
        (folder / f"user-{processor}.ndjson").write_bytes(done.stdout)
        run = Run(processor)
        run.bytes, run.arrivals = done.stdout, [(0, 0.0)]
        judge.same_as_host(verdict, run, reference.stdout.decode())
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
