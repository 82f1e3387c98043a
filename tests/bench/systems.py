"""The programs that are measured: each watches a spool that was made for it,
runs the handler of the benchmark on every file, and moves it to done."""

import json
import os
import shutil
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("SPOOLD_BUILD") or os.path.join(REPO, "build"))
TOOLS = os.path.join(BUILD, "bench")
WAIT_S = 120
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stat_fields(path):
    """What follows the name, from the state on."""
    with open(path) as file:
        return file.read().rsplit(")", 1)[1].split()


def below(pid):
    """All processes that descend from it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(stat_fields(f"/proc/{entry}/stat")[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for one in found:
        found += children.get(one, ())
    return found[1:]


def threads(pid):
    """State and ticks of CPU of each thread."""
    found = []
    try:
        for entry in os.listdir(f"/proc/{pid}/task"):
            fields = stat_fields(f"/proc/{pid}/task/{entry}/stat")
            found.append((entry, fields[0], fields[11], fields[12]))
    except OSError:
        pass
    return found


class System:
    """One program at work in a directory. `ordered`: is it meant to keep each
    user's order and to run one of its files at a time? `limit_s`: when it is
    called off; `grace_s`: how long it may take to end."""

    name = None
    ordered = False
    slow_handler_us = 0
    limit_s = None
    grace_s = 60

    def __init__(self, directory):
        self.directory = directory
        self.root = os.path.join(directory, "spool")
        self.stamps = os.path.join(directory, "stamps")
        self.process = None
        open(self.stamps, "wb").close()

    @classmethod
    def missing(cls):
        """Why it cannot be measured here, or None."""
        return None

    def command(self):
        raise NotImplementedError

    def prepare(self):
        """Once, after the users were made."""

    def handler(self):
        return [os.path.join(TOOLS, "handler"), self.stamps]

    def ready(self):
        """Blocks until it sees what is dropped."""
        line = self.process.stdout.readline()
        if line != b"ready\n":
            raise RuntimeError(f"{self.name} did not get ready: {line!r}")

    def pid(self):
        """The process itself, below its meter."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(children) as file:
            found = file.read().split()
        if not found:
            raise RuntimeError(f"{self.name} is not running")
        return int(found[0])

    def start(self):
        self.prepare()
        # Whoever ends us, the meter is there to be told, or never was.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            with open(os.path.join(self.directory, "log"), "ab") as log:
                self.process = subprocess.Popen(
                    [os.path.join(TOOLS, "meter"), os.path.join(self.directory, "cpu"),
                     str(self.grace_s), *self.command()],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                    cwd=self.directory, start_new_session=True)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _status(self, key):
        with open(f"/proc/{self.pid()}/status") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1])
        return 0

    def peak_kib(self):
        return self._status("VmHWM")

    def wakeups(self):
        return self._status("voluntary_ctxt_switches")

    def cpu_ticks(self):
        fields = stat_fields(f"/proc/{self.pid()}/stat")
        return int(fields[11]) + int(fields[12])

    def activity(self):
        """The same as a moment ago, and not None, where it and all it started only sleep."""
        found = [(pid, *threads(pid)) for pid in below(self.process.pid)]
        at_work = any(thread[1] not in "SIZ" for _, *of_one in found for thread in of_one)
        return None if at_work else sorted(found)

    def stop(self):
        """Ends it and all it started, and returns their CPU seconds, if it was running."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None
        finally:
            self.process.stdout.close()
        try:
            with open(os.path.join(self.directory, "cpu")) as file:
                return float(file.read())
        except (FileNotFoundError, ValueError):
            return None


class Ceiling(System):
    mode = None

    def command(self):
        return [os.path.join(TOOLS, "ceiling"), self.mode, self.root, self.handler()[0],
                self.stamps]


class CeilingSpawn(Ceiling):
    name = "ceiling, a process per file"
    mode = "spawn"


class CeilingPipe(Ceiling):
    name = "ceiling, one process on a pipe"
    mode = "pipe"


class CeilingPipes(Ceiling):
    name = "ceiling, one for each user on a pipe"
    mode = "pipes"
    ordered = True


class Spoold(System):
    ordered = True
    durability = None

    def configuration(self):
        slow = [str(self.slow_handler_us)] if self.slow_handler_us else []
        return {
            "spool": {"root": self.root, "durability": self.durability},
            "scheduler_settings": {"max_concurrent_jobs": 4},
            "handler": {"command": [*self.handler(), "{user}", "{name}", *slow]},
        }

    def prepare(self):
        self.config = os.path.join(self.directory, "config.json")
        with open(self.config, "w") as file:
            json.dump(self.configuration(), file)
        subprocess.run([os.path.join(BUILD, "spoold"), "--config", self.config, "--init"],
                       check=True, stdout=subprocess.DEVNULL)

    def command(self):
        return [os.path.join(BUILD, "spoold"), "--config", self.config]

    def status(self):
        done = subprocess.run([os.path.join(BUILD, "spoolctl"), "--config", self.config,
                               "--json", "status"], capture_output=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def ready(self):
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            status = self.status()
            if status and status["daemon"]["running"] and not status["daemon"]["starting"]:
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not get ready")


class SpooldFull(Spoold):
    name = "spoold, full"
    durability = "full"


class SpooldStream(Spoold):
    """One process per user: each may run a job, and wait for its next one. The ceilings feed
    theirs without a limit, too."""

    def configuration(self):
        settings = super().configuration()
        settings["handler"] = {"command": [*self.handler(), "--stream"], "mode": "stream"}
        users = len(os.listdir(self.root))
        settings["scheduler_settings"]["max_idle_handlers"] = users
        settings["scheduler_settings"]["max_concurrent_jobs"] = users
        return settings


class SpooldStreamFull(SpooldStream):
    name = "spoold, full, stream"
    durability = "full"


class SpooldStreamRelaxed(SpooldStream):
    name = "spoold, relaxed, stream"
    durability = "relaxed"


class SpooldRelaxed(Spoold):
    name = "spoold, relaxed"
    durability = "relaxed"


PER_FILE = (CeilingSpawn, SpooldRelaxed, SpooldFull)
STREAM = (SpooldStreamRelaxed, SpooldStreamFull)
OURS = (CeilingSpawn, CeilingPipe, CeilingPipes, SpooldRelaxed, SpooldFull, *STREAM)


def has(*programs):
    lacking = [p for p in programs if shutil.which(p) is None]
    return f"{', '.join(lacking)} not installed" if lacking else None
