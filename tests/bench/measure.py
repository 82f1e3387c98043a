"""One measurement: a spool with users, an uploader, a system, the judge."""

import os
import subprocess
import tempfile
import time

import report
from systems import TOOLS, Spoold

PLACE = TOOLS  # of the directories that are measured in: on a disk
STALLED_S = 20  # nothing new for that long: what is missing is lost
ASLEEP_S = 2  # or for that long, while nothing of it runs; spoold may look again later
LEFT_S = 45  # for what is called off, to tell what it has not done


def make_users(root, users):
    os.mkdir(root)
    for user in range(users):
        for place in ("incoming", "processing", "done", "failed"):
            os.makedirs(os.path.join(root, f"u{user:05}", place))


class Uploader:
    def __init__(self, directory, users, files, pause_us):
        aside = os.path.join(directory, "aside")
        os.mkdir(aside)
        self.files = files
        self.log = os.path.join(directory, "drops")
        self.process = subprocess.Popen(
            [os.path.join(TOOLS, "drop"), os.path.join(directory, "spool"), aside,
             str(users), str(files), str(pause_us), self.log],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("the uploader did not get ready")

    def drop(self):
        """Returns when it began."""
        begun_ns = time.time_ns()
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        if self.process.wait() != 0:
            raise RuntimeError("the uploader failed")
        return begun_ns

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def count_done(root):
    return sum(len(os.listdir(os.path.join(root, user, "done")))
               for user in os.listdir(root) if not user.startswith("."))


class Progress:
    """Of one system, as long as there is any."""

    def __init__(self, system, files):
        self.system, self.files = system, files
        self.begun = self.moved = time.monotonic()
        self.seen = self.asleep = self.asleep_since = None

    def is_done(self):
        """What is in done is counted when all was run: that costs."""
        runs = os.path.getsize(self.system.stamps) // report.STAMP.size
        now = (runs, count_done(self.system.root) if runs >= self.files else 0)
        if now != self.seen:
            self.seen, self.moved, self.asleep = now, time.monotonic(), None
        return now[1] >= self.files

    def is_late(self):
        limit_s = self.system.limit_s
        return limit_s is not None and time.monotonic() > self.begun + limit_s

    def is_stalled(self):
        quiet_s = time.monotonic() - self.moved
        return quiet_s > STALLED_S or (
            not isinstance(self.system, Spoold) and quiet_s > ASLEEP_S and self._is_asleep())

    def _is_asleep(self):
        """Without a tick of CPU since the time before, long enough."""
        now = self.system.activity()
        if now is None or now != self.asleep:
            self.asleep, self.asleep_since = now, time.monotonic()
        return now is not None and time.monotonic() > self.asleep_since + ASLEEP_S

    def wait(self):
        """Until all is in done, or nothing moves any more, or its time is up. Returns the
        moment, or None."""
        while not self.is_done():
            if self.is_stalled() or self.is_late():
                return None
            time.sleep(0.01)
        return time.time_ns()

    def wait_left(self):
        """Called off, it tells what it has not done. Returns whether it came to an end."""
        self.system.call_off()
        self.asleep, deadline = None, time.monotonic() + LEFT_S
        while not self._is_asleep():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


class Result:
    """`failed`: why there is no figure, or None."""

    rate = p50_ms = p99_ms = cpu_ms = peak_mib = first_s = failed = None

    def __init__(self):
        self.violations = {}

    def judge(self, run, begun_ns, ended_ns, strict):
        """Where some are missing, the rate is that of the others; `strict`: a violation, and
        there is none."""
        self.violations = run.violations()
        self.p50_ms, self.p99_ms = run.latency(0.5), run.latency(0.99)
        if run.starts:
            self.first_s = (min(run.starts.values()) - begun_ns) / 1e9
        if run.starts and not (strict and self.violations):
            self.rate = len(run.starts) / (((ended_ns or run.last_end) - begun_ns) / 1e9)

    def used(self, run, cpu_s, peak_kib):
        if cpu_s and run.starts:
            self.cpu_ms = cpu_s * 1000 / len(run.starts)
        self.peak_mib = peak_kib / 1024 if peak_kib else None

    def called_off(self, run, system, came_to_end):
        """What it knew of is not lost; and where it was not through, nobody knows."""
        left = len(run.missing & system.left())
        rest = self.violations.pop("lost", 0) - left
        found = {"lost" if came_to_end else "lost or not done": rest,
                 f"not done in {system.limit_s} s": left}
        self.violations = {**{what: n for what, n in found.items() if n}, **self.violations}


def observe(system, uploader, backlog):
    """Both do their work, and the system is ended. Returns its result."""
    result = Result()
    if backlog:
        uploader.drop()
        begun_ns = time.time_ns()
    system.start()
    if not backlog:
        system.ready()
        begun_ns = uploader.drop()
    progress = Progress(system, uploader.files)
    ended_ns = progress.wait()
    late = ended_ns is None and progress.is_late()
    peak_kib = system.peak_kib()
    came_to_end = progress.wait_left() if late else None
    cpu_s = system.stop()
    run = report.Run(system.root, uploader.log, system.stamps)
    if len(run.dropped) != uploader.files:
        raise RuntimeError(f"{len(run.dropped)} of {uploader.files} files were dropped")
    result.judge(run, begun_ns, ended_ns, isinstance(system, Spoold))
    result.used(run, cpu_s, peak_kib)
    if late:
        result.called_off(run, system, came_to_end)
    return result


def measure(cls, scenario, place):
    """In a directory of its own in `place`, which stays: where files were removed, some file
    systems are slow to make others for minutes, which would hit the next one measured."""
    directory = tempfile.mkdtemp(prefix="run-", dir=place)
    system = cls(directory)
    system.slow_handler_us = scenario.slow_us
    uploader = None
    try:
        make_users(system.root, scenario.users)
        uploader = Uploader(directory, scenario.users, scenario.files_of(cls), scenario.pause_us)
        return observe(system, uploader, scenario.backlog)
    finally:
        if uploader is not None:
            uploader.stop()
        system.stop()
