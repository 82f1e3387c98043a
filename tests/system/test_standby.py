"""Jobs that are claimed before a place is free, where the index waits for the disk."""

import os
import signal

import procs
from test_ahead import STOPPING
from test_stream import StreamTest

USERS = ("alice", "bob", "carol")


class Standby(StreamTest):
    tries = 0

    def standby_spool(self, config=None):
        spool = self.stream(STOPPING, {"spool": {"durability": "full"}, "scheduler_settings": {
            "max_concurrent_jobs": 1, "prefetch_jobs_per_worker": 0}}, users=USERS, start=False)
        spool.configure(config)
        spool.start()
        return spool

    def stop_worker(self, spool, n):
        """After a short job of alice, one of bob that has stopped its worker before
        that could tell it is a long one, and the next one of carol."""
        jobs = {"alice": f"quick-{n}", "bob": f"stop-{n}", "carol": f"b-{n}"}
        for user, name in jobs.items():
            spool.ctl("hold", "--user", user)
            spool.drop(user, name, how="mv")
        for user, name in jobs.items():
            spool.wait_state(name, "pending", user)
        for user in jobs:
            spool.ctl("release", "--user", user)
        spool.wait_for(lambda: jobs["bob"] in self.notes(spool, "stopped"),
                       what="the worker to be stopped")
        return jobs["bob"], jobs["carol"]

    def stand_by(self, spool):
        """Returns the names of what runs and of what stands by; on a slow machine a job
        is no short one, and it takes more tries."""
        for self.tries in range(self.tries + 1, self.tries + 20):
            stop, b = self.stop_worker(spool, self.tries)
            try:
                spool.wait_state(b, "queued", "carol", limit=2)
                return stop, b
            except AssertionError:
                self.go_on(spool, stop)
                spool.wait_state(b, "done", "carol")
        self.fail("nothing stood by")

    def stopped(self, spool):
        return [w for w in spool.workers() if procs.state(w) == "T"]

    def give_back(self, spool, act, undo):
        """Once more where the daemon lost its patience with the stopped worker: then
        jobs are no longer short, and that alone gives it back."""
        for _ in range(10):
            stop, b = self.stand_by(spool)
            act(b)
            spool.wait_state(b, "pending", "carol")
            if self.stopped(spool):
                return stop, b
            self.go_on(spool, stop)
            undo(b)
            spool.wait_state(b, "done", "carol")
        self.fail("it is given back only when jobs are no longer short")

    def wake(self, workers):
        """Not those that are just ending: a sanitizer that looks for leaks then is disturbed."""
        for worker in workers:
            if procs.state(worker) == "T":
                procs.kill(worker, signal.SIGCONT)

    def go_on(self, spool, stop):
        spool.open_gate(stop)
        self.wake(spool.workers())

    def assertRuns(self, spool, stop, b):
        """Both, one after the other, as if nothing had been."""
        self.go_on(spool, stop)
        self.assertEqual(spool.wait_state(stop, "done", "bob")["attempt"], 1)
        self.assertEqual(spool.wait_state(b, "done", "carol")["attempt"], 1)
        self.assertEqual([s.name for s in spool.journal.starts() if s.name in (stop, b)], [stop, b])
        self.assertEqual(len(spool.show(spool.job(b, "carol")["job"])["attempts"]), 1)
        spool.wait_for(lambda: spool.ctl("status", "--busy", json=True).data["totals"]["running"] == 0,
                       what="nothing to run any more")

    def test_shown_as_it_is(self):
        """Promise 7: list, status and explain tell of it; it has no worker yet."""
        spool = self.standby_spool()
        stop, b = self.stand_by(spool)
        job = spool.job(b, "carol")["job"]
        self.assertSays("starts as soon as one of 1 places is free", spool.explain(str(job))["because"])
        self.assertEqual(os.listdir(spool.path("carol", "incoming")), [])
        self.assertIn(b, os.listdir(spool.path("carol", f"processing/{job}")))
        totals = spool.ctl("status", "--busy", json=True).data["totals"]
        self.assertEqual((totals["running"], totals["queued"]), (1, 1))
        self.assertTrue(spool.user("carol")["running"][0]["standby"])
        self.assertRegex(spool.ctl("status").out, rf"{b} +next, ")
        self.assertRuns(spool, stop, b)

    def test_jobs_are_no_longer_short(self):
        """It is its uploader's again, who may replace it."""
        spool = self.standby_spool()
        stop, b = self.stand_by(spool)
        self.wake(spool.workers())
        spool.wait_state(b, "pending", "carol")
        self.assertSays("waits for a free worker", spool.explain(str(spool.job(b, "carol")["job"]))["because"])
        self.assertRuns(spool, stop, b)

    def test_no_job_is_to_start(self):
        spool = self.standby_spool()
        stop, b = self.give_back(spool, lambda b: spool.ctl("stop"), lambda b: spool.ctl("start"))
        self.go_on(spool, stop)
        spool.wait_state(stop, "done", "bob")
        spool.ctl("start")
        self.assertRuns(spool, stop, b)

    def test_line_is_held(self):
        spool = self.standby_spool()
        stop, b = self.give_back(spool, lambda b: spool.ctl("hold", "--user", "carol"),
                                 lambda b: spool.ctl("release", "--user", "carol"))
        spool.ctl("release", "--user", "carol")
        self.assertRuns(spool, stop, b)

    def test_job_is_held(self):
        spool = self.standby_spool()
        stop, b = self.stand_by(spool)
        job = str(spool.job(b, "carol")["job"])
        spool.ctl("hold", job)
        self.assertEqual(spool.job(b, "carol")["state"], "held")
        spool.ctl("release", job)
        self.assertRuns(spool, stop, b)

    def test_job_is_canceled(self):
        spool = self.standby_spool()
        stop, b = self.stand_by(spool)
        spool.ctl("cancel", str(spool.job(b, "carol")["job"]))
        spool.wait_state(b, "canceled", "carol")
        self.assertEqual(spool.files("carol", "failed"), [b, f"{b}.log"])
        self.go_on(spool, stop)
        spool.wait_state(stop, "done", "bob")
        self.assertNotIn(b, spool.journal.order("carol"))

    def test_daemon_killed(self):
        """Promise 6: it may have run, as far as the next daemon knows, and is repeated."""
        spool = self.standby_spool()
        stop, b = self.stand_by(spool)
        workers = spool.workers()
        spool.kill9()
        spool.open_gate(stop)
        self.wake(workers)
        spool.restart()
        self.assertEqual(spool.wait_state(stop, "done", "bob")["attempt"], 1)
        self.assertEqual(spool.wait_state(b, "done", "carol")["attempt"], 2)
        self.assertEqual([s.name for s in spool.journal.starts() if s.name in (stop, b)], [stop, b])

    def test_one_before_it_is_released(self):
        """Promise 3: it does not pass what has its place before it."""
        spool = self.standby_spool()

        first = []

        def put_first():
            first.append(f"first-{len(first)}")
            spool.ctl("hold", "--user", "carol")
            spool.drop("carol", first[-1], how="mv")
            spool.wait_state(first[-1], "pending", "carol")
            spool.ctl("hold", str(spool.job(first[-1], "carol")["job"]))

        def put_another(b):
            spool.wait_state(b, "done", "carol")
            put_first()

        put_first()
        stop, b = self.give_back(
            spool, lambda b: spool.ctl("release", str(spool.job(first[-1], "carol")["job"])), put_another)
        self.go_on(spool, stop)
        spool.wait_state(b, "done", "carol")
        order = [s.name for s in spool.journal.starts() if s.name in (stop, first[-1], b)]
        self.assertEqual(order, [stop, first[-1], b])

    def test_worker_killed(self):
        """The place of what it ran is free."""
        spool = self.standby_spool()
        stop, b = self.stand_by(spool)
        spool.open_gate(stop)
        procs.kill(*self.stopped(spool))
        self.assertEqual(spool.wait_state(b, "done", "carol")["attempt"], 1)
        spool.wait_started(stop, "bob", times=2)
        spool.wait_state(stop, "done", "bob")

    def test_shutdown(self):
        spool = self.standby_spool()
        stop, b = self.stand_by(spool)
        workers = spool.workers()
        spool.daemon.terminate()
        spool.wait_log("stopping")
        spool.open_gate(stop)
        self.wake(workers)
        self.assertEqual(spool.wait_exit(), 0)
        self.assertNotIn(b, spool.journal.order("carol"))
        spool.restart()
        self.assertRuns(spool, stop, b)

    def test_nobody_where_it_does_no_good(self):
        """Nothing waits for the disk; a crash might cost it more than a repetition; its
        user may have more than one at a time."""
        for config in ({"spool": {"durability": "relaxed"}},
                       {"job_processing": {"on_crash": "fail"}},
                       {"job_processing": {"single_job_per_user": False},
                        "scheduler_settings": {"max_concurrent_jobs_per_user": 2}}):
            with self.subTest(**config):
                spool = self.standby_spool(config)
                for name in ("warm-1", "warm-2"):
                    for user in USERS:
                        spool.drop(user, name)
                    for user in USERS:
                        spool.wait_state(name, "done", user)
                stop, b = self.stop_worker(spool, 0)
                self.assertEqual(spool.job(b, "carol")["state"], "pending")
                self.assertRuns(spool, stop, b)
