"""`spoolctl log` while no spoold runs: what it would say, read from index and directories."""

import os
import subprocess

import harness
from harness import FAILED, NO_DAEMON, SystemTest, root_only

KEEP_ALL = {"handler": {"keep_logs": "always"}}
NO_RETRY = {"scheduler_settings": {"max_retries": 0}}
NO_RIGHTS = {"user": "nobody", "group": "nogroup", "extra_groups": []}
# Says something, ends when it may, says something again.
TALKS = """echo first words
until [ -e $BASE/gate/all ]; do sleep 0.05; done
echo last words
exit 0
"""


class OfflineLog(SystemTest):
    def told(self, spool, job):
        """All that `log` says of a job, but the remark that nobody answers."""
        plain, shaped = spool.ctl("log", str(job), check=None), \
            spool.ctl("log", str(job), json=True, check=None)
        errors = [line for line in plain.err.splitlines() if "not running" not in line]
        return plain.code, plain.raw, errors, shaped.code, shaped.data

    def check_the_same(self, spool, jobs, end):
        """The same words, bytes and exit codes with spoold as when it was ended."""
        before = {job: self.told(spool, job) for job in jobs}
        end()
        for job in jobs:
            with self.subTest(job=job):
                self.assertEqual(self.told(spool, job), before[job])
                self.assertIn("spoold is not running", spool.ctl("log", str(job), check=None).err)
        return before

    def follow(self, spool, job):
        follower = subprocess.Popen(
            [os.path.join(harness.BUILD, "spoolctl"), "--config", spool.config_path, "log",
             str(job), "--follow"], env=spool.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, follower)
        return follower

    def end(self, follower):
        follower.kill()
        follower.communicate()

    def wait_said(self, follower, word):
        for line in follower.stderr:
            if word in line:
                return
        self.fail(f"it ended before it said {word}")

    def test_of_jobs_that_ended(self):
        """Beside the result, also of the second of a name; every byte of it, in pieces."""
        spool = self.spool({**NO_RETRY, **KEEP_ALL}, handler="""
case $SPOOL_NAME in
bad*) echo "cannot digest $SPOOL_NAME" >&2; exit 1 ;;
long*) head -c 150000 /dev/zero | tr '\\0' 'x'; printf '\\377\\033\\0\\n' ;;
*) echo "job $SPOOL_JOB" ;;
esac
""")
        jobs = []
        for name, state in (("a.csv", "done"), ("a.csv", "done"), ("bad.csv", "failed"),
                            ("long.csv", "done"), ("sub/a.csv", "done")):
            spool.drop("alice", name)
            ended = spool.wait_for(lambda: [j for j in spool.jobs("alice", "--state", state)
                                            if j["name"] == name and j["job"] not in jobs],
                                   what=f"{name} to be {state}")
            jobs.append(ended[0]["job"])
        told = self.check_the_same(spool, jobs, spool.stop)
        self.assertIn(f"job {jobs[1]}\n".encode(), told[jobs[1]][1])
        self.assertIn(b"cannot digest bad.csv", told[jobs[2]][1])
        self.assertIn(b"x" * 150000 + b"\xff\x1b\0\n", told[jobs[3]][1])
        self.assertTrue(all(told[job][0] == 0 and told[job][4]["final"] for job in jobs))

    def test_of_none_there(self):
        """Why there is none, and that there is no such job."""
        spool = self.spool({**NO_RETRY, "handler": {"keep_logs": "failed"}},
                           handler="case $SPOOL_NAME in bad*) exit 1 ;; esac\n")
        for name, state in (("a.csv", "done"), ("bad.csv", "failed")):
            spool.drop("alice", name)
            spool.wait_state(name, state)
        done, failed = (spool.job(name)["job"] for name in ("a.csv", "bad.csv"))
        os.unlink(spool.path("alice", "failed", "bad.csv.log"))
        spool.ctl("stop")
        spool.drop("alice", "gone.csv")
        gone = spool.wait_state("gone.csv", "pending")["job"]
        spool.withdraw("alice", "gone.csv")
        spool.wait_state("gone.csv", "canceled")
        told = self.check_the_same(spool, (done, failed, gone, 999), spool.stop)
        for job, word in ((done, "was not kept"), (failed, "somebody removed it"),
                          (gone, "never ran"), (999, "no job 999")):
            self.assertEqual(told[job][0], FAILED)
            self.assertIn(word, told[job][2][0])

    def test_of_a_job_that_waits(self):
        """Between two attempts its log is in its private directory; before the first it is
        empty."""
        spool = self.spool({"scheduler_settings": {"retry_delay_seconds": 3600}},
                           handler="echo not today; exit 1\n")
        spool.drop("alice", "a.csv")
        tried = spool.wait_for(lambda: [j for j in spool.jobs("alice", "--state", "pending")
                                        if j["attempt"] == 1], what="the first attempt")[0]["job"]
        spool.drop("alice", "b.csv")
        untried = spool.wait_state("b.csv", "pending")["job"]
        told = self.check_the_same(spool, (tried, untried), spool.stop)
        self.assertIn(b"not today", told[tried][1])
        self.assertFalse(told[tried][4]["final"])
        self.assertEqual(told[untried][:2], (0, b""))

    def test_of_a_job_that_runs(self):
        """Its worker outlives a daemon that was killed."""
        spool = self.spool(KEEP_ALL, handler=TALKS)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = spool.job("a.csv")["job"]
        spool.wait_for(lambda: b"first words" in spool.ctl("log", str(job)).raw, what="its words")
        self.check_the_same(spool, (job,), spool.kill9)
        spool.open_gate()
        spool.restart()
        spool.wait_state("a.csv", "done")

    def test_follow_to_the_end(self):
        """Of a job that has ended nobody needs spoold."""
        spool = self.spool(NO_RETRY, handler="echo cannot digest; exit 1\n")
        spool.drop("alice", "bad.csv")
        job = str(spool.wait_state("bad.csv", "failed")["job"])
        spool.stop()
        result = spool.ctl("log", job, "--follow")
        self.assertIn("cannot digest", result.out)
        self.assertIn("not running", result.err)
        self.assertNotIn("Waiting", result.err)

    def test_follow_waits_for_spoold(self):
        """What is there at once, the rest when spoold is back."""
        spool = self.spool(KEEP_ALL, handler=TALKS)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = spool.job("a.csv")["job"]
        spool.wait_for(lambda: b"first words" in spool.ctl("log", str(job)).raw, what="its words")
        spool.kill9()
        follower = self.follow(spool, job)
        self.assertEqual(follower.stdout.readline(), b"first words\n")
        self.wait_said(follower, b"not running")
        self.wait_said(follower, b"Waiting for spoold")
        spool.restart()
        spool.open_gate()
        rest, _ = follower.communicate(timeout=60)
        self.assertEqual(rest.count(b"last words"), 1)
        self.assertNotIn(b"first words", rest)
        self.assertEqual(follower.returncode, 0)

    def test_follow_waits_where_nothing_can_be_read(self):
        """As it does through any restart of spoold."""
        spool = self.spool(KEEP_ALL, handler="echo all of it\n")
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")["job"]
        for damaged, said in ((False, b"there is no index yet"), (True, b"cannot be read")):
            with self.subTest(damaged=damaged):
                spool.stop()
                aside = spool.index_path() + ".aside"
                os.rename(spool.index_path(), aside)
                if damaged:
                    open(spool.index_path(), "w").close()
                follower = self.follow(spool, job)
                self.wait_said(follower, said)
                self.wait_said(follower, b"Waiting for spoold")
                if damaged:
                    os.unlink(spool.index_path())
                os.rename(aside, spool.index_path())
                spool.restart()
                self.assertIn(b"all of it", follower.communicate(timeout=60)[0])
                self.assertEqual(follower.returncode, 0)

    def test_of_a_spool_that_is_not_there(self):
        """Nothing can be told without an index, and that is no answer."""
        spool = self.spool(start=False)
        spool.init()
        self.assertIn("no index", spool.ctl("log", "1", check=NO_DAEMON).err)
        ours = os.path.join(spool.root, ".spoold")
        os.rename(ours, ours + ".away")
        self.assertIn("mounted", spool.ctl("log", "1", check=NO_DAEMON).err)

    def refused(self, spool, job, word):
        for as_json in (False, True):
            result = spool.ctl("log", str(job), json=as_json, check=NO_DAEMON, **NO_RIGHTS)
            said = result.data["error"] if as_json else result.err
            self.assertIn("Permission denied", said)
            self.assertIn(word, said)

    def show_index(self, spool):
        os.chmod(os.path.dirname(spool.index_path()), 0o755)
        os.chmod(spool.index_path(), 0o755)
        for at, _, names in os.walk(os.path.dirname(spool.index_path())):
            for name in names:
                if not name.endswith((".sock", ".lock")):
                    os.chmod(os.path.join(at, name), 0o644)

    @root_only
    def test_what_may_not_be_read(self):
        """It is said what was denied, and never that somebody removed a log."""
        spool = self.spool({"scheduler_settings": {"max_retries": 1, "retry_delay_seconds": 0.1}},
                           handler="echo cannot digest; exit 1\n")
        spool.drop("alice", "bad.csv")
        failed = spool.wait_state("bad.csv", "failed")["job"]
        spool.configure({"scheduler_settings": {"retry_delay_seconds": 3600}})
        spool.ctl("reload")
        spool.drop("alice", "later.csv")
        waits = spool.wait_for(lambda: [j for j in spool.jobs("alice", "--state", "pending")
                                        if j["attempt"] == 1], what="the first attempt")[0]["job"]
        spool.stop()
        os.chmod(spool.index_path(), 0o700)
        self.refused(spool, failed, "the index")
        self.show_index(spool)
        os.chmod(spool.path("alice", "failed"), 0o700)
        for job in (failed, waits):
            self.refused(spool, job, f"the log of job {job} cannot be read")
        os.chmod(spool.path("alice", "failed"), 0o755)
        self.refused(spool, failed, f"the log of job {failed} cannot be read")
        os.chmod(spool.path("alice", "failed", "bad.csv.log"), 0o644)
        self.assertIn("cannot digest", spool.ctl("log", str(failed), **NO_RIGHTS).out)
