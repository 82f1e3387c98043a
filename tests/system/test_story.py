"""The main story: two users, three files, and a bad one."""

import os
import subprocess
import unittest

from harness import BAD_FAILS, REPO, SystemTest

TELLS = """report progress=0.5
report records=10
report "message=half way through $SPOOL_NAME"
gate
"""


class MainStory(SystemTest):
    def copy(self, spool, user, name, text):
        """A real cp, as a user would."""
        source = os.path.join(spool.base, "staging", name)
        with open(source, "w") as file:
            file.write(text)
        subprocess.run(["cp", source, spool.path(user)], check=True)
        spool.expect(user, name, text.encode())

    def begin(self):
        spool = self.spool(users=("alice", "bob"), handler=TELLS)
        for user, name in (("alice", "File1"), ("alice", "File2"), ("bob", "File3")):
            self.copy(spool, user, name, f"{name}\n")
            spool.wait_for(lambda: spool.job(name, user), what=f"{name} to be a job")
        spool.wait_started("File1")
        spool.wait_started("File3", "bob")
        return spool

    def test_users_side_by_side_one_job_each(self):
        """Promises 3, 4 and 7: File1 and File3 run at the same time, File2
        waits behind File1 and follows it."""
        spool = self.begin()
        spool.wait_for(lambda: all(spool.user(u)["processing"] == 1 for u in ("alice", "bob")),
                       what="both users to be processing")
        alice = spool.user("alice")
        self.assertEqual([r["name"] for r in alice["running"]], ["File1"])
        self.assertEqual(alice["pending"], 1)
        self.assertGreaterEqual(alice["oldest_pending_seconds"], 0)
        why = spool.explain_file("File2")
        self.assertEqual(why["state"], "pending")
        self.assertSays("behind.*File1", why["because"])
        self.assertEqual(spool.journal.starts("alice", "File2"), [])

        spool.open_gate("File1")
        spool.wait_started("File2")
        self.assertSays("File2", str(spool.wait_for(lambda: spool.user("alice")["running"])))
        spool.open_gate()
        for user, name in (("alice", "File1"), ("alice", "File2"), ("bob", "File3")):
            spool.wait_state(name, "done", user)
        self.assertEqual(spool.journal.order("alice"), ["File1", "File2"])
        first, second = (spool.journal.ends("alice", "File1")[0],
                         spool.journal.starts("alice", "File2")[0])
        self.assertGreaterEqual(second.ns, first.ns)
        self.assertEqual(spool.files("alice", "done"), ["File1", "File2"])
        self.assertEqual(spool.files("bob", "done"), ["File3"])
        for user in ("alice", "bob"):
            spool.wait_for(lambda user=user: not os.listdir(spool.path(user, "processing")),
                           what=f"processing of {user} to be empty")
            self.assertEqual(os.listdir(spool.path(user, "incoming")), [])
            self.assertEqual(spool.user(user)["pending"], 0)
        self.assertEqual(spool.user("alice")["done"], 2)

    def test_progress_shows_at_once(self):
        """Section 6: what a handler reports appears in status while it runs,
        and in the history."""
        spool = self.begin()

        def told():
            running = spool.user("alice")["running"]
            return running[0] if running and running[0]["message"] else None
        row = spool.wait_for(told, what="the report in status")
        self.assertEqual(row["name"], "File1")
        self.assertAlmostEqual(row["progress"], 0.5)
        self.assertEqual(row["records"], 10)
        self.assertEqual(row["message"], "half way through File1")
        self.assertEqual(row["attempt"], 1)
        self.assertGreaterEqual(row["elapsed_seconds"], 0)
        spool.open_gate()
        job = spool.show(spool.wait_state("File1", "done")["job"])
        self.assertEqual(job["records"], 10)
        self.assertEqual(len(job["attempts"]), 1)
        for moment in ("accepted_at", "started_at", "finished_at"):
            self.assertRegex(job[moment], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
        self.assertLessEqual(job["accepted_at"], job["started_at"])
        self.assertLessEqual(job["started_at"], job["finished_at"])

    def test_bad_file_is_retried_then_failed_with_a_log(self):
        """Sections 3 and 6: retried max_retries times, then in failed with a
        log that says why in words; the next file follows."""
        spool = self.spool(handler=BAD_FAILS)
        spool.drop("alice", "bad.csv")
        spool.drop("alice", "good.csv")
        job = spool.wait_state("bad.csv", "failed")
        spool.wait_state("good.csv", "done")
        self.assertEqual(len(spool.journal.starts("alice", "bad.csv")), 3)
        self.assertEqual([s.attempt for s in spool.journal.starts("alice", "bad.csv")], [1, 2, 3])
        self.assertEqual(job["exit_code"], 1)
        self.assertTrue(job["error"])
        attempts = spool.show(job["job"])["attempts"]
        self.assertEqual(len(attempts), 3)
        self.assertEqual([a["exit_code"] for a in attempts], [1, 1, 1])
        self.assertEqual(spool.files("alice", "failed"), ["bad.csv", "bad.csv.log"])
        with open(spool.path("alice", "failed", "bad.csv.log")) as file:
            log = file.read()
        self.assertIn("cannot digest bad.csv", log)
        self.assertSays("exit|status|code", log)
        self.assertSays("cannot digest bad.csv", spool.ctl("log", str(job["job"])).out)
        row = spool.user("alice")
        self.assertEqual((row["failed"], row["done"]), (1, 1))
        why = spool.explain_file("bad.csv", place="failed")
        self.assertEqual((why["job"], why["state"]), (job["job"], "failed"))
        self.assertTrue(why["because"])


class PackagedHandler(SystemTest):
    """The handler that comes with spoold, as config.json names it."""

    HANDLER = os.path.join(REPO, "packaging", "handlers", "count-records")

    def setUp(self):
        if not os.access(self.HANDLER, os.X_OK):
            raise unittest.SkipTest("packaging/handlers/count-records is not there")
        super().setUp()

    def test_counts_records(self):
        """The default handler counts the records of a CSV file."""
        spool = self.spool({"handler": {"command": [self.HANDLER, "{file}"]}})
        spool.drop("alice", "sales.csv", b"id,amount\n1,10\n2,20\n3,30\n")
        job = spool.wait_state("sales.csv", "done")
        self.assertIn(job["records"], (3, 4))  # with or without its header

    def test_malformed_file_fails_for_good(self):
        """Exit code 65 is permanent: one attempt, and the reason in the log."""
        spool = self.spool({"handler": {"command": [self.HANDLER, "{file}"]}})
        spool.drop("alice", "torn.csv", b'id,amount\n1,10\n2\n3,"30\n')
        job = spool.wait_state("torn.csv", "failed")
        self.assertEqual(job["exit_code"], 65)
        self.assertEqual(job["attempt"], 1)
        with open(spool.path("alice", "failed", "torn.csv.log")) as file:
            self.assertTrue(file.read().strip())
