"""Promise 7: what spoolctl says names the thing, is true, and says it once."""

import os
import pwd
import signal

import harness
from harness import BAD_FAILS, FAILED, GATE, NO_DAEMON, SystemTest, root_only

HOUR = {"scheduler_settings": {"retry_delay_seconds": 3600}}


class Explain(SystemTest):
    def test_what_never_ran_has_no_attempt(self):
        """A checksum that does not match ends a job without a run."""
        spool = self.spool({"spool": {"completion": "checksum"}})
        spool.drop("alice", "a.csv")
        spool.drop("alice", "a.csv.sha256", b"0" * 64 + b"  a.csv\n")
        job = spool.wait_state("a.csv", "failed")["job"]
        because = spool.explain(job)["because"]
        self.assertNotIn("attempt", because)
        self.assertIn("its content is not what", because)

    def test_a_retry_is_told_once_and_as_a_duration(self):
        spool = self.spool(HOUR, handler="exit 7")
        spool.drop("alice", "a.csv")
        spool.wait_for(lambda: (spool.job("a.csv") or {}).get("not_before"), what="its retry")
        why = spool.explain(spool.job("a.csv")["job"])
        self.assertEqual(why["because"], "attempt 1 ended: exit code 7")
        self.assertRegex(why["next"], r"^it is tried again in .* \(attempt 2\)$")
        waits = r"job \d+ \(a\.csv\), tried again in .*: exit code 7"
        self.assertRegex(spool.user()["waits_for"], f"^{waits}$")
        self.assertRegex(spool.ctl("status").out, waits)

    def test_a_file_in_a_directory_that_was_taken(self):
        """It is told with the job that the directory is, and later was."""
        spool = self.spool({"spool": {"directories": "job", "directory_settle_seconds": 0.5}},
                           handler=GATE)
        spool.drop("alice", "d/deep/a.csv")
        spool.wait_started("d")
        job = spool.job("d")["job"]
        inside = os.path.join(spool.path("alice", "incoming"), "d", "deep", "a.csv")
        self.assertEqual(spool.explain(inside)["job"], job)
        spool.open_gate()
        spool.wait_state("d", "done")
        inside = os.path.join(spool.path("alice", "done"), "d", "deep", "a.csv")
        spool.wait_for(lambda: os.path.exists(inside), what="the directory in done")
        self.assertEqual(spool.explain(inside)["job"], job)
        spool.check_contents = False

    def test_a_file_is_named_the_same_way(self):
        """Whole, whether it was asked for or its job; states in words. JSON stays as it is."""
        spool = self.spool({"spool": {"max_upload_mib": 0.001}})
        spool.drop("alice", "a.csv")
        job = str(spool.wait_state("a.csv", "done")["job"])
        path = spool.path("alice", "done", "a.csv").decode()
        spool.wait_for(lambda: spool.show(job)["path"] == "alice/done/a.csv", what="its last move")
        spool.drop("alice", "large.csv", b"x" * 4096)
        spool.wait_for(lambda: spool.user()["over_limit"], what="it to be over its limit")
        large = spool.path("alice", "incoming", "large.csv").decode()
        for code in (0, NO_DAEMON):
            for args in (("explain", job), ("explain", path), ("show", job)):
                said = spool.ctl(*args, check=code).out
                self.assertIn(f"\nfile       {path}\n", "\n" + said, args)
            self.assertEqual(spool.explain(job, code)["path"], "alice/done/a.csv")
            if code == 0:
                self.assertIn("state      over limit\n", spool.ctl("explain", large).out)
                self.assertEqual(spool.explain(large)["state"], "over_limit")
                spool.stop()

    def test_words_that_are_no_file(self):
        spool = self.spool()
        said = spool.ctl("explain", "alice", check=FAILED).err
        self.assertIn("spoolctl status alice", said)
        deep = os.path.join(spool.path("alice", "incoming"), *["d" * 200] * 50, "a.csv")
        result = spool.ctl("explain", deep, check=FAILED)
        said = result.out + result.err
        self.assertIn("longer than", said)
        self.assertNotIn("none of", said)


    def test_what_brings_a_canceled_one_back(self):
        spool = self.spool()
        spool.ctl("stop")
        for name in ("a.csv", "b.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        a, b = (spool.job(name)["job"] for name in ("a.csv", "b.csv"))
        spool.ctl("cancel", str(a))
        spool.withdraw("alice", "b.csv")
        spool.wait_state("b.csv", "canceled")
        self.assertIn(f"spoolctl retry {a}", spool.explain(a)["next"])
        self.assertIsNone(spool.explain(b)["next"], "its file is gone")
        spool.stop()
        self.assertIn(f"spoolctl retry {a}", spool.explain(a, NO_DAEMON)["next"])


class Status(SystemTest):
    def test_what_stays_in_incoming_is_named(self):
        spool = self.spool({"spool": {"completion": "marker"},
                            "users": {"bob": {"max_upload_mib": 0.001}}}, users=("alice", "bob"))
        os.symlink("/etc/passwd", spool.path("alice", "incoming", "link"))
        spool.drop("alice", "half.csv")
        spool.drop("bob", "large.csv", b"x" * 4096)
        spool.drop("bob", "large.csv.done", b"")
        spool.wait_for(lambda: (spool.user()["refused"], spool.user()["arriving"],
                                spool.user("bob")["over_limit"]) == (1, 1, 1),
                       what="all three to be noticed")
        alice, bob = spool.user(), spool.user("bob")
        self.assertEqual((alice["refused_first"], alice["arriving_first"],
                          bob["over_limit_first"]), ("link", "half.csv", "large.csv"))
        text = spool.ctl("status").out
        for name in ("link", "half.csv", "large.csv"):
            self.assertIn(name, text)

    def test_a_held_line_says_whose_fault_it_is(self):
        spool = self.spool({"job_processing": {"on_final_failure": "hold"}}, handler=BAD_FAILS)
        spool.drop("alice", "bad.csv")
        job = spool.wait_state("bad.csv", "failed")["job"]
        text = spool.ctl("status").out
        self.assertRegex(text, rf"line held: job {job} failed for good.*spoolctl retry {job}.*"
                               r"bad\.csv.*spoolctl release --user alice")

    def test_how_it_is_watched_is_not_guessed(self):
        """Without a daemon nothing is watched, and the index does not know."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertEqual(spool.user()["watch"], "inotify")
        spool.stop()
        row = spool.ctl("status", json=True, check=NO_DAEMON).data["users"][0]
        self.assertIn("watch", row)
        self.assertIsNone(row["watch"])
        self.assertIsNone(row["arriving"], "nor what is arriving")
        told = spool.ctl("status", "--busy", json=True, check=NO_DAEMON).data
        self.assertIsNone(told["totals"]["arriving"])
        self.assertRegex(spool.ctl("status", check=NO_DAEMON).out, r"(?m)^alice .* -$")
        spool.configure({"spool": {"watch": "poll"}})
        self.assertEqual(spool.ctl("status", json=True, check=NO_DAEMON).data["users"][0]["watch"],
                         "poll")

    def test_running_counts_what_runs(self):
        """What is queued in a worker does not run."""
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 1}}, handler=GATE,
                           start=False)
        for n in range(6):
            spool.drop("alice", f"{n}.csv")
        spool.start()
        spool.wait_for(lambda: spool.user()["running"], what="a running job")
        spool.wait_for(lambda: sum(spool.user()[s] for s in ("pending", "queued", "processing"))
                       == 6, what="six jobs")
        self.assertRegex(spool.ctl("status").out, r": 1 running, 5 waiting")
        sums = spool.ctl("status", "--busy", json=True).data["totals"]
        self.assertEqual((sums["running"], sums["queued"] + sums["pending"]), (1, 5))
        spool.open_gate()
        spool.wait_for(lambda: spool.user()["done"] == 6, what="all to be done")

    def test_while_stopping_nothing_lets_jobs_start(self):
        spool = self.spool({"scheduler_settings": {"stop_grace_seconds": 600}}, handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.daemon.terminate()
        spool.wait_for(lambda: spool.status()["daemon"]["stopping"], what="it to stop")
        text = spool.ctl("status").out
        self.assertIn("It is stopping", text)
        self.assertNotIn("spoolctl start", text)
        spool.open_gate()
        self.assertEqual(spool.wait_exit(), 0)

    def test_a_marker_that_is_gone_is_no_mount_of_a_user(self):
        spool = self.spool({"scheduler_settings": {"interval_minutes": 0.01}})
        marker = os.path.join(spool.root, ".spoold", "marker")
        os.rename(marker, marker + ".away")
        spool.wait_for(lambda: not spool.status()["daemon"]["mounted"], what="that to be noticed")
        text = spool.ctl("status").out
        self.assertIn("the spool is not mounted", text)
        self.assertNotIn("a mount of its own", text)
        spool.drop("alice", "a.csv")
        self.assertIn("not mounted", spool.explain_file("a.csv")["because"])
        os.rename(marker + ".away", marker)
        spool.wait_state("a.csv", "done")

    @root_only
    def test_an_incoming_that_cannot_be_read(self):
        """Without root: status says it, too."""
        spool = self.spool(start=False)
        spool.init()
        # As the account, where the programs may lie.
        os.chmod(spool.base, 0o755)
        for where, _, files in os.walk(spool.root):
            for path in [where] + [os.path.join(where, f) for f in files]:
                os.chown(path, 1001, 1001)
        program = harness.BUILD
        if not os.access("/", os.X_OK) or program.startswith("/root"):
            self.skipTest("the account cannot reach the programs")
        os.chmod(spool.path("alice", "incoming"), 0)
        spool.start(init=False, user=1001, group=1001, extra_groups=[])
        row = spool.wait_for(lambda: spool.user() if (spool.user() or {}).get("problem") else None,
                             what="that to be noticed")
        self.assertIn("incoming cannot be read: Permission denied", row["problem"])
        text = spool.ctl("status").out
        self.assertIn("unreadable", text)
        self.assertIn("spoolctl user check alice", text)
        os.chmod(spool.path("alice", "incoming"), 0o700)
        spool.ctl("rescan")
        spool.wait_for(lambda: not spool.user()["problem"], what="it to be read again")
        self.assertRegex(spool.ctl("status").out, r"alice +idle")


class Jobs(SystemTest):
    def test_who_canceled_it(self):
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = spool.job("a.csv")["job"]
        spool.ctl("cancel", str(job))
        me = pwd.getpwuid(os.getuid()).pw_name
        self.assertEqual(spool.show(job)["attempts"][0]["error"], f"canceled by {me}")
        self.assertEqual(spool.explain(job)["because"], f"it was canceled by {me}")

    def test_a_retry_leaves_the_old_error_to_its_attempts(self):
        spool = self.spool(handler=BAD_FAILS)
        spool.drop("alice", "bad.csv")
        job = spool.wait_state("bad.csv", "failed")["job"]
        spool.ctl("stop")
        spool.ctl("retry", str(job))
        again = spool.wait_state("bad.csv", "pending")
        self.assertIsNone(again["error"])
        self.assertTrue(spool.show(job)["attempts"][0]["error"])

    def test_show_has_what_status_has(self):
        spool = self.spool(handler="report records=7\nreport progress=0.9\n" + GATE)
        spool.drop("alice", "a.csv")
        spool.wait_for(lambda: [r["progress"] for r in spool.user()["running"]] == [0.9],
                       what="its report")
        job = spool.job("a.csv")["job"]
        self.assertEqual(spool.show(job)["records"], 7)
        self.assertRegex(spool.ctl("show", str(job), json=True).out,
                         '"progress":0.9[,}]')

    def test_a_worker_that_dies_is_told_once(self):
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        offset = spool.log_size()
        for worker in spool.workers():
            os.kill(worker, signal.SIGKILL)
        spool.wait_started("a.csv", times=2)
        told = [line for line in spool.log(offset).splitlines() if "worker" in line]
        self.assertEqual(len(told), 1, told)
        self.assertRegex(told[0], r"job \d+ \(a\.csv\), attempt 1: its worker ended unexpectedly")
        spool.open_gate()
        spool.wait_state("a.csv", "done")

    def test_a_directory_is_told_where_to_go(self):
        spool = self.spool({"spool": {"directories": "job"}})
        directory = os.path.join(spool.base, "staging", "d")
        os.mkdir(directory)
        said = spool.ctl("submit", "--user", "alice", directory, check=FAILED).err
        self.assertIn(spool.path("alice", "incoming"), said)


class Log(SystemTest):
    def test_what_is_removed_is_told(self):
        spool = self.spool({"scheduler_settings": {"cleanup_completed_jobs_days": 0.00002}})
        spool.drop("alice", "a.csv")
        spool.wait_log("user alice: removed 1 job past the retention time")
        spool.wait_for(lambda: spool.user()["done"] == 0, what="its history to go, too")
        spool.check_contents = False

    def test_an_index_that_is_new_where_jobs_were(self):
        spool = self.spool()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertNotIn("is new, but", spool.log())
        spool.stop()
        os.rename(spool.index_path(), os.path.join(spool.base, "index.away"))
        spool.restart()
        self.assertIn("is new, but this spool was in use before", spool.log())
