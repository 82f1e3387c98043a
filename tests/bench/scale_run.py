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
from systems import TOOLS, SpooldFull

STALLED_S = 120  # nothing new for that long: something is broken
SAMPLE_S = 0.05
SETTLED_S = 1.2  # the files have been quiet for settle_seconds
# Where a head has the number of its transaction: the page's own head, magic, version,
# address, size, two tables, the last page.
HEAD_TRANSACTION = 16 + 4 + 4 + 8 + 8 + 2 * 48 + 8


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

    def peak(self):
        self.look()
        return self.private, self.pss

    def run(self):
        while not self.over.wait(SAMPLE_S):
            self.look()


def fill(root, users, files, first=0):
    subprocess.run([os.path.join(TOOLS, "fill"), root, str(users), str(files), str(first)],
                   check=True)


class Stand:
    """A spool that was filled, and a daemon on it. `begun`: its start, wall clock, ns."""

    def __init__(self, where, users, files, system=SpooldFull):
        self.directory = tempfile.mkdtemp(prefix="spoold-scale-", dir=where)
        self.system = system(self.directory)
        self.memory = None
        fill(self.system.root, users, files)

    def bare_s(self):
        """The quickest of three bare looks at all files of the first user."""
        incoming = os.path.join(self.system.root, "u00000", "incoming")
        looks = [subprocess.run([os.path.join(TOOLS, "look"), incoming], check=True,
                                capture_output=True, text=True).stdout for _ in range(3)]
        return min(float(text) for text in looks)

    def start(self):
        time.sleep(SETTLED_S)
        self.begun = time.time_ns()
        self.system.start()
        self.pid = self._wait(self._daemon, 10)
        self.memory = Memory(self.pid)
        self.memory.start()

    def _daemon(self):
        try:
            return self.system.pid()
        except (OSError, RuntimeError):
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

    def commits(self):
        """LMDB counts its transactions in the heads of its file."""
        newest = 0
        with open(os.path.join(self.index(), "data.mdb"), "rb") as file:
            for page in (0, 4096):
                file.seek(page + HEAD_TRANSACTION)
                newest = max(newest, struct.unpack("<Q", file.read(8))[0])
        return newest

    def wait_looked(self):
        """All users. Not asked: a daemon that was asked looks after its clients for a minute."""
        self._wait(self._says_looked, STALLED_S)

    def _says_looked(self):
        with open(os.path.join(self.directory, "log"), "rb") as file:
            return b" looked at " in file.read()

    def close(self):
        if self.memory is not None:
            self.memory.over.set()
        if self.system.process is not None and self.system.process.poll() is None:
            self.system.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
