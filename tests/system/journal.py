"""What the handlers of a test wrote down about themselves.

Each handler appends one line at its start and one at its end:
    start <epoch ns> <user> <name> <job> <attempt> <pid>
    end   <epoch ns> <user> <name> <job> <attempt> <pid> <exit code>
and "overlap" instead of "start" where another process of the same user still
held the test's own lock (see PRELUDE in harness.py). Names are %-quoted."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes
import os


@dataclass(frozen=True)
class Stamp:
    what: str
    ns: int
    user: str
    name: str
    job: int
    attempt: int
    pid: int
    code: int | None


def _stamp(line):
    fields = line.split(b" ")
    what, ns, user, name, job, attempt, pid = fields[:7]
    code = int(fields[7]) if len(fields) > 7 else None
    return Stamp(what.decode(), int(ns), os.fsdecode(user), os.fsdecode(unquote_to_bytes(name)),
                 int(job), int(attempt), int(pid), code)


class Journal:
    def __init__(self, path):
        self.path = path

    def stamps(self):
        """Complete lines only: a handler may be writing right now."""
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return []
        return [_stamp(line) for line in data.split(b"\n")[:-1]]

    def starts(self, user=None, name=None):
        return [s for s in self.stamps() if s.what in ("start", "overlap")
                and user in (None, s.user) and name in (None, s.name)]

    def ends(self, user=None, name=None):
        return [s for s in self.stamps() if s.what == "end"
                and user in (None, s.user) and name in (None, s.name)]

    def order(self, user):
        """File names of a user in the order of their first start."""
        return list(dict.fromkeys(s.name for s in self.starts(user)))

    def running(self):
        """(user, name) of attempts that started and did not say they ended."""
        ended = Counter((s.job, s.attempt, s.pid) for s in self.ends())
        return [(s.user, s.name) for s in self.starts() if (s.job, s.attempt, s.pid) not in ended]

    def intervals(self, user=None):
        """(start, end, stamp) of the attempts that ended by themselves."""
        ends = {(s.job, s.attempt, s.pid): s.ns for s in self.ends(user)}
        return [(s.ns, ends[s.job, s.attempt, s.pid], s) for s in self.starts(user)
                if (s.job, s.attempt, s.pid) in ends]

    def most_at_once(self, user=None):
        """Most attempts that ran at the same moment."""
        edges = []
        for start, end, _ in self.intervals(user):
            edges += [(start, 1), (end, -1)]
        now = most = 0
        for _, step in sorted(edges):
            now += step
            most = max(most, now)
        return most

    def overlaps(self):
        """Pairs of attempts of one user that ran side by side, and what the
        handlers' own lock caught."""
        found = [f"{s.user}: attempt {s.attempt} of {s.name} (job {s.job}) started while an "
                 f"earlier one still ran" for s in self.stamps() if s.what == "overlap"]
        by_user = defaultdict(list)
        for interval in self.intervals():
            by_user[interval[2].user].append(interval)
        for user, intervals in by_user.items():
            intervals.sort(key=lambda i: i[:2])
            for (_, end, first), (start, _, second) in zip(intervals, intervals[1:]):
                if start < end:
                    found.append(f"{user}: {second.name} started {(end - start) / 1e6:.1f} ms "
                                 f"before {first.name} ended")
        return found
