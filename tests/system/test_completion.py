"""When is an upload complete, and what becomes of it before it is?"""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
import unittest

from harness import GATE, SystemTest


class Ways(SystemTest):
    """One rule for every way in (FIELD: half a file is taken)."""

    def test_copy(self):
        """Section 5, auto: closed by its writer and unchanged for a while."""
        spool = self.spool()
        spool.drop("alice", "a.csv", os.urandom(300_000))
        spool.wait_state("a.csv", "done")

    def test_move(self):
        """Section 5, auto: a rename is complete at once."""
        spool = self.spool({"spool": {"settle_seconds": 30}})
        begun = time.monotonic()
        spool.drop("alice", "a.csv", how="mv")
        spool.wait_state("a.csv", "done", limit=20)
        self.assertLess(time.monotonic() - begun, 28)

    def test_empty_file(self):
        """An empty upload is an upload."""
        spool = self.spool()
        spool.drop("alice", "empty", b"")
        spool.wait_state("empty", "done")
        self.assertEqual(os.path.getsize(spool.path("alice", "done", "empty")), 0)

    def test_subdirectory_keeps_its_path(self):
        """Section 5: subdirectories are followed, the path is kept."""
        spool = self.spool()
        spool.drop("alice", "2026/july/report.csv")
        spool.drop("alice", "2026/june/report.csv")
        spool.wait_state("2026/july/report.csv", "done")
        spool.wait_state("2026/june/report.csv", "done")
        self.assertEqual(spool.files("alice", "done"),
                         ["2026/july/report.csv", "2026/june/report.csv"])

    def test_directory_moved_in(self):
        """FACTS: mv of a directory tells nothing of its contents."""
        spool = self.spool()
        tree = os.path.join(spool.base, "staging", "batch")
        os.makedirs(os.path.join(tree, "deep"))
        for name in ("one.csv", "deep/two.csv"):
            with open(os.path.join(tree, name), "wb") as file:
                file.write(name.encode())
            spool.expect("alice", "batch/" + name, name.encode())
        os.rename(tree, spool.path("alice", "incoming", "batch"))
        spool.wait_state("batch/one.csv", "done", limit=20)
        spool.wait_state("batch/deep/two.csv", "done", limit=20)

    def test_rename_from_ignored_name(self):
        """Section 5: ignored while it is written, taken by its rename; also
        with a settle time that would not be over yet."""
        spool = self.spool({"spool": {"settle_seconds": 30}})
        hidden = spool.path("alice", "incoming", ".report.csv.X1y2")
        with open(hidden, "wb") as file:
            file.write(b"whole")
        spool.expect("alice", "report.csv", b"whole")
        os.rename(hidden, spool.path("alice", "incoming", "report.csv"))
        spool.wait_state("report.csv", "done", limit=20)

    def test_new_user_directory_while_running(self):
        """Section 5: the root is watched for new users."""
        spool = self.spool()
        spool.add_user("carol")
        spool.drop("carol", "first.csv")
        spool.wait_for(lambda: spool.user("carol"), 20, "carol to be met")
        spool.wait_state("first.csv", "done", "carol", limit=20)
        self.assertIn("carol", [u["user"] for u in spool.status()["users"]])

    def test_names_taken_in_done_get_the_id(self):
        """Section 3: report.csv, then report.<id>.csv; nothing is overwritten."""
        spool = self.spool()
        jobs = []
        for version in ("first", "second", "third"):
            spool.drop("alice", "report.csv", version.encode())
            spool.wait_for(lambda: len(spool.files("alice", "done")) == len(jobs) + 1,
                           what=f"the {version} report.csv in done")
            jobs.append(spool.wait_state("report.csv", "done")["job"])
        self.assertEqual(spool.files("alice", "done"), sorted(
            ["report.csv", f"report.{jobs[1]}.csv", f"report.{jobs[2]}.csv"]))
        self.assertEqual(len(set(jobs)), 3)

    def test_names_without_extension_get_the_id_at_the_end(self):
        """Section 3, for README."""
        spool = self.spool()
        spool.drop("alice", "README", b"one")
        spool.wait_state("README", "done")
        spool.drop("alice", "README", b"two")
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 2, what="both in done")
        second = spool.wait_state("README", "done")["job"]
        self.assertEqual(spool.files("alice", "done"), ["README", f"README.{second}"])

    def test_files_there_before_the_start_come_in_order_of_their_time(self):
        """Promise 3; FIELD: paperless queues existing files unchecked."""
        spool = self.spool(start=False, handler=GATE)
        spool.init()
        names = [f"f{n:02}.csv" for n in range(12)]
        random.Random(7).shuffle(names)
        for name in names:
            spool.drop("alice", name)
            spool.next_tick()
        spool.open_gate()
        spool.start()
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 12, what="all in done")
        self.assertEqual(spool.journal.order("alice"), names)


class Unfinished(SystemTest):
    """Half a file is never taken."""

    def test_slow_writer(self):
        """Section 5: open for writing is arriving, however long it is silent;
        it is taken after the close and the settle time."""
        spool = self.spool()
        path = spool.path("alice", "incoming", "slow.csv")
        with open(path, "wb", buffering=0) as file:
            file.write(b"first half,")
            spool.wait_for(lambda: spool.user("alice")["arriving"] == 1, what="arriving: 1")
            # A later file of another user proves that time for a mistake has passed.
            spool.add_user("bob")
            spool.drop("bob", "clock.csv")
            spool.wait_state("clock.csv", "done", "bob")
            time.sleep(1.0)
            self.assertIsNone(spool.job("slow.csv"))
            why = spool.explain_file("slow.csv")
            self.assertEqual((why["state"], why["job"]), ("arriving", None))
            self.assertSays("writ|open", why["because"])
            file.write(b"second half")
        closed = time.time_ns()
        spool.expect("alice", "slow.csv", b"first half,second half")
        spool.wait_state("slow.csv", "done")
        start = spool.journal.starts("alice", "slow.csv")[0]
        self.assertGreaterEqual(start.ns - closed, 0.15e9)
        self.assertEqual(spool.user("alice")["arriving"], 0)

    def test_others_overtake_a_slow_upload(self):
        """Promise 3: the line is ordered by the moment of completion."""
        spool = self.spool()
        with open(spool.path("alice", "incoming", "slow.csv"), "wb") as file:
            spool.wait_for(lambda: spool.user("alice")["arriving"] == 1, what="arriving: 1")
            spool.drop("alice", "quick.csv")
            spool.wait_state("quick.csv", "done")
            file.write(b"done at last")
        spool.expect("alice", "slow.csv", b"done at last")
        spool.wait_state("slow.csv", "done")
        self.assertEqual(spool.journal.order("alice"), ["quick.csv", "slow.csv"])

    def test_growing_in_short_bursts(self):
        """Section 5: closed and opened again before the settle time is over
        (resumed uploads, SMB) is one upload, taken once and whole."""
        spool = self.spool({"spool": {"settle_seconds": 2}})
        path = spool.path("alice", "incoming", "bursts.csv")
        for part in range(8):
            with open(path, "ab") as file:
                file.write(b"part %d\n" % part)
            time.sleep(0.1)
        spool.expect("alice", "bursts.csv", b"".join(b"part %d\n" % n for n in range(8)))
        spool.wait_state("bursts.csv", "done")
        self.assertEqual(len(spool.journal.starts("alice", "bursts.csv")), 1)
        self.assertEqual(len(spool.jobs("alice")), 1)

    def test_abandoned_upload_disappears(self):
        """FIELD: an upload that its user takes back before it is complete is
        no job and leaves nothing."""
        spool = self.spool({"spool": {"settle_seconds": 60}})
        path = spool.drop("alice", "oops.csv")
        spool.wait_for(lambda: spool.user("alice")["arriving"] == 1, what="arriving: 1")
        os.unlink(path)
        spool.forget("alice", "oops.csv")
        spool.wait_for(lambda: spool.user("alice")["arriving"] == 0, what="arriving: 0")
        self.assertEqual(spool.jobs("alice"), [])

    def test_ignored_patterns(self):
        """Section 5: .*, *.part, *.filepart, *.tmp, *~ are never jobs, and
        explain says so."""
        spool = self.spool()
        ignored = [".hidden", "a.part", "b.filepart", "c.tmp", "d~"]
        for name in ignored:
            with open(spool.path("alice", "incoming", name), "wb") as file:
                file.write(b"not yet")
        spool.drop("alice", "real.csv")
        spool.wait_state("real.csv", "done")
        spool.ctl("rescan")
        spool.drop("alice", "real2.csv")
        spool.wait_state("real2.csv", "done")
        self.assertEqual(sorted(os.listdir(spool.path("alice"))), sorted(ignored))
        for name in ignored:
            self.assertSays("ignor", spool.explain_file(name)["because"])
        self.assertEqual(len(spool.jobs("alice")), 2)


    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_replaced_by_a_rename_while_it_is_made_durable(self):
        """Promise 3: a rename counts as one also then: the newer upload is
        complete at once, whatever the rule."""
        for completion in ("rename", "auto"):
            spool = self.spool({"spool": {"completion": completion, "settle_seconds": 600}})
            tracer = subprocess.Popen(
                ["strace", "-f", "-o", "/dev/null", "-p", str(spool.daemon.pid), "-e",
                 "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=200000"],
                stderr=subprocess.PIPE)
            try:
                tracer.stderr.readline()  # attached
                spool.drop("alice", "a.csv", b"first", how="mv")
                spool.wait_for(lambda: spool.user("alice")["arriving"] == 1, what="its sync")
                spool.drop("alice", "a.csv", b"second", how="mv", replace=True)
                spool.wait_state("a.csv", "done", limit=20)
            finally:
                tracer.terminate()
                tracer.communicate()

    def test_directories_of_ignored_names(self):
        """Section 5: what lies in a directory that is ignored is no job either,
        as rsync --partial-dir leaves it; moved out, or with its directory
        renamed, it is one."""
        spool = self.spool()
        for directory in (".rsync-partial", "sub/.~tmp~", "later.tmp/deep"):
            os.makedirs(spool.path("alice", "incoming", directory))
            with open(spool.path("alice", "incoming", directory + "/a.csv"), "wb") as file:
                file.write(directory.encode())
        for name in ("real.csv", "real2.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "done")
            spool.ctl("rescan")
        self.assertEqual(len(spool.jobs("alice")), 2)
        self.assertSays("directory above it", spool.explain_file(".rsync-partial/a.csv")["because"])
        os.rename(spool.path("alice", "incoming", ".rsync-partial/a.csv"),
                  spool.path("alice", "incoming", "a.csv"))
        os.rename(spool.path("alice", "incoming", "later.tmp"),
                  spool.path("alice", "incoming", "later"))
        spool.expect("alice", "a.csv", b".rsync-partial")
        spool.expect("alice", "later/deep/a.csv", b"later.tmp/deep")
        spool.wait_state("a.csv", "done")
        spool.wait_state("later/deep/a.csv", "done")


class WhilePending(SystemTest):
    """An accepted upload still belongs to its user until it is claimed."""

    def held_line(self):
        spool = self.spool(handler=GATE)
        spool.drop("alice", "first.csv")
        spool.wait_started("first.csv")
        for name in ("second.csv", "third.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        return spool

    def finish(self, spool, *names):
        spool.open_gate()
        for name in names:
            spool.wait_state(name, "done")

    def test_overwritten_in_place(self):
        """Section 5: a replaced pending file is a new upload at the end of the
        line; the old job is canceled."""
        spool = self.held_line()
        old = spool.job("second.csv")["job"]
        spool.drop("alice", "second.csv", b"a new and longer content", replace=True)
        spool.wait_for(lambda: spool.show(old)["state"] == "canceled",
                       what="the old to be canceled")
        spool.wait_for(lambda: spool.job("second.csv")["job"] != old, what="the new to be a job")
        self.finish(spool, "first.csv", "second.csv", "third.csv")
        self.assertEqual(spool.journal.order("alice"), ["first.csv", "third.csv", "second.csv"])
        self.assertEqual(len(spool.journal.starts("alice", "second.csv")), 1)
        self.assertTrue(spool.show(old)["error"])

    def test_replaced_by_rename(self):
        """The same, where a rename replaces the file."""
        spool = self.held_line()
        old = spool.job("second.csv")["job"]
        spool.drop("alice", "second.csv", b"another", how="mv", replace=True)
        spool.wait_for(lambda: spool.show(old)["state"] == "canceled",
                       what="the old to be canceled")
        self.finish(spool, "first.csv", "second.csv", "third.csv")
        self.assertEqual(spool.journal.order("alice"), ["first.csv", "third.csv", "second.csv"])

    def test_deleted(self):
        """Section 4: the uploader took it away: canceled, "withdrawn"."""
        spool = self.held_line()
        job = spool.job("second.csv")["job"]
        spool.withdraw("alice", "second.csv")
        self.assertEqual(spool.wait_state("second.csv", "canceled")["job"], job)
        self.assertSays("withdr", spool.show(job)["error"])
        self.finish(spool, "first.csv", "third.csv")
        self.assertEqual(spool.journal.starts("alice", "second.csv"), [])

    def test_renamed(self):
        """A pending file that gets another name is withdrawn under the old
        one and a new upload under the new one."""
        spool = self.held_line()
        os.rename(spool.path("alice", "incoming", "second.csv"),
                  spool.path("alice", "incoming", "other.csv"))
        spool.forget("alice", "second.csv")
        spool.expect("alice", "other.csv", b"alice second.csv\n")
        spool.wait_state("second.csv", "canceled")
        self.finish(spool, "first.csv", "third.csv", "other.csv")

    def test_mode_does_not_matter(self):
        """FIELD (one SMB scan queued four times): a job once, whatever events
        come; chmod after acceptance is no new upload."""
        spool = self.held_line()
        job = spool.job("second.csv")["job"]
        os.chmod(spool.path("alice", "incoming", "second.csv"), 0o600)
        spool.drop("alice", "fourth.csv")
        spool.wait_state("fourth.csv", "pending")
        self.assertEqual(spool.show(job)["state"], "pending")
        self.finish(spool, "first.csv", "second.csv", "third.csv", "fourth.csv")
        self.assertEqual(spool.job("second.csv")["job"], job)
        self.assertEqual(len(spool.jobs("alice")), 4)

    def test_read_by_somebody(self):
        """FACTS: readers open and close an upload; that is no new upload."""
        spool = self.held_line()
        job = spool.job("second.csv")["job"]
        for _ in range(5):
            with open(spool.path("alice", "incoming", "second.csv"), "rb") as file:
                file.read()
        self.finish(spool, "first.csv", "second.csv", "third.csv")
        self.assertEqual(spool.job("second.csv")["job"], job)
        self.assertEqual(spool.journal.order("alice"), ["first.csv", "second.csv", "third.csv"])


class Conventions(SystemTest):
    """completion: rename, marker (checksum: test_checksum.py)."""

    def wait_explained(self, spool, name, pattern):
        """At first it has just changed; then it waits for the convention."""
        def told():
            why = spool.explain_file(name)
            return re.search("(?i)" + pattern, f"{why['because']} {why['next']}")
        spool.wait_for(told, what=f"explain {name} to speak of /{pattern}/")

    def test_rename(self):
        """Section 5: only what arrives by rename is taken."""
        spool = self.spool({"spool": {"completion": "rename"}})
        spool.drop("alice", "direct.csv")
        with open(spool.path("alice", "incoming", "proper.csv.part"), "wb") as file:
            file.write(b"proper")
        spool.expect("alice", "proper.csv", b"proper")
        os.rename(spool.path("alice", "incoming", "proper.csv.part"),
                  spool.path("alice", "incoming", "proper.csv"))
        spool.wait_state("proper.csv", "done")
        spool.drop("alice", "moved.csv", how="mv")
        spool.wait_state("moved.csv", "done")
        self.assertIsNone(spool.job("direct.csv"))
        self.assertEqual(spool.files("alice", "incoming"), ["direct.csv"])
        self.assertEqual(spool.explain_file("direct.csv")["state"], "arriving")
        self.wait_explained(spool, "direct.csv", "renam")

    def test_without_its_rename_after_a_restart(self):
        """Section 5: a broken transfer is never taken, also by the next spoold. What came while
        none ran is judged by quiet, under another name as well."""
        spool = self.spool({"spool": {"completion": "rename"}})
        def incoming(name):
            return spool.path("alice", "incoming", name)
        for name in ("broken.csv", "again.csv", "mended.csv"):
            spool.drop("alice", name)
            self.wait_explained(spool, name, "did not arrive by a rename")
        # Another file by now, mostly of the same number, which lacks its rename as well; what was
        # said of the first one may be said until it is looked at.
        spool.daemon.send_signal(signal.SIGSTOP)
        spool.withdraw("alice", "again.csv")
        spool.drop("alice", "again.csv", b"another")
        spool.daemon.send_signal(signal.SIGCONT)
        spool.wait_for(lambda: os.listxattr(incoming("again.csv")), what="again.csv to be marked")
        self.wait_explained(spool, "again.csv", "did not arrive by a rename")
        for end, last in ((spool.kill9, "one.csv"), (spool.stop, "two.csv")):
            end()
            spool.drop("alice", last)
            spool.start(init=False)
            # By then all that was there before has been looked at.
            spool.wait_state(last, "done")
            for name in ("broken.csv", "again.csv"):
                self.wait_explained(spool, name, "did not arrive by a rename")
                self.assertIsNone(spool.job(name))
        os.rename(incoming("broken.csv"), incoming("whole.csv"))
        spool.wait_state("whole.csv", "done")
        spool.stop()
        os.rename(incoming("mended.csv"), incoming("unseen.csv"))
        spool.start(init=False)
        spool.wait_state("unseen.csv", "done")
        self.assertIsNone(spool.job("again.csv"))
        for old, new in (("broken.csv", "whole.csv"), ("mended.csv", "unseen.csv")):
            spool.forget("alice", old)
            spool.expect("alice", new, f"alice {old}\n".encode())

    def test_marker(self):
        """Section 5: complete when <name>.done arrives."""
        spool = self.spool({"spool": {"completion": "marker"}})
        spool.drop("alice", "a.csv")
        spool.drop("alice", "b.csv")
        spool.drop("alice", "b.csv.done", b"")
        spool.wait_state("b.csv", "done")
        self.assertIsNone(spool.job("a.csv"))
        self.wait_explained(spool, "a.csv", "marker|a.csv.done")
        spool.drop("alice", "a.csv.done", b"")
        spool.wait_state("a.csv", "done")
        self.assertEqual([j["name"] for j in spool.jobs("alice") if j["name"].endswith(".done")],
                         [], "a marker is no job")

    def test_marker_before_its_file(self):
        """The marker may come first; the file must still be whole."""
        spool = self.spool({"spool": {"completion": "marker"}})
        spool.drop("alice", "a.csv.done", b"")
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    def test_per_user(self):
        """Section 7: completion may differ per user."""
        spool = self.spool({"users": {"bob": {"completion": "rename"}}}, users=("alice", "bob"))
        spool.drop("bob", "direct.csv")
        spool.drop("alice", "direct.csv")
        spool.wait_state("direct.csv", "done")
        spool.drop("bob", "moved.csv", how="mv")
        spool.wait_state("moved.csv", "done", "bob")
        self.assertIsNone(spool.job("direct.csv", "bob"))


class Vouchers(SystemTest):
    """No event tells that a marker, checksum or list is whole; and no rescan helps."""

    USERS = {"carol": {"completion": "marker"}, "dave": {"completion": "checksum"},
             "erin": {"completion": "checksum"}}

    def uploads(self):
        spool = self.spool({"users": self.USERS, "scheduler_settings": {"interval_minutes": 60}},
                           users=tuple(self.USERS))
        vouchers = {"carol": ("a.csv.done", b"")}
        for user, name in (("dave", "a.csv.sha256"), ("erin", "list.sha256")):
            digest = hashlib.sha256(f"{user} a.csv\n".encode()).hexdigest()
            vouchers[user] = name, f"{digest}  a.csv\n".encode()
        for user, (name, data) in vouchers.items():
            spool.drop(user, "a.csv")
            spool.expect(user, name, data)
        return spool, vouchers

    def all_done(self, spool):
        for user in self.USERS:
            spool.wait_state("a.csv", "done", user)
            spool.wait_for(lambda: spool.user(user)["arriving"] == 0, what="nothing to be left")
            self.assertEqual(len(spool.jobs(user)), 1)

    def test_written_without_a_name(self):
        """O_TMPFILE, linked while it is still open: closed under no name."""
        spool, vouchers = self.uploads()
        fds = []
        for user, (name, data) in vouchers.items():
            incoming = os.open(spool.path(user), os.O_RDONLY | os.O_DIRECTORY)
            fds.append(os.open(spool.path(user), os.O_TMPFILE | os.O_WRONLY, 0o644))
            os.write(fds[-1], data)
            os.link(f"/proc/self/fd/{fds[-1]}", name, dst_dir_fd=incoming, follow_symlinks=True)
            os.close(incoming)
        for user, (name, _) in vouchers.items():
            def told():
                why = spool.explain_file(name, user)
                return "open for writing" in why["because"] and "counts" in why["next"]
            spool.wait_for(told, what="it to wait for its writer")
            self.assertEqual(spool.jobs(user), [])
        for fd in fds:
            os.close(fd)
        self.all_done(spool)

    def test_linked(self):
        """Refused while it has two names; it is no upload when the other one is gone."""
        spool, vouchers = self.uploads()
        others = []
        for user, (name, data) in vouchers.items():
            others.append(os.path.join(spool.base, "staging", name))
            with open(others[-1], "wb") as file:
                file.write(data)
            os.link(others[-1], spool.path(user, "incoming", name))
        for user, (name, _) in vouchers.items():
            spool.wait_for(lambda: spool.explain_file(name, user)["state"] == "refused",
                           what="it to be refused")
            spool.wait_for(lambda: spool.user(user)["refused"] == 1, what="it to be counted")
        for other in others:
            os.unlink(other)
        self.all_done(spool)


class Polling(SystemTest):
    def test_polled_directories(self):
        """FIELD (inotify is blind on network shares): with polling everything
        works, later; and status says so."""
        spool = self.spool({"spool": {"watch": "poll", "poll_seconds": 0.5}})
        self.assertEqual(spool.user("alice")["watch"], "poll")
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done", limit=20)
        spool.drop("alice", "deep/b.csv", how="mv")
        spool.wait_state("deep/b.csv", "done", limit=20)

    def test_inotify_is_shown(self):
        """Section 5: how a directory is watched is shown in status."""
        self.assertEqual(self.spool().user("alice")["watch"], "inotify")


class FoundByRename(SystemTest):
    """Completion "rename", and no event was seen: how the file came is not
    known, so it is taken when it is quiet, whoever found it."""

    def unseen(self, *names):
        spool = self.spool({"spool": {"completion": "rename", "watch": "poll",
                                      "poll_seconds": 3600},
                            "job_processing": {"auto_start_processing": False}}, start=False)
        for name in names:
            spool.drop("alice", name, b"first", how="mv")
        spool.start()
        for name in names:
            spool.wait_state(name, "pending")
        return spool

    def test_by_the_claim_of_what_it_replaced(self):
        spool = self.unseen("a.csv")
        spool.drop("alice", "a.csv", b"second", how="mv", replace=True)
        spool.ctl("start")
        self.assertEqual(spool.wait_state("a.csv", "done", limit=20)["size"], len(b"second"))

    def test_by_somebody_who_asks(self):
        spool = self.unseen()
        spool.drop("alice", "a.csv", how="mv")
        self.assertEqual(spool.explain_file("a.csv")["state"], "arriving")
        spool.wait_state("a.csv", "pending", limit=20)
