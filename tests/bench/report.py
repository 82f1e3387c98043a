"""Judges one run: what was dropped against what the handlers stamped."""

from collections import defaultdict
import os
import statistics
import struct

STAMP = struct.Struct("<QQ16s32s")
DROP = struct.Struct("<QII")


def records(path, layout):
    """All whole ones, and how many bytes are left over: each is one write, so none are."""
    with open(path, "rb") as file:
        data = file.read()
    rest = len(data) % layout.size
    return list(layout.iter_unpack(data[:len(data) - rest])), rest


def text(raw):
    return raw.split(b"\0", 1)[0].decode(errors="backslashreplace")


def percentile(values, share):
    """The value below which that share lies; None of nothing."""
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Run:
    """Everything a run is judged by. `root`: the spool."""

    def __init__(self, root, drops, stamps):
        dropped, rest = records(drops, DROP)
        if rest:
            raise ValueError(f"{drops} is torn")
        self.dropped = {(f"u{user:05}", f"f{number:07}.csv"): ns for ns, user, number in dropped}
        runs, rest = records(stamps, STAMP)
        self.torn = 1 if rest else 0
        by_user = defaultdict(list)
        for start, end, user, name in runs:
            by_user[text(user)].append((start, end, text(name)))
        self.starts = {}
        self.unknown = self.twice = self.reordered = self.overlaps = self.last_end = 0
        for user, runs_of_user in by_user.items():
            self._user(user, sorted(runs_of_user))
        self.missing = self.dropped.keys() - self._done(root)
        self.latencies_ms = [(start - self.dropped[key]) / 1e6
                             for key, start in self.starts.items()]

    def _user(self, user, runs):
        last_end, newest = 0, ""
        for start, end, name in runs:
            # Nobody's file, or one that ends before it begins: another record's bytes.
            if (user, name) not in self.dropped or end < start:
                self.unknown += 1
                continue
            self.overlaps += start < last_end
            last_end = max(last_end, end)
            if (user, name) in self.starts:
                self.twice += 1
                continue
            self.starts[user, name] = start
            # A user's names rise in the order in which they were dropped.
            self.reordered += name < newest
            newest = max(newest, name)
        self.last_end = max(self.last_end, last_end)

    def _done(self, root):
        """What was run and is in done."""
        there = {(user, name) for user in os.listdir(root) if not user.startswith(".")
                 for name in os.listdir(os.path.join(root, user, "done"))}
        return there & self.starts.keys()

    def violations(self):
        found = {"lost": len(self.missing), "twice": self.twice, "reordered": self.reordered,
                 "overlapping": self.overlaps, "unknown": self.unknown, "torn": self.torn}
        return {what: n for what, n in found.items() if n}

    def latency(self, share):
        return percentile(self.latencies_ms, share)


def spread(values):
    """Median and the largest distance from it, in percent of it."""
    middle = statistics.median(values)
    away = max(abs(v - middle) for v in values) if middle else 0
    return middle, 100 * away / middle if middle else 0


def table(head, rows):
    """Aligned text: the first column to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    out = []
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)
