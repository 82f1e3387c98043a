"""Does the judge see what is wrong? Made-up runs, each with one fault. Two users, three
files of each; one user's files run while the other's do, as they may."""

import os
import shutil
import tempfile

import report

FILES = [(user, number) for user in range(2) for number in range(3)]
# (user, number, start, end): the next one of a user may start when the one before ends.
FIRST = [(0, 0, 10, 15), (0, 1, 20, 25), (0, 2, 30, 35)]
SECOND = [(1, 0, 12, 22), (1, 1, 22, 32), (1, 2, 32, 42)]
GOOD = FIRST + SECOND
MS = 1_000_000


def user_of(user):
    return f"u{user:05}"


def name_of(number):
    return f"f{number:07}.csv"


def stamp(user, number, start, end):
    return report.STAMP.pack(start, end, user_of(user).encode(), name_of(number).encode())


def made_up(judge, stamps, done=FILES, tick_ns=1, torn=b""):
    """What `judge` makes of it. A user's file n was dropped n ticks after the first."""
    directory = tempfile.mkdtemp()
    drops, stamped = os.path.join(directory, "drops"), os.path.join(directory, "stamps")
    try:
        root = os.path.join(directory, "spool")
        os.makedirs(os.path.join(root, ".spoold"))
        for user in (0, 1):
            os.makedirs(os.path.join(root, user_of(user), "done"))
        for user, number in done:
            open(os.path.join(root, user_of(user), "done", name_of(number)), "w").close()
        with open(drops, "wb") as file:
            for user, number in FILES:
                file.write(report.DROP.pack(number * tick_ns, user, number))
            file.write(torn)
        with open(stamped, "wb") as file:
            for one in stamps:
                file.write(one if isinstance(one, bytes) else stamp(*one))
        return judge.Run(root, drops, stamped)
    finally:
        shutil.rmtree(directory)


def violations(judge, *what, **more):
    return made_up(judge, *what, **more).violations()


def latencies(judge, *shares):
    """The later a file was dropped, the less it waited: 100, 50 and 10 ms."""
    waits = {0: 100, 1: 50, 2: 10}
    runs = [(u, n, (n + waits[n]) * MS, (n + 100) * MS) for u, n in FILES]
    run = made_up(judge, runs, tick_ns=MS)
    return [run.latency(share) for share in shares]


def last_end(judge):
    return made_up(judge, GOOD).last_end


def torn_drops(judge):
    try:
        made_up(judge, GOOD, torn=b"x")
    except ValueError:
        return "refused"
    return "taken"


def percentile(judge, values, share):
    return judge.percentile(values, share)


def spread(judge, values):
    return judge.spread(values)


def without(*which):
    return [one for one in FILES if one not in which]


UP_TO_100 = list(range(100, 0, -1))
# What is asked, with what, and the answer.
CASES = [
    ("nothing is wrong", violations, (GOOD,), {}),
    ("one was never run", violations, (GOOD[:5], without((1, 2))), {"lost": 1}),
    ("one was run and is not in done", violations, (GOOD, without((0, 1))), {"lost": 1}),
    ("one is in done and was never run", violations, (GOOD[:5],), {"lost": 1}),
    ("nothing was run", violations, ([], []), {"lost": 6}),
    ("one ran twice", violations, ([*GOOD, (0, 2, 40, 41)],), {"twice": 1}),
    ("one ran three times", violations, ([*GOOD, (0, 2, 40, 41), (0, 2, 50, 51)],), {"twice": 2}),
    ("one ran twice and another was lost", violations,
     ([*GOOD[:5], (0, 2, 40, 41)], without((1, 2))), {"lost": 1, "twice": 1}),
    ("one ran beside itself", violations, ([*GOOD, (0, 2, 31, 32)],),
     {"twice": 1, "overlapping": 1}),
    ("the last came first", violations, ([(0, 2, 5, 6), *FIRST[:2], *SECOND],), {"reordered": 2}),
    ("two changed places", violations, ([(0, 1, 12, 15), (0, 0, 20, 25), FIRST[2], *SECOND],),
     {"reordered": 1}),
    ("two side by side", violations, ([(0, 0, 10, 21), *FIRST[1:], *SECOND],), {"overlapping": 1}),
    ("two beside a long one", violations, ([(0, 0, 10, 31), *FIRST[1:], *SECOND],),
     {"overlapping": 2}),
    ("they were stamped late", violations, ([*reversed(GOOD)],), {}),
    ("nobody's file", violations, ([*GOOD, (0, 7, 40, 41)],), {"unknown": 1}),
    ("nobody's user", violations, ([*GOOD, (7, 0, 12, 13)],), {"unknown": 1}),
    ("one ends before it begins", violations, ([*GOOD[:5], (1, 2, 32, 31)],),
     {"lost": 1, "unknown": 1}),
    ("no text", violations, ([*GOOD, b"\xff" * report.STAMP.size],), {"unknown": 1}),
    ("the last stamp is torn", violations, ([*GOOD[:5], stamp(*GOOD[5])[:-1]],),
     {"lost": 1, "torn": 1}),
    ("a torn stamp before others", violations, ([stamp(*GOOD[0])[:20], *GOOD[1:]],),
     {"lost": 6, "unknown": 5, "torn": 1}),
    ("torn drops", torn_drops, (), "refused"),
    ("the end of the last", last_end, (), 42),
    ("latencies", latencies, (0, 0.5, 0.99), [10, 50, 100]),
    ("a median", percentile, (UP_TO_100, 0.5), 51),
    ("one in a hundred", percentile, (UP_TO_100, 0.99), 100),
    ("nearly one in a hundred", percentile, (UP_TO_100, 0.98), 99),
    ("the largest", percentile, (UP_TO_100, 1), 100),
    ("percentile of one", percentile, ([7], 0.99), 7),
    ("percentile of nothing", percentile, ([], 0.5), None),
    ("a spread upwards", spread, ([90, 100, 150],), (100, 50)),
    ("a spread downwards", spread, ([40, 100, 110],), (100, 60)),
    ("no spread", spread, ([7],), (7, 0)),
    ("a spread of nothing", spread, ([0, 0],), (0, 0)),
]


def failures(judge):
    """What `judge`, the module report or another in its place, gets wrong."""
    for name, function, arguments, wanted in CASES:
        try:
            found = function(judge, *arguments)
        except Exception as error:
            found = repr(error)
        if found != wanted:
            yield f"{name}: {found} instead of {wanted}"


def run():
    """Returns how many passed and failed."""
    failed = list(failures(report))
    for text in failed:
        print(f"FAILED: the judge, {text}")
    return len(CASES) - len(failed), len(failed)
