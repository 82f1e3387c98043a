"""A dropped directory as one job: it goes as a whole, once, complete, and only as it
was accepted."""

import datetime
import os
import shutil
import signal
import subprocess
import time

from doors import RATE, Client, Smbd, Sshd, program
from harness import SystemTest, root_only
import procs

JOB = {"directories": "job", "directory_settle_seconds": 0.5}
NEVER = {**JOB, "directory_settle_seconds": 3600}
MANUAL = {"auto_start_processing": False}
SEEN = """[ -d "$SPOOL_FILE" ] || exit 65
cd "$SPOOL_FILE" && find . -type f -printf '%P\\n' | sort >"$BASE/staging/seen.$SPOOL_JOB"
"""
TREE = {"a.tif": b"a", "deep/b.tif": b"b" * 10_000, "deep/er/c.tif": b"c"}


class Whole(SystemTest):
    def whole(self, config=None, handler="exit 0\n", **options):
        config = {"spool": JOB} if config is None else config
        return self.spool(config, handler=SEEN + handler, **options)

    def make(self, spool, name, files=None, user="alice", place="staging"):
        """A directory beside the spool, which is expected to become a job of `user`."""
        top = os.path.join(spool.base, place, name)
        for path, data in (TREE if files is None else files).items():
            os.makedirs(os.path.dirname(os.path.join(top, path)), exist_ok=True)
            with open(os.path.join(top, path), "wb") as file:
                file.write(data)
            spool.expect(user, f"{name}/{path}", data)
        return top

    def move(self, spool, name, files=None, user="alice"):
        os.rename(self.make(spool, name, files, user), spool.path(user, "incoming", name))

    def copy(self, spool, name, files=None):
        subprocess.run(["cp", "-r", self.make(spool, name, files), spool.path("alice")], check=True)

    def seen(self, spool, job):
        with open(os.path.join(spool.base, "staging", f"seen.{job}")) as file:
            return file.read().split()

    def add(self, spool, path, data=b"later"):
        with open(spool.path("alice", "incoming", path), "wb") as file:
            file.write(data)
        spool.expect("alice", path, data)

    def inside(self, spool, name, place="done"):
        top = os.fsdecode(spool.path("alice", place, name))
        return sorted(os.path.relpath(os.path.join(at, file), top)
                      for at, _, files in os.walk(top) for file in files)

    def states(self, spool):
        return [(j["name"], j["state"]) for j in sorted(spool.jobs("alice"),
                                                        key=lambda j: j["job"])]


class Complete(Whole):
    def test_a_copy_is_one_job_when_it_is_quiet(self):
        spool = self.whole()
        self.copy(spool, "run1")
        spool.drop("alice", "beside.tif")
        job = spool.wait_state("run1", "done")
        self.assertEqual(self.seen(spool, job["job"]), sorted(TREE))
        self.assertEqual(self.inside(spool, "run1"), sorted(TREE))
        self.assertEqual(job["size"], sum(map(len, TREE.values())))
        self.assertTrue(job["directory"])
        self.assertIn(" run1/ ", spool.ctl("list", "alice").out)
        spool.wait_for(lambda: spool.job("beside.tif"), what="a file beside it to be a job")
        self.assertEqual(len(spool.jobs("alice")), 2)
        self.assertEqual(os.listdir(spool.path("alice")), [])

    def test_moved_in_it_is_taken_at_once(self):
        spool = self.whole({"spool": NEVER})
        self.move(spool, "run1")
        self.assertEqual(self.seen(spool, spool.wait_state("run1", "done")["job"]), sorted(TREE))

    def test_not_while_a_file_in_it_is_written(self):
        spool = self.whole()
        self.make(spool, "run1")
        with open(spool.path("alice", "incoming", ".half"), "wb"):
            pass
        os.unlink(spool.path("alice", "incoming", ".half"))
        with open(os.path.join(spool.base, "staging", "run1", "deep", "open.tif"), "wb") as file:
            os.rename(os.path.join(spool.base, "staging", "run1"),
                      spool.path("alice", "incoming", "run1"))
            spool.wait_for(lambda: "open for writing" in spool.explain_file("run1")["because"],
                           what="explain to name the writer")
            self.assertEqual(spool.jobs("alice"), [])
            file.write(b"whole")
        spool.expect("alice", "run1/deep/open.tif", b"whole")
        job = spool.wait_state("run1", "done")
        self.assertIn("deep/open.tif", self.seen(spool, job["job"]))

    def test_quiet_means_all_of_it(self):
        """What changed last, at whatever depth, counts."""
        spool = self.whole({"spool": {**JOB, "directory_settle_seconds": 10}})
        os.makedirs(spool.path("alice", "incoming", "run1/deep/er"))
        for number in range(15):
            self.add(spool, f"run1/deep/er/{number}.tif")
            time.sleep(0.2)  # so that the first change and the last are far apart
        last = spool.path("alice", "done", "run1/deep/er/14.tif")
        spool.wait_for(lambda: os.path.exists(last), what="all of it to be done")
        job = max(spool.jobs("alice"), key=lambda j: j["job"])
        accepted = datetime.datetime.fromisoformat(job["accepted_at"].replace("Z", "+00:00"))
        self.assertGreaterEqual(accepted.timestamp(), os.stat(last).st_ctime + 9.9)

    def test_empty_it_is_no_job(self):
        spool = self.whole()
        os.makedirs(spool.path("alice", "incoming", "run1/deep"))
        spool.wait_for(lambda: "no file is in it" in spool.explain_file("run1")["because"],
                       what="explain to say so")
        self.add(spool, "run1/deep/a.tif")
        spool.wait_state("run1", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)

    def test_polled(self):
        spool = self.whole({"spool": {**JOB, "watch": "poll", "poll_seconds": 0.2}})
        self.move(spool, "run1")
        self.copy(spool, "run2")
        for name in ("run1", "run2"):
            self.assertEqual(self.seen(spool, spool.wait_state(name, "done")["job"]), sorted(TREE))

    def test_found_at_a_start_in_their_order(self):
        spool = self.whole({"spool": JOB}, start=False)
        names = [f"run{number}" for number in (3, 1, 2, 0)]
        for name in names:
            self.move(spool, name, {"a.tif": name.encode()} if name != "run3" else
                      {f"{n}/x.tif": b"x" for n in range(300)})
            spool.next_tick()
        spool.init()
        done = spool.spoold("--mode", "once")
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual(spool.journal.order("alice"), names)
        self.assertEqual(os.listdir(spool.path("alice")), [])

    def test_once_waits_for_no_uploader(self):
        spool = self.whole({"spool": JOB}, start=False)
        self.move(spool, "run1")
        os.mkdir(spool.path("alice", "incoming", "empty"))
        os.makedirs(spool.path("alice", "incoming", "odd/deep"))
        os.symlink("nowhere", spool.path("alice", "incoming", "odd/deep/link"))
        spool.init()
        done = spool.spoold("--mode", "once")
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual(self.inside(spool, "run1"), sorted(TREE))
        self.assertEqual(sorted(n for n in os.listdir(spool.path("alice")) if "NOTICE" not in n),
                         ["empty", "odd"])

    def test_by_rename(self):
        spool = self.whole({"spool": {**JOB, "completion": "rename", "notice_after_seconds": 0}})
        self.copy(spool, "copied")
        spool.wait_for(lambda: "rename" in spool.explain_file("copied")["because"],
                       what="explain to ask for a rename")
        self.move(spool, "moved")
        spool.wait_state("moved", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)
        os.rename(spool.path("alice", "incoming", "copied"),
                  os.path.join(spool.base, "staging", "copied.part"))
        os.rename(os.path.join(spool.base, "staging", "copied.part"),
                  spool.path("alice", "incoming", "copied"))
        spool.wait_state("copied", "done")

    def test_by_marker(self):
        spool = self.whole({"spool": {**JOB, "completion": "marker"}})
        self.copy(spool, "run1")
        spool.wait_for(lambda: "marker" in spool.explain_file("run1")["because"],
                       what="explain to ask for the marker")
        self.assertEqual(spool.jobs("alice"), [])
        spool.drop("alice", "run1.done", b"")
        spool.wait_state("run1", "done")
        spool.wait_file("run1.done")
        self.assertEqual(os.listdir(spool.path("alice")), [])

    def test_unfinished_names_hold_it_up_and_hidden_files_do_not(self):
        spool = self.whole()
        self.make(spool, "run1", {**TREE, ".DS_Store": b"", "deep/._a": b""})
        for name in ("deep/d.tif.part", ".e.tif.Xy12Zz"):
            with open(os.path.join(spool.base, "staging", "run1", name), "wb"):
                pass
        os.rename(os.path.join(spool.base, "staging", "run1"),
                  spool.path("alice", "incoming", "run1"))
        for name in ("deep/d.tif.part", ".e.tif.Xy12Zz"):
            spool.wait_for(lambda: "transfer programs" in spool.explain_file("run1")["because"],
                           what="explain to name the name")
            self.assertEqual(spool.jobs("alice"), [])
            os.unlink(spool.path("alice", "incoming", "run1/" + name))
        job = spool.wait_state("run1", "done")
        self.assertEqual(self.seen(spool, job["job"]), sorted([*TREE, ".DS_Store", "deep/._a"]))


class Refused(Whole):
    def check(self, spool, name, put, words):
        self.make(spool, name)
        put(os.path.join(spool.base, "staging", name, "deep", "odd"))
        os.rename(os.path.join(spool.base, "staging", name), spool.path("alice", "incoming", name))
        spool.wait_for(lambda: words in spool.explain_file(name)["because"], what=words)
        self.assertEqual(spool.explain_file(name)["state"], "refused")
        spool.wait_for(lambda: name in self.notice(spool), what="the notice")
        os.unlink(spool.path("alice", "incoming", name + "/deep/odd"))
        spool.ctl("rescan")
        spool.wait_state(name, "done")

    def notice(self, spool):
        try:
            with open(spool.path("alice", "incoming", "SPOOLD-NOTICE.txt")) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def test_links_and_devices_in_it(self):
        spool = self.whole({"spool": {**JOB, "notice_after_seconds": 0}})
        outside = os.path.join(spool.base, "staging", "outside")
        with open(outside, "wb") as file:
            file.write(b"secret")
        self.check(spool, "symlink", lambda path: os.symlink(outside, path), "symbolic link")
        self.check(spool, "fifo", os.mkfifo, "FIFO")
        self.check(spool, "hardlink", lambda path: os.link(outside, path), "hard links")
        self.assertEqual(len(spool.jobs("alice")), 3)

    def test_settings_that_do_not_go_together(self):
        spool = self.whole(start=False)
        for over in ({"spool": {"completion": "checksum"}},
                     {"users": {"bob": {"completion": "checksum"}}}):
            config = spool.config
            spool.configure(over)
            done = spool.spoold("--check-config")
            self.assertNotEqual(done.code, 0)
            self.assertIn("do not go together", done.err + done.out)
            spool.config = config
            spool.write_config()
        self.assertEqual(spool.spoold("--check-config").code, 0)


class Line(Whole):
    def test_changed_before_its_turn(self):
        """Deep inside, unseen: it is judged again, and nothing runs on the older one."""
        spool = self.whole({"spool": JOB, "job_processing": MANUAL})
        self.move(spool, "run1")
        spool.wait_state("run1", "pending")
        self.add(spool, "run1/deep/er/late.tif")
        spool.ctl("start")
        spool.wait_state("run1", "done")
        self.assertEqual(self.states(spool), [("run1", "canceled"), ("run1", "done")])
        self.assertEqual(self.seen(spool, 2), sorted([*TREE, "deep/er/late.tif"]))
        self.assertGreaterEqual(self.accepted(spool, 2) - self.ended(spool, 1), 0.4)
        self.assertEqual(len(spool.journal.starts("alice", "run1")), 1)

    def accepted(self, spool, job):
        return self.time_of(spool, job, "accepted_at")

    def ended(self, spool, job):
        return self.time_of(spool, job, "finished_at")

    def time_of(self, spool, job, what):
        text = next(j for j in spool.jobs("alice") if j["job"] == job)[what]
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

    def test_written_when_its_turn_comes(self):
        spool = self.whole({"spool": JOB, "job_processing": MANUAL})
        self.move(spool, "run1")
        spool.wait_state("run1", "pending")
        with open(spool.path("alice", "incoming", "run1/deep/er/c.tif"), "r+b"):
            spool.ctl("start")
            spool.wait_for(lambda: self.states(spool)[:1] == [("run1", "canceled")],
                           what="the first job to be canceled")
            self.assertEqual(spool.journal.starts("alice", "run1"), [])
        spool.wait_state("run1", "done")
        self.assertEqual(self.seen(spool, 2), sorted(TREE))

    def test_replaced_and_withdrawn(self):
        spool = self.whole({"spool": JOB, "job_processing": MANUAL})
        self.move(spool, "run1", {"old.tif": b"old"})
        self.move(spool, "run2")
        spool.wait_state("run1", "pending")
        spool.wait_state("run2", "pending")
        for name in ("run1", "run2"):
            shutil.rmtree(spool.path("alice", "incoming", name))
        spool.dropped.clear()
        spool.wait_state("run2", "canceled")
        self.move(spool, "run1")
        spool.wait_state("run1", "pending")
        spool.ctl("start")
        job = spool.wait_state("run1", "done")
        self.assertEqual(self.seen(spool, job["job"]), sorted(TREE))

    def test_a_file_of_the_same_name(self):
        spool = self.whole({"spool": JOB, "job_processing": MANUAL})
        self.move(spool, "run1")
        spool.wait_state("run1", "pending")
        shutil.rmtree(spool.path("alice", "incoming", "run1"))
        spool.dropped.clear()
        spool.drop("alice", "run1", how="mv")
        spool.wait_for(lambda: self.states(spool) == [("run1", "canceled"), ("run1", "pending")],
                       what="the file to be a job of its own")

    def test_retry_output_and_log(self):
        spool = self.whole({"spool": JOB, "handler": {"permanent_exit_codes": [65]}}, handler=(
            "echo out >\"$SPOOL_OUTPUT_DIR/made\"; echo said\n"
            "[ $SPOOL_ATTEMPT -gt 1 ] || { echo more >\"$SPOOL_FILE/by-handler\"; exit 65; }\n"))
        spool.expect("alice", "run1/by-handler", b"more\n")
        self.move(spool, "run1")
        spool.wait_state("run1", "failed")
        spool.wait_file("run1.log", "failed")
        self.assertEqual(self.inside(spool, "run1", "failed"), sorted([*TREE, "by-handler"]))
        with open(spool.path("alice", "failed", "run1.log")) as file:
            self.assertIn("This directory could not be processed", file.read())
        spool.ctl("retry", "1")
        spool.wait_state("run1", "done")
        spool.wait_file("run1")
        self.assertTrue(os.path.exists(spool.path("alice", "done", "run1.output/made")))
        self.assertEqual(os.listdir(spool.path("alice", "failed")), [])

    def test_attempts_of_its_own(self):
        spool = self.whole(handler=("echo x >>\"$SPOOL_FILE/by-handler\"\n"
                                    "[ $SPOOL_ATTEMPT -ge 3 ]\n"))
        spool.expect("alice", "run1/by-handler", b"x\n" * 3)
        self.move(spool, "run1")
        spool.wait_state("run1", "done")
        self.assertEqual(len(spool.journal.starts("alice", "run1")), 3)
        with open(spool.path("alice", "done", "run1/by-handler")) as file:
            self.assertEqual(file.read(), "x\n" * 3)

    def test_cancel(self):
        spool = self.whole(handler="gate\n")
        for name in ("run1", "run2"):
            self.move(spool, name)
        spool.wait_started("run1")
        waiting = spool.wait_state("run2", "pending")["job"]
        spool.ctl("cancel", str(waiting))
        spool.wait_file("run2", "failed")
        spool.ctl("cancel", str(spool.job("run1")["job"]))
        spool.wait_file("run1", "failed")
        for name in ("run1", "run2"):
            self.assertEqual(self.inside(spool, name, "failed"), sorted(TREE))
            self.assertEqual(spool.job(name)["state"], "canceled")

    def test_names_that_are_taken(self):
        spool = self.whole()
        for data in (b"first", b"second", b"third"):
            self.move(spool, "run1", {"a.tif": data})
            count = len(spool.jobs("alice"))
            spool.wait_for(lambda: len(spool.jobs("alice")) > count - 1 and
                           all(s == "done" for _, s in self.states(spool)) and
                           spool.files("alice", "incoming") == [], what="it to be done")
        self.assertEqual(sorted(n for n in os.listdir(spool.path("alice", "done"))),
                         ["run1", "run1.2", "run1.3"])
        for name, data in (("run1", b"first"), ("run1.2", b"second"), ("run1.3", b"third")):
            with open(spool.path("alice", "done", name + "/a.tif"), "rb") as file:
                self.assertEqual(file.read(), data)

    def test_retention_removes_it_and_follows_nothing(self):
        outside = "ln -s \"$BASE/staging/outside\" \"$SPOOL_FILE/deep/link\"\n"
        spool = self.whole({"spool": JOB, "scheduler_settings": {
            "cleanup_completed_jobs_days": 1e-5}}, handler=outside)
        os.mkdir(os.path.join(spool.base, "staging", "outside"))
        kept = os.path.join(spool.base, "staging", "outside", "kept")
        with open(kept, "wb"):
            pass
        files = {f"{n % 7}/{n % 3}/{n}.tif": b"" for n in range(2500)}
        self.move(spool, "run1", {**files, **TREE})
        spool.dropped.clear()
        spool.wait_for(lambda: spool.journal.starts("alice", "run1"), what="its run")
        spool.wait_for(lambda: spool.jobs("alice") == [], what="its history to be over")
        self.assertEqual(os.listdir(spool.path("alice", "done")), [])
        self.assertTrue(os.path.exists(kept))

    def test_index_lost_in_the_middle_of_its_claim(self):
        """Section 5: no worker had it, so what is in it is not known: it is judged as any
        upload, and not run while a file in it is written."""
        spool = self.whole({"spool": JOB, "job_processing": {"auto_start_processing": False}})
        self.move(spool, "run1")
        job = spool.wait_state("run1", "pending")["job"]
        spool.kill9()
        with open(spool.path("alice", "incoming", "run1/a.tif"), "ab", buffering=0) as writer:
            private = spool.path("alice", "processing", str(job))
            os.mkdir(private, 0o700)
            os.rename(spool.path("alice", "incoming", "run1"), os.path.join(private, b"run1"))
            shutil.rmtree(spool.index_path())
            spool.configure({"job_processing": {"auto_start_processing": True}})
            spool.restart()
            spool.wait_for(lambda: "open for writing" in spool.explain_file("run1")["because"],
                           what="explain to name the writer")
            self.assertEqual(spool.journal.starts("alice", "run1"), [])
            writer.write(b"more")
        del spool.dropped["alice", b"run1/a.tif", TREE["a.tif"]]
        spool.expect("alice", "run1/a.tif", TREE["a.tif"] + b"more")
        job = spool.wait_state("run1", "done")
        self.assertEqual(self.seen(spool, job["job"]), sorted(TREE))

    def entries(self, path):
        try:
            return len(os.listdir(path))
        except FileNotFoundError:
            return 0

    def cut_a_removal_short(self, spool, name, n):
        """The daemon is killed while it removes this job's directory of `n` files: its
        number; or None, where it was faster."""
        job = spool.wait_state(name, "done")["job"]
        whole = spool.path("alice", "done", name)
        rest = spool.path("alice", "processing", f".removed.{job}")
        spool.wait_file(name)
        while self.entries(whole) == n:
            pass
        spool.kill9()
        return job if os.path.lexists(whole) or os.path.lexists(rest) else None

    def test_what_a_removal_left_is_never_run(self):
        """Section 4 and promise 1: one of which a part is removed is no job again, also
        where it is to be kept for longer from now on; the rest goes in the end."""
        short = {"scheduler_settings": {"cleanup_completed_jobs_days": 5 / 86400}}
        spool = self.whole({"spool": JOB, **short})
        spool.check_contents = False
        job, many = None, 20_000
        while job is None:
            os.makedirs(os.path.join(spool.base, "staging", "run1"))
            for n in range(many):
                with open(os.path.join(spool.base, "staging", "run1", str(n)), "wb"):
                    pass
            os.rename(os.path.join(spool.base, "staging", "run1"),
                      spool.path("alice", "incoming", "run1"))
            job = self.cut_a_removal_short(spool, "run1", many)
            if job is None:
                spool.restart()
        spool.configure({"scheduler_settings": {"cleanup_completed_jobs_days": 30}})
        spool.restart()
        self.assertSays("is gone; upload it again", str(spool.ctl("retry", str(job), check=1)))
        self.assertEqual(spool.show(job)["state"], "done")
        self.assertEqual(len(spool.journal.starts("alice", "run1")), 1)
        self.assertNotIn("is not spoold's", spool.log())
        spool.configure(short)
        spool.ctl("reload")
        spool.wait_for(lambda: spool.jobs("alice") == [], what="its history to be over")
        for place in ("done", "processing"):
            self.assertEqual(os.listdir(spool.path("alice", place)), [])

    def test_room(self):
        """All files of it count."""
        spool = self.whole({"spool": {**JOB, "max_upload_mib": 0.01}})
        self.move(spool, "large", {"a": b"a" * 8000, "deep/b": b"b" * 8000})
        self.move(spool, "small")
        spool.wait_state("small", "done")
        spool.wait_for(lambda: spool.explain_file("large")["state"] == "over_limit",
                       what="the limit to be named")
        os.unlink(spool.path("alice", "incoming", "large/a"))
        del spool.dropped["alice", b"large/a", b"a" * 8000]
        spool.ctl("rescan")
        spool.configure({"spool": {"max_upload_mib": 1}})
        spool.ctl("reload")
        spool.wait_state("large", "done")


    @root_only
    def test_another_account_gets_all_of_it_and_gives_it_back(self):
        spool = self.whole({"spool": JOB, "handler": {"run_as": "nobody"}}, overlap_allowed=True,
                           handler="cat deep/er/c.tif >deep/by-handler\n")
        for place in (spool.base, os.path.join(spool.base, "locks")):
            os.chmod(place, 0o777)
        top = self.make(spool, "run1")
        spool.expect("alice", "run1/deep/by-handler", TREE["deep/er/c.tif"])
        for at, _, files in os.walk(top):
            os.chown(at, 47011, 47011)
            for file in files:
                os.chown(os.path.join(at, file), 47011, 47011)
                os.chmod(os.path.join(at, file), 0o600)
        os.rename(top, spool.path("alice", "incoming", "run1"))
        spool.wait_state("run1", "done")
        spool.wait_file("run1")
        self.wait_owner(spool, "run1")

    @root_only
    def test_given_back_before_the_end(self):
        spool = self.whole(start=False)
        top = self.make(spool, "run1", {f"{n}/x.tif": b"x" for n in range(700)})
        for at, _, files in os.walk(top):
            for path in [at, *(os.path.join(at, file) for file in files)]:
                os.chown(path, 47011, 47011)
        os.rename(top, spool.path("alice", "incoming", "run1"))
        spool.init()
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        owners = {os.stat(at).st_uid for at, _, _ in os.walk(spool.path("alice", "done", "run1"))}
        self.assertEqual(owners, {47011})

    def wait_owner(self, spool, name):
        def owners():
            top = spool.path("alice", "done", name)
            return {os.stat(path).st_uid for at, _, files in os.walk(top)
                    for path in [at, *(os.path.join(at, file) for file in files)]}
        spool.wait_for(lambda: owners() == {47011}, what="all of it to be its uploader's again")

    @root_only
    def test_who_holds_it_open_puts_nothing_into_it(self):
        """A link that leads out, made in a directory that was looked through."""
        spool = self.whole(handler="gate\n")
        top = self.make(spool, "run1")
        for at, _, files in os.walk(top):
            os.chmod(at, 0o777)
            for path in [at, *(os.path.join(at, file) for file in files)]:
                os.chown(path, 47011, 47011)
        held = [os.open(os.path.join(top, path), os.O_RDONLY) for path in (".", "deep/er")]
        os.rename(top, spool.path("alice", "incoming", "run1"))
        spool.wait_started("run1")
        for fd in held:
            child = os.fork()
            if child == 0:
                os.setgroups([])
                os.setgid(47011)
                os.setuid(47011)
                try:
                    os.symlink("/etc/shadow", "link", dir_fd=fd)
                except PermissionError:
                    os._exit(0)
                os._exit(1)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
            os.close(fd)
        spool.open_gate()
        spool.wait_state("run1", "done")
        spool.wait_file("run1")
        self.wait_owner(spool, "run1")


class Crash(Whole):
    def kill_both(self, spool, workers):
        """The daemon first: nobody is told of the workers' end."""
        spool.kill9()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        spool.wait_for(lambda: not any(procs.alive(pid) for pid in workers),
                       what="the worker to end")

    def test_kill_9_at_each_state(self):
        spool = self.whole({"spool": JOB, "job_processing": MANUAL}, handler="gate\n")
        for name in ("run1", "run2"):
            self.move(spool, name)
            spool.wait_state(name, "pending")
        spool.kill9()
        spool.start()
        self.assertEqual(self.states(spool), [("run1", "pending"), ("run2", "pending")])
        spool.ctl("start")
        spool.wait_started("run1")
        spool.kill9()
        spool.start()
        spool.open_gate()
        spool.ctl("start")
        for name in ("run1", "run2"):
            spool.wait_state(name, "done")
            self.assertEqual(self.inside(spool, name), sorted(TREE))
        self.assertEqual(len(spool.jobs("alice")), 2)

    def test_index_lost_while_it_runs(self):
        spool = self.whole(handler="gate\n")
        self.move(spool, "run1")
        spool.wait_started("run1")
        workers = spool.workers()
        spool.kill9()
        for pid in workers:
            os.kill(pid, 9)
        spool.wait_for(lambda: not any(procs.alive(pid) for pid in workers),
                       what="the worker to end")
        shutil.rmtree(spool.index_path())
        spool.open_gate()
        spool.start()
        spool.wait_state("run1", "done")
        self.assertEqual(self.inside(spool, "run1"), sorted(TREE))


    def test_index_lost_in_a_directory_that_was_handed_on(self):
        """Then the directory made for its job is older than it, and both may be root's."""
        spool = self.whole({"spool": JOB, "job_processing": MANUAL},
                           handler="[ $SPOOL_NAME = run0 ] || gate\n")
        self.move(spool, "run0")
        spool.wait_state("run0", "pending")
        spool.ctl("start")
        # Made while the first one runs or has ended a moment ago.
        spool.wait_state("run0", "done")
        self.move(spool, "run1")
        spool.wait_started("run1")
        workers = spool.workers()
        self.kill_both(spool, workers)
        shutil.rmtree(spool.index_path())
        spool.open_gate()
        spool.start()
        spool.ctl("start")
        spool.wait_state("run1", "done")
        self.assertEqual(self.inside(spool, "run1"), sorted(TREE))

    def test_changed_while_daemon_and_worker_were_gone(self):
        """No handler has seen it: its second attempt is the first to be compared."""
        spool = self.whole()
        self.move(spool, "run0")
        spool.wait_state("run0", "done")
        workers = spool.workers()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        self.move(spool, "run1")
        first = spool.wait_state("run1", "queued")["job"]
        top = spool.path("alice", "processing", f"{first}/run1")
        spool.wait_for(lambda: os.path.isdir(top), what="the claim")
        self.kill_both(spool, workers)
        with open(os.path.join(os.fsdecode(top), "deep", "late.tif"), "wb") as file:
            file.write(b"late")
        spool.expect("alice", "run1/deep/late.tif", b"late")
        spool.start()
        spool.wait_for(lambda: dict((j["job"], j["state"]) for j in spool.jobs("alice"))[first] ==
                       "canceled", what="it to go back")
        job = spool.wait_state("run1", "done")
        self.assertEqual(self.seen(spool, job["job"]), sorted([*TREE, "deep/late.tif"]))
        self.assertEqual(len(spool.journal.starts("alice", "run1")), 1)

    def test_what_its_handler_did_is_no_change(self):
        """Nor where its daemon and its worker were gone in the middle of it."""
        spool = self.whole(handler="echo x >\"$SPOOL_FILE/deep/by-handler\"\n[ $SPOOL_ATTEMPT -ge 2 ] || gate\n")
        spool.expect("alice", "run1/deep/by-handler", b"x\n")
        self.move(spool, "run1")
        spool.wait_started("run1")
        workers = spool.workers()
        self.kill_both(spool, workers)
        spool.start()
        spool.wait_state("run1", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)
        self.assertEqual(len(spool.journal.starts("alice", "run1")), 2)


class Setting(Whole):
    def test_reload_both_ways(self):
        spool = self.whole({"spool": {}, "job_processing": MANUAL})
        self.copy(spool, "first", {"a.tif": b"1"})
        spool.wait_state("first/a.tif", "pending")
        spool.configure({"spool": JOB})
        spool.ctl("reload")
        self.move(spool, "second")
        spool.wait_for(lambda: spool.explain_file("second")["because"].startswith("files of dir"),
                       what="the second to wait")
        spool.handler("exit 0\n")
        spool.ctl("start")
        spool.wait_state("first/a.tif", "done")
        spool.wait_state("second", "done")
        spool.ctl("stop")
        self.move(spool, "third")
        spool.wait_state("third", "pending")
        spool.configure({"spool": {"directories": "follow"}})
        spool.ctl("reload")
        self.copy(spool, "fourth", {"c.tif": b"3"})
        spool.wait_state("fourth/c.tif", "pending")
        spool.ctl("start")
        spool.wait_state("third", "done")
        spool.wait_state("fourth/c.tif", "done")
        self.assertEqual([n for n, _ in self.states(spool)],
                         ["first/a.tif", "second", "third", "fourth/c.tif"])

    def test_nothing_else_is_put_into_it(self):
        """A followed file of that path finds a place outside of it: it would be removed
        with it."""
        spool = self.whole()
        self.move(spool, "run1")
        spool.wait_state("run1", "done")
        spool.handler("exit 0\n")
        spool.configure({"spool": {"directories": "follow"}})
        spool.ctl("reload")
        spool.drop("alice", "run1/late.tif")
        spool.wait_state("run1/late.tif", "done")
        spool.wait_file("late.tif")
        self.assertEqual(self.inside(spool, "run1"), sorted(TREE))
        spool.forget("alice", "run1/late.tif")
        spool.expect("alice", "late.tif", b"alice run1/late.tif\n")

    def test_per_user_and_beside_a_large_one(self):
        """20,000 files of one user keep nobody waiting; bob's directories are followed."""
        spool = self.whole({"spool": {}, "users": {"alice": JOB}}, users=("alice", "bob"),
                           handler="exit 0\n")
        top = os.path.join(spool.base, "staging", "large")
        for directory in range(100):
            os.makedirs(f"{top}/{directory}")
            for number in range(200):
                with open(f"{top}/{directory}/{number}", "wb"):
                    pass
        os.rename(top, spool.path("alice", "incoming", "large"))
        spool.handler("exit 0\n")
        for number in range(20):
            spool.drop("bob", f"deep/{number}.csv")
        for number in range(20):
            spool.wait_state(f"deep/{number}.csv", "done", "bob")
        spool.wait_state("large", "done")
        self.assertEqual(len(self.inside(spool, "large")), 20_000)


class Doors(Whole):
    def check(self, spool, name="run1"):
        job = spool.wait_state(name, "done")
        self.assertEqual(len(spool.jobs("alice")), 1)
        self.assertEqual(self.seen(spool, job["job"]), sorted(TREE))

    def doors(self):
        spool = self.whole({"spool": {**JOB, "directory_settle_seconds": 3}})
        return spool, Sshd(self, spool), self.make(spool, "run1")

    def test_scp_r(self):
        spool, door, top = self.doors()
        door.scp("-r", "-p", top, f"{door.host()}:{spool.path('alice')}/").wait()
        self.check(spool)

    def test_sftp_put_r(self):
        spool, door, top = self.doors()
        door.sftp([f"cd {spool.path('alice')}", f"put -r {top}"]).wait()
        self.check(spool)

    def test_rsync_r(self):
        spool, door, top = self.doors()
        Client(self, [program("rsync"), "-rt", "-e", door.shell(), top,
                      f"{door.host()}:{spool.path('alice')}/"]).wait()
        self.check(spool)

    def mput(self, door, *names):
        place = os.path.join(door.spool.base, "staging")
        puts = "; ".join(f"mput {name}" for name in names)
        door.client("alice", f"lcd {place}; recurse on; prompt off; {puts}").wait()

    def test_samba_mput(self):
        spool = self.whole({"spool": {**JOB, "directory_settle_seconds": 3}})
        self.make(spool, "run1")
        self.mput(Smbd(self, spool), "run1")
        self.check(spool)

    def test_samba_mput_with_its_marker(self):
        """However long it lies there: only the marker says that it is all."""
        spool = self.whole({"spool": {**JOB, "completion": "marker"}})
        door = Smbd(self, spool)
        self.make(spool, "run1")
        self.mput(door, "run1")
        spool.wait_for(lambda: "marker" in spool.explain_file("run1")["because"],
                       what="explain to ask for the marker")
        self.assertEqual(spool.jobs("alice"), [])
        with open(os.path.join(spool.base, "staging", "run1.done"), "wb"):
            spool.expect("alice", "run1.done", b"")
        self.mput(door, "run1.done")
        self.check(spool)

    def test_killed_upload_without_its_marker(self):
        """What broke off is taken by no rule that asks for an end."""
        spool = self.whole({"spool": {**JOB, "completion": "marker"}})
        door = Sshd(self, spool)
        top = self.make(spool, "run1", {"a.tif": b"a", "z.tif": os.urandom(4 * RATE)})
        client = door.scp("-r", "-l", str(RATE * 8 // 1000), top,
                          f"{door.host()}:{spool.path('alice')}/")
        spool.wait_file("run1/z.tif", "incoming")
        client.kill()
        spool.check_contents = False
        spool.wait_for(lambda: "marker" in spool.explain_file("run1")["because"],
                       what="explain to ask for the marker")
        self.assertEqual(spool.jobs("alice"), [])
        door.scp("-r", top, f"{door.host()}:{spool.path('alice')}/").wait()
        spool.drop("alice", "run1.done", b"")
        self.assertEqual(self.seen(spool, spool.wait_state("run1", "done")["job"]),
                         ["a.tif", "z.tif"])
