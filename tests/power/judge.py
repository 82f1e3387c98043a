"""Starts spoold on what a power cut left, and holds it to its promises."""

from collections import Counter, defaultdict
import os
import re
import shutil
import threading
import time

import contents
from disk import Disk
from load import CONFIG, HANDLER, ONE_BY_ONE, USERS, becomes
from reports import Client
from spool import Spool

WORK_OFF_S = 90


class Finding:
    """`kind`: "index" or "data", of which a mode may lose what is younger than
    its window; "history", which goes where the index was damaged, in a mode in
    which it may be; or "rule", which none may break. `age_s`: how long before
    the cut it was promised."""

    def __init__(self, kind, text, age_s=None):
        self.kind, self.text, self.age_s = kind, text, age_s

    def __str__(self):
        age = "" if self.age_s is None else f" [promised {self.age_s:.3f} s before the cut]"
        return f"{self.kind}: {self.text}{age}"


class Cut:
    """Images as a cut left them, with what was promised."""

    def __init__(self, images, moment, stamps, depth=1):
        self.images, self.moment, self.depth = images, moment, depth
        self.attempts = {}  # job -> the last attempt that had begun
        for stamp in stamps:
            if stamp.what != "end" and stamp.ns < moment.ns:
                self.attempts[stamp.job] = max(self.attempts.get(stamp.job, 0), stamp.attempt)
        self.stamps = stamps

    def remove(self):
        for image in self.images.values():
            os.unlink(image)


def make_spool(base, disks, config=None):
    """`disks`: by mount point below base: "disk", and maybe "index"."""
    index = {"spool": {"index": "index/index"}} if "index" in disks else {}
    over = {**CONFIG, "spool": {**CONFIG["spool"], **index.get("spool", {}),
                                **(config or {}).get("spool", {})}}
    spool = Spool(base, over, users=(), handler=HANDLER, root="disk/spool")
    spool.check_contents = False
    return spool


def _read(full):
    with open(full, "rb") as file:
        return file.read()


def _locate_directories(files, uploads, found):
    """Those that are whole: all parts, in their order, with nothing between them."""
    parts = defaultdict(list)
    for place, path, full in sorted(files):
        top, part, _ = path.rpartition(b"/part")
        if part and not (contents._is_ours(place, path) and place != "incoming"):
            parts[place, top].append(full)
    for (place, top), names in parts.items():
        data = b"".join(map(_read, names))
        upload = uploads.get(len(data))
        if upload is not None and upload.data == data:
            found[upload.size].append((place, os.fsdecode(top)))


def locate(root, uploads):
    """size -> where that upload lies whole: (place, path)."""
    found, inside = defaultdict(list), []
    for user, place, path in contents.inventory(root):
        full = os.path.join(os.fsencode(root), os.fsencode(user), os.fsencode(place), path)
        if user == "whole":
            inside.append((place, path, full))
            continue
        upload = uploads.get(os.path.getsize(full))
        if upload is None or contents._is_ours(place, path) and place != "incoming":
            continue
        if _read(full) == upload.data:
            found[upload.size].append((place, os.fsdecode(path)))
    _locate_directories(inside, uploads, found)
    return found


class Judge:
    def __init__(self, directory, cut, config, options, dice, cut_again):
        self.base, self.cut, self.dice = directory, cut, dice
        self.moment = cut.moment
        self.cut_again = cut_again  # None, or makes a cut of the spool that is judged
        self.findings = []
        self.next_cut = None
        self.lost = set()  # jobs whose files the cut took: what follows is no news
        self.rebuilt = False
        self.begun = 0  # attempts
        os.makedirs(directory)
        self.disks = {name: Disk(image, os.path.join(directory, name), options=options)
                      for name, image in cut.images.items()}
        self.spool = make_spool(directory, self.disks, config)
        self.spool.overlap_allowed = True  # by the wide user; the others are asked about

    def say(self, kind, text, since_ns=None):
        if kind == "index" and self.rebuilt:
            kind = "history"
        age_s = None if since_ns is None else self.moment.age_s(since_ns)
        self.findings.append(Finding(kind, text, age_s))

    def say_of(self, promise, text, since_ns):
        if promise.job in self.lost:
            self.say("data", text, promise.known_ns)
        elif self.rebuilt and "ran again" in text:
            # Without an index, where its file lies says that it is done.
            self.say("data", text, since_ns)
        else:
            self.say("index", text, since_ns)

    def run(self):
        client = Client(self.spool.socket_path())
        try:
            self._look_at_files("before the start", start=True)
            self._start()
            self._look_at_jobs(client)
            self._cut_again()
            self._work_off(client)
            self._look_at_the_end(client)
        except (AssertionError, OSError) as error:
            self.say("rule", f"{error}\n{self.spool.log()[-3000:]}")
        finally:
            client.close()
            self._end()
        return self.findings

    def _end(self):
        for problem in self.spool.end():
            self.say("rule", problem)
        for disk in self.disks.values():
            disk.umount()
        shutil.rmtree(self.base)

    # --- files ----------------------------------------------------------------

    def _look_at_files(self, when, start):
        found = locate(self.spool.root, self.moment.uploads)
        for size, places in found.items():
            if len(places) > 1:
                self.say("rule", f"{when}: {self.moment.uploads[size]} lies in {places}")
        for promise in self.moment.promises:
            if not promise.has_file:
                continue
            places = [place for place, _ in found.get(promise.size, [])]
            if not places:
                self.say("data", f"{when}: {promise} is gone, or not whole", promise.known_ns)
                self.lost.add(promise.job)
            elif not start and places[0] not in ("done", "failed"):
                self.say("rule", f"{when}: {promise} lies in {places[0]}")

    def _look_at_what_is_left(self):
        for user in USERS:
            left = os.listdir(self.spool.path(user, "processing"))
            if left:
                self.say("rule", f"{user}/processing still holds {left[:5]}")
            for name in self.spool.files(user, "incoming"):
                if not name.startswith(".") and user != "marker":
                    self.say("rule", f"{user}/incoming/{name} was not worked off")

    # --- jobs -----------------------------------------------------------------

    def _start(self):
        self.spool.start(init=False)
        if re.search("set aside", self.spool.log()):
            self.rebuilt = True
            self.say("index", "the index was damaged and is rebuilt", None)

    def _row(self, rows, promise, when):
        row = rows.get(promise.job)
        if row is None or (row["user"], row["name"]) != (promise.user, promise.name) or \
                (row["size"] != promise.size and not promise.excused):
            self.say_of(promise, f"{when}: {promise} is not known", promise.known_ns)
            return None
        return row

    def _jobs(self, client):
        jobs = client.jobs()
        if jobs is None:
            raise AssertionError("spoold does not answer")
        return jobs

    def _look_at_jobs(self, client):
        rows = self._jobs(client)
        for promise in self.moment.promises:
            row = self._row(rows, promise, "after the start")
            if row is None or promise.excused:
                continue
            if (promise.final or promise.state == "held") and row["state"] != promise.state:
                self.say_of(promise, f"{promise} is {row['state']}", promise.since_ns)
            # What was only claimed has not begun.
            elif row["attempt"] + (promise.state == "queued") < promise.attempt:
                self.say_of(promise, f"{promise} forgot attempt {promise.attempt}: it is at "
                                     f"{row['attempt']}", promise.since_ns)

    def _cut_again(self):
        if self.cut_again is not None:
            time.sleep(self.dice.random() * 0.7)
            self.next_cut = self.cut_again(self)

    def _held_lines(self):
        return {user for user, held in self.moment.lines.items() if held}

    def _idle(self, client, but=()):
        answer = client.ask(command="status")
        if answer is None or answer["daemon"]["starting"]:
            return False
        if answer["daemon"].get("problem"):
            raise AssertionError(f"status: {answer['daemon']['problem']}")
        for row in answer["users"]:
            busy = row["queued"] + row["processing"]
            # A line that is held for a reason of its own shows in held.
            waits = 0 if row["user"] in but and row["held"] else row["pending"]
            if busy or waits or (row["arriving"] and row["user"] != "marker"):
                return False
        return len(answer["users"]) == len(USERS)

    def _work_off(self, client):
        held_lines = self._held_lines()
        self.spool.wait_for(lambda: self._idle(client, USERS), WORK_OFF_S, "all but what is held "
                            "to be worked off")
        started = {stamp.job for stamp in self.spool.journal.starts()}
        for promise in self.moment.promises:
            line = promise.user in held_lines and not promise.final
            if promise.job in started and (promise.state == "held" or line):
                since_ns = promise.since_ns
                if promise.state != "held":
                    since_ns = max(since_ns, self.moment.lines_ns[promise.user])
                self.say_of(promise, f"{promise} started although "
                                     f"{'its line' if line else 'it'} was held", since_ns)
        for user in USERS:
            client.ask(command="release", user=user)
        for row in self._jobs(client).values():
            if row["state"] == "held":
                client.ask(command="release", job=row["job"])
        self.spool.wait_for(lambda: self._idle(client), WORK_OFF_S, "all to be worked off")
        try:
            self.spool.wait_for(lambda: not any(os.listdir(self.spool.path(user, "processing"))
                                                for user in USERS), 30, "all to be in its last place")
        except AssertionError:
            for user in USERS:
                for path, _, names in os.walk(self.spool.path(user, "processing")):
                    self.say("rule", f"left in {os.fsdecode(path)}: {names}")
            raise

    def _look_at_the_end(self, client):
        self._look_at_files("in the end", start=False)
        self._look_at_what_is_left()
        rows = self._jobs(client)
        starts = self.spool.journal.starts()
        self.begun = len(starts)
        began = Counter(stamp.job for stamp in starts)
        for promise in self.moment.promises:
            row = rows.get(promise.job)
            if promise.final and began[promise.job] and not promise.steered:
                self.say_of(promise, f"{promise} ran again", promise.since_ns)
            for job in self._other_jobs(promise, rows):
                if promise.final and began[job] and not promise.steered:
                    self.say_of(promise, f"{promise} ran again, as job {job}", promise.since_ns)
            if row is None or promise.excused or row["size"] != promise.size:
                continue  # said already
            wanted = promise.state if promise.final else becomes(promise.name)
            if row["state"] == "canceled" and re.match("withdrawn|replaced", row["error"] or ""):
                # A file that is not as it was accepted; in full mode no less a fault.
                self.lost.add(promise.job)
            if row["state"] != wanted and not promise.steered:
                self.say_of(promise, f"{promise} ended {row['state']}: {row['error']}",
                            promise.since_ns)
        for stamp in starts:
            before = self.cut.attempts.get(stamp.job, 0)
            if stamp.attempt <= before:
                self.say("index", f"job {stamp.job} ({stamp.user}/{stamp.name}): attempt "
                                  f"{stamp.attempt} was begun again", self._begun_ns(stamp))
        self._look_at_order(starts)
        self._ask_doctor()
        for user in ONE_BY_ONE:
            for overlap in self._overlaps(user):
                self.say("rule", overlap)

    def _other_jobs(self, promise, rows):
        """Jobs that were made of the same upload."""
        if not promise.has_file:
            return []
        return [job for job, row in rows.items()
                if row["size"] == promise.size and job != promise.job]

    def _begun_ns(self, again):
        return max(stamp.ns for stamp in self.cut.stamps
                   if stamp.job == again.job and stamp.what != "end" and stamp.ns < self.moment.ns)

    def _overlaps(self, user):
        return [text for text in self.spool.journal.overlaps() if text.startswith(user + ":")]

    def _look_at_order(self, starts):
        promised = {p.job: p for p in self.moment.promises
                    if not p.final and not p.steered and not p.excused and p.state != "held"}
        for user in ONE_BY_ONE:
            order = list(dict.fromkeys(stamp.job for stamp in starts
                                       if stamp.user == user and stamp.job in promised))
            for before, after in zip(order, order[1:]):
                if after < before:
                    self.say("index", f"{promised[before]} came before job {after}",
                             promised[after].known_ns)

    def _ask_doctor(self):
        answer = self.spool.ctl("doctor", json=True, check=None)
        findings = answer.data["findings"] if answer.data else [{"level": "none", "what": answer}]
        for finding in findings:
            if finding["level"] not in ("ok", "note"):
                self.say("rule", f"doctor: {finding['level']}: {finding['what']}")
