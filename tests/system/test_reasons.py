"""Promise 7, where things are not as they should be: what does not start says
why, and a file that cannot be moved waits, is explained, and moves later."""

import os
import shutil
import unittest.mock

from harness import BAD_FAILS, BUILD, FAILED, GATE, NO_DAEMON, SystemTest


class Start(SystemTest):
    """spoold ends with 1 and says what is wrong and what to do."""

    def refused(self, spool, word, *args):
        result = spool.spoold(*args)
        self.assertEqual(result.code, 1, result)
        self.assertRegex(result.err, word)
        self.assertNotIn("Sanitizer", result.err)

    def test_no_configuration(self):
        spool = self.spool(start=False)
        empty = os.path.join(spool.base, "empty")
        os.mkdir(empty)
        result = spool.run("spoold", cwd=empty)
        self.assertEqual(result.code, 1)
        self.assertIn("no configuration found", result.err)
        result = spool.run("spoolctl", "status", cwd=empty)
        self.assertEqual(result.code, 2)
        self.assertIn("no configuration", result.err)

    def test_the_root(self):
        spool = self.spool(start=False)
        self.refused(spool, "no marker")
        spool.init()
        marker = os.path.join(spool.root, ".spoold", "marker")
        with open(marker) as file:
            text = file.read()
        for damaged in ("", text[:20], text.replace("id ", "id x")):
            with open(marker, "w") as file:
                file.write(damaged)
            self.refused(spool, "marker .* is damaged")
            self.refused(spool, "cannot make a spool", "--init")
        with open(marker, "w") as file:
            file.write(text)
        shutil.move(spool.root, spool.root + ".away")
        self.refused(spool, "does not exist")
        with open(spool.root, "w"):
            pass
        self.refused(spool, "cannot be opened")
        self.refused(spool, "cannot make a spool", "--init")
        os.unlink(spool.root)
        shutil.move(spool.root + ".away", spool.root)
        spool.start()

    def test_the_index(self):
        spool = self.spool({"spool": {"index": "plain/index"}}, start=False)
        spool.init()
        with open(os.path.join(spool.base, "plain"), "w"):
            pass
        self.refused(spool, "index .* cannot be opened")

    def test_the_socket(self):
        for path, word in (("x" * 120, "can have 107"), ("none/control.sock", "cannot be made"),
                           ("config.json", "cannot be made")):
            spool = self.spool(start=False)
            spool.init()
            spool.configure({"spool": {"socket": path}})
            self.refused(spool, word)

    def test_the_worker_program(self):
        build = os.path.join(self.directory, "build")
        os.mkdir(build)
        for program in ("spoold", "spoolctl"):
            shutil.copy(os.path.join(BUILD, program), build)
        with unittest.mock.patch("spool.BUILD", build):
            spool = self.spool(start=False)
            spool.init()
            if not os.path.exists("/usr/local/libexec/spoold/spool-worker"):
                self.refused(spool, "spool-worker is missing")

    def test_what_is_printed_for_the_manual(self):
        spool = self.spool(start=False)
        for form in ("roff", "markdown"):
            result = spool.spoold("--print-settings", form)
            self.assertEqual(result.code, 0)
            self.assertIn("max_retries", result.out)


class Places(SystemTest):
    def test_a_final_place_that_cannot_be_entered(self):
        """A file that cannot be moved stays where it is, with the reason, and
        moves as soon as that is mended; the line goes on."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = spool.job("a.csv")["job"]
        done = spool.path("alice", "done")
        os.rename(done, done + ".away")
        with open(done, "w") as file:
            file.write("in the way")
        spool.open_gate()
        spool.wait_log("cannot be moved to done")
        why = spool.explain(job)
        self.assertEqual(why["state"], "done")
        self.assertIn("could not be moved to done", why["because"])
        found = spool.ctl("doctor", check=FAILED)
        self.assertIn("done", found.out + found.err)
        os.unlink(done)
        os.rename(done + ".away", done)
        spool.wait_for(lambda: os.path.exists(spool.path("alice", "done", "a.csv")),
                       what="the file to move")
        spool.wait_log("in its place now")

    def test_what_is_no_job_is_explained(self):
        """With the daemon up: directories, strangers, other people's places."""
        spool = self.spool()
        os.mkdir(spool.path("alice", "incoming", "sub"))
        spool.drop("alice", "half.part")
        for place, name, state in (("incoming", "sub", "directory"),
                                   ("incoming", "half.part", "ignored"),
                                   ("done", "none.csv", "unknown"),
                                   ("failed", "none.csv", "unknown"),
                                   ("processing", "77/none.csv", "unknown"),
                                   ("incoming", "none.csv", "unknown")):
            with self.subTest(place=place, name=name):
                result = spool.ctl("explain", spool.path("alice", place, name), json=True,
                                   check=None)
                self.assertEqual(result.data["state"], state)
                self.assertTrue(result.data["because"])
        for path in ("/etc/passwd", os.path.join(spool.root, "alice", "x"),
                     os.path.join(spool.root, "nobody-here", "done", "x")):
            result = spool.ctl("explain", path, check=FAILED)
            self.assertTrue(result.err)

    def test_a_second_file_of_the_same_name_is_found(self):
        """The older of two in done has its job told, not the newer's."""
        spool = self.spool()
        jobs = []
        for _ in range(3):
            spool.drop("alice", "a.csv")
            spool.wait_for(lambda n=len(jobs): len(spool.jobs("alice", "--state", "done")) == n + 1,
                           what="a job more")
            jobs.append(spool.job("a.csv"))
        for code in (0, NO_DAEMON):
            for job in jobs:
                why = spool.explain(os.path.join(spool.root, job["path"]), code)
                self.assertEqual((why["job"], why["state"]), (job["job"], "done"))
            if code == 0:
                spool.stop()

    def test_what_lies_beside_results(self):
        """A log and an output are the job's they are of, with and without a
        daemon; what only has such a name is not."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0,
                                                   "cleanup_failed_jobs_days": 0},
                            "handler": {"keep_logs": "always"}},
                           handler='mkdir "$SPOOL_OUTPUT_DIR/deep.output"\n'
                                   'echo 42 >"$SPOOL_OUTPUT_DIR/deep.output/x.log"\n' + BAD_FAILS)
        os.mkdir(spool.path("alice", "incoming", "sub"))
        spool.check_contents = False  # a log is named like an upload
        told = {}
        for name, state in (("sub/bad.csv", "failed"), ("a.csv", "done"), ("a.csv", "done"),
                            ("b.csv.log", "done"), ("b.csv", "done")):
            spool.drop("alice", name)
            spool.wait_for(lambda n=len(told): len(spool.jobs("alice", "--state", "done")) +
                           len(spool.jobs("alice", "--state", "failed")) == n + 1,
                           what="one job more")
            job = spool.job(name)
            told[job["job"]] = (name, os.path.join(spool.root, job["path"]))
        jobs = sorted(told)
        logs = {job: path + ".log" for job, (_, path) in told.items()}
        # Their names were taken.
        self.assertTrue(told[jobs[2]][1].endswith(f"/a.{jobs[2]}.csv"))
        self.assertTrue(told[jobs[4]][1].endswith(f"/b.{jobs[4]}.csv"))

        def explain(path):
            return spool.explain(path, 0 if spool.daemon else NO_DAEMON)

        def all_are_told():
            for job, (name, path) in told.items():
                why = explain(logs[job])
                self.assertEqual((why["path"], why["job"], why["state"], why["because"]),
                                 (logs[job], job, "log", f"it is the log of job {job} ({name})"))
                self.assertSays("kept for ever" if "bad" in name else "with its job, in 6 d",
                                why["next"])
                for inner in ("", "/deep.output", "/deep.output/x.log"):
                    why = explain(path + ".output" + inner)
                    self.assertEqual((why["job"], why["state"], why["because"]),
                                     (job, "output", f"it is what the handler of job {job} "
                                      f"({name}) left in its output directory"))
            self.assertEqual(explain(told[jobs[3]][1])["state"], "done")

        def none_are_told():
            for name in ("c.csv.log", "sub/.log", ".output", "a.csv.output/missing",
                         f"a.csv.{jobs[1]}.log"):
                why = spool.explain_file(name, place="done",
                                         check=FAILED if spool.daemon else NO_DAEMON)
                self.assertEqual((why["job"], why["state"]), (None, "unknown"), name)

        spool.drop("alice", "c.csv")
        spool.wait_state("c.csv", "done")
        os.unlink(spool.path("alice", "done", "c.csv.log"))
        with open(spool.path("alice", "done", "c.csv.log"), "w") as file:
            file.write("this is no log\n")
        all_are_told()
        none_are_told()
        spool.stop()
        all_are_told()
        none_are_told()
        os.unlink(spool.path("alice", "done", "c.csv.log"))

    def test_a_job_that_is_being_ended(self):
        """While a handler takes its time to end, explain says so."""
        spool = self.spool(handler="trap '' TERM\nuntil [ -e $BASE/gate/all ]; do sleep 0.05; done\n",
                           config={"handler": {"kill_grace_seconds": 30}})
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = spool.job("a.csv")["job"]
        with spool.connect() as peer:
            peer.sendall(b'{"command": "cancel", "job": %d}\n' % job)
            spool.wait_for(lambda: "being ended" in spool.explain(job)["because"],
                           what="the reason")
            spool.open_gate()
            self.assertTrue(peer.makefile("rb").readline())
