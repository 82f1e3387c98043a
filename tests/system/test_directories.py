"""Directories in incoming: every file in them becomes one job, however they
come, and nothing of them is left behind."""

import collections
import os
import subprocess
import threading
import time

from harness import OK, SystemTest, limit

SOON = {"tidy_after_seconds": 0}  # settle_seconds of the tests, that is


def directories(top):
    """Those below it."""
    return [os.path.relpath(os.path.join(path, name), top)
            for path, names, _ in os.walk(top) for name in names]


class Tidy(SystemTest):
    def upload(self, spool, names, user="alice"):
        """A tree, copied in; until all of it is done."""
        for name in names:
            spool.drop(user, name)
        for name in names:
            spool.wait_state(name, "done", user)

    def left(self, spool, user="alice"):
        return sorted(directories(spool.path(user)))

    def wait_tidy(self, spool, expected=(), user="alice"):
        spool.wait_for(lambda: self.left(spool, user) == sorted(expected),
                       what="emptied directories to be removed")

    def test_emptied_directories_go(self):
        """The paths are kept in done; incoming gets no fuller, and what an uploader
        keeps or has just made stays."""
        spool = self.spool({"spool": SOON})
        os.mkdir(spool.path("alice", "incoming", "made"))
        os.makedirs(spool.path("alice", "incoming", "kept/by/hand"))
        with open(spool.path("alice", "incoming", "kept/by/hand/.keep"), "w"):
            pass
        names = ["tree/a.csv", "tree/deep/er/b.csv", "tree/deep/c.csv", "flat/d.csv",
                 "kept/e.csv", "kept/by/f.csv"]
        self.upload(spool, names)
        self.wait_tidy(spool, ["made", "kept", "kept/by", "kept/by/hand"])
        for name in names:
            self.assertTrue(os.path.exists(spool.path("alice", "done", name)), name)
        self.assertTrue(os.path.isdir(spool.path("alice", "incoming")))
        # The same paths once more.
        spool.drop("alice", "tree/deep/er/b.csv", b"again")
        spool.wait_for(lambda: [j["state"] for j in spool.jobs("alice")
                                if j["name"] == "tree/deep/er/b.csv"] == ["done"] * 2,
                       what="the second to be done")
        self.wait_tidy(spool, ["made", "kept", "kept/by", "kept/by/hand"])

    def test_not_while_something_is_on_its_way(self):
        """A file that waits, or a transfer under a temporary name, keeps its whole
        tree; a tree beside it goes."""
        spool = self.spool({"spool": {**SOON, "completion": "marker"}})
        for path in ("a/taken.csv", "b/taken.csv", "c/taken.csv"):
            spool.drop("alice", path)
            spool.drop("alice", path + ".done", b"")
            os.makedirs(spool.path("alice", "incoming", path[0] + "/next"))
        spool.drop("alice", "a/next/x.csv")
        with open(spool.path("alice", "incoming", "b/next/.x.csv.Ab12Cd"), "w"):
            os.rmdir(spool.path("alice", "incoming", "c/next"))
            for path in ("a/taken.csv", "b/taken.csv", "c/taken.csv"):
                spool.wait_state(path, "done")
            self.wait_tidy(spool, ["a", "a/next", "b", "b/next"])
            spool.ctl("rescan")
        os.rename(spool.path("alice", "incoming", "b/next/.x.csv.Ab12Cd"),
                  spool.path("alice", "incoming", "b/next/x.csv"))
        for path in ("a/next/x.csv", "b/next/x.csv"):
            spool.drop("alice", path + ".done", b"")
            spool.wait_state(path, "done")
        spool.expect("alice", "b/next/x.csv", b"")
        self.wait_tidy(spool)

    def test_only_where_it_is_wanted(self):
        spool = self.spool({"spool": SOON, "users": {"bob": {"tidy_empty_directories": False}}},
                           users=("alice", "bob"))
        for user in ("bob", "alice"):
            self.upload(spool, ["tree/a.csv"], user)
        self.wait_tidy(spool)
        self.assertEqual(self.left(spool, "bob"), ["tree"])
        spool.configure({"users": {"bob": {"tidy_empty_directories": True}}})
        spool.ctl("reload")
        self.wait_tidy(spool, user="bob")

    def test_what_an_earlier_daemon_left_is_found(self):
        """Nothing about it is kept but the directory itself."""
        spool = self.spool()  # five minutes
        self.upload(spool, ["tree/deep/a.csv"])
        spool.kill9()
        spool.configure({"spool": SOON})
        self.assertEqual(self.left(spool), ["tree", "tree/deep"])
        spool.restart()
        self.wait_tidy(spool)

    def test_polled(self):
        spool = self.spool({"spool": {**SOON, "watch": "poll", "poll_seconds": 0.3}})
        self.upload(spool, ["tree/deep/a.csv"])
        self.wait_tidy(spool)

    def test_swapped_for_links_it_leads_nowhere(self):
        """Parts of emptied trees become links to other directories about when they
        are due: those are not touched."""
        spool = self.spool({"spool": SOON})
        outside = os.path.join(spool.base, "outside")
        for n in range(20):
            os.makedirs(os.path.join(outside, "deep", str(n)))
        for n in range(10):
            tree = os.path.join(spool.base, "staging", f"tree{n}")
            for directory in range(20):
                os.makedirs(os.path.join(tree, "deep", str(directory)))
                path = os.path.join(tree, "deep", str(directory), "used")
                open(path, "w").close()
                os.unlink(path)
            landed = os.fsdecode(spool.path("alice", "incoming", f"tree{n}"))
            os.rename(tree, landed)
            due = time.monotonic() + 0.2 + n * 0.005
            spool.ctl("rescan")
            while time.monotonic() < due:
                pass
            try:
                os.rename(os.path.join(landed, "deep"), os.path.join(spool.base, f"aside{n}"))
                os.symlink(os.path.join(outside, "deep"), os.path.join(landed, "deep"))
            except FileNotFoundError:
                pass  # it was removed before
            spool.ctl("rescan")
        spool.drop("alice", "last.csv")
        spool.wait_state("last.csv", "done")
        self.assertEqual(len(directories(outside)), 21)

    def test_nothing_of_ours_is_left(self):
        """Retention removes the directories in done and failed with the last file in
        them; processing is empty when all is over."""
        short = {"cleanup_completed_jobs_days": 1 / 86400, "cleanup_failed_jobs_days": 1 / 86400,
                 "max_retries": 0}
        spool = self.spool({"spool": SOON, "scheduler_settings": short},
                           handler='case "$SPOOL_NAME" in *bad*) exit 1 ;; esac')
        spool.check_contents = False
        for name in ("tree/a.csv", "tree/deep/er/b.csv", "tree/deep/bad.csv"):
            spool.drop("alice", name)
        spool.wait_for(lambda: spool.jobs("alice") == [] and len(spool.journal.starts("alice")) == 3
                       or None, what="all to be past its time")
        self.wait_tidy(spool)
        for place in ("processing", "done", "failed"):
            self.assertEqual(os.listdir(spool.path("alice", place)), [], place)


class Stress(SystemTest):
    """A handler that does nothing: what counts is what comes in."""

    USERS = ("alice", "bob", "carol", "dave")

    def fast(self, **over):
        spool = self.spool({"handler": {"command": ["/bin/true", "{file}"]},
                            "scheduler_settings": {"max_concurrent_jobs": 4}, **over},
                           users=self.USERS)
        spool.names = {user: [] for user in self.USERS}
        return spool

    def put(self, spool, user, name, top=None):
        path = os.path.join(top or spool.path(user), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(f"{user} {name}\n")
        spool.names[user].append(name)

    def judge(self, spool, seconds=200):
        """Each file is one job, done under its path with its content."""
        for user, names in spool.names.items():
            for name in names:
                spool.expect(user, name, f"{user} {name}\n".encode())
            spool.wait_for(lambda: spool.user(user)["done"] >= len(names), seconds,
                           f"{len(names)} files of {user} to be done")
        spool.ctl("rescan")
        for user in self.USERS:
            spool.drop(user, "last.csv")
            spool.wait_state("last.csv", "done", user)
        for user, names in spool.names.items():
            count = collections.Counter(job["name"] for job in spool.jobs(user))
            self.assertEqual(count, collections.Counter([*names, "last.csv"]), user)
            self.assertEqual(sorted(spool.files(user, "done")), sorted([*names, "last.csv"]))

    def all_gone(self, spool):
        spool.configure({"spool": SOON})
        spool.ctl("reload")
        for user in self.USERS:
            spool.wait_for(lambda: directories(spool.path(user)) == [],
                           what=f"the directories of {user} to be removed")

    @limit(400)
    def test_filled_faster_than_they_are_watched(self):
        """Made one in the other and filled at once, by four writers, while files right in
        incoming go on."""
        spool = self.fast()

        def write(user):
            for n in range(150):
                self.put(spool, user, f"{n % 7}/{n}/a.csv")
                self.put(spool, user, f"{n % 7}/{n}/x/y/z/b.csv")
                self.put(spool, user, f"{n % 7}/c{n}.csv")
                self.put(spool, user, f"top{n}.csv")

        writers = [threading.Thread(target=write, args=(user,)) for user in self.USERS]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        self.judge(spool)
        self.all_gone(spool)

    @limit(400)
    def test_moved_in_whole(self):
        """Thousands of directories by one rename each, 30 levels deep the one, flat
        the other; and renamed once more while they are looked at."""
        spool = self.fast()
        for user in self.USERS:
            top = os.path.join(spool.base, "staging", user)
            os.mkdir(top)
            for n in range(6):
                deep = "/".join([f"deep{n}", *(str(level) for level in range(28))])
                for level in (5, 18, 29):
                    self.put(spool, user, "/".join(deep.split("/")[:level]) + "/x.csv", top)
            for n in range(400):
                self.put(spool, user, f"wide/{n}/inner/x.csv", top)
        for user in self.USERS:
            top = os.path.join(spool.base, "staging", user)
            for name in os.listdir(top):
                os.rename(os.path.join(top, name), spool.path(user, "incoming", name))
        self.judge(spool)
        self.all_gone(spool)

    @limit(400)
    def test_moved_about(self):
        """A directory that is renamed within incoming while it is filled: each file is
        one job under one of the names it had, and none is left over."""
        spool = self.fast(spool={"settle_seconds": 1})
        total = 40
        for n in range(total):
            first, second = (os.fsdecode(spool.path("alice", "incoming", name))
                             for name in (f"first{n}", f"second{n}"))
            os.mkdir(first)
            with open(os.path.join(first, f"{n}.csv"), "w") as file:
                file.write(f"{n}\n")
            os.rename(first, second)
            with open(os.path.join(second, f"more{n}.csv"), "w") as file:
                file.write(f"more {n}\n")
        spool.wait_for(lambda: spool.user("alice")["done"] == 2 * total, 200, "all to be done")
        names = collections.Counter(os.path.basename(job["name"]) for job in spool.jobs("alice")
                                    if job["state"] == "done")
        self.assertEqual(set(names.values()), {1})
        self.assertEqual(len(names), 2 * total)
        self.assertEqual([path for path in spool.files("alice", "incoming")], [])
        self.all_gone(spool)


class Nested(SystemTest):
    def test_too_deep_is_said_and_the_rest_goes_on(self):
        """More than 32 levels are not followed: told in the log, and what is beside them
        is taken."""
        spool = self.spool({"spool": SOON}, handler=OK)
        deep = "/".join(["d"] * 40)
        os.makedirs(spool.path("alice", "incoming", deep))
        subprocess.run(["touch", os.fsdecode(spool.path("alice", "incoming", deep)) + "/x"],
                       check=True)
        spool.drop("alice", "d/d/beside.csv")
        spool.wait_state("d/d/beside.csv", "done")
        spool.ctl("rescan")
        spool.wait_log("nested too deep")
        self.assertTrue(os.path.exists(spool.path("alice", "incoming", deep + "/x")))
