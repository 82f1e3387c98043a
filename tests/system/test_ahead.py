"""Jobs that a worker has ahead of their turn (prefetch_jobs_per_worker)."""

import os
import signal
import subprocess

import procs
from spool import BUILD
from test_stream import StreamTest

# Before the worker can tell that it is no short one: so what is behind it stays there.
STOPPING = """
def work(job):
    if job["name"].startswith("stop"):
        if job["attempt"] == 1:
            os.kill(os.getppid(), signal.SIGSTOP)
            note("stopped", job["name"])
        gate(job)
    if job["name"].startswith("bad") and job["attempt"] == 1:
        return {"result": "failed", "message": "no luck"}
"""


class Ahead(StreamTest):
    def ahead_spool(self, settings=None, **options):
        spool = self.stream(STOPPING, {"scheduler_settings": {
            "max_concurrent_jobs": 1, "retry_delay_seconds": 0.2, **(settings or {})}}, **options)
        return spool

    def hand_ahead(self, spool, *names):
        """A job that has stopped its worker, and behind it the others, handed
        over; on a slow machine a job is no short one, and it takes more tries.
        Returns their names."""
        for n in range(20):
            behind = [f"{name}-{n}" for name in names]
            everything = [f"quick-{n}", f"stop-{n}", *behind]
            spool.ctl("hold", "--user", "alice")
            for name in everything:
                spool.drop("alice", name, how="mv")
                spool.next_tick()
            for name in everything:
                spool.wait_state(name, "pending")
            spool.ctl("release", "--user", "alice")
            spool.wait_for(lambda: f"stop-{n}" in self.notes(spool, "stopped"),
                           what="the worker to be stopped")
            try:
                for name in behind:
                    spool.wait_state(name, "queued", limit=2)
                return everything[1:]
            except AssertionError:
                self.go_on(spool, f"stop-{n}")
                for name in everything:
                    spool.wait_state(name, "done")
        self.fail("nothing was handed ahead")

    def go_on(self, spool, name, workers=None):
        spool.open_gate(name)
        for worker in workers or spool.workers():
            procs.kill(worker, signal.SIGCONT)

    def assertOrder(self, spool, names):
        order = [s.name for s in spool.journal.starts("alice") if s.name in names]
        self.assertEqual(order, list(names))

    def assertAttempts(self, spool, attempts):
        for name, attempt in attempts.items():
            self.assertEqual(spool.wait_state(name, "done")["attempt"], attempt, name)

    def test_shown_as_they_are(self):
        """Promise 7: list, status and explain tell of queued jobs."""
        spool = self.ahead_spool()
        stop, b, c = self.hand_ahead(spool, "b", "c")
        why = spool.explain_file(c, place=f"processing/{spool.job(c)['job']}")
        self.assertSays(f"as soon as job {spool.job(b)['job']} has succeeded", why["because"])
        running = spool.user()["running"]
        self.assertEqual([r["name"] for r in running], [stop, b, c])
        self.assertEqual([r.get("ahead", False) for r in running], [False, True, True])
        self.go_on(spool, stop)
        self.assertAttempts(spool, {stop: 1, b: 1, c: 1})
        self.assertOrder(spool, [stop, b, c])

    def test_failure_in_the_middle(self):
        """Promise 3: what will be retried keeps its place; the others come
        back as they were."""
        spool = self.ahead_spool()
        stop, bad, c, d = self.hand_ahead(spool, "bad", "c", "d")
        self.go_on(spool, stop)
        self.assertAttempts(spool, {stop: 1, bad: 2, c: 1, d: 1})
        self.assertOrder(spool, [stop, bad, bad, c, d])
        for name in (c, d):
            self.assertEqual(len(spool.show(spool.job(name)["job"])["attempts"]), 1)

    def test_daemon_killed(self):
        """Promise 6: the worker ends what runs and begins nothing; the next
        daemon finds the others as they were."""
        spool = self.ahead_spool()
        names = self.hand_ahead(spool, "b", "c")
        workers = spool.workers()
        spool.kill9()
        self.go_on(spool, names[0], workers)
        spool.wait_for(lambda: not any(procs.alive(w) for w in workers), what="the worker to end")
        self.assertOrder(spool, names[:1])
        spool.restart()
        self.assertAttempts(spool, dict.fromkeys(names, 1))
        self.assertOrder(spool, names)

    def test_worker_killed(self):
        """That job alone is interrupted; what was never begun is no attempt."""
        spool = self.ahead_spool()
        stop, b, c = self.hand_ahead(spool, "b", "c")
        worker = spool.workers()[0]
        spool.open_gate(stop)
        procs.kill(worker)
        spool.wait_started(stop, times=2)
        self.go_on(spool, stop)
        self.assertAttempts(spool, {stop: 2, b: 1, c: 1})
        self.assertOrder(spool, [stop, stop, b, c])

    def test_both_killed(self):
        """Promise 6: nobody can tell any more what had begun: all of it is
        repeated, in order, and nothing twice at once."""
        spool = self.ahead_spool()
        stop, b, c = self.hand_ahead(spool, "b", "c")
        workers = spool.workers()
        spool.daemon.send_signal(signal.SIGSTOP)
        for worker in workers:
            procs.kill(worker)
        spool.kill9()
        spool.restart()
        spool.wait_started(stop, times=2)
        self.go_on(spool, stop)
        for name in (stop, b, c):
            spool.wait_state(name, "done")
        self.assertOrder(spool, [stop, stop, b, c])

    def test_cancel_one_that_waits(self):
        """The one behind it goes on."""
        spool = self.ahead_spool()
        stop, b, c = self.hand_ahead(spool, "b", "c")
        spool.ctl("cancel", str(spool.job(b)["job"]))
        self.go_on(spool, stop)
        self.assertAttempts(spool, {stop: 1, c: 1})
        self.assertEqual(spool.job(b)["state"], "canceled")
        self.assertOrder(spool, [stop, c])

    def test_hold_one_that_waits(self):
        """It is asked back, and keeps its place."""
        spool = self.ahead_spool()
        stop, b, c = self.hand_ahead(spool, "b", "c")
        job = str(spool.job(b)["job"])
        hold = subprocess.Popen([os.path.join(BUILD, "spoolctl"), "--config", spool.config_path,
                                 "hold", job], stdout=subprocess.DEVNULL, env=spool.environment())
        spool.wait_for(lambda: "asked back" in spool.explain(job)["because"], what="the hold")
        self.go_on(spool, stop)
        self.assertEqual(hold.wait(60), 0)
        self.assertAttempts(spool, {stop: 1, c: 1})
        self.assertEqual(spool.job(b)["state"], "held")
        spool.ctl("release", job)
        self.assertAttempts(spool, {b: 1})
        self.assertOrder(spool, [stop, c, b])

    def test_line_is_held(self):
        """What waits in the worker comes back."""
        spool = self.ahead_spool()
        stop, b, c = self.hand_ahead(spool, "b", "c")
        spool.ctl("hold", "--user", "alice")
        self.go_on(spool, stop)
        for name in (b, c):
            spool.wait_state(name, "pending")
        self.assertOrder(spool, [stop])
        spool.ctl("release", "--user", "alice")
        self.assertAttempts(spool, {b: 1, c: 1})

    def test_somebody_else_arrives(self):
        """Promise 5: at most one job per worker goes before."""
        spool = self.ahead_spool(users=("alice", "bob"))
        stop, b, c = self.hand_ahead(spool, "b", "c")
        spool.drop("bob", "x.csv")
        spool.wait_state("x.csv", "pending", "bob")
        self.go_on(spool, stop)
        self.assertAttempts(spool, {stop: 1, b: 1, c: 1})
        spool.wait_state("x.csv", "done", "bob")
        starts = [s.name for s in spool.journal.starts() if s.name in (stop, b, c, "x.csv")]
        self.assertEqual(starts, [stop, "x.csv", b, c])

    def test_stop(self):
        """Shutdown waits for what runs, and gives the rest back."""
        spool = self.ahead_spool()
        names = self.hand_ahead(spool, "b", "c")
        workers = spool.workers()
        spool.daemon.terminate()
        spool.wait_log("stopping")
        self.go_on(spool, names[0], workers)
        self.assertEqual(spool.wait_exit(), 0)
        spool.restart()
        self.assertAttempts(spool, dict.fromkeys(names, 1))
        self.assertOrder(spool, names)

    def test_switched_off(self):
        """prefetch_jobs_per_worker 0, and on_crash, which may cost a job that
        never began more than a repetition."""
        for settings in ({"scheduler_settings": {"prefetch_jobs_per_worker": 0}},
                         {"job_processing": {"on_crash": "fail"}}):
            with self.subTest(**settings):
                spool = self.ahead_spool()
                spool.configure(settings)
                spool.ctl("reload")
                spool.ctl("hold", "--user", "alice")
                for name in ("quick", "stop", "b"):
                    spool.drop("alice", name, how="mv")
                    spool.next_tick()
                for name in ("quick", "stop", "b"):
                    spool.wait_state(name, "pending")
                spool.ctl("release", "--user", "alice")
                spool.wait_for(lambda: "stop" in self.notes(spool, "stopped"),
                               what="the worker to be stopped")
                self.assertEqual(spool.job("b")["state"], "pending")
                self.go_on(spool, "stop")
                self.assertAttempts(spool, {"stop": 1, "b": 1})
