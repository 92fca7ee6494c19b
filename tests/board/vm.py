"""One boot of the emulated board: QEMU, its console line by line, and the host's end of its second serial port."""

import base64
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

# Seconds after which a boot is given up, and after which a guest that waits for something is told to go on without it. They only
# end what hangs: emulation on a busy machine may be ten times slower than on an idle one.
LIMIT = 1500
PATIENCE = 120


class Run:
    """One run of the product: what it wrote to the serial port, and when that came."""

    def __init__(self, name):
        self.name = name
        self.bytes = b""
        # Offset of each piece of `bytes` with the time at which it came.
        self.arrivals = []
        self.log = []
        self.code = None
        self.stop_s = None
        self.pictures = {}

    def lines(self):
        """Each whole line with the time at which its last byte came."""
        start = 0
        piece = 0
        while (end := self.bytes.find(b"\n", start)) >= 0:
            while piece + 1 < len(self.arrivals) and self.arrivals[piece + 1][0] <= end:
                piece += 1
            yield self.arrivals[piece][1], self.bytes[start:end].strip()
            start = end + 1


class Boot:
    """Runs the scenarios `name` and keeps what came of them. `seen(boot, what)` says whether `what` a guest waits for is there."""

    def __init__(self, name, kernel, initramfs, folder, seen, cpu="cortex-a72"):
        self.name = name
        self.seen = seen
        self.runs = {}
        # The run that is under way, and how much of its log and bytes there was at its last fault.
        self.current = None
        self.mark = (0, 0)
        # What the guest waits for, and until when.
        self.wanted = None
        # (time, fault, begun or over)
        self.faults = []
        self.notes = []
        # When each note came.
        self.times = {}
        self.seconds = None
        self.complete = False
        # Until when nothing is read from the serial port, and then on until the log says this; until when the line is hung up.
        self.hold_until = 0.0
        self.hold_for = None
        self.away_until = 0.0
        folder = Path(folder)
        self.console = (folder / f"{name}.console").open("w")
        # Unix sockets have short names only.
        self.path = f"/tmp/nformer-edge-{threading.get_native_id()}-{time.time_ns()}.sock"
        command = [
            "qemu-system-aarch64", "-machine", "virt", "-cpu", cpu, "-smp", "2", "-m", "1024", "-nographic", "-no-reboot",
            "-nic", "none", "-kernel", kernel, "-initrd", initramfs,
            "-append", f"console=ttyAMA0 quiet panic=-1 board={name}",
            "-chardev", f"socket,id=line,path={self.path},server=on,wait=on", "-device", "pci-serial,chardev=line",
        ]  # fmt: skip
        began = time.monotonic()
        self.qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(LIMIT, self.qemu.kill)
        timer.start()
        serial = threading.Thread(target=self.read_serial, daemon=True)
        serial.start()
        threading.Thread(target=self.answer, daemon=True).start()
        try:
            self.read_console()
        finally:
            timer.cancel()
            self.qemu.kill()
            self.qemu.wait()
            serial.join(10)
            self.console.close()
            Path(self.path).unlink(missing_ok=True)
        self.seconds = time.monotonic() - began
        for run in self.runs.values():
            (folder / f"{run.name}.serial").write_bytes(run.bytes)
            for file, content in run.pictures.items():
                (folder / f"{run.name}-{file}").write_bytes(content)

    def run_named(self, name):
        return self.runs.setdefault(name, Run(name))

    def answer(self):
        """Tells the guest once what it waits for is there."""
        while self.qemu.poll() is None:
            time.sleep(0.2)
            if not self.wanted:
                continue
            what, end = self.wanted
            seen = self.seen(self, what)
            if seen or time.monotonic() > end:
                self.wanted = None
                try:
                    self.qemu.stdin.write(b"seen\n" if seen else b"not seen\n")
                    self.qemu.stdin.flush()
                except OSError:
                    return

    def read_console(self):
        picture = None
        for raw in self.qemu.stdout:
            now = time.monotonic()
            line = raw.decode(errors="replace").strip()
            if picture is not None and line != "@eof":
                picture.append(line)
                continue
            self.console.write(f"{now:.3f} {line}\n")
            self.console.flush()
            word, _, rest = line.partition(" ")
            if word == "@begin":
                self.current, self.mark = self.run_named(rest), (0, 0)
            elif word == "@until":
                self.wanted = (rest, now + PATIENCE)
            elif word == "@end":
                name, code, before, after = rest.split()
                self.run_named(name).code = int(code)
                self.run_named(name).stop_s = float(after) - float(before) if float(before) else None
            elif word == "@fault":
                self.faults.append((now, rest, "begun"))
                self.mark = (len(self.current.log), len(self.current.bytes))
                if rest == "reader-slow":
                    self.hold_until, self.hold_for = now + 6, "messages are dropped"
                elif rest == "reader-gone":
                    self.away_until = now + 4
            elif word == "@over":
                self.faults.append((now, rest, "over"))
            elif word == "@file":
                name, file = rest.split()
                picture = []
            elif word == "@eof":
                self.run_named(name).pictures[file] = base64.b64decode("".join(picture))
                picture = None
            elif word == "@done":
                self.complete = True
            elif line.startswith("{") and self.current:
                self.current.log.append((now, line))
            elif word.startswith("@"):
                self.notes.append(line)
                self.times[line] = now

    def hold(self, end):
        """Lets the line fill up: as long as asked for, and until the product has noticed."""
        while (now := time.monotonic()) < end:
            noticed = any(self.hold_for in line for _, line in self.current.log[self.mark[0] :])
            if now >= self.hold_until and noticed:
                break
            time.sleep(0.1)
        self.hold_until = now

    def connect(self):
        while self.qemu.poll() is None:
            try:
                line = socket.socket(socket.AF_UNIX)
                line.connect(self.path)
                line.settimeout(0.2)
                return line
            except OSError:
                time.sleep(0.1)
        return None

    def read_serial(self):
        """Sorts what comes into runs by the marks that init writes between them."""
        buffer = b""
        run = None
        line = self.connect()
        while line:
            now = time.monotonic()
            if now < self.away_until:
                line.close()
                time.sleep(self.away_until - now)
                line = self.connect()
                continue
            if now < self.hold_until:
                self.hold(now + PATIENCE / 2)
            try:
                data = line.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if not data:
                break
            now = time.monotonic()
            buffer += data
            while True:
                mark = re.search(rb"@(begin|end) (\S+)\r?\n", buffer)
                # The start of a mark may be all that has come of it.
                keep = mark.start() if mark else buffer.rfind(b"@") if b"@" in buffer[-80:] else len(buffer)
                if run and keep:
                    run.arrivals.append((len(run.bytes), now))
                    run.bytes += buffer[:keep]
                buffer = buffer[keep:]
                if not mark:
                    break
                buffer = buffer[mark.end() - mark.start() :]
                run = self.run_named(mark[2].decode()) if mark[1] == b"begin" else None
