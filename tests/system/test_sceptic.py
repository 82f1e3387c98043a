"""Attacks on the promises: what was once found to break stays mended."""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
import unittest
import unittest.mock

import procs
from harness import BAD_FAILS, BUILD, GATE, SystemTest, limit
from spool import has_sanitizer

DAY = 24 * 3600
F_OFD_SETLK = 37


class Retention(SystemTest):
    def test_goes_on_after_a_restart(self):
        """Section 7: the retention time is kept by the next daemon too, without
        any other job coming to its end."""
        spool = self.spool({"scheduler_settings": {"cleanup_completed_jobs_days": 4 / DAY}})
        spool.check_contents = False
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        spool.stop()
        spool.restart()
        spool.wait_for(lambda: spool.files("alice", "done") == [], 20, "done to be cleaned up")
        spool.wait_for(lambda: spool.job("a.csv") is None, 20, "its history to go")

    def test_spares_a_newer_file_of_the_same_name(self):
        """Promise 1: a file is never deleted before its own retention time is
        over; that of an earlier one with its name does not count."""
        spool = self.spool({"scheduler_settings": {"cleanup_completed_jobs_days": 8 / DAY}})
        spool.drop("alice", "a.csv", b"first")
        first = spool.wait_state("a.csv", "done")["job"]
        fetched = spool.wait_file("a.csv")
        os.unlink(fetched)
        spool.forget("alice", "a.csv")
        time.sleep(5)
        spool.drop("alice", "a.csv", b"second")
        spool.wait_for(lambda: (spool.job("a.csv") or {}).get("job") != first and
                       spool.job("a.csv")["state"] == "done", what="the second to be done")
        spool.wait_for(lambda: not any(j["job"] == first for j in spool.jobs("alice")), 20,
                       "the first to be forgotten")
        self.assertEqual(spool.files("alice", "done"), ["a.csv"])
        spool.check_contents = False

    def test_remembers_a_job_whose_file_is_in_incoming_again(self):
        """Promise 6: a power cut puts the file of a job that has succeeded back to
        incoming, and its uploader changes it there; a second one may undo that, so
        its history stays until the changed file is a job."""
        spool = self.spool()
        spool.check_contents = False
        for name in ("a.csv", "b.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "done")
        first = spool.job("a.csv")["job"]
        spool.kill9()
        os.rename(spool.wait_file("a.csv"), spool.path("alice", "incoming", "a.csv"))
        with open(spool.path("alice", "incoming", "a.csv"), "ab", buffering=0) as writer:
            writer.write(b"more")
            spool.configure({"scheduler_settings": {"cleanup_completed_jobs_days": 0.1 / DAY}})
            spool.restart()
            spool.wait_for(lambda: spool.job("b.csv") is None, what="the other to be forgotten")
            self.assertEqual([j["job"] for j in spool.jobs("alice")], [first])
        spool.wait_for(lambda: len(spool.journal.starts("alice", "a.csv")) == 2,
                       what="the changed one to run")
        spool.wait_for(lambda: spool.jobs("alice") == [], what="both to be forgotten")

    def test_no_retry_of_a_file_that_is_gone(self):
        """Section 4: where only the log is left of a job, which says so, there is nothing to
        run again, also while a newer upload of its name waits."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, handler=BAD_FAILS)
        spool.check_contents = False
        spool.drop("alice", "bad.csv")
        job = spool.wait_state("bad.csv", "failed")["job"]
        os.unlink(spool.wait_file("bad.csv", "failed"))
        for newer in (False, True):
            if newer:
                spool.ctl("hold", "--user", "alice")
                spool.drop("alice", "bad.csv", b"newer")
                spool.wait_for(lambda: spool.job("bad.csv")["job"] != job, what="a newer job")
            self.assertSays("is gone; upload it again",
                            str(spool.ctl("retry", str(job), check=1)))
            self.assertEqual(spool.ctl("retry", "--failed", json=True).data["jobs"], [])
            self.assertEqual(spool.show(job)["state"], "failed")

    def test_spares_a_file_that_was_fetched_and_uploaded_again(self):
        """The same where the later file is the same inode."""
        spool = self.spool({"scheduler_settings": {"cleanup_completed_jobs_days": 8 / DAY}})
        spool.drop("alice", "a.csv", b"first")
        first = spool.wait_state("a.csv", "done")["job"]
        fetched = os.path.join(spool.base, "staging", "fetched")
        os.rename(spool.wait_file("a.csv"), fetched)
        spool.forget("alice", "a.csv")
        with open(fetched, "wb") as file:
            file.write(b"second")
        time.sleep(5)
        spool.expect("alice", "a.csv", b"second")
        os.rename(fetched, spool.path("alice", "incoming", "a.csv"))
        spool.wait_for(lambda: (spool.job("a.csv") or {}).get("job") != first and
                       spool.job("a.csv")["state"] == "done", what="the second to be done")
        spool.wait_for(lambda: not any(j["job"] == first for j in spool.jobs("alice")), 20,
                       "the first to be forgotten")
        self.assertEqual(spool.files("alice", "done"), ["a.csv"])
        spool.check_contents = False


class Interrupted(SystemTest):
    def test_spool_gone_and_back_while_a_job_runs(self):
        """Promises 4 and 6: a spool that was away for a moment is no reason to
        end what runs on it."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        marker = os.path.join(spool.root, ".spoold", "marker")
        offset = spool.log_size()
        os.rename(marker, marker + ".away")
        spool.drop("alice", "b.csv")
        spool.wait_log("not mounted", offset)
        os.rename(marker + ".away", marker)
        spool.wait_log("is back", offset)
        spool.wait_state("b.csv", "pending")
        self.assertTrue(procs.alive(stamp.pid))
        spool.open_gate()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)
        spool.wait_state("b.csv", "done")
        self.assertEqual(len(spool.journal.starts("alice", "a.csv")), 1)

    def test_output_left_by_a_crash_does_not_block_the_line(self):
        """Promise 1, section 4: what a crash left of a last move is moved after
        it; it is no reason to let the user wait."""
        spool = self.spool(handler='echo x >"$SPOOL_OUTPUT_DIR/x"\n')
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")["job"]
        spool.wait_for(lambda: "a.csv.output/x" in spool.files("alice", "done"),
                       what="the output beside it")
        spool.kill9()
        # As it was between the move of the file and that of its output.
        private = spool.path("alice", "processing", str(job))
        os.mkdir(private)
        os.rename(spool.path("alice", "done", "a.csv.output"), os.path.join(private, b"output"))
        spool.restart()
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done", limit=20)
        self.assertIn("a.csv.output/x", spool.files("alice", "done"))
        self.assertEqual(spool.files("alice", "processing"), [])

    def test_strange_directory_does_not_block_the_line(self):
        """Section 4: files that nobody can explain are reported and left alone."""
        spool = self.spool()
        spool.stop()
        strange = spool.path("alice", "processing", "4711")
        os.makedirs(os.path.join(strange, b"output"))
        with open(os.path.join(strange, b"output", b"x"), "w"):
            pass
        spool.drop("alice", "b.csv")
        spool.restart()
        spool.wait_state("b.csv", "done", limit=20)
        self.assertTrue(os.path.exists(os.path.join(strange, b"output", b"x")))


    def test_done_removed_while_a_job_runs(self):
        """Section 3: a missing directory is made again, before claims and
        before last moves."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        os.rmdir(spool.path("alice", "done"))
        spool.open_gate()
        spool.wait_file("a.csv", limit=15)

    def test_worker_program_missing_for_a_moment(self):
        """Promise 6: what never ran has not failed, and does not count as run."""
        build = os.path.join(self.directory, "build")
        os.mkdir(build)
        for program in ("spoold", "spool-worker", "spoolctl"):
            shutil.copy(os.path.join(BUILD, program), build)
        worker = os.path.join(build, "spool-worker")
        self.enterContext(unittest.mock.patch("spool.BUILD", build))
        spool = self.spool()
        os.rename(worker, worker + ".away")
        spool.drop("alice", "a.csv")
        spool.wait_log("could not be started|cannot be started|interrupted", limit=20)
        time.sleep(1)
        job = spool.job("a.csv")
        self.assertEqual((job["state"], job["attempt"]), ("pending", 0))
        os.rename(worker + ".away", worker)
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)

    def test_orphan_that_removed_its_input(self):
        """Promise 4: orphans are ended before the next job of their user starts,
        although there is nothing to repeat."""
        spool = self.spool(handler="""case $SPOOL_NAME in
a*) rm "$SPOOL_FILE"; stamp removed; sleep 60 ;;
esac
""")
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.forget("alice", "a.csv")
        spool.wait_for(lambda: any(s.what == "removed" for s in spool.journal.stamps()),
                       what="the input to be removed")
        workers = spool.workers()
        spool.daemon.send_signal(signal.SIGSTOP)
        for worker in workers:
            procs.kill(worker)
        spool.kill9()
        spool.restart()
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done")
        self.assertEqual(spool.journal.overlaps(), [])

    def test_withdrawn_as_the_old_worker_ends(self):
        """Section 4: a user whose lock becomes free is recovered, whoever notices
        first that it is free."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        for name in ("b.csv", "c.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        workers = spool.workers()
        spool.kill9()
        spool.restart()
        spool.wait_log("earlier worker still runs")
        spool.daemon.send_signal(signal.SIGSTOP)
        spool.open_gate()
        spool.wait_for(lambda: not any(procs.alive(w) for w in workers), what="the worker to end")
        spool.withdraw("alice", "b.csv")
        spool.daemon.send_signal(signal.SIGCONT)
        spool.wait_state("c.csv", "done", limit=20)
        self.assertEqual(spool.job("a.csv")["state"], "done")

    def test_lock_held_for_a_moment(self):
        """Promise 6: after a kill, a child that was just being started may hold
        the lock a moment longer; the next daemon waits for that."""
        spool = self.spool()
        spool.kill9()
        lock = open(os.path.join(spool.root, ".spoold", "daemon.lock"), "r+b")
        fcntl.fcntl(lock, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        spool.start(init=False, wait=False)
        time.sleep(0.3)
        lock.close()
        spool.wait_for(spool.answers, what="spoold to answer")
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    def test_input_replaced_by_an_attempt_that_failed(self):
        """Section 6: a handler may replace its input; its next attempt gets
        what the last one left."""
        spool = self.spool(handler="""if [ "$SPOOL_ATTEMPT" = 1 ]; then
	echo better >new
	mv new "$SPOOL_FILE"
	exit 1
fi
[ "$(cat "$SPOOL_FILE")" = better ]
""")
        spool.drop("alice", "a.csv")
        spool.forget("alice", "a.csv")
        spool.expect("alice", "a.csv", b"better\n")
        self.assertEqual(spool.wait_state("a.csv", "done", limit=20)["attempt"], 2)

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_result_that_cannot_be_sent_at_once(self):
        """Promise 6: a result that the worker has is never thrown away."""
        spool = self.spool()
        spool.drop("alice", "first.csv")
        spool.wait_state("first.csv", "done")
        # By now it counts: the start and the result of the next job.
        tracer = subprocess.Popen(
            ["strace", "-o", "/dev/null", "-p", str(spool.workers()[0]), "-e", "trace=sendmsg",
             "-e", "inject=sendmsg:error=ENOBUFS:when=2"], stderr=subprocess.PIPE)
        try:
            tracer.stderr.readline()  # attached
            spool.drop("alice", "a.csv")
            spool.wait_state("a.csv", "done", limit=20)
        finally:
            tracer.terminate()
            tracer.communicate()
        self.assertEqual(len(spool.journal.starts("alice", "a.csv")), 1)

    def with_failing_sync(self, spool, meanwhile):
        """The sync of a.csv fails, and meanwhile something else happens to it."""
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-p", str(spool.daemon.pid), "-e", "trace=fsync",
             "-e", "inject=fsync:error=EIO:delay_enter=5s:when=1"], stderr=subprocess.PIPE)
        try:
            tracer.stderr.readline()  # attached
            spool.drop("alice", "a.csv", b"lost\n")
            spool.wait_for(lambda: "made durable" in spool.explain_file("a.csv")["because"],
                           what="the sync")
            meanwhile()
            spool.wait_log("a.csv did not reach the disk")
        finally:
            tracer.terminate()
            tracer.communicate()

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_a_sync_that_fails_is_that_of_the_file_it_was_for(self):
        """Promise 2: what the disk did to one upload is not held against the one that replaced
        it meanwhile."""
        spool = self.spool()
        self.with_failing_sync(
            spool, lambda: spool.drop("alice", "a.csv", b"whole\n", how="mv", replace=True))
        spool.wait_state("a.csv", "done")
        self.assertEqual(len(spool.journal.starts("alice")), 1)
        done = spool.path("alice", "done", "a.csv")
        self.assertNotIn("user.spoold.unsafe", os.listxattr(done))

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_a_sync_that_fails_is_remembered_under_another_name(self):
        """Promise 2: by this spoold and by the next; who made sure that it is whole says so."""
        spool = self.spool()

        def rename():
            os.rename(spool.path("alice", "incoming", "a.csv"),
                      spool.path("alice", "incoming", "b.csv"))
            spool.forget("alice", "a.csv")
            spool.expect("alice", "b.csv", b"lost\n")
        self.with_failing_sync(spool, rename)
        spool.wait_log("b.csv did not reach the disk")
        spool.stop()
        offset = spool.log_size()
        spool.restart()
        spool.wait_log("b.csv did not reach the disk", offset)
        self.assertSays("did not reach the disk", spool.explain_file("b.csv")["because"])
        self.assertEqual(spool.journal.starts("alice"), [])
        os.utime(spool.path("alice", "incoming", "b.csv"))
        spool.wait_state("b.csv", "done")

    def with_write_errors(self, spool, when):
        """Writes of the daemon fail, from the given one on."""
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-p", str(spool.daemon.pid), "-e",
             "trace=pwrite64", "-e", f"inject=pwrite64:error=EIO:when={when}"],
            stderr=subprocess.PIPE)
        tracer.stderr.readline()  # attached
        return tracer

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    @limit(300)
    def test_index_after_a_write_error(self):
        """Promise 1, through I/O errors: work goes on by itself, as was said,
        whichever write it was: a page of the index or its head."""
        spool = self.spool(handler=GATE)
        for when in range(1, 6):
            name, next_name = f"{when}.csv", f"{when}-next.csv"
            spool.drop("alice", name)
            spool.wait_started(name)
            offset = spool.log_size()
            tracer = self.with_write_errors(spool, when)
            try:
                spool.open_gate(name)
                spool.open_gate(next_name)
                spool.drop("alice", next_name)
                spool.wait_log("index cannot be written", offset)
            finally:
                tracer.terminate()
                tracer.communicate()
            with self.subTest(when):
                spool.wait_file(name, limit=20)
                spool.wait_file(next_name, limit=20)
                self.assertEqual(len(spool.journal.starts("alice", name)), 1)

    @unittest.skipIf(has_sanitizer(), "it cannot end under strace")
    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_stops_although_the_index_cannot_be_written(self):
        """Section 8: stopping takes the grace time, not for ever; the result is
        found by the next daemon."""
        spool = self.spool({"scheduler_settings": {"stop_grace_seconds": 1}}, handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        tracer = self.with_write_errors(spool, "1+")
        try:
            spool.open_gate()
            spool.wait_log("index cannot be written")
            self.assertEqual(spool.stop(20), 0)
        finally:
            tracer.terminate()
            tracer.communicate()
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "done", limit=20)["attempt"], 1)


class Swapped(SystemTest):
    RENAMEAT2 = {"x86_64": 316, "aarch64": 276}.get(os.uname().machine)

    def in_a_move(self, spool):
        """Is the daemon about to rename something?"""
        try:
            with open(f"/proc/{spool.daemon.pid}/syscall", encoding="ascii") as file:
                return file.read().startswith(f"{self.RENAMEAT2} ")
        except OSError:
            return False

    @unittest.skipUnless(shutil.which("strace") and RENAMEAT2, "needs strace")
    def test_replaced_while_its_job_was_canceled(self):
        """Promise 1: who puts another file in the place of an upload just when an
        operator cancels that, has uploaded another one: it does not end with it."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "a.csv", b"first")
        first = spool.wait_state("a.csv", "pending")["job"]
        tracer = subprocess.Popen(
            ["strace", "-o", "/dev/null", "-p", str(spool.daemon.pid), "-e", "trace=renameat2",
             "-e", "inject=renameat2:delay_enter=100000000:when=1"], stderr=subprocess.PIPE)
        try:
            tracer.stderr.readline()  # attached
            asked = subprocess.Popen(
                [os.path.join(BUILD, "spoolctl"), "--config", spool.config_path, "cancel",
                 str(first)], stdout=subprocess.DEVNULL, env=spool.environment())
            spool.wait_for(lambda: self.in_a_move(spool), what="the move of what was canceled")
            spool.drop("alice", "a.csv", b"second", how="mv", replace=True)
        finally:
            tracer.kill()
            tracer.communicate()
        self.assertEqual(asked.wait(60), 0)
        spool.ctl("start")
        second = spool.wait_state("a.csv", "done")
        self.assertGreater(second["job"], first)
        self.assertEqual(spool.files("alice", "failed"), [])


class Flood(SystemTest):
    @limit(300)
    def test_burst_of_renames_is_seen_to_its_end(self):
        """Section 5: what was read from the kernel is looked at without waiting
        for another event."""
        spool = self.spool({"scheduler_settings": {"interval_minutes": 60},
                            "job_processing": {"auto_start_processing": False}})
        staging = os.path.join(spool.base, "staging")
        names = [f"{n:05}-{'x' * 64}" for n in range(4300)]
        for name in names:
            with open(os.path.join(staging, name), "w") as file:
                file.write("x")
            spool.expect("alice", name, b"x")
        spool.daemon.send_signal(signal.SIGSTOP)
        for name in names:
            os.rename(os.path.join(staging, name), spool.path("alice", "incoming", name))
        spool.daemon.send_signal(signal.SIGCONT)
        spool.wait_for(lambda: spool.user("alice")["pending"] == len(names), 60,
                       "all to be pending")

    @limit(300)
    def test_refused_files_leave_room_for_others(self):
        """Promise 5: what one user has lying about and can never be a job does
        not keep the uploads of others out, nor the daemon busy."""
        spool = self.spool(start=False, users=("alice", "bob"))
        incoming = spool.path("alice", "incoming")
        for n in range(70000):
            os.symlink("nowhere", os.path.join(incoming, f"link{n}"))
        spool.start()
        spool.drop("bob", "b.csv")
        spool.wait_state("b.csv", "done", "bob", limit=60)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done", limit=60)
        before = cpu_seconds(spool.daemon.pid)
        time.sleep(5)
        self.assertLess(cpu_seconds(spool.daemon.pid) - before, 1.5)
        spool.stop()
        shutil.rmtree(incoming)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
