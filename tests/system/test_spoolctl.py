"""spoolctl: for people on a terminal, for scripts in a pipe."""

import json
import os
import pty
import pwd
import re
import select
import subprocess
import time

import harness
from harness import BAD_FAILS, FAILED, GATE, NO_DAEMON, USAGE, SystemTest, root_only

COMMANDS = ("status", "list", "show", "log", "explain", "submit", "retry", "cancel", "hold",
            "release", "start", "stop", "rescan", "reload", "user", "doctor")


class CommandLine(SystemTest):
    def test_help(self):
        """Section 8: help of the program and of every command, without a
        daemon or configuration."""
        spool = self.spool(start=False)
        text = spool.run("spoolctl", "--help").out
        for command in COMMANDS:
            self.assertRegex(text, rf"\b{command}\b")
            result = spool.run("spoolctl", command, "--help")
            self.assertEqual(result.code, 0, command)
            self.assertIn(command, result.out)
        self.assertRegex(spool.run("spoolctl", "--version").out, r"\d+\.\d+")

    def test_usage(self):
        """Section 8: exit 2, and a word about what was meant."""
        spool = self.spool()
        for args in ((), ("nonsense",), ("status", "--nonsense"), ("show",), ("show", "seven"),
                     ("list", "--state", "lost"), ("list", "--limit", "-1"), ("submit",),
                     ("hold",), ("user",), ("user", "nonsense"), ("retry",), ("cancel",),
                     ("show", "1", "2", "3"), ("start", "now"), ("explain",)):
            result = spool.ctl(*args, check=None)
            self.assertEqual(result.code, USAGE, (args, str(result)))
            self.assertTrue(result.err.strip(), args)
        self.assertIn("status", spool.ctl("statsu", check=USAGE).err)

    def test_usage_in_json(self):
        """With --json the error says what is wrong, as the text does."""
        spool = self.spool(start=False)
        for args, said in ((("hold",), "either jobs, or the whole line of a user with --user"),
                           (("show", "seven"), "seven"), (("show", "1", "2"), "any arguments"),
                           (("status", "--nonsense"), "--nonsense"), (("--nonsense",), "--nonsense"),
                           (("--color", "pink", "list"), "auto, always or never"),
                           (("status", "-\x1b"), "\\x1b"), (("list", "--limit", "-1"), "-1")):
            with self.subTest(args=args):
                result = spool.run("spoolctl", "--json", *args, json=True)
                self.assertEqual(result.code, USAGE, result)
                self.assertIn(said, result.data["error"])
                self.assertNotIn("spoolctl", result.data["error"].split(";")[0])
                self.assertNotIn("wrong usage", result.data["error"])
                self.assertTrue(result.err.strip(), result)

    def test_no_is_exit_1(self):
        """Section 8: the answer is no."""
        spool = self.spool()
        for args in (("show", "999"), ("log", "999"), ("cancel", "999"), ("retry", "999"),
                     ("hold", "999"), ("release", "999"), ("hold", "--user", "stranger"),
                     ("explain", "999"), ("explain", "/etc/passwd"), ("list", "stranger"),
                     ("status", "stranger"), ("user", "check", "stranger")):
            result = spool.ctl(*args, check=FAILED)
            self.assertTrue(result.err.strip() or result.out.strip(), args)

    def test_json_before_and_after_the_command(self):
        """Section 8: --json is one object, wherever it is written."""
        spool = self.spool()
        for args in (("--json", "status"), ("status", "--json")):
            result = spool.run("spoolctl", "--config", spool.config_path, *args)
            self.assertEqual(set(json.loads(result.out)), {"daemon", "users"})

    def assertHas(self, answer, keys):
        self.assertEqual(keys - set(answer), set())

    def test_shape_of_status(self):
        """Section 8: --json is stable: what was there stays; more may come."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.wait_for(lambda: spool.user("alice")["running"], what="the running job")
        status = spool.status()
        self.assertHas(status["daemon"], {"running", "pid", "version", "since", "root",
                                          "starting"})
        self.assertEqual(status["daemon"]["pid"], spool.daemon.pid)
        self.assertEqual(status["daemon"]["root"], spool.root)
        row = status["users"][0]
        self.assertHas(row, {
            "user", "watch", "held", "arriving", "pending", "queued", "processing", "done",
            "failed", "canceled", "oldest_pending_seconds", "running"})
        self.assertIsNone(row["oldest_pending_seconds"])
        self.assertHas(row["running"][0], {
            "job", "name", "attempt", "elapsed_seconds", "progress", "records", "message"})

    def test_shape_of_jobs(self):
        """Section 8: the same for list, show and explain."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")
        keys = {"job", "user", "name", "state", "attempt", "size", "accepted_at", "started_at",
                "finished_at", "exit_code", "records", "error", "not_before"}
        self.assertHas(job, keys)
        self.assertHas(spool.show(job["job"]), keys | {"attempts"})
        self.assertHas(spool.explain(job["job"]), {"path", "job", "state", "because", "next"})
        self.assertEqual((job["user"], job["size"], job["exit_code"], job["error"]),
                         ("alice", len(b"alice a.csv\n"), 0, None))

    def test_json_of_a_refusal(self):
        """Section 8: an error does not break a script's parser."""
        spool = self.spool()
        result = spool.ctl("show", "999", json=True, check=FAILED)
        self.assertIn("999", result.err + result.out)

    def test_plain_in_a_pipe(self):
        """Section 8: no escape sequences in a pipe."""
        spool = self.spool(handler="report progress=0.5\n" + GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = str(spool.job("a.csv")["job"])
        for args in (("status",), ("status", "alice"), ("list",), ("show", job), ("log", job),
                     ("explain", job), ("doctor",), ("user", "list"), ("user", "check", "alice")):
            result = spool.ctl(*args, check=None)
            self.assertNotIn("\x1b", result.out + result.err, args)
            self.assertNotIn("\r", result.out, args)
        self.assertIn("a.csv", spool.ctl("status").out)
        self.assertRegex(spool.ctl("status").out, r"\b50\s?%")

    def test_configuration_from_the_environment(self):
        """Section 7: --config, $SPOOLD_CONFIG, ./config.json."""
        spool = self.spool()
        env = {**spool.environment(), "SPOOLD_CONFIG": spool.config_path}
        program = os.path.join(harness.BUILD, "spoolctl")
        for directory, environment in (("/", env), (spool.base, spool.environment())):
            done = subprocess.run([program, "status"], cwd=directory, env=environment,
                                  stdout=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 0)
            self.assertIn(b"alice", done.stdout)

    def test_full_output_pipe(self):
        """A reader that goes away is no riddle and no crash."""
        spool = self.spool()
        done = subprocess.run(
            ["bash", "-c", '"$1" --config "$2" list | head -c 1 >/dev/null; echo ${PIPESTATUS[0]}',
             "-", os.path.join(harness.BUILD, "spoolctl"), spool.config_path],
            env=spool.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertIn(int(done.stdout), (0, 1, 141))


class Terminal(SystemTest):
    def on_terminal(self, spool, *args, seconds=60, until=None, when=None):
        """What spoolctl writes to a terminal, to its end, or `until` a pattern
        is there. `when`: a pattern, and what is done as soon as it is there."""
        leader, follower = pty.openpty()
        child = subprocess.Popen(
            [os.path.join(harness.BUILD, "spoolctl"), "--config", spool.config_path, *args],
            stdin=follower, stdout=follower, stderr=follower,
            env={**spool.environment(), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"})
        os.close(follower)
        text, deadline = b"", time.monotonic() + seconds * harness.slowness()
        while time.monotonic() < deadline:
            if select.select([leader], [], [], 0.1)[0]:
                try:
                    data = os.read(leader, 65536)
                except OSError:  # EIO: the other side is closed
                    break
                text += data
                if until and re.search(until, text.decode(errors="replace")):
                    break
                if when and re.search(when[0], text.decode(errors="replace")):
                    when[1]()
                    when = None
            elif child.poll() is not None:
                break
        child.terminate()
        code = child.wait(20)
        os.close(leader)
        return code, text.decode(errors="replace")

    def test_progress_bar(self):
        """Section 8: a progress bar and the elapsed time."""
        spool = self.spool(handler="report progress=0.5\n" + GATE)
        spool.drop("alice", "a.csv")
        spool.wait_for(lambda: [r for r in (spool.user("alice") or {}).get("running", [])
                                if r["progress"] == 0.5], what="progress")
        code, text = self.on_terminal(spool, "status")
        self.assertEqual(code, 0)
        self.assertRegex(text, r"50\s?%")

    def test_watch_refreshes_in_place(self):
        """Section 8: --watch refreshes in place and ends cleanly."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        code, text = self.on_terminal(spool, "status", "--watch", until=r"(?s)alice.*alice")
        self.assertIn(code, (0, -15, 143))
        self.assertGreaterEqual(text.count("alice"), 2)
        self.assertIn("\x1b[", text)


    def test_explain_breaks_between_words(self):
        """Its sentences stay beside their keys; a pipe gets each in one line."""
        words = "rate limit of the server for imports was reached, please upload it again later"
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler=f"echo '{words}, or ask who runs it' >&2; exit 1\n")
        spool.drop("alice", "a.csv")
        job = str(spool.wait_state("a.csv", "failed")["job"])
        because = spool.explain(job)["because"]
        self.assertIn(f"because    {because}\n", spool.ctl("explain", job).out)
        code, text = self.on_terminal(spool, "explain", job)
        self.assertEqual(code, 0)
        text = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "")
        self.assertLessEqual(max(len(line) for line in text.splitlines()), 80)
        lines = re.search(r"(?m)^because    (.*\n(?: {11}.*\n)+)", text)
        self.assertTrue(lines, text)
        self.assertEqual(re.sub(r"\n {11}", " ", lines[1]).rstrip("\n"), because)

    def test_log_is_harmless(self):
        """A handler's bytes do nothing to a terminal; characters stay whole."""
        spool = self.spool(handler="printf 'red \\033[31m bell \\007 bad \\377 caf\\303\\251 \\303'\n",
                           config={"handler": {"keep_logs": "always"}})
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        code, text = self.on_terminal(spool, "log", str(spool.job("a.csv")["job"]))
        self.assertEqual(code, 0)
        for word in ("red \\x1b[31m", "bell \\x07", "bad \\xff", "caf\u00e9 \\xc3"):
            self.assertIn(word, text)
        self.assertNotIn("\x07", text)

    def test_cancel_tells_what_it_waits_for(self):
        """A cancel takes as long as the handler needs to end."""
        spool = self.spool(handler="trap '' TERM\nuntil [ -e $BASE/gate/all ]; do sleep 0.05; done\n",
                           config={"handler": {"kill_grace_seconds": 2}})
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = str(spool.job("a.csv")["job"])
        code, text = self.on_terminal(spool, "cancel", job)
        self.assertEqual(code, 0)
        self.assertIn(f"waiting for job {job} to end", text)
        self.assertIn(f"job {job} is canceled", text)

    def test_submit_and_wait_shows_the_job(self):
        """Section 8: --wait shows progress and exits with the result."""
        spool = self.spool(handler="report progress=0.5\n" + GATE)
        path = os.path.join(spool.base, "a.csv")
        with open(path, "wb") as file:
            file.write(b"a\n")
        spool.expect("alice", "a.csv", b"a\n")
        code, text = self.on_terminal(spool, "submit", "--user", "alice", "--wait", path,
                                      when=(r"50\s?%", lambda: spool.open_gate("a.csv", 65)))
        self.assertEqual(code, FAILED)
        self.assertRegex(text, r"50\s?%")
        self.assertIn("failed", text)

    def test_submit_and_wait_says_what_it_waits_for(self):
        """Promise 7, also before its turn."""
        spool = self.spool()
        spool.ctl("hold", "--user", "alice")
        path = os.path.join(spool.base, "a.csv")
        with open(path, "wb") as file:
            file.write(b"a\n")
        spool.expect("alice", "a.csv", b"a\n")
        code, text = self.on_terminal(
            spool, "submit", "--user", "alice", "--wait", path,
            when=(r"a\.csv  pending: the line of alice is held",
                  lambda: spool.ctl("release", "--user", "alice")))
        self.assertEqual(code, 0, text)
        self.assertIn("done", text)

    def test_watch_says_that_nobody_answers(self):
        """What was last known stays on the screen."""
        spool = self.spool()
        spool.stop()
        code, text = self.on_terminal(spool, "status", "--watch", until="does not answer")
        self.assertIn(code, (0, -15, 143))
        self.assertIn("does not answer", text)

    def test_doctor_and_lists(self):
        """Nothing wider than the terminal."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler="echo trouble >&2; exit 3\n")
        spool.drop("alice", "x" * 200 + ".csv")
        spool.wait_state("x" * 200 + ".csv", "failed")
        for args in (("list",), ("status",), ("doctor",), ("user", "list"), ("show", "1")):
            code, text = self.on_terminal(spool, *args)
            self.assertIn(code, (0, FAILED), args)
            self.assertTrue(text, args)
            if args[0] in ("list", "status"):
                plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
                self.assertLessEqual(max(len(line) for line in plain.splitlines()), 80, args)


class Submit(SystemTest):
    def file(self, spool, name="report.csv", data=b"one\ntwo\n"):
        path = os.path.join(spool.base, "staging", name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def test_submit(self):
        """Section 8: into incoming, durably and atomically."""
        spool = self.spool()
        path = self.file(spool)
        spool.expect("alice", "report.csv", b"one\ntwo\n")
        spool.ctl("submit", path, "--user", "alice")
        spool.wait_state("report.csv", "done")
        self.assertTrue(os.path.exists(path), "a copy: the original stays")

    def test_submit_and_wait(self):
        """Section 8: --wait exits with the job's result."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, handler=BAD_FAILS)
        good, bad = self.file(spool, "good.csv"), self.file(spool, "bad.csv")
        for name in ("good.csv", "bad.csv"):
            spool.expect("alice", name, b"one\ntwo\n")
        result = spool.ctl("submit", good, "--user", "alice", "--wait", json=True)
        self.assertEqual(result.data["state"], "done")
        result = spool.ctl("submit", bad, "--user", "alice", "--wait", check=FAILED)
        self.assertNotIn("\x1b", result.out + result.err)
        self.assertSays("fail", result.out + result.err)

    def test_several_files(self):
        """Section 8: FILE…; they keep their order."""
        spool = self.spool()
        names = ("c.csv", "a.csv", "b.csv")
        paths = [self.file(spool, n, n.encode()) for n in names]
        for name in names:
            spool.expect("alice", name, name.encode())
        spool.ctl("submit", "--user", "alice", "--wait", *paths)
        self.assertEqual(spool.journal.order("alice"), list(names))

    def test_refusals(self):
        """Section 8: what cannot be submitted is said, and exit 1."""
        spool = self.spool()
        directory = os.path.join(spool.base, "staging")
        path = self.file(spool)
        for args in ((os.path.join(directory, "missing.csv"), "--user", "alice"),
                     (directory, "--user", "alice"), (path, "--user", "stranger")):
            self.assertTrue(spool.ctl("submit", *args, check=FAILED).err.strip(), args)
        self.assertIn(spool.ctl("submit", path, "--user", "../alice", check=None).code,
                      (FAILED, USAGE))
        self.assertEqual(spool.files("alice", "incoming"), [])

    def test_an_ignored_name(self):
        """Promise 7: a name that would never be taken is refused, not
        swallowed."""
        spool = self.spool()
        path = self.file(spool, "draft.tmp")
        result = spool.ctl("submit", path, "--user", "alice", check=None)
        self.assertNotEqual(result.code, 0)
        self.assertSays("ignor", result.err)

    def test_without_a_daemon(self):
        """Section 8: the file is put there all the same; exit 3 says that
        nobody runs it yet."""
        spool = self.spool()
        spool.stop()
        path = self.file(spool)
        result = spool.ctl("submit", path, "--user", "alice", check=None)
        self.assertIn(result.code, (0, NO_DAEMON))
        spool.expect("alice", "report.csv", b"one\ntwo\n")
        spool.restart()
        spool.wait_state("report.csv", "done")

    def test_name_taken_in_incoming(self):
        """Promise 1: never overwritten."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "report.csv", b"mine")
        spool.wait_state("report.csv", "pending")
        result = spool.ctl("submit", self.file(spool), "--user", "alice", check=FAILED)
        self.assertIn("report.csv", result.err)


class Questions(SystemTest):
    def test_list(self):
        """Section 8: by user, by state, so many; in a steady order."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, users=("alice", "bob"),
                           handler=BAD_FAILS)
        for name in ("1.csv", "bad2.csv", "3.csv"):
            for user in ("alice", "bob"):
                spool.drop(user, name)
                spool.wait_for(lambda: (spool.job(name, user) or {}).get("state")
                               in ("done", "failed"), what=f"{user}/{name} to end")
        self.assertEqual(len(spool.jobs()), 6)
        self.assertEqual({j["user"] for j in spool.jobs("bob")}, {"bob"})
        failed = spool.ctl("list", "--state", "failed", json=True).data["jobs"]
        self.assertEqual([(j["user"], j["name"]) for j in sorted(failed, key=lambda j: j["user"])],
                         [("alice", "bad2.csv"), ("bob", "bad2.csv")])
        self.assertEqual(len(spool.ctl("list", "--limit", "2", json=True).data["jobs"]), 2)
        first, again = spool.jobs("alice"), spool.jobs("alice")
        self.assertEqual(first, again)
        numbers = [j["job"] for j in first]
        self.assertIn(numbers, (sorted(numbers), sorted(numbers, reverse=True)))
        self.assertIn("bad2.csv", spool.ctl("list", "alice").out)

    def test_pending_are_listed_in_the_order_of_the_line(self):
        """Promise 3, as a person sees it."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        names = ["z.csv", "a.csv", "m.csv"]
        for name in names:
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        listed = [j["name"] for j in
                  spool.ctl("list", "alice", "--state", "pending", json=True).data["jobs"]]
        self.assertEqual(listed, names)

    def test_show_in_words(self):
        """Section 8: one job with its attempts and times."""
        spool = self.spool(handler=BAD_FAILS)
        spool.drop("alice", "bad.csv")
        job = spool.wait_state("bad.csv", "failed")["job"]
        text = spool.ctl("show", str(job)).out
        for word in ("bad.csv", "alice", "failed"):
            self.assertIn(word, text)
        self.assertGreaterEqual(len(re.findall(r"(?m)^.*\b[123]\b.*$", text)), 3)

    def test_log_follow(self):
        """Section 8: --follow shows it as it comes and ends with the job."""
        spool = self.spool(handler="echo first words\n"
                                   "until [ -e $BASE/gate/all ]; do sleep 0.05; done\n"
                                   "echo last words\nexit 0\n",
                           config={"handler": {"keep_logs": "always"}})
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = str(spool.job("a.csv")["job"])
        follower = subprocess.Popen(
            [os.path.join(harness.BUILD, "spoolctl"), "--config", spool.config_path, "log", job,
             "--follow"], env=spool.environment(), stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL)
        self.assertEqual(follower.stdout.readline(), b"first words\n")
        spool.open_gate()
        rest, _ = follower.communicate(timeout=60)
        self.assertIn(b"last words", rest)
        self.assertEqual(follower.returncode, 0)

    def test_log_follow_to_its_end(self):
        """A log that is not kept is followed to its end all the same; later it
        is said why there is none."""
        for keep in ("failed", "never"):
            with self.subTest(keep=keep):
                spool = self.spool(handler="echo first words\n" + GATE,
                                   config={"handler": {"keep_logs": keep}})
                spool.drop("alice", "a.csv")
                spool.wait_started("a.csv")
                job = str(spool.job("a.csv")["job"])
                follower = subprocess.Popen(
                    [os.path.join(harness.BUILD, "spoolctl"), "--config", spool.config_path,
                     "log", job, "--follow"], env=spool.environment(),
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.assertEqual(follower.stdout.readline(), b"first words\n")
                spool.open_gate()
                self.assertEqual(follower.communicate(timeout=60), (b"", b""))
                self.assertEqual(follower.returncode, 0)
                spool.wait_state("a.csv", "done")
                said = spool.ctl("log", job, check=FAILED).err
                self.assertIn(f'it succeeded, and handler.keep_logs is "{keep}"', said)

    def test_log_of_what_never_ran(self):
        spool = self.spool()
        spool.ctl("stop")
        spool.drop("alice", "a.csv")
        job = str(spool.wait_state("a.csv", "pending")["job"])
        spool.withdraw("alice", "a.csv")
        spool.wait_state("a.csv", "canceled")
        self.assertIn("it never ran", spool.ctl("log", job, check=FAILED).err)

    def test_rescan(self):
        """Section 8: rescan [USER]."""
        spool = self.spool()
        spool.ctl("rescan")
        spool.ctl("rescan", "alice")
        spool.ctl("rescan", "stranger", check=FAILED)

    def test_every_file_has_a_reason(self):
        """Promise 7: explain for the file in each of the four directories,
        and for a job number."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler="case $SPOOL_NAME in bad*) exit 1 ;; run*) gate ;; esac\n")
        spool.drop("alice", "good.csv")
        spool.drop("alice", "bad.csv")
        spool.wait_state("good.csv", "done")
        spool.wait_state("bad.csv", "failed")
        spool.drop("alice", "run.csv")
        spool.wait_started("run.csv")
        spool.drop("alice", "wait.csv")
        spool.wait_state("wait.csv", "pending")
        run = spool.job("run.csv")["job"]
        expected = {("done", "good.csv"): "done", ("failed", "bad.csv"): "failed",
                    ("processing", f"{run}/run.csv"): "processing",
                    ("incoming", "wait.csv"): "pending"}
        for (place, name), state in expected.items():
            why = spool.explain_file(name, place=place)
            self.assertEqual(why["state"], state)
            self.assertTrue(why["because"])
            self.assertEqual(spool.explain(why["job"])["state"], state)
        missing = spool.ctl("explain", spool.path("alice", "incoming", "no-such.csv"), check=None)
        self.assertSays("no such file", missing.err + missing.out)


class Users(SystemTest):
    def test_add_list_check(self):
        """Section 8: make a user's directories; check them."""
        spool = self.spool()
        account = "nobody" if os.geteuid() == 0 else "carol"
        spool.ctl("user", "add", account)
        for place in harness.PLACES:
            self.assertTrue(os.path.isdir(spool.path(account, place)), place)
        if os.geteuid() == 0:
            owner = os.stat(spool.path(account, "incoming")).st_uid
            self.assertEqual(owner, pwd.getpwnam(account).pw_uid, "spoold looks at once")
        self.assertIn(account, spool.ctl("user", "list").out)
        spool.ctl("user", "check", account)
        spool.wait_for(lambda: spool.user(account), what="the daemon to see the user")
        spool.drop(account, "a.csv")
        spool.wait_state("a.csv", "done", account, limit=20)
        for name in ("../evil", ".hidden", "two words", "", "a/b"):
            self.assertNotEqual(spool.ctl("user", "add", name, check=None).code, 0, name)
        self.assertFalse(os.path.exists(os.path.join(spool.base, "evil")))

    @root_only
    def test_check_finds_a_mistake(self):
        """FIELD (permissions found too late): said with the command that
        mends it."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        os.rmdir(spool.path("alice", "failed"))
        with open(spool.path("alice", "failed"), "w") as file:
            file.write("no directory")
        result = spool.ctl("user", "check", "alice", check=FAILED)
        self.assertIn("failed", result.out + result.err)
        os.unlink(spool.path("alice", "failed"))
        os.mkdir(spool.path("alice", "failed"))


class Doctor(SystemTest):
    def test_healthy(self):
        """Section 8: nothing to say about a healthy spool."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        spool.ctl("doctor")

    def test_file_without_a_job(self):
        """Section 8: compares directories and index."""
        spool = self.spool()
        os.mkdir(spool.path("alice", "processing", "777"))
        with open(spool.path("alice", "processing", "777/stray.csv"), "wb") as file:
            file.write(b"stray")
        spool.expect("alice", "stray.csv", b"stray")
        result = spool.ctl("doctor", check=None)
        self.assertIn("stray.csv", result.out + result.err)

    def test_without_a_daemon(self):
        """Section 8: doctor works then, too, and says that it is down."""
        spool = self.spool()
        spool.stop()
        result = spool.ctl("doctor", check=None)
        self.assertSays("spoold.*not run|daemon|no spoold", result.out + result.err)

    def test_handler_gone(self):
        """FIELD: found before it hurts."""
        spool = self.spool()
        os.unlink(os.path.join(spool.base, "handlers", "main"))
        result = spool.ctl("doctor", check=FAILED)
        self.assertIn("handlers/main", result.out + result.err)
