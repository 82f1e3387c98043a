"""A spool of its own for each test, with the real programs.

Nothing here sleeps and hopes: tests wait for an event with a generous limit.
After each test the harness itself checks that no dropped file was lost or
changed, that no two attempts of a user overlapped (unless the test allows
it), that no process is left, and that no sanitizer complained."""

from collections import Counter
import copy
import functools
import glob
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest

import procs
from journal import Journal

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("SPOOLD_BUILD") or os.path.join(REPO, "build"))
PLACES = ("incoming", "processing", "done", "failed")
NONE, FAILED, USAGE, NO_DAEMON = 0, 1, 2, 3  # exit codes of spoolctl

FAST = {
    "spool": {"root": "spool", "settle_seconds": 0.2},
    "scheduler_settings": {
        "interval_minutes": 0.5, "max_concurrent_jobs": 2, "max_retries": 2,
        "retry_delay_seconds": 0.1,
    },
    "handler": {"command": ["handlers/main", "{file}"], "kill_grace_seconds": 0.5},
}

# Every handler starts with this: it stamps the journal without starting a
# program, and holds a lock per user for as long as any process of it lives.
PRELUDE = r"""#!/bin/bash
BASE=@BASE@
stamp() {
	local name=${SPOOL_NAME//%/%25}
	name=${name// /%20}
	name=${name//$'\n'/%0A}
	local code=${2:-}
	printf '%s %s000 %s %s %s %s %s%s\n' "$1" "${EPOCHREALTIME//[.,]/}" "$SPOOL_USER" \
		"$name" "$SPOOL_JOB" "$SPOOL_ATTEMPT" "$$" "${code:+ $code}" >>"$BASE/journal"
}
report() { printf '%s\n' "$1" >&"$SPOOL_REPORT_FD"; }
# Waits until the test lets this file go; ends with the exit code it was given.
gate() {
	local code=0
	until [ -e "$BASE/gate/$SPOOL_NAME" ] || [ -e "$BASE/gate/all" ]; do sleep 0.05; done
	[ -e "$BASE/gate/$SPOOL_NAME" ] && read -r code <"$BASE/gate/$SPOOL_NAME"
	exit "$code"
}
stamp_start() {
	exec 9>>"$BASE/locks/$SPOOL_USER"
	if @LOCK@ flock -n 9; then stamp start; else stamp overlap; fi
	trap 'stamp end $?' EXIT
}
stamp_start
"""

OK = "exit 0\n"
GATE = "gate\n"
# bad* fails, the rest succeeds.
BAD_FAILS = """case $SPOOL_NAME in
bad*) echo "cannot digest $SPOOL_NAME" >&2; exit 1 ;;
esac
exit 0
"""


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


def escape(name):
    """The spelling of names in output (base/escape.h)."""
    raw = os.fsencode(name)
    out, i = "", 0
    while i < len(raw):
        for length in (1, 2, 3, 4):
            try:
                char = raw[i:i + length].decode()
                break
            except UnicodeDecodeError:
                char = None
        code = ord(char) if char else 0
        plain = (char and code >= 0x20 and not 0x7f <= code < 0xa0
                 and not 0x2028 <= code <= 0x202e and not 0x2066 <= code <= 0x2069
                 and code not in (0x200e, 0x200f, 0x061c))
        size = len(char.encode()) if char else 1
        if char == "\\":
            out += "\\\\"
        elif plain:
            out += char
        else:
            out += "".join(f"\\x{byte:02x}" for byte in raw[i:i + size])
        i += size
    return out


@functools.cache
def has_sanitizer():
    with open(os.path.join(BUILD, "spoold"), "rb") as file:
        data = file.read()
    return b"__asan_init" in data or b"__ubsan_handle" in data


@functools.cache
def slowness():
    """Factor on all limits."""
    return float(os.environ.get("SPOOLD_TEST_SLOW") or (3 if has_sanitizer() else 1))


def limit(seconds):
    """Decorator: a test that needs longer than the usual limit."""
    def mark(function):
        function.limit_seconds = seconds
        return function
    return mark


root_only = unittest.skipUnless(os.geteuid() == 0, "needs root: changes owners or accounts")


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
    def __init__(self, base, config=None, users=("alice",), handler=OK, overlap_allowed=False):
        self.base = base
        self.root = os.path.join(base, "spool")
        self.config_path = os.path.join(base, "config.json")
        self.stderr_path = os.path.join(base, "spoold.stderr")
        self.config = merge(FAST, config)
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
        os.mkdir(self.root)
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
        path = os.path.join(self.base, "handlers", name)
        text = PRELUDE.replace("@BASE@", self.base).replace(
            "@LOCK@", "true ||" if self.overlap_allowed else "") + body
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
        done = subprocess.run(
            [os.path.join(BUILD, program), *args], cwd=cwd or self.base, env=self.environment(),
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

    def status(self):
        return self.ctl("status", json=True).data

    def user(self, user="alice"):
        for row in self.status()["users"]:
            if row["user"] == user:
                return row
        return None

    def jobs(self, user=None, *args):
        where = [user] if user else []
        return self.ctl("list", *where, *args, "--limit", "100000", json=True).data["jobs"]

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

    def next_tick(self, path):
        """Waits until the clock of the file system has moved on, so that the
        next file does not share this one's ctime."""
        before = os.stat(path).st_ctime_ns
        probe = os.path.join(self.base, "staging", "tick")
        while True:
            with open(probe, "w") as file:
                file.write("tick")
            if os.stat(probe).st_ctime_ns > before:
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
        """Paths (str, relative) of the regular files below a directory."""
        top = self.path(user, place)
        found = []
        for directory, _, names in os.walk(top):
            for name in names:
                path = os.path.join(directory, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    found.append(os.path.relpath(path, top))
        return sorted(found)

    def _dropped_name(self, user, found, names):
        """Which dropped name a path in the spool stands for, or None."""
        if found in names[user]:
            return found
        directory, base = os.path.split(found)
        plain = re.sub(rb"\.\d+(\.[^.]*)?$", rb"\1", base, count=1)
        found = os.path.join(directory, plain)
        return found if found in names[user] else None

    def inventory(self):
        """Every regular file in the four directories: (user, place, path in it)."""
        found = []
        for user in os.listdir(self.root):
            if user.startswith(".") or not os.path.isdir(os.path.join(self.root, user)):
                continue
            for place in PLACES:
                found += [(user, place, os.fsencode(p)) for p in self.files(user, place)]
        return found

    def lost(self):
        """What is wrong with the dropped files: a list of sentences."""
        names = {}
        for user, name, _ in self.dropped:
            names.setdefault(user, set()).add(name)
        bases = {user: {os.path.basename(n) for n in all_} for user, all_ in names.items()}
        problems, found = [], Counter()
        for user, place, path in self.inventory():
            if user not in names:
                continue
            if place == "processing":
                # <id>/<base name>: the file has lost its directories there.
                inside = path.split(b"/", 1)[-1]
                name = next((n for n in names[user] if os.path.basename(n) == inside), None) \
                    if inside in bases[user] else None
            else:
                name = self._dropped_name(user, path, names)
            if name is None:
                if not self._is_ours(place, path):
                    problems.append(f"{user}/{place}/{escape(path)} is a file nobody dropped")
                continue
            with open(self.path(user, place, path), "rb") as file:
                found[user, name, file.read()] += 1
        for key in self.dropped.keys() | found.keys():
            if self.dropped[key] != found[key]:
                user, name, data = key
                problems.append(f"{user}/{escape(name)} with content {data[:40]!r}: dropped "
                                f"{self.dropped[key]} times, there {found[key]} times")
        return problems

    @staticmethod
    def _is_ours(place, path):
        if place == "incoming":
            return True  # ignored files, markers: the test's own business
        if place == "processing":
            inside = path.split(b"/", 1)[-1]
            return (inside.startswith((b".spoold-", b"output/")) or
                    inside in (b"log", b"log.spoold", b"output.spoold"))
        return path.endswith(b".log") or b".output/" in path

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
            problems += self.lost()
        if not self.overlap_allowed:
            problems += self.journal.overlaps()
        for report in glob.glob(os.path.join(glob.escape(self.base), "sanitizer.*")):
            with open(report, errors="replace") as file:
                problems.append(f"sanitizer: {file.read()}")
        return problems


class SystemTest(unittest.TestCase):
    """Base of all tests: makes spools, ends them, and judges what is left."""

    maxDiff = None

    def setUp(self):
        self.spools = []
        self.directory = os.environ.get("SPOOLD_TEST_DIR") or new_directory()
        self.addCleanup(self._end_all)

    def spool(self, config=None, start=True, **options):
        base = os.path.join(self.directory, str(len(self.spools) + 1))
        os.mkdir(base)
        os.chmod(base, 0o755)
        spool = Spool(base, config, **options)
        self.spools.append(spool)
        if start:
            spool.start()
        return spool

    def _end_all(self):
        problems = []
        for spool in self.spools:
            problems += spool.end()
        if "SPOOLD_TEST_DIR" not in os.environ:
            shutil.rmtree(self.directory, ignore_errors=True)
        if problems:
            self.fail("after the test:\n" + "\n".join(problems[:20]))

    def assertSays(self, pattern, text):
        """The text speaks of it, in whatever case."""
        self.assertRegex(text or "", "(?is)" + pattern)


def new_directory():
    """A short path: a socket's has 107 bytes at most."""
    where = os.environ.get("TMPDIR", "/tmp")
    if len(where) > 60 or not os.path.isdir(where):
        where = "/tmp"
    directory = tempfile.mkdtemp(prefix="spd-", dir=where)
    os.chmod(directory, 0o755)
    return directory
