"""A spool of its own, and the real programs on it."""

from collections import Counter
import copy
import functools
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import contents
import handlers
import procs
from contents import escape
from handlers import OK
from journal import Journal

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("SPOOLD_BUILD") or os.path.join(REPO, "build"))
FAILED, USAGE, NO_DAEMON = 1, 2, 3  # exit codes of spoolctl

FAST = {
    "spool": {"root": "spool", "settle_seconds": 0.2},
    "scheduler_settings": {
        "interval_minutes": 0.5, "max_concurrent_jobs": 2, "max_retries": 2,
        "retry_delay_seconds": 0.1,
    },
    "handler": {"command": ["handlers/main", "{file}"], "kill_grace_seconds": 0.5},
}


def merge(base, over):
    """`over` laid over `base`, section by section; None removes a key."""
    merged = copy.deepcopy(base)
    for key, value in (over or {}).items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


@functools.cache
def has_sanitizer():
    with open(os.path.join(BUILD, "spoold"), "rb") as file:
        data = file.read()
    return b"__asan_init" in data or b"__ubsan_handle" in data


@functools.cache
def slowness():
    """Factor on all limits."""
    return float(os.environ.get("SPOOLD_TEST_SLOW") or (3 if has_sanitizer() else 1))


class Result:
    """What spoolctl or spoold answered."""

    def __init__(self, done, as_json):
        self.code = done.returncode
        self.raw = done.stdout
        self.out = done.stdout.decode(errors="backslashreplace")
        self.err = done.stderr.decode(errors="backslashreplace")
        self.data = None
        if as_json and self.out.strip():
            self.data = json.loads(self.out)

    def __str__(self):
        return f"exit {self.code}\nstdout: {self.out}\nstderr: {self.err}"


class Spool:
    def __init__(self, base, config=None, users=("alice",), handler=OK, overlap_allowed=False,
                 root="spool"):
        self.base = base
        self.root = os.path.join(base, root)
        self.config_path = os.path.join(base, "config.json")
        self.stderr_path = os.path.join(base, "spoold.stderr")
        self.config = merge(merge(FAST, {"spool": {"root": root}}), config)
        self.overlap_allowed = overlap_allowed
        self.journal = Journal(os.path.join(base, "journal"))
        self.daemon = None
        self.dropped = Counter()  # (user, name, content): how many of it must exist
        self.check_contents = True
        for name in ("handlers", "gate", "locks", "staging"):
            os.makedirs(os.path.join(base, name))
            os.chmod(os.path.join(base, name), 0o777)
        open(self.journal.path, "wb").close()
        os.chmod(self.journal.path, 0o666)
        self.handler(handler)
        self.write_config()
        os.makedirs(self.root, exist_ok=True)
        os.chmod(self.root, 0o755)
        for user in users:
            self.add_user(user)

    # --- set-up -----------------------------------------------------------

    def add_user(self, user):
        # A running daemon may be faster than we are.
        os.makedirs(self.path(user, "incoming"), exist_ok=True)

    def path(self, user, place="incoming", name=None):
        directory = os.path.join(self.root, user, place)
        if name is None:
            return directory
        return os.path.join(os.fsencode(directory), os.fsencode(name))

    def handler(self, body, name="main"):
        """Writes a handler script; returns its path relative to the configuration."""
        text = handlers.script(self.base, body, lock=not self.overlap_allowed)
        return self._put_handler(name, text)

    def stream_handler(self, body, name="main"):
        """The same for a handler of mode "stream"."""
        text = handlers.stream_script(self.base, body, lock=not self.overlap_allowed)
        return self._put_handler(name, text)

    def _put_handler(self, name, text):
        path = os.path.join(self.base, "handlers", name)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.chmod(path + ".new", 0o755)
        os.rename(path + ".new", path)
        return os.path.join("handlers", name)

    def open_gate(self, name="all", code=0):
        path = os.path.join(self.base, "gate", name)
        with open(path + ".new", "w") as file:
            file.write(f"{code}\n")
        os.rename(path + ".new", path)

    def write_config(self, text=None):
        if text is None:
            text = json.dumps(self.config, indent="\t") + "\n"
        with open(self.config_path, "w") as file:
            file.write(text)

    def configure(self, over):
        self.config = merge(self.config, over)
        self.write_config()

    def environment(self):
        """Ours without what would make the programs look elsewhere. The path
        in it makes every process of this spool recognizable."""
        env = {k: v for k, v in os.environ.items()
               if k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "SPOOLD_CONFIG", "WATCHDOG_USEC",
                            "WATCHDOG_PID", "LISTEN_FDS", "SPOOLD_TEST_DIR")}
        env["SPOOLD_TEST"] = self.base + "/"
        env["ASAN_OPTIONS"] = f"log_path={self.base}/sanitizer.asan:abort_on_error=0"
        env["UBSAN_OPTIONS"] = f"log_path={self.base}/sanitizer.ubsan:print_stacktrace=1"
        return env

    # --- the daemon -------------------------------------------------------

    def run(self, program, *args, json=False, timeout=60, cwd=None, **options):
        path = os.path.join(BUILD, program)
        if "user" in options:
            # Who is not root may find no way to a build below /root.
            path = shutil.copy(path, self.base)
        done = subprocess.run(
            [path, *args], cwd=cwd or self.base, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=timeout * slowness(), **options)
        return Result(done, json)

    def spoold(self, *args, **options):
        """A run of spoold that ends by itself."""
        return self.run("spoold", "--config", self.config_path, *args, **options)

    def init(self):
        result = self.spoold("--init")
        if result.code != 0:
            raise AssertionError(f"spoold --init: {result}")

    def start(self, *args, init=True, wait=True, **options):
        if init:
            self.init()
        with open(self.stderr_path, "ab") as stderr:
            self.daemon = subprocess.Popen(
                [os.path.join(BUILD, "spoold"), "--config", self.config_path, *args],
                cwd=self.base, env=self.environment(), stdin=subprocess.DEVNULL,
                stdout=stderr, stderr=stderr, **options)
        if wait:
            self.wait_for(self.answers, 30, "spoold to answer status")

    def answers(self):
        result = self.ctl("status", json=True, check=None)
        return result.code == 0 and result.data["daemon"]["running"]

    def stop(self, seconds=60):
        """SIGTERM; returns the exit status."""
        daemon, self.daemon = self.daemon, None
        daemon.send_signal(signal.SIGTERM)
        try:
            return daemon.wait(seconds * slowness())
        except subprocess.TimeoutExpired:
            self.daemon = daemon
            raise AssertionError(f"spoold still runs {seconds} s after SIGTERM") from None

    def wait_exit(self, seconds=60):
        daemon, self.daemon = self.daemon, None
        return daemon.wait(seconds * slowness())

    def kill9(self):
        daemon, self.daemon = self.daemon, None
        daemon.kill()
        daemon.wait()

    def restart(self):
        """Another daemon on the same spool, after stop() or kill9()."""
        self.start(init=False)

    def workers(self):
        return procs.workers(self.daemon.pid)

    def log(self, offset=0):
        with open(self.stderr_path, errors="backslashreplace") as file:
            file.seek(offset)
            return file.read()

    def log_size(self):
        return os.path.getsize(self.stderr_path)

    def wait_log(self, pattern, offset=0, limit=60):
        return self.wait_for(lambda: re.search(pattern, self.log(offset)), limit,
                             f"spoold to log /{pattern}/")

    # --- asking -----------------------------------------------------------

    def ctl(self, *args, json=False, check=0, **options):
        """spoolctl; `check` is the exit code it must have, None for any."""
        result = self.run("spoolctl", "--config", self.config_path,
                          *(["--json"] if json else []), *args, json=json, **options)
        if check is not None and result.code != check:
            raise AssertionError(f"spoolctl {args}: exit {check} expected, got {result}")
        return result

    def begin_ctl(self, *args):
        """A spoolctl that goes on beside us."""
        return subprocess.Popen(
            [os.path.join(BUILD, "spoolctl"), "--config", self.config_path, *args],
            env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=self.base)

    def status(self):
        return self.ctl("status", json=True).data

    def user(self, user="alice"):
        for row in self.status()["users"]:
            if row["user"] == user:
                return row
        return None

    def jobs(self, user=None, *args):
        where = [user] if user else []
        answer = self.ctl("list", *where, *args, "--limit", "100000", json=True, check=None)
        if answer.code == 1 and "there is no user" in answer.data["error"]:
            return []  # its directory was made a moment ago
        if answer.code != 0:
            raise AssertionError(f"spoolctl list {where} {args}: {answer}")
        return answer.data["jobs"]

    def job(self, name, user="alice"):
        """The newest job of this name, or None."""
        found = [j for j in self.jobs(user) if j["name"] == escape(name)]
        return max(found, key=lambda j: j["job"]) if found else None

    def show(self, job):
        return self.ctl("show", str(job), json=True).data

    def explain(self, what, check=0):
        return self.ctl("explain", what if isinstance(what, bytes) else str(what), json=True,
                        check=check).data

    def explain_file(self, name, user="alice", place="incoming", check=0):
        return self.explain(self.path(user, place, name), check)

    def request(self, body, limit=30):
        """One question straight over the control socket."""
        with self.connect(limit) as peer:
            peer.sendall(json.dumps(body).encode() + b"\n")
            return json.loads(peer.makefile("rb").readline())

    def connect(self, limit=30):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(limit * slowness())
        peer.connect(self.socket_path())
        return peer

    def socket_path(self):
        return os.path.join(self.root, ".spoold", "control.sock")

    def index_path(self):
        return os.path.join(self.root, ".spoold", "index")

    # --- waiting ----------------------------------------------------------

    def wait_for(self, predicate, limit=60, what="a condition"):
        """Waits until `predicate` is true and returns its value."""
        deadline = time.monotonic() + limit * slowness()
        pause = 0.01
        while True:
            value = predicate()
            if value:
                return value
            if self.daemon is not None and self.daemon.poll() is not None:
                raise AssertionError(f"spoold ended with {self.daemon.returncode} while the test "
                                     f"waited for {what}")
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {limit * slowness():.0f} s in vain for {what}; last "
                                     f"seen: {value!r}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)

    def wait_state(self, name, state, user="alice", limit=60):
        def reached():
            job = self.job(name, user)
            seen[0] = job and job["state"]
            return job if seen[0] == state else None
        seen = [None]
        try:
            return self.wait_for(reached, limit, f"{user}/{name} to be {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}; its state: {seen[0]}") from None

    def wait_started(self, name, user="alice", times=1, limit=60):
        """Until its handler has started that often; returns the last stamp."""
        def started():
            starts = self.journal.starts(user, name)
            return starts[times - 1] if len(starts) >= times else None
        return self.wait_for(started, limit, f"start {times} of {user}/{name}")

    def wait_file(self, name, place="done", user="alice", limit=60):
        path = self.path(user, place, name)
        self.wait_for(lambda: os.path.lexists(path), limit, f"{user}/{place}/{escape(name)}")
        return path

    # --- files ------------------------------------------------------------

    def drop(self, user, name, data=None, how="cp", replace=False):
        """Puts an upload into incoming: written there ("cp") or moved in
        ("mv"). `replace`: an upload of that name was there, and is gone."""
        data = f"{user} {os.fsdecode(name)}\n".encode(errors="surrogateescape") \
            if data is None else data
        path = self.path(user, "incoming", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if replace:
            self.forget(user, name)
        self.dropped[user, os.fsencode(name), data] += 1
        target = path
        if how == "mv":
            target = os.path.join(os.fsencode(self.base), b"staging", b"moving")
        with open(target, "wb") as file:
            file.write(data)
        if how == "mv":
            os.rename(target, path)
        return path

    def drop_by_rule(self, user, name):
        """An upload that is complete by its user's rule."""
        rule = self.config.get("users", {}).get(user, {}).get("completion", "auto")
        data = f"{user} {name}\n".encode()
        self.drop(user, name, data, how="mv" if rule == "rename" else "cp")
        if rule == "marker":
            self.drop(user, name + ".done", b"")
        if rule == "checksum":
            digest = hashlib.sha256(data).hexdigest()
            self.drop(user, name + ".sha256", f"{digest}  {name}\n".encode())

    def next_tick(self):
        """Waits until the clock of the file system has moved on, so that the
        next file does not share the ctime of one before. (That one may be gone.)"""
        probe = os.path.join(self.base, "staging", "tick")
        first = None
        while True:
            with open(probe, "w") as file:
                file.write("tick")
            now = os.stat(probe).st_ctime_ns
            first = now if first is None else first
            if now > first:
                return
            time.sleep(0.002)

    def forget(self, user, name):
        """The test took the file away or overwrote it."""
        for key in [k for k in self.dropped if k[:2] == (user, os.fsencode(name))]:
            del self.dropped[key]

    def withdraw(self, user, name):
        os.unlink(self.path(user, "incoming", name))
        self.forget(user, name)

    def expect(self, user, name, data):
        """A file the test brought in by other means than drop()."""
        self.dropped[user, os.fsencode(name), data] += 1

    def files(self, user, place):
        return contents.files(self.path(user, place))

    # --- the end ----------------------------------------------------------

    def end(self):
        """Stops everything and returns what was not as it should be."""
        problems = []
        if self.daemon is not None and self.daemon.poll() is not None:
            problems.append(f"spoold ended by itself with {self.daemon.returncode}")
            self.daemon = None
        if self.daemon is not None:
            daemon = self.daemon
            daemon.send_signal(signal.SIGTERM)
            self.open_gate()  # after the signal, so that nothing else starts
            try:
                code = daemon.wait(45 * slowness())
                if code != 0:
                    problems.append(f"spoold ended with {code} after SIGTERM")
            except subprocess.TimeoutExpired:
                problems.append("spoold did not end within 45 s after SIGTERM")
                daemon.kill()
                daemon.wait()
            self.daemon = None
        self.open_gate()
        deadline = time.monotonic() + 10 * slowness()
        while procs.of_directory(self.base) and time.monotonic() < deadline:
            time.sleep(0.05)
        problems += [f"left behind: {told}" for told in procs.kill_directory(self.base)]
        if self.check_contents:
            problems += contents.lost(self.root, self.dropped)
        if not self.overlap_allowed:
            problems += self.journal.overlaps()
        for report in glob.glob(os.path.join(glob.escape(self.base), "sanitizer.*")):
            with open(report, errors="replace") as file:
                text = file.read()
            # All it says of a process that is killed while it looks for leaks at its end.
            if not re.fullmatch(r"(==\d+==Unable to get registers from thread \d+\.|\s)*", text):
                problems.append(f"sanitizer: {text}")
        return problems
