"""Would anybody notice a judge that does not see? Each of its rules broken in turn: the
made-up runs of check_report.py must show it."""

import os
import types

import check_report

HERE = os.path.dirname(os.path.abspath(__file__))
# What is in report.py, and what stands there instead.
BREAKS = [
    # What is read.
    ("rest = len(data) % layout.size", "rest = 0 if layout is STAMP else len(data) % layout.size"),
    ("if rest:\n", "if False:\n"),
    ("self.torn = 1 if rest else 0", "self.torn = 0"),
    ('decode(errors="backslashreplace")', "decode()"),
    # Lost.
    ("self.missing = self.dropped.keys() - self._done(root)", "self.missing = set()"),
    ("self.missing = self.dropped.keys() - self._done(root)",
     "self.missing = self.dropped.keys() - self.starts.keys()"),
    ("return there & self.starts.keys()", "return there"),
    ("return there & self.starts.keys()", "return self.starts.keys()"),
    ("there = {(user, name) for user", "there = {('u00000', name) for user"),
    ('if not user.startswith(".")', "if True"),
    ('"lost": len(self.missing)', '"lost": 0'),
    ('"lost": len(self.missing)', '"lost": len(self.dropped) - len(self.starts) - self.twice'),
    # Somebody's.
    ("if (user, name) not in self.dropped or", "if"),
    (" or end < start", ""),
    ("self.unknown += 1", "pass"),
    ('"unknown": self.unknown', '"unknown": 0'),
    ('"torn": self.torn', '"torn": 0'),
    # Once.
    ("if (user, name) in self.starts:", "if False:"),
    ("self.twice += 1", "self.twice = 1"),
    ("self.twice += 1", "pass"),
    ('"twice": self.twice', '"twice": 0'),
    ("self.starts[user, name] = start", "self.starts[user, name] = end"),
    # In order.
    ("sorted(runs_of_user)", "runs_of_user"),
    ("self.reordered += name < newest", "pass"),
    ("self.reordered += name < newest", "self.reordered += name > newest"),
    ("newest = max(newest, name)", "newest = name"),
    ("newest = max(newest, name)", "pass"),
    ('"reordered": self.reordered', '"reordered": 0'),
    # One at a time.
    ("self.overlaps += start < last_end", "pass"),
    ("self.overlaps += start < last_end", "self.overlaps += start <= last_end"),
    ("last_end = max(last_end, end)\n            if", "last_end = end\n            if"),
    ("last_end = max(last_end, end)\n            if", "if"),
    ("last_end, newest = 0, \"\"", "last_end, newest = self.last_end, \"\""),
    ('"overlapping": self.overlaps', '"overlapping": 0'),
    ("self.last_end = max(self.last_end, last_end)", "self.last_end = last_end - 10"),
    # Nothing made up.
    ("for what, n in found.items() if n}", "for what, n in found.items()}"),
    # Latencies.
    ("(start - self.dropped[key]) / 1e6", "(start - self.dropped[key]) / 1e9"),
    ("(start - self.dropped[key]) / 1e6", "start / 1e6"),
    ("percentile(self.latencies_ms, share)", "percentile(self.latencies_ms, 0.5)"),
    ("if not values:", "if values == 0:"),
    ("sorted(values)[min(", "values[min("),
    ("min(len(values) - 1, int(len(values) * share))", "int(len(values) * share)"),
    ("int(len(values) * share)", "int(len(values) * share) - 1"),
    # Of several.
    ("statistics.median(values)", "statistics.mean(values)"),
    ("max(abs(v - middle)", "max(v - middle"),
    ("max(abs(v - middle) for", "min(abs(v - middle) for"),
    ("100 * away / middle if middle else 0", "100 * away / middle"),
]


def run():
    """Returns how many were noticed, and how many not."""
    with open(os.path.join(HERE, "report.py")) as file:
        source = file.read()
    unseen = 0
    for old, new in BREAKS:
        broken = types.ModuleType("broken")
        if source.count(old) != 1:
            print(f"FAILED: report.py has {old!r} {source.count(old)} times")
            unseen += 1
            continue
        exec(source.replace(old, new), vars(broken))
        if not any(check_report.failures(broken)):
            print(f"FAILED: nobody notices {new!r} instead of {old!r}")
            unseen += 1
    return len(BREAKS) - unseen, unseen
