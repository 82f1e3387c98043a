"""A spool whose daemon runs under `cut`: its n-th system call is its last, or
fails."""

import errno
import os
import select
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "system"))

import contents  # noqa: E402
import spool as system_spool  # noqa: E402
from spool import BUILD, Spool  # noqa: E402

CUT = os.path.join(BUILD, "fault", "cut")
FILL = os.path.join(BUILD, "fault", "fill")

CONFIG = {
    "spool": {"settle_seconds": 0.05},
    "scheduler_settings": {"interval_minutes": 0.05, "max_retries": 1, "retry_delay_seconds": 0.05,
                           "stop_grace_seconds": 5},
    "handler": {"kill_grace_seconds": 0.2},
}

# The name of a file tells what becomes of it.
HANDLER = """case $SPOOL_NAME in
bad*) echo "cannot digest $SPOOL_NAME" >&2; exit 1 ;;
run*) gate ;;
again*) [ "$SPOOL_ATTEMPT" -gt 1 ] && exit 0; gate ;;
mend*) [ -e "$BASE/gate/mended" ] && exit 0; exit 65 ;;
out*) echo kept >"$SPOOL_OUTPUT_DIR/result"; echo beside >beside; echo said; exit 0 ;;
esac
exit 0
"""


class Cut:
    """The test's end of the socket to `cut`."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair()
        self.lines, self.rest = [], b""
        self.fired = None

    def command(self, plan, program, *args):
        return [CUT, str(self.theirs.fileno()), plan, program, *args]

    def started(self):
        self.theirs.close()

    def _read(self, seconds):
        """Takes in what is there, waiting a while for something."""
        if not select.select([self.ours], [], [], seconds)[0]:
            return
        self.rest += self.ours.recv(65536)
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            text = line.decode(errors="backslashreplace")
            if text.startswith("fired "):
                self.fired = text[len("fired "):]
            else:
                self.lines.append(text)

    def tell(self, text):
        self.ours.sendall(text.encode() + b"\n")
        deadline = time.monotonic() + 60
        while not self.lines:
            self._read(1)
            if time.monotonic() > deadline:
                raise AssertionError(f"cut does not answer to '{text}'")
        answer = self.lines.pop(0)
        if answer != "ok":
            raise AssertionError(f"cut says '{answer}' to '{text}'")

    def arm(self, plan):
        self.fired = None
        self.tell("arm " + plan)

    def disarm(self):
        self.tell("disarm")

    def calls(self, path):
        self.tell("list " + path)
        with open(path, errors="backslashreplace") as file:
            return [line[2:].rstrip("\n") for line in file]

    def has_fired(self):
        self._read(0)
        return self.fired

    def close(self):
        self.ours.close()


class FaultSpool(Spool):
    def __init__(self, base, config=None, **options):
        options.setdefault("handler", HANDLER)
        super().__init__(base, system_spool.merge(CONFIG, config), **options)
        self.cut = None
        self.optional = set()    # (user, name): may be gone, or have another content
        self.names = {}          # user -> names in the order of their uploads
        self.promised = []       # what was answered "yes": (sentence, check at the end)

    # --- running ----------------------------------------------------------

    def start_cut(self, plan="-", wait=True, args=()):
        self.cut = Cut()
        program = os.path.join(BUILD, "spoold")
        with open(self.stderr_path, "ab") as stderr:
            self.daemon = subprocess.Popen(
                self.cut.command(plan, program, "--config", self.config_path, *args),
                cwd=self.base, env=self.environment(), stdin=subprocess.DEVNULL,
                stdout=stderr, stderr=stderr, pass_fds=[self.cut.theirs.fileno()])
        self.cut.started()
        if wait:
            self.wait_for(self.answers, 30, "spoold to answer status")

    def answers(self):
        answer = self.ask("status")
        return answer is not None and answer["ok"]

    def ask(self, command, **more):
        """The answer of the daemon, or None where there is none to be had."""
        try:
            return self.request({"command": command, **more})
        except (OSError, ValueError):
            return None

    def status_of(self, user="alice"):
        answer = self.ask("status")
        rows = answer["users"] if answer and answer["ok"] else []
        return next((row for row in rows if row["user"] == user), None)

    def count(self, state, user="alice"):
        row = self.status_of(user)
        return -1 if row is None else row[state]

    def all_jobs(self):
        jobs, more = [], {}
        while True:
            answer = self.ask("list", limit=1000, **more)
            if answer is None or not answer["ok"]:
                return None
            jobs += answer["jobs"]
            if answer["next"] is None:
                return jobs
            more = {"after": answer["next"]}

    def ended(self):
        return self.daemon is None or self.daemon.poll() is not None

    def until(self, predicate, seconds):
        """Whether it came true before the time was over or the daemon ended."""
        deadline = time.monotonic() + seconds * system_spool.slowness()
        pause = 0.002
        while not predicate():
            if self.daemon is not None and self.daemon.poll() is not None:
                return bool(predicate())
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.3, 0.05)
        return True

    def fill_index(self):
        """The next transaction makes it grow; no daemon runs."""
        subprocess.run([FILL, self.index_path(), "alice"], check=True)

    # --- files ------------------------------------------------------------

    def upload(self, name, user="alice", how="mv", optional=False):
        """Moves a file in, so that it counts at once; each of another content."""
        number = sum(len(names) for names in self.names.values())
        data = f"{user} {name} {number}\n".encode() * 200
        path = self.drop(user, name, data, how=how)
        self.next_tick()
        self.names.setdefault(user, []).append(name)
        if optional:
            self.optional.add((user, os.fsencode(name)))
        return path

    def lost(self):
        """contents.lost, but for files whose end is open."""
        dropped = {key: n for key, n in self.dropped.items() if key[:2] not in self.optional}
        open_names = [os.fsdecode(name) for _, name in self.optional]
        problems = [told for told in self._stable(lambda: contents.lost(self.root,
                                                                       _Counts(dropped)))
                    if not any(name in told for name in open_names)]
        # What HANDLER makes beside the upload.
        return [told for told in problems if "/beside is a file nobody dropped" not in told]

    @staticmethod
    def _stable(look):
        """Workers of a killed daemon may move things under our eyes."""
        for _ in range(5):
            try:
                return look()
            except FileNotFoundError:
                time.sleep(0.05)
        return look()

    def in_place(self, place):
        users = [user for user in os.listdir(self.root) if not user.startswith(".")]
        return self._stable(lambda: [f for user in users for f in contents.files(
            os.path.join(self.root, user, place))])

    def inventory(self):
        return self._stable(lambda: contents.inventory(self.root))

    def private(self):
        """Directories of jobs in processing."""
        return [name for user in os.listdir(self.root) if not user.startswith(".")
                for name in os.listdir(os.path.join(self.root, user, "processing"))]

    def end(self):
        self.check_contents = False
        if self.cut is not None:
            self.cut.close()
        return super().end() + self.lost()


class _Counts(dict):
    def __missing__(self, key):
        return 0


ERRNO = {name: getattr(errno, name) for name in
         ("EIO", "ENOSPC", "EMFILE", "EACCES", "EINTR", "EAGAIN", "ENOBUFS", "ENOMEM", "ENOLCK")}
