"""What must be so after a round."""

from collections import defaultdict
import os

import contents
import procs


class Judge:
    def __init__(self, game):
        self.game, self.spool = game, game.spool
        self.problems = []
        self.jobs = [j for j in self.spool.jobs() if j["user"] in game.users]
        self.count_jobs()
        self.nothing_lost()
        self.nothing_left()
        self.nothing_twice()
        self.order()
        self.problems += self.overlaps()
        self.vanished()
        self.nobody_left()
        self.problems += game.canaries.touched("moved.")
        self.doctor()

    def say(self, text):
        self.problems.append(text)

    def count_jobs(self):
        for job in self.jobs:
            self.game.figures[f"jobs {job['state']}"] += 1
        self.game.figures["attempts"] += len(self.spool.journal.starts())

    def nothing_lost(self):
        """Promise 1: what nobody took away is there, once."""
        found = defaultdict(list)
        for user in self.game.users:
            for name in contents.files(self.spool.path(user, "")):
                path = self.spool.path(user, "", name)
                if os.path.getsize(path) < 200:
                    with open(path, "rb") as file:
                        found[file.read()].append(name)
        for drop in self.game.drops:
            # What replaces its file makes a copy first.
            places = [[n for n in found[part] if not n.endswith("output/new")]
                      for part in drop.parts]
            for there in places:
                if len(there) > 1 or (not there and not drop.may_be_gone):
                    self.say(f"{drop.user}/{drop.name} (upload {drop.number}) is at {there}")
            # A directory stays together: done/NAME/a and done/NAME/sub/b.
            tops = {b"/".join(os.fsencode(n).split(b"/")[:2]) for there in places for n in there}
            if len(drop.parts) > 1 and len(tops) > 1:
                self.say(f"{drop.user}/{drop.name} (upload {drop.number}) is in pieces: {tops}")

    def nothing_left(self):
        # Private directories are kept for the next jobs for a moment.
        try:
            self.spool.wait_for(lambda: not any(os.listdir(self.spool.path(user, "processing"))
                                                for user in self.game.users))
        except AssertionError:
            pass  # what is left is named below
        for user in self.game.users:
            for place in ("incoming", "processing"):
                left = os.listdir(self.spool.path(user, place))
                if left:
                    self.say(f"left in {user}/{place}: {left}")

    def nothing_twice(self):
        """Promise 6: after a success that is known, never again, but for an
        operator's retry."""
        for job in self.jobs:
            if job["job"] in self.game.steered:
                continue
            outcomes = [a["outcome"] for a in self.spool.show(job["job"])["attempts"]]
            good = [n for n, outcome in enumerate(outcomes) if outcome == "succeeded"]
            if job["state"] == "done" and good != [len(outcomes) - 1]:
                self.say(f"job {job['job']} ({job['name']}) is done, its attempts: {outcomes}")
            if job["state"] != "done" and good:
                self.say(f"job {job['job']} ({job['name']}) is {job['state']}: {outcomes}")

    def order(self):
        """Promise 3: first starts in the order of the jobs' numbers, and those
        in the order in which files were moved in."""
        moved = {(d.user, d.name): d for d in self.game.drops if d.how == "mv"}
        twice = {(d.user, d.name) for d in self.game.drops} - set(moved)
        for user in ("ann", "ben", "cem"):
            first = list(dict.fromkeys(s.job for s in self.spool.journal.starts(user)
                                       if s.job not in self.game.steered))
            for a, b in zip(first, first[1:]):
                if a > b:
                    self.say(f"{user}: job {a} started before job {b}")
            names = [j["name"] for j in sorted(self.jobs, key=lambda j: j["job"])
                     if j["user"] == user]
            numbers = [moved[user, n].number for n in names
                       if (user, n) in moved and (user, n) not in twice and names.count(n) == 1
                       and not moved[user, n].may_be_gone]
            for a, b in zip(numbers, numbers[1:]):
                if a > b:
                    self.say(f"{user}: upload {a} got its place before upload {b}")

    def overlaps(self):
        return [f"{s.user}: {s.name} (job {s.job}, attempt {s.attempt}) started beside as many as "
                f"may run" for s in self.spool.journal.stamps() if s.what == "overlap"]

    def vanished(self):
        """Only files that their handlers or their uploaders removed vanish."""
        for job in self.jobs:
            if not (job["error"] or "").startswith("file vanished"):
                continue
            kind = job["name"].split("-", 1)[1].removesuffix(".x")
            drops = [d for d in self.game.drops if (d.user, d.name) == (job["user"], job["name"])]
            if not self.game.attacks[kind].keeps:
                self.game.figures["vanished: removed by the handler"] += 1
            elif all(d.may_be_gone for d in drops):
                self.game.figures["vanished: removed by the uploader"] += 1
            else:
                self.say(f"job {job['job']} ({job['name']}) vanished: nobody removed it")

    def nobody_left(self):
        path = os.path.join(self.spool.base, "staging", "strays")
        if os.path.exists(path):
            with open(path) as file:
                self.problems += [f"left behind: {procs.describe(int(p))}" for p in file
                                  if p.strip() and procs.alive(int(p))]
        leaks = os.path.join(self.spool.base, "staging", "leaks")
        if os.path.exists(leaks):
            with open(leaks) as file:
                self.say(f"a handler had {file.read()}")

    def doctor(self):
        report = self.spool.ctl("doctor", json=True, check=None).data
        self.problems += [f"doctor: {f['what']}" for f in report["findings"]
                          if f["level"] == "error"]
        log = self.spool.log()
        for word in ("ssertion", "what no worker should", "cannot be compared"):
            if word in log:
                self.say(f"the daemon says: {[x for x in log.splitlines() if word in x][:2]}")
