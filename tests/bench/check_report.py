"""Does the judge see what is wrong? Made-up runs, each with one fault."""

import os
import shutil
import tempfile

import report


def judge(stamps, done=((0, 0), (0, 1), (0, 2))):
    """Three files of one user were dropped; `stamps` are (number, start, end)."""
    directory = tempfile.mkdtemp()
    try:
        root = os.path.join(directory, "spool")
        os.makedirs(os.path.join(root, "u00000", "done"))
        for user, number in done:
            open(os.path.join(root, f"u{user:05}", "done", f"f{number:07}.csv"), "w").close()
        with open(os.path.join(directory, "drops"), "wb") as file:
            for number in range(3):
                file.write(report.DROP.pack(number, 0, number))
        with open(os.path.join(directory, "stamps"), "wb") as file:
            for number, start, end in stamps:
                file.write(report.STAMP.pack(start, end, b"u00000", b"f%07d.csv" % number))
        return report.Run(root, os.path.join(directory, "drops"),
                          os.path.join(directory, "stamps")).violations()
    finally:
        shutil.rmtree(directory)


GOOD = [(0, 10, 11), (1, 20, 21), (2, 30, 31)]
CASES = [
    ("nothing is wrong", judge, (GOOD,), {}),
    ("one was never run", judge, (GOOD[:2], ((0, 0), (0, 1))), {"lost": 1}),
    ("one is not in done", judge, (GOOD, ((0, 0), (0, 1))), {"lost": 1}),
    ("one ran twice", judge, ([*GOOD, (2, 40, 41)],), {"twice": 1}),
    ("the last came first", judge, ([(2, 5, 6), *GOOD[:2]],), {"reordered": 2}),
    ("two side by side", judge, ([(0, 10, 25), *GOOD[1:]],), {"overlapping": 1}),
]


def run():
    """Returns how many passed and failed."""
    failed = 0
    for name, function, arguments, wanted in CASES:
        found = function(*arguments)
        if found != wanted:
            print(f"FAILED: the judge, {name}: {found} instead of {wanted}")
            failed += 1
    return len(CASES) - failed, failed
