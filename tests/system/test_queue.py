"""The line: order, turns, limits, holds, retries."""

import os
import random
import signal
import threading
import time

from harness import BAD_FAILS, FAILED, GATE, NO_DAEMON, OK, USAGE, SystemTest, limit

BRIEF = "sleep 0.03\nexit 0\n"


class Order(SystemTest):
    def test_fifty_files_in_order(self):
        """Promise 3: first in, first out per user, whatever the names."""
        spool = self.spool()
        names = [f"f{n:02}.csv" for n in range(50)]
        random.Random(42).shuffle(names)
        for name in names:
            spool.drop("alice", name)
            spool.next_tick()
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 50, what="50 files in done")
        self.assertEqual(spool.journal.order("alice"), names)
        self.assertEqual(len(spool.journal.starts("alice")), 50)
        self.assertEqual(spool.journal.most_at_once("alice"), 1)

    def test_while_incoming_is_looked_through(self):
        """Promise 3: who comes within the same tick of the kernel, by which files are stamped, keeps
        the order of the events, though a scan finds them, too; whatever the names."""
        spool = self.spool({"spool": {"durability": "relaxed"},
                            "job_processing": {"auto_start_processing": False}})
        names = [f"f{n:04}.csv" for n in range(1500)]
        random.Random(42).shuffle(names)
        staging = os.path.join(spool.base, "staging")
        for name in names:
            with open(os.path.join(staging, name), "wb") as file:
                file.write(b"x")
        spool.check_contents = False
        over = threading.Event()

        def look_through():
            while not over.is_set():
                spool.ctl("rescan")

        scans = threading.Thread(target=look_through)
        scans.start()
        try:
            for n, name in enumerate(names):
                os.rename(os.path.join(staging, name), spool.path("alice", "incoming", name))
                if n % 3 == 0:
                    time.sleep(0.0001)  # else they are all there before one scan is asked for
            spool.wait_for(lambda: spool.user("alice")["pending"] == len(names), what="all in line")
        finally:
            over.set()
            scans.join()
        jobs = sorted(spool.jobs("alice"), key=lambda job: job["job"])
        self.assertEqual([job["name"] for job in jobs], names)

    def test_beside_new_directories(self):
        """Promise 3: what comes into a directory before that is watched has no event; it does not
        pass what came before it within the same tick, and has one."""
        spool = self.spool({"spool": {"durability": "relaxed"},
                            "job_processing": {"auto_start_processing": False}})
        names = [f"{n:03}a" if n % 2 == 0 else f"{n:03}b/x" for n in range(400)]
        staging = os.path.join(spool.base, "staging")
        for name in names:
            with open(os.path.join(staging, name[:4]), "wb") as file:
                file.write(b"x")
        spool.check_contents = False
        for n, name in enumerate(names):
            if n % 2 == 1:
                os.mkdir(spool.path("alice", "incoming", name[:4]))
            os.rename(os.path.join(staging, name[:4]), spool.path("alice", "incoming", name))
            if n % 8 == 7:
                time.sleep(0.001)
        spool.wait_for(lambda: spool.user("alice")["pending"] == len(names), what="all in line")
        jobs = sorted(spool.jobs("alice"), key=lambda job: job["job"])
        self.assertEqual([job["name"] for job in jobs], names)

    def test_order_survives_a_restart(self):
        """Promises 2 and 3: the place in the line is kept across restarts."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        names = [f"f{n}.csv" for n in (5, 3, 9, 1, 7)]
        for name in names:
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        spool.kill9()
        spool.restart()
        spool.ctl("start")
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 5, what="all in done")
        self.assertEqual(spool.journal.order("alice"), names)

    def test_order_of_what_arrives_during_a_start(self):
        """Promise 3: what a start finds, some of it too young to be taken at
        once, and what is moved in meanwhile make one line."""
        users = [f"user{n}" for n in range(4)]
        names = [f"{n:03}.csv" for n in range(60)]
        spool = self.spool({"job_processing": {"auto_start_processing": False}}, users=users)
        for user in users:
            for n in range(600):  # the look around takes a while
                spool.drop(user, f".{n}", how="mv")
        spool.kill9()
        for name in names:
            for user in users:
                spool.drop(user, name, how="mv")
            if name == names[20]:
                spool.start(init=False, wait=False)
        spool.wait_for(spool.answers, 30, "spoold to answer status")
        spool.wait_for(lambda: all(u["pending"] == len(names) for u in spool.status()["users"]),
                       what="all to be pending")
        for user in users:
            self.assertEqual([j["name"] for j in spool.jobs(user)], names)

    def test_every_job_is_listed_once(self):
        """Promise 7: every job is listed once, with its size."""
        spool = self.spool()
        for n in range(5):
            spool.drop("alice", f"{n}.csv", b"x" * n)
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 5, what="all in done")
        spool.wait_for(lambda: spool.user("alice")["done"] == 5, what="done: 5")
        sizes = {j["name"]: j["size"] for j in spool.jobs("alice")}
        self.assertEqual(sizes, {f"{n}.csv": n for n in range(5)})


class Limits(SystemTest):
    def test_max_concurrent_jobs(self):
        """Section 7: never more running attempts than max_concurrent_jobs."""
        users = [f"u{n}" for n in range(6)]
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 2}}, users=users,
                           handler=BRIEF)
        for n in range(3):
            for user in users:
                spool.drop(user, f"{n}.csv")
        spool.wait_for(lambda: len(spool.journal.ends()) == 18, what="18 attempts to end")
        self.assertEqual(spool.journal.most_at_once(), 2)

    def test_users_run_side_by_side(self):
        """Section 1: users side by side: four at once with four places."""
        users = [f"u{n}" for n in range(4)]
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 4}}, users=users,
                           handler=GATE)
        for user in users:
            spool.drop(user, "a.csv")
        spool.wait_for(lambda: len(spool.journal.running()) == 4, what="four to run")
        self.assertEqual(len(spool.workers()), 4)

    def test_several_jobs_of_one_user(self):
        """Section 7: single_job_per_user false allows that many, no more."""
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 4,
                                                   "max_concurrent_jobs_per_user": 2},
                            "job_processing": {"single_job_per_user": False}},
                           handler=GATE, overlap_allowed=True)
        for n in range(4):
            spool.drop("alice", f"{n}.csv")
            spool.next_tick()
        spool.wait_for(lambda: len(spool.journal.running()) == 2, what="two to run")
        spool.wait_for(lambda: spool.user("alice")["pending"] == 2, what="pending: 2")
        self.assertEqual(len(spool.user("alice")["running"]), 2)
        spool.open_gate()
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 4, what="all in done")
        self.assertEqual(spool.journal.most_at_once("alice"), 2)

    def test_per_user_limit(self):
        """Section 7: users.<name> overrides max_concurrent_jobs_per_user."""
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 4},
                            "users": {"alice": {"single_job_per_user": False,
                                                "max_concurrent_jobs_per_user": 3}}},
                           users=("alice", "bob"), handler=GATE, overlap_allowed=True)
        for n in range(4):
            spool.drop("alice", f"{n}.csv")
            spool.drop("bob", f"{n}.csv")
        spool.wait_for(lambda: len(spool.journal.running()) == 4, what="four to run")
        running = spool.journal.running()
        self.assertEqual(sorted(u for u, _ in running), ["alice"] * 3 + ["bob"])
        spool.open_gate()
        spool.wait_for(lambda: len(spool.journal.ends()) == 8, what="all to end")
        self.assertEqual(spool.journal.most_at_once("bob"), 1)

    @limit(180)
    def test_a_flood_does_not_starve_others(self):
        """Promise 5; FIELD: one user floods all. With every worker free for
        the flooding user, another user waits at most one job per worker."""
        cap = 2
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": cap,
                                                   "max_concurrent_jobs_per_user": 0},
                            "job_processing": {"single_job_per_user": False}},
                           users=("alice", "bob"), handler=BRIEF, overlap_allowed=True)
        for n in range(200):
            spool.drop("alice", f"{n:03}.csv", how="mv")
        spool.wait_for(lambda: len(spool.journal.starts("alice")) > 20, what="alice to be served")
        spool.drop("bob", "urgent.csv", how="mv")
        job = spool.wait_state("urgent.csv", "done", "bob", limit=120)
        self.assertLess(len(spool.journal.ends("alice")), 200, "bob came before alice's end")
        accepted = ns(spool.show(job["job"])["accepted_at"])
        start = spool.journal.starts("bob")[0].ns
        between = [s for s in spool.journal.starts("alice") if accepted < s.ns < start]
        # One for each worker, and what was already claimed in the moment of acceptance.
        self.assertLessEqual(len(between), 2 * cap)
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 200, 150, "alice's 200 files")

    def test_users_take_turns(self):
        """Section 6: with one place, users are served in turn."""
        users = ("alice", "bob", "carol")
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 1},
                            "job_processing": {"auto_start_processing": False}}, users=users)
        for user in users:
            for n in range(4):
                spool.drop(user, f"{n}.csv")
        spool.wait_for(lambda: all(spool.user(u)["pending"] == 4 for u in users), what="12 pending")
        spool.ctl("start")
        spool.wait_for(lambda: len(spool.journal.ends()) == 12, what="all to end")
        served = [s.user for s in spool.journal.starts()]
        for turn in range(0, 12, 3):
            self.assertEqual(set(served[turn:turn + 3]), set(users), served)

    def test_who_came_first_is_first_where_all_come_at_once(self):
        """Promise 5: users are served in the order in which they came, also those that one
        commit makes ready."""
        users = tuple(f"u{n}" for n in range(8))
        # A job that takes long has the one that stands by taken back.
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 1}}, users=users,
                           handler="[ $SPOOL_USER != u3 ] || sleep 0.1\n")
        spool.daemon.send_signal(signal.SIGSTOP)
        for user in users:
            spool.drop(user, "a.csv")
        spool.daemon.send_signal(signal.SIGCONT)
        spool.wait_for(lambda: len(spool.journal.ends()) == len(users), what="all to end")
        self.assertEqual([s.user for s in spool.journal.starts()],
                         sorted(users, key=lambda user: spool.job("a.csv", user)["job"]))


def ns(moment):
    """Nanoseconds of an RFC 3339 time in UTC."""
    import datetime
    return int(datetime.datetime.fromisoformat(moment).timestamp() * 1e9)


class Steering(SystemTest):
    def test_hold_and_release_a_job(self):
        """Section 4: a held job stands aside and keeps its place."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        for name in ("a.csv", "b.csv", "c.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        held = spool.job("a.csv")["job"]
        spool.ctl("hold", str(held))
        self.assertEqual(spool.show(held)["state"], "held")
        self.assertSays("h[eo]ld", spool.explain(held)["because"])
        spool.ctl("start")
        spool.wait_state("b.csv", "done")
        spool.wait_state("c.csv", "done")
        self.assertEqual(spool.show(held)["state"], "held")
        spool.ctl("release", str(held))
        spool.wait_state("a.csv", "done")
        self.assertEqual(spool.ctl("release", str(held), check=FAILED).code, FAILED)

    def test_what_is_so_already(self):
        """A script that holds or releases twice got what it wanted."""
        spool = self.spool()
        spool.ctl("stop")
        for name in ("a.csv", "b.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        a, b = (spool.job(name)["job"] for name in ("a.csv", "b.csv"))
        spool.ctl("hold", str(a))
        self.assertEqual(spool.ctl("hold", str(a), str(b), json=False).out,
                         f"job {a} is held already\njob {b} is held\n")
        self.assertEqual(spool.ctl("hold", str(a), json=True).data, {"jobs": [a]})
        spool.ctl("release", str(b))
        self.assertEqual(spool.ctl("release", str(b), json=False).out,
                         f"job {b} is not held: it waits already\n")
        self.assertEqual(spool.job("b.csv")["state"], "pending")
        spool.ctl("start")
        spool.wait_state("b.csv", "done")
        for command in ("hold", "release"):
            self.assertIn(f"job {b} is done: only",
                          spool.ctl(command, str(b), check=FAILED).err)

    def test_held_is_said_once(self):
        spool = self.spool()
        spool.ctl("hold", "--user", "alice", "--reason", "until noon")
        spool.drop("alice", "a.csv")
        job = str(spool.wait_state("a.csv", "pending")["job"])
        who = spool.user("alice")["held_reason"].split(":")[0].removeprefix("held ")
        self.assertIn(f"line held {who}: until noon (spoolctl", spool.ctl("status").out)
        because = f"the line of alice is held {who}: until noon"
        self.assertIn(because, spool.ctl("explain", job).out)
        spool.stop()
        self.assertIn(because, spool.ctl("explain", job, check=NO_DAEMON).out)

    def test_what_is_so_already_of_a_line(self):
        spool = self.spool()
        self.assertEqual(spool.ctl("release", "--user", "alice").out,
                         "the line of alice is not held\n")
        spool.ctl("hold", "--user", "alice", "--reason", "until noon")
        self.assertEqual(spool.ctl("hold", "--user", "alice").out,
                         "the line of alice is held already\n")
        self.assertSays("until noon", spool.user("alice")["held_reason"])
        spool.ctl("hold", "--user", "alice", "--reason", "until one")
        self.assertSays("until one", spool.user("alice")["held_reason"])
        self.assertEqual(spool.ctl("release", "--user", "alice").out,
                         "the line of alice is released\n")
        self.assertFalse(spool.user("alice")["held"])

    def test_hold_and_release_a_user(self):
        """FIELD (blocks everybody): a user's line can be held alone."""
        spool = self.spool(users=("alice", "bob"))
        spool.ctl("hold", "--user", "alice")
        self.assertTrue(spool.user("alice")["held"])
        spool.drop("alice", "a.csv")
        spool.drop("bob", "b.csv")
        spool.wait_state("b.csv", "done", "bob")
        spool.wait_state("a.csv", "pending")
        self.assertSays("h[eo]ld", spool.explain_file("a.csv")["because"])
        spool.stop()
        spool.restart()
        self.assertTrue(spool.user("alice")["held"], "a hold survives a restart")
        spool.ctl("release", "--user", "alice")
        spool.wait_state("a.csv", "done")
        self.assertFalse(spool.user("alice")["held"])

    def test_stop_and_start(self):
        """Section 8: stop lets none start, and running ones go on."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.ctl("stop")
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "pending")
        spool.open_gate()
        spool.wait_state("a.csv", "done")
        self.assertEqual(spool.job("b.csv")["state"], "pending")
        self.assertSays("stop|start", spool.explain_file("b.csv")["because"])
        self.assertEqual(spool.journal.starts("alice", "b.csv"), [])
        spool.ctl("start")
        spool.wait_state("b.csv", "done")

    def test_auto_start_false(self):
        """Section 7: jobs are accepted and wait for spoolctl start."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "pending")
        self.assertSays("start", str(spool.explain_file("a.csv")))
        spool.ctl("rescan")
        self.assertEqual(spool.job("a.csv")["state"], "pending")
        spool.ctl("start")
        spool.wait_state("a.csv", "done")

    def test_cancel_pending(self):
        """Section 4: a canceled pending job never runs; its file is kept."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "pending")["job"]
        spool.ctl("cancel", str(job))
        self.assertEqual(spool.show(job)["state"], "canceled")
        self.assertEqual(spool.user("alice")["canceled"], 1)
        spool.ctl("start")
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done")
        self.assertEqual(spool.journal.starts("alice", "a.csv"), [])
        self.assertEqual(spool.files("alice", "incoming"), [])
        self.assertIn("a.csv", spool.files("alice", "failed"))

    def test_cancel_of_many_begins_none(self):
        """Whatever order they are named in: the last one in line goes first."""
        spool = self.spool(users=("alice", "bob"), handler=GATE)
        spool.drop("alice", "00")
        spool.wait_started("00")
        for n in range(1, 30):
            spool.drop("alice", f"{n:02}")
            spool.wait_state(f"{n:02}", "pending")
        spool.drop("bob", "his")
        spool.wait_started("his", "bob")
        jobs = [str(spool.job(f"{n:02}")["job"]) for n in range(30)]
        spool.ctl("cancel", *jobs[10:])
        self.assertEqual({j["name"] for j in spool.jobs("alice", "--state", "canceled")},
                         {f"{n:02}" for n in range(10, 30)})
        done = spool.ctl("cancel", "--user", "alice")
        self.assertEqual(done.out.split("\n"),
                         [f"job {job} is canceled" for job in reversed(jobs[:10])] + [""])
        self.assertEqual(spool.journal.order("alice"), ["00"])
        self.assertEqual(spool.ctl("cancel", "--user", "alice").out,
                         "no job is waiting or running\n")
        self.assertEqual(spool.ctl("cancel", "--user", "alice", json=True).data, {"jobs": []})
        self.assertEqual(spool.job("his", "bob")["state"], "processing")
        spool.ctl("cancel", "--user", "nobody", check=FAILED)
        spool.ctl("cancel", "--user", "alice", "1", check=USAGE)

    def test_cancel_running(self):
        """Section 4: canceled after the kill; the next one follows."""
        spool = self.spool(handler="case $SPOOL_NAME in a*) gate ;; esac\n")
        spool.drop("alice", "a.csv")
        pid = spool.wait_started("a.csv").pid
        spool.drop("alice", "b.csv")
        job = spool.job("a.csv")["job"]
        spool.ctl("cancel", str(job))
        self.assertEqual(spool.show(job)["state"], "canceled")
        spool.wait_state("b.csv", "done")
        self.assertNotIn(pid, [s.pid for s in spool.journal.starts("alice", "b.csv")])
        self.assertEqual(len(spool.journal.starts("alice", "a.csv")), 1, "no retry after cancel")
        self.assertEqual(spool.ctl("cancel", str(job), check=FAILED).code, FAILED)

    def test_retry_a_job(self):
        """Section 4: operator's retry: a new place at the end; the attempts
        go on counting."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, handler=BAD_FAILS)
        spool.drop("alice", "bad.csv")
        job = spool.wait_state("bad.csv", "failed")["job"]
        spool.handler(OK)
        spool.ctl("retry", str(job))
        spool.wait_state("bad.csv", "done")
        self.assertEqual(spool.files("alice", "failed"), [])
        self.assertEqual([s.attempt for s in spool.journal.starts("alice")], [1, 2])
        self.assertEqual(len(spool.show(job)["attempts"]), 2)

    def test_cancel_of_a_retry_whose_file_is_still_in_done(self):
        """Section 4: canceled is in failed, also where a retry could not take it back yet;
        and where it cannot be done now, it is said and nothing changes."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")["job"]
        spool.ctl("hold", "--user", "alice")
        spool.wait_for(lambda: not os.listdir(spool.path("alice", "processing")),
                       what="its private directory to go")
        obstacle = spool.path("alice", "processing", str(job))
        with open(obstacle, "w"):
            pass
        spool.ctl("retry", str(job))
        self.assertEqual(spool.files("alice", "done"), ["a.csv"])
        self.assertSays("cannot be taken back", spool.ctl("cancel", str(job), check=FAILED).err)
        self.assertEqual(spool.show(job)["state"], "pending")
        os.unlink(obstacle)
        spool.ctl("cancel", str(job))
        self.assertEqual(spool.show(job)["state"], "canceled")
        self.assertEqual(spool.files("alice", "done"), [])
        self.assertIn("a.csv", spool.files("alice", "failed"))

    def test_retry_all_failed(self):
        """FIELD (not retried when the cause is gone): retry --failed [USER]."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, handler=BAD_FAILS,
                           users=("alice", "bob"))
        for user in ("alice", "bob"):
            for n in range(3):
                spool.drop(user, f"bad{n}.csv")
        spool.wait_for(lambda: spool.user("alice")["failed"] == spool.user("bob")["failed"] == 3,
                       what="three failed each")
        spool.handler(OK)
        spool.ctl("retry", "--failed", "alice")
        spool.wait_for(lambda: spool.user("alice")["done"] == 3, what="alice's done")
        self.assertEqual(spool.user("bob")["failed"], 3)
        spool.ctl("retry", "--failed")
        spool.wait_for(lambda: spool.user("bob")["done"] == 3, what="bob's done")

    def test_retry_of_what_is_not_final(self):
        """Section 8: exit 1, the answer is no."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        result = spool.ctl("retry", str(spool.job("a.csv")["job"]), check=FAILED)
        self.assertTrue(result.err.strip())


class Retries(SystemTest):
    def test_front_keeps_the_place(self):
        """Promise 3: a failed job that will be retried keeps its place."""
        spool = self.spool({"job_processing": {"retry_position": "front",
                                               "auto_start_processing": False}},
                           handler=BAD_FAILS)
        for name in ("bad.csv", "good.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        spool.ctl("start")
        spool.wait_state("good.csv", "done")
        self.assertEqual([s.name for s in spool.journal.starts("alice")],
                         ["bad.csv"] * 3 + ["good.csv"])

    def test_back_lets_others_go_ahead(self):
        """Section 7: retry_position back: others go ahead during the delay."""
        spool = self.spool({"scheduler_settings": {"retry_delay_seconds": 3, "max_retries": 1},
                            "job_processing": {"retry_position": "back",
                                               "auto_start_processing": False}},
                           handler=BAD_FAILS)
        for name in ("bad.csv", "good.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        spool.ctl("start")
        spool.wait_state("bad.csv", "failed")
        self.assertEqual([s.name for s in spool.journal.starts("alice")],
                         ["bad.csv", "good.csv", "bad.csv"])

    def test_delay_doubles(self):
        """Section 7: retries wait delay × 2^n, with jitter; explain and list
        tell until when."""
        spool = self.spool({"scheduler_settings": {"retry_delay_seconds": 1, "max_retries": 2}},
                           handler=BAD_FAILS)
        spool.drop("alice", "bad.csv")
        spool.wait_for(lambda: spool.job("bad.csv") and spool.job("bad.csv")["not_before"],
                       what="a time before which it is not retried")
        self.assertSays("retr|attempt", str(spool.explain_file(
            f"{spool.job('bad.csv')['job']}/bad.csv", place="processing")
            if not spool.files("alice", "incoming") else spool.explain_file("bad.csv")))
        spool.wait_state("bad.csv", "failed")
        starts = [s.ns / 1e9 for s in spool.journal.starts("alice")]
        self.assertGreaterEqual(starts[1] - starts[0], 0.7)
        self.assertGreaterEqual(starts[2] - starts[1], 1.4)

    def test_no_retry_when_switched_off(self):
        """Section 7: retry_failed_jobs false."""
        spool = self.spool({"scheduler_settings": {"retry_failed_jobs": False}}, handler=BAD_FAILS)
        spool.drop("alice", "bad.csv")
        self.assertEqual(spool.wait_state("bad.csv", "failed")["attempt"], 1)

    def test_permanent_exit_code(self):
        """Section 6: exit 65 is failed without retry; others may be listed."""
        spool = self.spool({"handler": {"permanent_exit_codes": [65, 7]}},
                           handler="exit ${SPOOL_NAME%.csv}\n")
        for code in (65, 7, 8):
            spool.drop("alice", f"{code}.csv")
        self.assertEqual(spool.wait_state("65.csv", "failed")["attempt"], 1)
        self.assertEqual(spool.wait_state("7.csv", "failed")["attempt"], 1)
        job = spool.wait_state("8.csv", "failed")
        self.assertEqual((job["attempt"], job["exit_code"]), (3, 8))

    def test_on_final_failure_hold(self):
        """FIELD (one failure reorders invoices): the line stops behind a
        failure, of this user alone, until it is released."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0},
                            "job_processing": {"on_final_failure": "hold"}},
                           users=("alice", "bob"), handler=BAD_FAILS)
        spool.drop("alice", "bad.csv")
        spool.wait_state("bad.csv", "failed")
        spool.drop("alice", "next.csv")
        spool.drop("bob", "good.csv")
        spool.wait_state("good.csv", "done", "bob")
        spool.wait_state("next.csv", "pending")
        self.assertTrue(spool.user("alice")["held"])
        self.assertFalse(spool.user("bob")["held"])
        self.assertSays("h[eo]ld", spool.explain_file("next.csv")["because"])
        spool.ctl("release", "--user", "alice")
        spool.wait_state("next.csv", "done")

    def test_success_at_the_second_attempt(self):
        """Section 7: a transient failure ends in done."""
        spool = self.spool(handler='[ "$SPOOL_ATTEMPT" -ge 2 ]\nexit $?\n')
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")
        self.assertEqual(job["attempt"], 2)
        attempts = spool.show(job["job"])["attempts"]
        self.assertEqual([a["exit_code"] for a in attempts], [1, 0])


class Retention(SystemTest):
    def test_done_and_failed_are_purged_apart(self):
        """FIELD (failed files are never purged): separate retention; and
        promise 1: nothing is deleted before its time."""
        spool = self.spool({"scheduler_settings": {
            "interval_minutes": 0.05, "max_retries": 0,
            "cleanup_completed_jobs_days": 0.00006, "cleanup_failed_jobs_days": 30}},
            handler="mkdir -p \"$SPOOL_OUTPUT_DIR\"; echo x >\"$SPOOL_OUTPUT_DIR/x\"\n" + BAD_FAILS)
        spool.drop("alice", "bad.csv")
        spool.drop("alice", "good.csv")
        spool.wait_state("bad.csv", "failed")
        spool.wait_file("good.csv")
        done = time.monotonic()
        spool.forget("alice", "good.csv")
        spool.wait_for(lambda: spool.files("alice", "done") == [], 90, "done to be purged")
        self.assertGreater(time.monotonic() - done, 3)
        self.assertEqual(spool.files("alice", "failed")[:1], ["bad.csv"])
        self.assertFalse([f for f in spool.files("alice", "done") if "good" in f])

    def test_nothing_is_purged_that_no_job_knows(self):
        """Section 4: files that nobody can explain are left alone."""
        spool = self.spool({"scheduler_settings": {
            "interval_minutes": 0.05, "cleanup_completed_jobs_days": 0.00002}})
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        spool.forget("alice", "a.csv")
        kept = spool.path("alice", "done", "notes.txt")
        with open(kept, "wb") as file:
            file.write(b"mine")
        spool.expect("alice", "notes.txt", b"mine")
        spool.wait_for(lambda: "a.csv" not in spool.files("alice", "done"), 90, "a.csv's purge")
        self.assertIn("notes.txt", spool.files("alice", "done"))
