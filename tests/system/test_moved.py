"""What an admin does to the directories of users while spoold runs: removed, moved away,
put back, made by hand."""

import grp
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import time

from harness import GATE, NO_DAEMON, SystemTest, root_only


def natural(name):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def make_account(test, head):
    name = f"{head}{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", name], check=True)
    test.addCleanup(subprocess.run, ["userdel", name], stderr=subprocess.DEVNULL, check=False)
    return name


class Removed(SystemTest):
    def test_user_can_be_removed(self):
        """A user's directory is not made anew under the hands of who removes it."""
        spool = self.spool(users=("alice", "bob"))
        spool.drop("bob", "a.csv")
        spool.wait_state("a.csv", "done", "bob")
        for n in range(5):
            os.makedirs(os.path.join(spool.root, "carol"))
            spool.wait_for(lambda: os.path.exists(os.path.join(spool.root, "carol", "failed")),
                           what="carol to be met")
            # What was seen of it by now was worked off: its lock is made last.
            spool.drop("alice", f"made{n}.csv")
            spool.wait_state(f"made{n}.csv", "done")
            at = spool.log_size()
            shutil.rmtree(os.path.join(spool.root, "carol"))
            spool.drop("alice", f"{n}.csv")
            spool.wait_state(f"{n}.csv", "done")
            self.assertFalse(os.path.exists(os.path.join(spool.root, "carol")), spool.log(at))
        spool.wait_for(lambda: "carol" not in [u["user"] for u in spool.status()["users"]],
                       what="carol to be shown no more")
        asked = spool.ctl("status", "carol", json=True).data["users"]
        self.assertIn("is gone", asked[0]["problem"])

    def test_what_is_known_of_a_removed_one(self):
        """That it is none any more, and what it had; with and without a daemon."""
        spool = self.spool(users=("alice", "bob"))
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        os.rename(os.path.join(spool.root, "alice"), os.path.join(spool.base, "aside"))
        spool.wait_for(lambda: [u["user"] for u in spool.status()["users"]] == ["bob"],
                       what="alice to be shown no more")
        for code in (0, NO_DAEMON):
            row = spool.ctl("status", "alice", json=True, check=code).data["users"][0]
            self.assertEqual((row["removed"], row["done"]), (True, 1))
            said = spool.ctl("status", "alice", check=code).out
            self.assertRegex(said, r"(?m)^alice +removed .* 1 +0 ")
            self.assertIn("there is no such user any more", said)
            self.assertIn("spoolctl list alice", said)
            self.assertIn("a.csv", spool.ctl("list", "alice", check=code).out)
            row = spool.ctl("status", "bob", json=True, check=code).data["users"][0]
            self.assertEqual((row["removed"], row.get("problem")), (False, None))
            if code == 0:
                spool.stop()
        os.rename(os.path.join(spool.base, "aside"), os.path.join(spool.root, "alice"))

    def test_user_comes_back(self):
        """And is one as before, with what it had. That it went is seen without a rescan."""
        spool = self.spool({"scheduler_settings": {"interval_minutes": 60}}, users=("alice", "bob"))
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        aside = os.path.join(spool.base, "aside")
        os.rename(os.path.join(spool.root, "alice"), aside)
        spool.wait_for(lambda: [u["user"] for u in spool.status()["users"]] == ["bob"],
                       what="alice to be shown no more")
        os.rename(aside, os.path.join(spool.root, "alice"))
        spool.wait_for(lambda: "alice" in [u["user"] for u in spool.status()["users"]],
                       what="alice to be shown again")
        self.assertIsNone(spool.user("alice")["problem"])
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done")
        self.assertEqual(spool.user("alice")["done"], 2)

    def test_incoming_is_made_anew(self):
        """Promise 7: but who lost it gets it back by itself."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        os.rmdir(spool.path("alice"))
        spool.wait_for(lambda: os.path.isdir(spool.path("alice")), what="incoming")
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done")

    def test_user_that_is_busy_is_moved_away_and_back(self):
        """Promise 1: nothing is made in its place meanwhile, and its job goes on."""
        spool = self.spool(handler=GATE)
        user, aside = os.path.join(spool.root, "alice"), os.path.join(spool.base, "aside")
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        os.rename(user, aside)
        spool.open_gate()
        spool.wait_log(r"job 1 is done but its file cannot be moved")
        self.assertFalse(os.path.exists(user))
        os.rename(aside, user)
        spool.wait_for(lambda: os.path.exists(spool.path("alice", "done", "a.csv")), what="its end")
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done")


class Replaced(SystemTest):
    """Another directory comes in the place of a user's, as where an admin puts a backup back."""

    def replace(self, spool, user="alice"):
        new = os.path.join(spool.base, "new")
        os.makedirs(os.path.join(new, "incoming"))
        os.rename(os.path.join(spool.root, user), os.path.join(spool.base, "gone-" + user))
        os.rename(new, os.path.join(spool.root, user))

    def test_its_lock_is_taken(self):
        """Promises 4 and 6: the lock is that of the directory where jobs run, so that the next
        spoold knows that a worker is at work there."""
        spool = self.spool(handler="case $SPOOL_NAME in long*) gate ;; esac\n")
        spool.drop("alice", "short.csv")
        spool.wait_file("short.csv")
        self.replace(spool)
        spool.forget("alice", "short.csv")
        spool.drop("alice", "long.csv")
        spool.wait_started("long.csv")
        spool.kill9()
        spool.restart()
        spool.wait_log("an earlier worker still runs")
        spool.open_gate()
        self.assertEqual(spool.wait_state("long.csv", "done")["attempt"], 1)
        self.assertEqual(len(spool.journal.starts("alice", "long.csv")), 1)

    def test_what_runs_in_the_old_one_ends_first(self):
        """Promise 4: one at a time."""
        spool = self.spool(handler="case $SPOOL_NAME in long*) gate ;; esac\n")
        spool.drop("alice", "long.csv")
        spool.wait_started("long.csv")
        self.replace(spool)
        spool.drop("alice", "next.csv")
        spool.wait_state("next.csv", "pending")
        spool.wait_log("a job runs in the directory that was there before")
        self.assertEqual(spool.journal.starts("alice", "next.csv"), [])
        spool.open_gate()
        spool.wait_state("next.csv", "done")
        spool.forget("alice", "long.csv")

    def test_what_came_first_is_first(self):
        """Promise 3: what came before the new directory was watched is found by a scan, which
        waits for those of others; what came after it waits for that."""
        others, replaced, files = 80, ("x0", "x1", "x2", "x3", "x4", "x5"), 24
        spool = self.spool({"job_processing": {"auto_start_processing": False},
                            "spool": {"settle_seconds": 0.1}},
                           users=tuple(f"a{n}" for n in range(others)) + replaced, start=False)
        for n in range(others):
            for i in range(30):
                spool.drop(f"a{n}", f"{i}.csv", b"x")
        for user in replaced:
            spool.drop(user, "first.csv", b"x")
        spool.next_tick()
        spool.start(wait=False)
        order = [f"{n:02}.csv" for n in range(files)]
        for user in replaced:
            spool.wait_log(f"user {user}: job \\d+ is first.csv")
            spool.forget(user, "first.csv")
            self.replace(spool, user)
            for name in order:
                spool.drop(user, name, b"y", how="mv")
                time.sleep(0.002)
        for user in replaced:
            spool.wait_for(lambda: spool.user(user)["pending"] >= files, what="its jobs")
            found = re.findall(rf"user {user}: job \d+ is (\d+\.csv)", spool.log())
            self.assertEqual(found, order, user)

    def test_one_that_is_gone_again_is_not_made(self):
        """An event is old when it is read."""
        spool = self.spool()
        os.makedirs(os.path.join(spool.base, "new", "incoming"))
        os.kill(spool.daemon.pid, signal.SIGSTOP)
        os.rename(os.path.join(spool.base, "new"), os.path.join(spool.root, "carol"))
        os.rename(os.path.join(spool.root, "carol"), os.path.join(spool.base, "gone"))
        os.kill(spool.daemon.pid, signal.SIGCONT)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertFalse(os.path.exists(os.path.join(spool.root, "carol")))
        self.assertIsNone(spool.user("carol"))


class Made(SystemTest):
    @root_only
    def test_directory_made_by_hand_is_its_accounts(self):
        """As with 'spoolctl user add': else she could not upload."""
        name = make_account(self, "spt")
        spool = self.spool()
        os.mkdir(os.path.join(spool.root, name))
        spool.wait_for(lambda: os.path.isdir(spool.path(name, "failed")), what="its directories")
        self.assertEqual(os.stat(spool.path(name)).st_uid, pwd.getpwnam(name).pw_uid)
        self.assertEqual(spool.ctl("user", "check", name, json=True).data["findings"], [])


class Logs(SystemTest):
    @root_only
    def test_account_reads_the_log_of_any_upload(self):
        """Promise 7: whatever group the file came with; root brought one of these."""
        name = make_account(self, "spl")
        spool = self.spool(handler="exit 65\n")
        spool.ctl("user", "add", name)
        account = pwd.getpwnam(name)
        for file, gid in (("roots.csv", 0), ("users.csv", grp.getgrnam("users").gr_gid)):
            path = spool.path(name, "incoming", "." + file)
            with open(path, "w") as out:
                out.write("x")
            os.chown(path, account.pw_uid if gid != 0 else 0, gid)
            os.rename(path, spool.path(name, "incoming", file))
            spool.wait_state(file, "failed", name)
            spool.wait_for(lambda: os.path.exists(spool.path(name, "failed", file + ".log")),
                           what="its log")
            st = os.stat(spool.path(name, "failed", file + ".log"))
            self.assertEqual((st.st_gid, stat.S_IMODE(st.st_mode)), (account.pw_gid, 0o640))


class Order(SystemTest):
    def test_pages_of_one_moment(self):
        """Promise 3: what came within one tick of the file system's clock, before spoold
        was there, goes by number."""
        spool = self.spool(start=False)
        pages = [f"page{n}.pdf" for n in range(1, 41)]
        for page in pages:
            with open(spool.path("alice", "incoming", page), "w"):
                pass
        came = {page: os.stat(spool.path("alice", "incoming", page)).st_ctime_ns for page in pages}
        self.assertLess(len(set(came.values())), len(pages), "the clock of this file system is fine")
        spool.start()
        spool.wait_for(lambda: len(os.listdir(spool.path("alice", "done"))) == len(pages),
                       what="all of them")
        self.assertEqual(spool.journal.order("alice"),
                         sorted(pages, key=lambda page: (came[page], natural(page))))
