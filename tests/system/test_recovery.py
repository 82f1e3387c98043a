"""Crashes, damage and restarts: nothing is lost, nothing runs twice at once."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

import harness
import procs
from harness import FAILED, GATE, NO_DAEMON, OK, SystemTest


class Killed(SystemTest):
    def running(self, name="a.csv", **options):
        spool = self.spool(handler=GATE, **options)
        spool.drop("alice", name)
        return spool, spool.wait_started(name)

    def test_daemon_killed_and_worker_finishes(self):
        """Promise 6: a result that the worker already has is never thrown
        away: the next daemon takes it; the handler ran once."""
        spool, stamp = self.running()
        workers = spool.workers()
        spool.kill9()
        self.assertTrue(procs.alive(stamp.pid), "the handler outlives the daemon")
        spool.open_gate()
        spool.wait_for(lambda: spool.journal.ends("alice"), what="the handler to end")
        spool.wait_for(lambda: not any(procs.alive(w) for w in workers), what="the worker to end")
        spool.restart()
        job = spool.wait_state("a.csv", "done")
        self.assertEqual(job["attempt"], 1)
        self.assertEqual(len(spool.journal.starts("alice")), 1)
        self.assertEqual(len(spool.show(job["job"])["attempts"]), 1)

    def test_failure_found_by_the_next_daemon(self):
        """The same for a result that is no success."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        workers = spool.workers()
        spool.kill9()
        spool.open_gate("a.csv", 3)
        spool.wait_for(lambda: not any(procs.alive(w) for w in workers), what="the worker to end")
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "failed")["exit_code"], 3)
        self.assertEqual(len(spool.journal.starts("alice")), 1)

    def test_daemon_killed_and_back_while_the_handler_runs(self):
        """Promise 4: one at a time even while an old handler outlives a
        killed daemon; the line goes on when it has ended."""
        spool, _ = self.running()
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "pending")
        spool.kill9()
        spool.restart()
        spool.add_user("bob")
        spool.drop("bob", "other.csv")
        spool.open_gate("other.csv")
        spool.wait_state("other.csv", "done", "bob")
        self.assertEqual(spool.job("a.csv")["state"], "processing")
        self.assertEqual(spool.journal.starts("alice", "b.csv"), [])
        self.assertTrue(spool.explain_file("b.csv")["because"])
        spool.open_gate()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)
        spool.wait_state("b.csv", "done")
        self.assertEqual(len(spool.journal.starts("alice", "a.csv")), 1)

    def test_job_of_an_earlier_daemon_can_be_canceled(self):
        """Section 8: cancel, although the worker is not ours."""
        spool, stamp = self.running()
        spool.kill9()
        spool.restart()
        spool.ctl("cancel", str(stamp.job))
        self.assertEqual(spool.show(stamp.job)["state"], "canceled")
        self.assertFalse(procs.alive(stamp.pid))

    def test_retry_cut_short_before_its_file_was_taken_back(self):
        """Promise 7: a crash came between an operator's retry and the move out of done:
        it is made good while the job waits, not only at its turn."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")["job"]
        spool.ctl("hold", "--user", "alice")
        spool.ctl("retry", str(job))
        spool.kill9()
        place = spool.path("alice", "processing", str(job))
        os.rename(os.path.join(place, b"a.csv"), spool.path("alice", "done", "a.csv"))
        shutil.rmtree(place)
        spool.restart()
        spool.wait_for(lambda: os.path.exists(os.path.join(place, b"a.csv")),
                       what="its file to be taken back")
        self.assertEqual(spool.files("alice", "done"), [])
        self.assertEqual(spool.show(job)["state"], "pending")
        spool.ctl("release", "--user", "alice")
        spool.wait_state("a.csv", "done")
        self.assertEqual([s.attempt for s in spool.journal.starts("alice")], [1, 2])

    def test_no_retry_before_what_was_taken_is_compared(self):
        """Section 5: what a claim or cancel took out of incoming and a crash left unlooked at may
        be another upload: no operator's retry runs it, also right after a start."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "pending")["job"]
        spool.ctl("cancel", str(job))
        spool.wait_file("a.csv", "failed")
        spool.kill9()
        private = spool.path("alice", "processing", str(job))
        os.mkdir(private, 0o700)
        for name in os.listdir(spool.path("alice", "failed")):
            os.unlink(spool.path("alice", "failed", name))
        with open(os.path.join(private, b"a.csv"), "wb") as file:
            file.write(b"another\n")
        spool.forget("alice", "a.csv")
        spool.expect("alice", "a.csv", b"another\n")
        with open(spool.path("alice", ".lock"), "r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            spool.restart()
            self.assertSays("not compared", spool.ctl("retry", str(job), check=FAILED).err)
        other = spool.wait_for(lambda: [j for j in spool.jobs() if j["state"] == "pending"],
                               what="what was put in its place to be an upload of its own")[0]
        self.assertNotEqual(other["job"], job)
        self.assertEqual(spool.show(job)["state"], "canceled")
        spool.ctl("start")
        spool.wait_state("a.csv", "done")
        self.assertEqual([s.job for s in spool.journal.starts("alice")], [other["job"]])

    def test_worker_killed(self):
        """Section 6: if a worker dies, its handler is killed, and that job
        alone is interrupted and repeated, with SPOOL_ATTEMPT raised."""
        spool = self.spool(users=("alice", "bob"), handler=GATE)
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        worker = spool.workers()[0]
        spool.drop("bob", "b.csv")
        other = spool.wait_started("b.csv", "bob")
        procs.kill(worker)
        again = spool.wait_started("a.csv", times=2)
        self.assertFalse(procs.alive(stamp.pid))
        self.assertEqual(again.attempt, 2)
        self.assertEqual(again.job, stamp.job)
        self.assertTrue(procs.alive(other.pid), "bob's job goes on")
        spool.open_gate()
        job = spool.wait_state("a.csv", "done")
        attempts = spool.show(job["job"])["attempts"]
        self.assertEqual(len(attempts), 2)
        self.assertSays("interrupt", json.dumps(attempts[0]))
        spool.wait_state("b.csv", "done", "bob")
        self.assertEqual(len(spool.journal.starts("bob")), 1)

    def test_worker_killed_with_a_deep_tree(self):
        """Section 6: nothing of the handler survives its worker, however it
        hides."""
        spool = self.spool(handler="""if [ "$SPOOL_ATTEMPT" = 1 ]; then
setsid bash -c 'trap "" TERM; echo $$ >'$BASE'/staging/stray; while :; do sleep 0.2; done' &
gate
fi
exit 0
""")
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        stray_path = os.path.join(spool.base, "staging", "stray")
        spool.wait_for(lambda: os.path.exists(stray_path) and os.path.getsize(stray_path),
                       what="the stray")
        with open(stray_path) as file:
            stray = int(file.read())
        procs.kill(spool.workers()[0])
        spool.wait_state("a.csv", "done")
        self.assertFalse(procs.alive(stamp.pid) or procs.alive(stray))

    def kill_both(self, spool):
        """Daemon and workers: none of them notices the end of another."""
        workers = spool.workers()
        spool.daemon.send_signal(signal.SIGSTOP)
        for worker in workers:
            procs.kill(worker)
        spool.kill9()

    def test_both_killed(self):
        """Promise 4: the orphan is found and ended before the job is
        repeated."""
        spool, stamp = self.running()
        self.kill_both(spool)
        spool.restart()
        again = spool.wait_started("a.csv", times=2)
        self.assertFalse(procs.alive(stamp.pid), "the orphan is gone")
        self.assertEqual(again.attempt, 2)
        spool.open_gate()
        spool.wait_state("a.csv", "done")

    def test_worker_stopped_after_its_daemon_was_killed(self):
        """Promise 6: nobody is left who would wake it; the next daemon does."""
        spool, stamp = self.running()
        worker = spool.workers()[0]
        spool.kill9()
        procs.kill(worker, signal.SIGSTOP)
        spool.open_gate()
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)
        self.assertSays("stopped, and got SIGCONT", spool.log())
        self.assertEqual(len(spool.journal.starts("alice")), 1)

    def test_a_directory_is_no_result(self):
        """Section 4: what a handler left where a result would be says nothing, and
        keeps nobody waiting."""
        spool = self.spool(handler="mkdir -p .spoold-result/x\n" + GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        self.kill_both(spool)
        spool.restart()
        spool.wait_started("a.csv", times=2)
        spool.open_gate()
        spool.wait_state("a.csv", "done")

    def test_on_crash_fail_and_hold(self):
        """Section 7: on_crash decides what an interrupted job becomes."""
        for policy, state in (("fail", "failed"), ("hold", "held")):
            with self.subTest(policy):
                spool = self.spool({"job_processing": {"on_crash": policy}}, handler=GATE)
                spool.drop("alice", "a.csv")
                spool.wait_started("a.csv")
                procs.kill(spool.workers()[0])
                spool.wait_state("a.csv", state)
                self.assertEqual(len(spool.journal.starts("alice")), 1)

    def kill_before_a_move(self, spool):
        """Kills the daemon in the claim that follows, when all is ready for the move."""
        tracer = subprocess.Popen(
            ["strace", "-o", "/dev/null", "-p", str(spool.daemon.pid), "-e", "trace=renameat2",
             "-e", "inject=renameat2:signal=KILL"], stderr=subprocess.PIPE)
        try:
            tracer.stderr.readline()  # attached
            spool.ctl("start", check=None)
            spool.wait_exit()
        finally:
            tracer.kill()
            tracer.communicate()

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_replaced_while_a_later_attempt_was_claimed(self):
        """Promise 1: what a claim took instead of the upload, and a crash kept it from
        looking at, is another upload, whichever attempt that claim was for."""
        paused = {"job_processing": {"auto_start_processing": False}}
        for attempts in (1, 2, 3):
            with self.subTest(attempts=attempts):
                spool = self.spool(paused)
                spool.drop("alice", "a.csv", b"first")
                first = spool.wait_state("a.csv", "pending")["job"]
                for attempt in range(attempts):
                    self.kill_before_a_move(spool)
                    if attempt + 1 < attempts:
                        spool.restart()
                        spool.wait_for(lambda: spool.show(first)["attempt"] == attempt + 1,
                                       what="the attempt to be interrupted")
                spool.drop("alice", "a.csv", b"second", how="mv", replace=True)
                os.rename(spool.path("alice", "incoming", "a.csv"),
                          spool.path("alice", "processing", f"{first}/a.csv"))
                spool.configure({"job_processing": {"auto_start_processing": True}})
                spool.restart()
                second = spool.wait_state("a.csv", "done")
                self.assertEqual((second["job"] > first, second["attempt"]), (True, 1))
                self.assertEqual([s.job for s in spool.journal.starts("alice")],
                                 [second["job"]])
                self.assertSays("replaced", spool.show(first)["error"])

    def test_pending_survives(self):
        """Promise 2: what was reported as pending is pending after a kill."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        for n in range(20):
            spool.drop("alice", f"{n:02}.csv", how="mv")
        spool.wait_for(lambda: spool.user("alice")["pending"] == 20, what="20 pending")
        before = [(j["job"], j["name"], j["state"]) for j in spool.jobs("alice")]
        spool.kill9()
        spool.restart()
        spool.wait_for(lambda: spool.user("alice")["pending"] == 20, what="20 pending again")
        self.assertEqual([(j["job"], j["name"], j["state"]) for j in spool.jobs("alice")], before)

    def test_relaxed_durability(self):
        """Section 7: commits that are not synced survive a killed daemon (a
        power cut may cost the last second), and are synced all the same."""
        spool = self.spool({"spool": {"durability": "relaxed"}})
        for i in range(3):
            spool.drop("alice", f"{i}.csv")
            spool.wait_state(f"{i}.csv", "done")
        spool.kill9()
        spool.restart()
        self.assertEqual({j["name"] for j in spool.jobs("alice", "--state", "done")},
                         {"0.csv", "1.csv", "2.csv"})
        spool.drop("alice", "late.csv")
        spool.wait_state("late.csv", "done")
        self.assertEqual(spool.stop(), 0)
        self.assertEqual(len(spool.ctl("list", json=True, check=3).data["jobs"]), 4)

    def test_dropped_while_it_was_down(self):
        """FIELD (events lost): what came meanwhile is found at the start."""
        spool = self.spool()
        spool.kill9()
        spool.drop("alice", "a.csv")
        spool.add_user("bob")
        spool.drop("bob", "b.csv", how="mv")
        spool.restart()
        spool.wait_state("a.csv", "done")
        spool.wait_state("b.csv", "done", "bob")

    def test_dropped_while_it_was_down_and_just_after(self):
        """Promise 3: first in, first out across restarts. What was moved in
        just before the start is not overtaken by what is moved in after it."""
        spool = self.spool({"spool": {"settle_seconds": 2}})
        spool.kill9()
        names = [f"{n}.csv" for n in range(6)]
        for name in names[:3]:
            spool.drop("alice", name, how="mv")
        spool.restart()
        for name in names[3:]:
            spool.drop("alice", name, how="mv")
        self.assertSays("backlog", spool.explain_file(names[5])["because"])
        for name in names:
            spool.wait_state(name, "done")
        self.assertEqual([s.name for s in spool.journal.starts("alice")], names)

    def test_young_ones_found_at_the_start_keep_their_order(self):
        """Promise 3: of two that are not quiet yet when they are found, the
        later one does not overtake the earlier one, however late the daemon
        wakes up."""
        spool = self.spool({"spool": {"settle_seconds": 1}})
        spool.kill9()
        spool.drop("alice", "a.csv")
        time.sleep(0.5)
        spool.drop("alice", "b.csv")
        spool.restart()
        # Between the moments at which the two are due.
        time.sleep(0.6)
        spool.daemon.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        spool.daemon.send_signal(signal.SIGCONT)
        for name in ("a.csv", "b.csv"):
            spool.wait_state(name, "done")
        self.assertEqual(spool.journal.order("alice"), ["a.csv", "b.csv"])

    def test_killed_again_and_again_at_the_start(self):
        """Section 4: recovery itself may be cut short."""
        spool = self.spool(handler="sleep 0.05\n")
        for n in range(30):
            spool.drop("alice", f"{n:02}.csv", how="mv")
        for attempt in range(8):
            spool.kill9()
            spool.start(init=False, wait=False)
            time.sleep(0.02 * attempt)
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 30, what="all in done")


class Index(SystemTest):
    def prepared(self):
        """One done, one failed, one that was running, two pending."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler="case $SPOOL_NAME in bad*) exit 1 ;; run*) gate ;; esac\n")
        spool.drop("alice", "good.csv")
        spool.drop("alice", "bad.csv")
        spool.wait_state("good.csv", "done")
        spool.wait_state("bad.csv", "failed")
        spool.drop("alice", "run.csv")
        spool.wait_started("run.csv")
        for name in ("p1.csv", "p2.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        workers = spool.workers()
        spool.daemon.send_signal(signal.SIGSTOP)
        for worker in workers:
            procs.kill(worker)
        spool.kill9()
        return spool

    def recovered(self, spool):
        spool.restart()
        spool.open_gate()
        for name in ("run.csv", "p1.csv", "p2.csv"):
            spool.wait_file(name)
        self.assertEqual(spool.files("alice", "done"), ["good.csv", "p1.csv", "p2.csv", "run.csv"])
        self.assertEqual([f for f in spool.files("alice", "failed") if not f.endswith(".log")],
                         ["bad.csv"])
        self.assertEqual(len(spool.journal.starts("alice", "good.csv")), 1, "done is not repeated")
        self.assertEqual(len(spool.journal.starts("alice", "bad.csv")), 1)
        order = spool.journal.order("alice")
        self.assertLess(order.index("p1.csv"), order.index("p2.csv"))

    def test_index_deleted(self):
        """Section 3: a lost index is rebuilt from the directories."""
        spool = self.prepared()
        shutil.rmtree(spool.index_path())
        self.recovered(spool)

    def test_index_garbage(self):
        """Section 3: a damaged index is set aside and rebuilt, and said so."""
        spool = self.prepared()
        data = os.path.join(spool.index_path(), "data.mdb")
        size = os.path.getsize(data)
        with open(data, "wb") as file:
            file.write(os.urandom(size))
        offset = spool.log_size()
        self.recovered(spool)
        aside = [n for n in os.listdir(os.path.dirname(spool.index_path())) if "damaged" in n]
        self.assertEqual(len(aside), 1)
        self.assertIn(aside[0], spool.log(offset))

    def test_index_damaged_in_the_middle(self):
        """Section 3: damage beyond the first pages is found, too, or does not
        matter: no file is lost."""
        spool = self.prepared()
        data = os.path.join(spool.index_path(), "data.mdb")
        with open(data, "r+b") as file:
            file.seek(2 * 4096)
            file.write(os.urandom(64 * 1024))
        self.recovered(spool)

    def test_index_truncated(self):
        """Section 3: the same for one cut short."""
        spool = self.prepared()
        os.truncate(os.path.join(spool.index_path(), "data.mdb"), 100)
        self.recovered(spool)

    def test_files_moved_by_hand_while_down(self):
        """Section 4, the table: finished outside, withdrawn, unknown files."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        for name in ("outside.csv", "gone.csv", "stays.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        spool.stop()
        os.rename(spool.path("alice", "incoming", "outside.csv"),
                  spool.path("alice", "done", "outside.csv"))
        spool.withdraw("alice", "gone.csv")
        unknown = spool.path("alice", "processing", "999999")
        os.mkdir(unknown)
        with open(os.path.join(unknown, b"found.csv"), "wb") as file:
            file.write(b"found")
        spool.expect("alice", "found.csv", b"found")
        spool.restart()
        spool.ctl("start")
        spool.wait_state("outside.csv", "done")
        spool.wait_state("gone.csv", "canceled")
        spool.wait_state("stays.csv", "done")
        spool.wait_file("found.csv")
        self.assertEqual(spool.journal.starts("alice", "outside.csv"), [])


    def test_index_lost_while_an_old_worker_runs(self):
        """Promise 1: the jobs of the new index get no numbers of files that are
        still worked on by the old one's."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        for name in ("b.csv", "c.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        spool.kill9()
        shutil.rmtree(spool.index_path())
        spool.restart()
        numbers = {spool.wait_state(name, "pending")["job"] for name in ("b.csv", "c.csv")}
        self.assertNotIn(stamp.job, numbers)
        spool.open_gate()
        for name in ("a.csv", "b.csv", "c.csv"):
            spool.wait_file(name)
        self.assertEqual([s.attempt for s in spool.journal.starts("alice", "a.csv")], [1])

    def test_index_lost_with_the_result_of_a_later_attempt(self):
        """Promise 6: of an attempt whose job is adopted with its result the number counts:
        the next one has a higher one, and the result counts once."""
        spool = self.spool({"scheduler_settings": {"max_retries": 1, "retry_delay_seconds": 0}},
                           handler="case $SPOOL_ATTEMPT in 1) exit 1 ;; 2) gate ;; esac\n")
        spool.drop("alice", "a.csv")
        job = spool.wait_started("a.csv", times=2).job
        workers = spool.workers()
        spool.kill9()
        spool.open_gate()
        spool.wait_for(lambda: not any(procs.alive(w) for w in workers), what="the worker to end")
        shutil.rmtree(spool.index_path())
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 2)
        self.assertEqual([a["number"] for a in spool.show(job)["attempts"]], [2])
        spool.ctl("retry", str(job))
        self.assertEqual(spool.wait_started("a.csv", times=3).attempt, 3)
        spool.wait_state("a.csv", "done")

    def test_index_lost_in_the_middle_of_a_claim(self):
        """Section 5: what a claim took before it could look is not run while it is
        written, also where the index does not know of it any more."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        for name in ("quiet.csv", "open.csv"):
            spool.drop("alice", name, b"half")
            spool.wait_state(name, "pending")
        jobs = {name: spool.job(name)["job"] for name in ("quiet.csv", "open.csv")}
        spool.kill9()
        with open(spool.path("alice", "incoming", "open.csv"), "r+b", buffering=0) as writer:
            for name, job in jobs.items():
                private = spool.path("alice", "processing", str(job))
                os.mkdir(private, 0o700)
                os.rename(spool.path("alice", "incoming", name),
                          os.path.join(private, os.fsencode(name)))
            shutil.rmtree(spool.index_path())
            spool.configure({"job_processing": {"auto_start_processing": True}})
            spool.restart()
            spool.wait_state("quiet.csv", "done")
            spool.wait_for(lambda: "open for writing" in spool.explain_file("open.csv")["because"],
                           what="explain to name the writer")
            self.assertEqual(spool.journal.starts("alice", "open.csv"), [])
            writer.write(b"whole")
            spool.forget("alice", "open.csv")
            spool.expect("alice", "open.csv", b"whole")
        spool.wait_state("open.csv", "done")
        self.assertEqual(len(spool.journal.starts("alice", "open.csv")), 1)

    def test_number_of_a_lost_job_given_again(self):
        """The same where it has happened: both files are kept and worked off."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "pending")["job"]
        spool.kill9()
        private = spool.path("alice", "processing", str(job))
        os.mkdir(private)
        with open(os.path.join(private, b"lost.csv"), "wb") as file:
            file.write(b"lost")
        spool.expect("alice", "lost.csv", b"lost")
        spool.restart()
        spool.ctl("start")
        for name in ("a.csv", "lost.csv"):
            spool.wait_file(name)

    def test_claim_that_the_index_forgot(self):
        """Section 4: what a power cut can leave with durability "relaxed": the
        rename of a claim, not its commit. It may have run, so it counts as an
        attempt; and nobody else waits for it."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}},
                           users=("alice", "bob"))
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "pending")["job"]
        spool.kill9()
        private = spool.path("alice", "processing", str(job))
        os.mkdir(private)
        os.rename(spool.path("alice", "incoming", "a.csv"), os.path.join(private, b"a.csv"))
        spool.restart()
        spool.ctl("start")
        spool.drop("bob", "b.csv")
        spool.wait_state("b.csv", "done", "bob", limit=20)
        self.assertEqual(spool.wait_state("a.csv", "done", limit=20)["attempt"], 2)
        self.assertEqual([s.attempt for s in spool.journal.starts("alice")], [2])

    def test_claim_that_the_index_forgot_took_another(self):
        """The same where that was put in the place of the upload at that moment, and
        the crash came before it was looked at: it is another upload."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "a.csv", b"first")
        job = spool.wait_state("a.csv", "pending")["job"]
        spool.kill9()
        spool.drop("alice", "a.csv", b"second", how="mv", replace=True)
        private = spool.path("alice", "processing", str(job))
        os.mkdir(private)
        os.rename(spool.path("alice", "incoming", "a.csv"), os.path.join(private, b"a.csv"))
        spool.restart()
        spool.ctl("start")
        second = spool.wait_state("a.csv", "done")
        self.assertEqual((second["job"] > job, second["attempt"]), (True, 1))
        self.assertSays("replaced", spool.show(job)["error"])


class Stopping(SystemTest):
    def test_sigterm_lets_running_attempts_finish(self):
        """Section 8: SIGTERM lets running attempts finish; none starts."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "pending")
        spool.daemon.send_signal(signal.SIGTERM)
        spool.open_gate("a.csv")
        self.assertEqual(spool.wait_exit(), 0)
        spool.wait_file("a.csv", limit=5)
        self.assertEqual(spool.files("alice", "incoming"), ["b.csv"])
        self.assertEqual(len(spool.journal.starts("alice")), 1)
        spool.open_gate()
        spool.restart()
        spool.wait_state("b.csv", "done")
        self.assertEqual(spool.job("a.csv")["attempt"], 1)

    def test_sigterm_interrupts_after_the_grace_time(self):
        """Section 8: after it, they are interrupted, and repeated later."""
        spool = self.spool({"scheduler_settings": {"stop_grace_seconds": 0.5}},
                           handler='[ "$SPOOL_ATTEMPT" = 1 ] && gate\nexit 0\n')
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        self.assertEqual(spool.stop(30), 0)
        self.assertFalse(procs.alive(stamp.pid))
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 2)

    def test_idle_daemon_stops_at_once(self):
        """Section 8: with nothing to wait for."""
        spool = self.spool()
        begun = time.monotonic()
        self.assertEqual(spool.stop(), 0)
        self.assertLess(time.monotonic() - begun, 5 * harness.slowness())
        self.assertFalse(procs.of_directory(spool.base))

    def test_second_daemon_is_refused(self):
        """Promise 4: even with a second spoold on the same spool."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        result = spool.spoold()
        self.assertNotEqual(result.code, 0)
        self.assertSays("runn|anoth|already|lock", result.err)
        self.assertTrue(spool.answers())
        spool.open_gate()
        spool.wait_state("a.csv", "done")
        self.assertEqual(len(spool.journal.starts("alice")), 1)


class Once(SystemTest):
    def test_all_done(self):
        """Section 8: once works off what is there and exits 0."""
        spool = self.spool(start=False, users=("alice", "bob"))
        spool.init()
        for user in ("alice", "bob"):
            for n in range(5):
                spool.drop(user, f"{n}.csv")
        result = spool.spoold("--mode", "once")
        self.assertEqual(result.code, 0, result)
        for user in ("alice", "bob"):
            self.assertEqual(len(spool.files(user, "done")), 5)
            self.assertEqual(spool.files(user, "incoming"), [])

    def test_some_failed(self):
        """Section 8: 1 where some failed; after all retries."""
        spool = self.spool(start=False, handler=harness.BAD_FAILS)
        spool.init()
        spool.drop("alice", "bad.csv")
        spool.drop("alice", "good.csv")
        self.assertEqual(spool.spoold("--mode", "once").code, 1)
        self.assertEqual(len(spool.journal.starts("alice", "bad.csv")), 3)
        self.assertEqual(spool.files("alice", "done"), ["good.csv"])

    def test_nothing_there(self):
        """Section 8: nothing to do is all done."""
        spool = self.spool(start=False)
        spool.init()
        self.assertEqual(spool.spoold("--mode", "once").code, 0)

    def ends_once(self, spool, obstruct, name="a.csv"):
        """Runs once, obstructs while the job runs; it gives up, and says so."""
        spool.init()
        spool.drop("alice", name)
        spool.start("--mode", "once", init=False, wait=False)
        spool.wait_started(name)
        obstruct()
        spool.open_gate()
        self.assertEqual(spool.wait_exit(90), 1)
        self.assertSays("giving up after", spool.log())

    def test_gives_up_while_the_spool_is_unmounted(self):
        """Section 8: once ends, with 1 and the reason; the next start goes on."""
        spool = self.spool(start=False, handler=GATE)
        marker = os.path.join(spool.root, ".spoold", "marker")

        def obstruct():
            os.rename(marker, marker + ".away")
            spool.drop("alice", "b.csv")
            spool.wait_log("not mounted")
        self.ends_once(spool, obstruct)
        self.assertSays("giving up.*not mounted", spool.log())
        os.rename(marker + ".away", marker)
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        self.assertEqual(spool.files("alice", "done"), ["a.csv", "b.csv"])
        self.assertEqual(len(spool.journal.starts("alice", "a.csv")), 1)

    def test_gives_up_where_a_last_move_fails(self):
        """The same where done is no directory any more."""
        spool = self.spool(start=False, handler=GATE)
        done = os.path.join(spool.root, "alice", "done")

        def obstruct():
            os.rmdir(done)
            with open(done, "w") as file:
                file.write("in the way")
        self.ends_once(spool, obstruct)
        self.assertSays("giving up.*cannot be moved", spool.log())
        os.unlink(done)
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        self.assertEqual(spool.files("alice", "done"), ["a.csv"])
        self.assertEqual(len(spool.journal.starts("alice")), 1)

    def test_beside_a_running_daemon(self):
        """Promise 4: refused, and the daemon's work is not disturbed."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        result = spool.spoold("--mode", "once")
        self.assertNotEqual(result.code, 0)
        self.assertSays("runn|anoth|already|lock", result.err)
        spool.open_gate()
        spool.wait_state("a.csv", "done")


class Reload(SystemTest):
    def begin(self):
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, handler="exit 9\n")
        spool.handler(OK, "other")
        return spool

    def test_spoolctl_reload(self):
        """Section 7: loads, checks and swaps the whole."""
        spool = self.begin()
        spool.drop("alice", "before.csv")
        spool.wait_state("before.csv", "failed")
        spool.configure({"handler": {"command": ["handlers/other", "{file}"]}})
        spool.ctl("reload")
        spool.drop("alice", "after.csv")
        spool.wait_state("after.csv", "done")

    def test_sighup(self):
        """Section 7: the same by SIGHUP."""
        spool = self.begin()
        spool.configure({"handler": {"command": ["handlers/other", "{file}"]}})
        offset = spool.log_size()
        spool.daemon.send_signal(signal.SIGHUP)
        spool.wait_log("(?i)config|reload", offset)
        spool.drop("alice", "after.csv")
        spool.wait_state("after.csv", "done")

    def test_bad_file_keeps_the_old_settings(self):
        """Section 7: a bad file leaves the old settings in force and says so."""
        spool = self.begin()
        spool.write_config('{\n\t"spool": {\n\t\t"settle_secs": 1\n\t}\n}\n')
        result = spool.ctl("reload", check=FAILED)
        self.assertIn("config.json:3:", result.out + result.err)
        self.assertIn("settle_seconds", result.out + result.err)
        offset = spool.log_size()
        spool.daemon.send_signal(signal.SIGHUP)
        spool.wait_log("config.json:3:", offset)
        spool.write_config()
        spool.drop("alice", "a.csv")
        self.assertEqual(spool.wait_state("a.csv", "failed")["exit_code"], 9)

    def test_what_cannot_change_is_named(self):
        """Section 7: root and index are named in the answer."""
        spool = self.begin()
        os.mkdir(os.path.join(spool.base, "elsewhere"))
        spool.configure({"spool": {"root": "elsewhere",
                                   "socket": "spool/.spoold/control.sock"}})
        result = spool.ctl("reload", check=None)
        self.assertIn("root", result.out + result.err)
        spool.configure({"spool": {"root": "spool"}})
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "failed")

    def test_running_jobs_are_not_disturbed(self):
        """Section 7: a reload swaps settings, not jobs."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.configure({"scheduler_settings": {"max_concurrent_jobs": 1}})
        spool.ctl("reload")
        spool.open_gate()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)


class Down(SystemTest):
    def test_reading_without_a_daemon(self):
        """Section 8: status, list, show and explain read the index
        themselves, say so, and exit 3."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")["job"]
        spool.ctl("hold", "--user", "alice")
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "pending")
        spool.stop()
        status = spool.ctl("status", json=True, check=NO_DAEMON).data
        self.assertFalse(status["daemon"]["running"])
        row = [u for u in status["users"] if u["user"] == "alice"][0]
        self.assertEqual((row["done"], row["pending"], row["held"]), (1, 1, True))
        jobs = spool.ctl("list", json=True, check=NO_DAEMON).data["jobs"]
        self.assertEqual({j["name"]: j["state"] for j in jobs},
                         {"a.csv": "done", "b.csv": "pending"})
        shown = spool.ctl("show", str(job), json=True, check=NO_DAEMON).data
        self.assertEqual((shown["state"], len(shown["attempts"])), ("done", 1))
        why = spool.explain_file("b.csv", check=NO_DAEMON)
        self.assertEqual(why["state"], "pending")
        self.assertRegex(why["because"], "^spoold is not running on .*, and the line of alice is held")
        self.assertRegex(why["next"], "^when spoold runs: ")
        # What has ended does not wait for a spoold.
        ended = spool.ctl("explain", str(job), json=True, check=NO_DAEMON).data
        self.assertEqual(ended["because"], "its handler succeeded")
        plain = spool.ctl("status", check=NO_DAEMON)
        self.assertSays("not running|no daemon|is down|without", plain.out + plain.err)
        self.assertIn("alice", plain.out)
        for command in (("hold", str(job)), ("stop",), ("start",), ("reload",), ("rescan",),
                        ("retry", str(job)), ("cancel", str(job))):
            result = spool.ctl(*command, check=NO_DAEMON)
            self.assertTrue(result.err.strip(), command)

    def test_users_without_an_index(self):
        """Section 8: before the first start of spoold a user is who has a directory."""
        spool = self.spool(start=False, users=("alice",))
        spool.spoold("--init")
        self.assertEqual(spool.ctl("list", "alice", json=True, check=NO_DAEMON).data["jobs"], [])
        users = spool.ctl("status", "alice", json=True, check=NO_DAEMON).data["users"]
        self.assertEqual([(u["user"], u["pending"]) for u in users], [("alice", 0)])
        for command in "list", "status":
            result = spool.ctl(command, "stranger", check=NO_DAEMON)
            self.assertIn("there is no user stranger in this spool", result.err)
            self.assertEqual(result.out, "")

    def test_reading_after_a_kill(self):
        """The same where a dead socket is left."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        spool.kill9()
        status = spool.ctl("status", json=True, check=NO_DAEMON).data
        self.assertFalse(status["daemon"]["running"])
        self.assertEqual(status["users"][0]["done"], 1)
        for command in "list", "status":
            result = spool.ctl(command, "stranger", check=NO_DAEMON)
            self.assertIn("there is no user stranger in the index", result.err)

    def test_why_a_job_of_a_killed_daemon_waits(self):
        """Section 8: its turn does not come while nobody gives any."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.drop("alice", "b.csv")
        job = spool.wait_state("b.csv", "pending")["job"]
        spool.kill9()
        down = "^spoold is not running on .*"
        running = spool.ctl("explain", str(job - 1), json=True, check=NO_DAEMON).data
        self.assertRegex(running["because"], down + "; the last that is known: attempt 1 runs$")
        self.assertRegex(running["next"], "^when spoold runs, it takes the result")
        waiting = spool.ctl("explain", str(job), json=True, check=NO_DAEMON).data
        self.assertRegex(waiting["because"], down + ", and it is the next of alice's line$")
        self.assertRegex(waiting["next"], "^when spoold runs: it starts when its turn has come")
        spool.open_gate()
