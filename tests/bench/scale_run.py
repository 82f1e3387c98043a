"""One measurement of tests/bench/scale: a spool of so many users and waiting
files, and what spoold needs to get going on it."""

import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time

import report
from systems import TOOLS, SpooldFull, SpooldRelaxed

STALLED_S = 120  # nothing new for that long: something is broken
SAMPLE_S = 0.05


class Memory(threading.Thread):
    """The largest private and proportional memory of a process, in KiB."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path = f"/proc/{pid}/smaps_rollup"
        self.private = self.pss = 0
        self.over = threading.Event()

    def look(self):
        found = {}
        try:
            with open(self.path) as file:
                for line in file:
                    word = line.split()
                    if word[0] in ("Pss:", "Pss_Anon:"):
                        found[word[0]] = int(word[1])
        except OSError:
            return
        self.private = max(self.private, found.get("Pss_Anon:", 0))
        self.pss = max(self.pss, found.get("Pss:", 0))

    def run(self):
        while not self.over.wait(SAMPLE_S):
            self.look()


def fill(root, users, files, first=0):
    subprocess.run([os.path.join(TOOLS, "fill"), root, str(users), str(files), str(first)],
                   check=True)


def commits(index):
    """LMDB counts its transactions in the heads of its file."""
    newest = 0
    with open(os.path.join(index, "data.mdb"), "rb") as file:
        for page in (0, 4096):
            file.seek(page + 16 + 8 + 8 + 8 + 2 * 48 + 8)
            newest = max(newest, struct.unpack("<Q", file.read(8))[0])
    return newest


class Row:
    """What one measurement gave."""


class Stand:
    """A spool that was filled, and a daemon on it."""

    def __init__(self, where, users, files, durability="full", settings=None):
        self.users, self.files = users, files
        self.directory = tempfile.mkdtemp(prefix="spoold-scale-", dir=where)
        cls = SpooldFull if durability == "full" else SpooldRelaxed
        self.system = cls(self.directory)
        self.system.settings = settings
        self.row = Row()
        self.memory = None
        fill(self.system.root, users, files)

    def start(self):
        self.begun = time.time_ns()
        self.system.start()
        self.pid = self._wait(self._daemon, 10)
        self.memory = Memory(self.pid)
        self.memory.start()

    def _daemon(self):
        try:
            return self.system.pid()
        except (OSError, IndexError):
            return None

    def _wait(self, what, limit_s):
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            value = what()
            if value:
                return value
            time.sleep(0.002)
        raise RuntimeError("waited in vain")

    def runs(self):
        return os.path.getsize(self.system.stamps) // report.STAMP.size

    def wait_runs(self, number):
        seen, at = -1, time.monotonic()
        while self.runs() < number:
            if self.runs() != seen:
                seen, at = self.runs(), time.monotonic()
            if time.monotonic() > at + STALLED_S:
                raise RuntimeError(f"only {seen} of {number} jobs ran")
            time.sleep(0.002)

    def stamps(self):
        with open(self.system.stamps, "rb") as file:
            data = file.read()
        whole = len(data) // report.STAMP.size * report.STAMP.size
        return sorted(report.STAMP.iter_unpack(data[:whole]))

    def index(self):
        return os.path.join(self.system.root, ".spoold", "index")

    def index_kib(self):
        return os.stat(os.path.join(self.index(), "data.mdb")).st_blocks // 2

    def close(self):
        if self.memory is not None:
            self.memory.over.set()
        if self.system.process is not None and self.system.process.poll() is None:
            self.system.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
