"""What was uploaded, what was asked of spoold, and what it reported."""

from collections import namedtuple
import copy
import json
import random
import socket
import threading
import time


class Upload:
    """One version of one file. Its size is its own among all, so that a job
    tells by its size which version it is."""

    def __init__(self, user, name, number):
        self.user, self.name = user, name
        head = f"{user} {name} {number}\n".encode()
        self.size = 2000 + number
        self.data = head + random.Random(number).randbytes(self.size - len(head))
        self.replaced_ns = None  # when its uploader began to put another in its place

    def __str__(self):
        return f"{self.user}/{self.name} of {self.size} bytes"


class Client:
    """A connection to spoold's socket that is made again when it breaks."""

    def __init__(self, path):
        self.path, self.peer, self.lines = path, None, None

    def ask(self, **request):
        """The answer, or None without a daemon."""
        try:
            if self.peer is None:
                self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.peer.settimeout(120)
                self.peer.connect(self.path)
                self.lines = self.peer.makefile("rb")
            self.peer.sendall(json.dumps(request).encode() + b"\n")
            line = self.lines.readline()
            if line.endswith(b"\n"):  # else the daemon was killed in the middle of it
                return json.loads(line)
        except OSError:
            pass
        self.close()
        return None

    def close(self):
        if self.peer is not None:
            self.peer.close()
        self.peer = None

    def jobs(self):
        """All jobs, by number, or None without a daemon."""
        jobs, after = {}, None
        while True:
            answer = self.ask(command="list", limit=500, **({"after": after} if after else {}))
            if answer is None or not answer["ok"]:
                return None
            jobs.update((row["job"], row) for row in answer["jobs"])
            after = answer.get("next")
            if not after:
                return jobs


# What was last reported of a job, when that state and attempt were first
# reported, and when the job was.
Known = namedtuple("Known", "row since_ns known_ns")


class Reports:
    """All that is known of a spool from outside, for several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.looking = threading.Lock()  # so that an older answer is not noted last
        self.uploads = {}     # size -> Upload
        self.newest = {}      # (user, name) -> Upload
        self.known = {}       # job -> Known
        self.unsettled = {}   # job -> the last request to steer it, once answered; or None
        self.steered = set()  # jobs of which anything was ever asked
        self.lines = {}       # user -> is its line held? None: it was asked for
        self.lines_ns = {}    # user -> since when that is known
        self.slowest_s = 0.0  # answer

    def begin_upload(self, user, name):
        """To be called before the first byte is written."""
        with self.lock:
            upload = Upload(user, name, len(self.uploads) + 1)
            if (user, name) in self.newest:
                self.newest[user, name].replaced_ns = time.time_ns()
            self.newest[user, name] = upload
            self.uploads[upload.size] = upload
            return upload

    def look(self, client):
        """One look at all jobs. False without a daemon."""
        with self.looking:
            return self._look(client)

    def _look(self, client):
        with self.lock:
            settling = [job for job in self.unsettled.items() if job[1] is not None]
        begun = time.monotonic()
        jobs = client.jobs()
        if jobs is None:
            return False
        with self.lock:
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            for row in jobs.values():
                self._note(row)
            for job, request in settling:
                # It may have been steered again while this look went on.
                if self.unsettled.get(job) is request:
                    del self.unsettled[job]
        return True

    def note(self, row):
        """A job, as an answer about it alone had it. Looks know better."""
        with self.lock:
            if row["job"] not in self.known:
                self._note(row)

    def _note(self, row):
        now = time.time_ns()
        old = self.known.get(row["job"])
        same = old and all(old.row[k] == row[k] for k in ("state", "attempt"))
        since = old.since_ns if same else now
        self.known[row["job"]] = Known(row, since, old.known_ns if old else now)

    def steer(self, client, job, command):
        """Until the answer is followed by a look, nobody knows what the job is."""
        with self.lock:
            self.unsettled[job] = None
            self.steered.add(job)
        client.ask(command=command, job=job)
        with self.lock:
            self.unsettled[job] = object()

    def steer_line(self, client, user, command):
        with self.lock:
            self.lines[user] = None
        answer = client.ask(command=command, user=user)
        with self.lock:
            if answer is not None and answer["ok"]:
                self.lines[user] = command == "hold"
                self.lines_ns[user] = time.time_ns()


class Promise:
    """What a cut must leave of one job."""

    def __init__(self, known, upload, replaced_ns, steered):
        row = known.row
        self.job, self.user, self.name, self.size = (row[k] for k in ("job", "user", "name", "size"))
        self.state, self.place, self.attempt = (row[k] for k in ("state", "place", "attempt"))
        self.since_ns, self.known_ns = known.since_ns, known.known_ns
        self.final = self.state in ("done", "failed", "canceled")
        self.steered = steered
        # An uploader who writes a file anew may hit the one that is being taken.
        self.excused = replaced_ns is not None and not (self.final and self.since_ns < replaced_ns)
        self.has_file = upload is not None and not self.excused and self.place != "nowhere"

    def __str__(self):
        return f"job {self.job} ({self.user}/{self.name}, {self.size} bytes), reported {self.state},"


class Moment:
    """The promises in force at a cut: what was reported before it, without
    what was in motion until it was over."""

    def __init__(self, reports):
        self.reports = reports
        with reports.lock:
            self.known = dict(reports.known)
            self.unsettled = set(reports.unsettled)
            self.lines = dict(reports.lines)
            self.lines_ns = dict(reports.lines_ns)
        self.ns = time.time_ns()

    def over(self):
        reports = self.reports
        with reports.lock:
            unsettled = self.unsettled | set(reports.unsettled)
            self.uploads = dict(reports.uploads)
            self.promises = [self._promise(job, known, job in reports.steered)
                             for job, known in self.known.items() if job not in unsettled]
            self.lines = {user: held for user, held in self.lines.items()
                          if held == reports.lines[user]}
            self.slowest_s = reports.slowest_s
        self.took_ms = (time.time_ns() - self.ns) / 1e6
        return self

    def _promise(self, job, known, steered):
        upload = self.uploads.get(known.row["size"])
        return Promise(known, upload, upload and upload.replaced_ns, steered)

    def again(self):
        """A cut of what was made of this one: the same is promised."""
        later = copy.copy(self)
        later.ns, later.took_ms = time.time_ns(), 0.0
        return later

    def age_s(self, ns):
        return max(0.0, (self.ns - ns) / 1e9)
