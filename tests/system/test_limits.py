"""What is over a limit of its user waits in incoming, and goes on by itself."""

import os
import shutil
import subprocess
import time
import unittest

from harness import FAILED, GATE, SystemTest, limit, root_only
from spool import BUILD

STOPPED = {"job_processing": {"auto_start_processing": False}}
KIB = 1024
NOTICE = "SPOOLD-NOTICE.txt"


def limits(stopped=True, users=None, **spool):
    config = {"spool": {"settle_seconds": 0.05, **spool}, "users": users or {}}
    return {**config, **(STOPPED if stopped else {})}


class Limits(SystemTest):
    def drop_in_order(self, spool, sizes, user="alice"):
        """Each is known to spoold before the next one comes."""
        for name, size in sizes:
            spool.drop(user, name, os.urandom(size), how="mv")
            spool.wait_for(lambda: self.is_known(spool, name, user), what=f"{name} to be noticed")

    def is_known(self, spool, name, user):
        return spool.job(name, user) or \
            spool.explain_file(name, user, check=None).get("state") == "over_limit"

    def pending(self, spool, user="alice"):
        jobs = [j for j in spool.jobs(user) if j["state"] == "pending"]
        return [j["name"] for j in sorted(jobs, key=lambda j: j["job"])]

    def wait_over(self, spool, count, user="alice"):
        spool.wait_for(lambda: spool.user(user)["over_limit"] == count,
                       what=f"{count} of {user} over a limit")

    def work_off(self, spool, count, user="alice"):
        spool.ctl("start")
        spool.wait_for(lambda: spool.user(user)["done"] == count, what=f"{count} done")
        return spool.journal.order(user)

    def test_pending_files(self):
        """max_pending_files: so many are jobs, the others wait, are shown and
        explained, and follow in the order of arrival."""
        spool = self.spool(limits(max_pending_files=2))
        names = ["e.csv", "d.csv", "c.csv", "b.csv", "a.csv"]
        self.drop_in_order(spool, [(n, 10) for n in names])
        self.assertEqual(self.pending(spool), names[:2])
        row = spool.user("alice")
        self.assertEqual((row["pending"], row["over_limit"], row["arriving"]), (2, 3, 0))
        self.assertSays("max_pending_files: 2", row["over_limit_because"])
        self.assertSays("3 uploads stay .*max_pending_files", spool.ctl("status").out)
        why = spool.explain_file("c.csv")
        self.assertEqual(why["state"], "over_limit")
        self.assertSays("max_pending_files: 2", why["because"])
        self.assertSays("by itself", why["next"])
        self.assertSays("behind", spool.explain_file("b.csv")["because"])
        self.assertEqual(self.work_off(spool, 5), names)
        self.assertEqual(spool.user("alice")["over_limit"], 0)

    def test_nothing_smaller_overtakes(self):
        """max_pending_mib: a large upload that waits for room is not starved
        by small ones that would fit."""
        spool = self.spool(limits(max_pending_mib=1))
        self.drop_in_order(spool, [("first", 600 * KIB), ("large", 900 * KIB), ("small", 10)])
        self.assertEqual(self.pending(spool), ["first"])
        self.assertSays("max_pending_mib: 1.0 MiB", spool.explain_file("large")["because"])
        self.assertEqual(self.work_off(spool, 3), ["first", "large", "small"])

    def test_larger_than_all_that_may_be_pending(self):
        """Never refused for ever: it is taken when nothing else is pending."""
        spool = self.spool(limits(max_pending_mib=0.5))
        self.drop_in_order(spool, [("small", 10), ("huge", 900 * KIB), ("last", 10)])
        self.assertEqual(self.pending(spool), ["small"])
        self.assertEqual(self.work_off(spool, 3), ["small", "huge", "last"])

    def test_largest_upload(self):
        """max_upload_mib: it waits in nobody's way, until the limit or the
        file is another one."""
        spool = self.spool(limits(max_upload_mib=0.25))
        self.drop_in_order(spool, [("big", 300 * KIB), ("bigger", 400 * KIB), ("ok", 10)])
        self.assertEqual(self.pending(spool), ["ok"])
        self.wait_over(spool, 2)
        why = spool.explain_file("big")
        self.assertSays("max_upload_mib: 256.0 KiB", why["because"])
        self.assertSays("raised|smaller", why["next"])
        spool.drop("alice", "big", b"small now", how="mv", replace=True)
        spool.wait_state("big", "pending")
        self.wait_over(spool, 1)
        spool.configure({"spool": {"max_upload_mib": 1}})
        spool.ctl("reload")
        spool.wait_state("bigger", "pending")
        self.assertEqual(self.work_off(spool, 3), ["ok", "big", "bigger"])

    def test_submit_says_that_it_is_too_large(self):
        """At once, also where it would wait for the end of its job."""
        spool = self.spool(limits(max_upload_mib=0.25))
        file = os.path.join(spool.base, "large")
        with open(file, "wb") as out:
            out.write(bytes(300 * KIB))
        for name, *wait in (("one",), ("two", "--wait")):
            begun = time.monotonic()
            said = spool.ctl("submit", file, "--user", "alice", "--name", name, *wait, check=FAILED)
            self.assertIn(f"{name}: the file is in incoming, but no job yet: it is larger than an "
                          "upload may be (max_upload_mib: 256.0 KiB); it stays where it is", said.err)
            self.assertLess(time.monotonic() - begun, 15)  # it is asked for 20 s
            spool.expect("alice", name, bytes(300 * KIB))

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_submit_hears_late_that_it_is_too_large(self):
        """spoold may have seen the file before it is asked about it."""
        spool = self.spool(limits(max_upload_mib=0.25))
        file = os.path.join(spool.base, "large")
        with open(file, "wb") as out:
            out.write(bytes(300 * KIB))
        begun = time.monotonic()
        said = subprocess.run(
            ["strace", "-o", "/dev/null", "-e", "trace=connect", "-e",
             "inject=connect:delay_enter=1000000", os.path.join(BUILD, "spoolctl"), "--config",
             spool.config_path, "submit", file, "--user", "alice", "--name", "one"],
            env=spool.environment(), capture_output=True, text=True)
        self.assertEqual(said.returncode, FAILED)
        self.assertIn("it is larger than an upload may be", said.stderr)
        self.assertLess(time.monotonic() - begun, 15)  # it is asked for 20 s
        spool.expect("alice", "one", bytes(300 * KIB))

    def test_submit_says_what_it_waits_for(self):
        spool = self.spool(limits(max_pending_files=1))
        file = os.path.join(spool.base, "small")
        with open(file, "wb") as out:
            out.write(b"small")
        spool.ctl("submit", file, "--user", "alice", "--name", "one")
        said = spool.ctl("submit", file, "--user", "alice", "--name", "two", check=FAILED)
        self.assertIn("two: the file is in incoming, but no job yet: it waits for room: as many "
                      "files as may be pending are (max_pending_files: 1)", said.err)
        for name in ("one", "two"):
            spool.expect("alice", name, b"small")

    def test_free_space_by_settings(self):
        """min_free_mib: nothing is taken below it; a reload lets it go on."""
        spool = self.spool(limits(min_free_mib=900_000_000))
        self.drop_in_order(spool, [("a.csv", 10), ("b.csv", 10)])
        self.assertEqual(self.pending(spool), [])
        self.assertSays("min_free_mib", spool.explain_file("a.csv")["because"])
        result = spool.ctl("doctor", check=None)
        self.assertSays("min_free_mib", result.out)
        spool.configure({"spool": {"min_free_mib": 0}})
        spool.ctl("reload")
        spool.wait_state("b.csv", "pending")
        self.assertEqual(self.work_off(spool, 2), ["a.csv", "b.csv"])

    @root_only
    def test_free_space_that_is_made(self):
        """min_free_mib: goes on by itself when somebody makes room."""
        spool = self.spool(limits(min_free_mib=4), start=False)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "none", spool.root],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", spool.root], check=True)
        spool.add_user("alice")
        filler = os.path.join(spool.root, "alice", "filler")
        with open(filler, "wb") as file:
            file.write(b"x" * (5 * KIB * KIB))
        spool.configure({"spool": {"index": os.path.join(spool.base, "index")}})
        spool.start()
        for name in ("a.csv", "b.csv"):
            spool.drop("alice", name)
            self.wait_over(spool, 1 if name == "a.csv" else 2)
        self.assertEqual(self.pending(spool), [])
        os.unlink(filler)
        spool.wait_state("b.csv", "pending")
        self.assertEqual(self.work_off(spool, 2), ["a.csv", "b.csv"])
        self.assertEqual(spool.end(), [])
        spool.dropped.clear()  # and the mount goes

    def test_per_user(self):
        """One user's limit is not another's."""
        spool = self.spool(limits(max_pending_files=1, users={"bob": {"max_pending_files": 0}}),
                           users=("alice", "bob"))
        for user in ("alice", "bob"):
            self.drop_in_order(spool, [("a", 1), ("b", 1), ("c", 1)], user)
        self.assertEqual(self.pending(spool), ["a"])
        self.assertEqual(self.pending(spool, "bob"), ["a", "b", "c"])

    def test_held_jobs_count_and_room_comes_with_a_cancel(self):
        """Held is still waiting; what is canceled is not."""
        spool = self.spool(limits(max_pending_files=2))
        self.drop_in_order(spool, [("a", 1), ("b", 1), ("c", 1)])
        spool.ctl("hold", str(spool.job("a")["job"]))
        spool.wait_state("a", "held")
        self.wait_over(spool, 1)
        self.assertEqual(self.pending(spool), ["b"])
        spool.ctl("cancel", str(spool.job("b")["job"]))
        spool.wait_state("c", "pending")

    def test_the_line_moves_up(self):
        """What is taken back from the line leaves it, what changes goes to
        its end: it is a new upload."""
        spool = self.spool(limits(max_pending_files=1))
        self.drop_in_order(spool, [("a", 1), ("b", 2), ("c", 3), ("d", 4)])
        spool.withdraw("alice", "b")
        self.wait_over(spool, 2)
        spool.drop("alice", "c", b"another", how="mv", replace=True)
        spool.wait_for(lambda: spool.explain_file("c")["state"] == "over_limit" and
                       "behind" in spool.explain_file("c")["because"], what="c at the end")
        self.assertEqual(self.work_off(spool, 3), ["a", "d", "c"])

    def test_after_a_crash(self):
        """The same line, in the same order."""
        spool = self.spool(limits(max_pending_files=2))
        names = ["e", "d", "c", "b", "a"]
        for name in names:
            spool.drop("alice", name, how="mv")
            spool.next_tick()
        self.wait_over(spool, 3)
        spool.kill9()
        spool.restart()
        self.wait_over(spool, 3)
        self.assertEqual(self.work_off(spool, 5), names)

    def test_events_while_the_line_stands(self):
        """Nothing is lost, and a job once, whatever happens to a file in line."""
        spool = self.spool(limits(max_pending_files=1))
        self.drop_in_order(spool, [("a", 1), ("b", 2), ("c", 3)])
        for _ in range(3):
            os.chmod(spool.path("alice", "incoming", "b"), 0o600)
            os.chmod(spool.path("alice", "incoming", "b"), 0o640)
            with open(spool.path("alice", "incoming", "b"), "rb") as file:
                file.read()
            spool.ctl("rescan")
        self.assertEqual(self.work_off(spool, 3), ["a", "b", "c"])
        self.assertEqual(len(spool.jobs("alice")), 3)

    @limit(300)
    def test_more_than_the_line_holds(self):
        """Memory is bounded: what the line cannot hold is left to a scan, and
        nothing overtakes because of that."""
        spool = self.spool(limits(max_pending_files=10))
        slow = open(spool.path("alice", "incoming", "slow"), "wb")
        spool.expect("alice", "slow", b"last of all")
        spool.wait_for(lambda: spool.user("alice")["arriving"] == 1, what="the slow upload")
        names = [f"{n:05}" for n in range(8700)]
        for name in names:
            spool.drop("alice", name, b"x", how="mv")
        self.wait_over(spool, 8191)
        late = [f"late{n}" for n in range(5)]
        for name in late:
            spool.drop("alice", name, b"x", how="mv")
            spool.next_tick()
        slow.write(b"last of all")
        slow.close()
        spool.wait_for(lambda: spool.user("alice")["arriving"] == 0, what="the slow one's end")
        self.assertEqual(self.pending(spool), names[:10])
        spool.configure({"spool": {"max_pending_files": 0}})
        spool.ctl("reload")
        spool.wait_for(lambda: spool.user("alice")["pending"] == 8706, 200, "all pending")
        self.assertEqual(self.pending(spool), names + late + ["slow"])

    def test_once(self):
        """--mode once works off all that gets room, and ends with what never
        will in its place."""
        spool = self.spool(limits(False, max_pending_files=1, max_upload_mib=0.1), start=False)
        spool.init()
        for name in ("a", "b", "c", "d"):
            spool.drop("alice", name)
            spool.next_tick()
        spool.drop("alice", "large", b"x" * (200 * KIB))
        time.sleep(0.1)
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        self.assertEqual(spool.journal.order("alice"), ["a", "b", "c", "d"])
        self.assertEqual(spool.files("alice", "incoming"), [NOTICE, "large"])

    def test_while_jobs_run(self):
        """A running job takes no pending place; the line follows each start."""
        spool = self.spool(limits(False, max_pending_files=1), handler=GATE)
        spool.drop("alice", "a")
        spool.wait_started("a")
        self.drop_in_order(spool, [("b", 1), ("c", 1), ("d", 1)])
        self.assertEqual(self.pending(spool), ["b"])
        self.wait_over(spool, 2)
        spool.open_gate("a")
        spool.wait_started("b")
        spool.wait_state("c", "pending")
        self.wait_over(spool, 1)
        spool.open_gate()
        spool.wait_state("d", "done")
        self.assertEqual(spool.journal.order("alice"), ["a", "b", "c", "d"])
