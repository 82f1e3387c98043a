"""Attacks on the promises: what was once found to break stays mended."""

import os
import time

from harness import SystemTest

DAY = 24 * 3600


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
