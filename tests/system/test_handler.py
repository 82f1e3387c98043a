"""How a handler is started, watched and ended."""

import os
import pwd
import re
import signal
import time
from datetime import datetime

import harness
import procs
import seccomp
from harness import BAD_FAILS, GATE, OK, SystemTest, root_only

# Copies what the kernel started the shell with, before the shell changes it.
DUMP = """cat /proc/$$/environ >$BASE/environ
cat /proc/$$/cmdline >$BASE/cmdline
readlink /proc/$$/cwd >$BASE/cwd
exit 0
"""
ENVIRONMENT = {"SPOOL_FILE", "SPOOL_NAME", "SPOOL_USER", "SPOOL_JOB", "SPOOL_ATTEMPT",
               "SPOOL_OUTPUT_DIR", "SPOOL_REPORT_FD", "PATH", "HOME", "LANG"}


def read(spool, name):
    with open(os.path.join(spool.base, name), "rb") as file:
        return file.read()


class MadeAhead(SystemTest):
    """A worker that waits has made the process of its next handler."""

    def made_by(self, spool, worker):
        return spool.wait_for(lambda: procs.workers(worker), what="a process made ahead")[0]

    def test_it_is_the_next_handler_and_dies_with_its_worker(self):
        """Promises 1, 4 and 6: with all that belongs to its job and to no other; none is left."""
        spool = self.spool(handler=OK)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        worker = spool.workers()[0]
        made = self.made_by(spool, worker)
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done")
        self.assertEqual([s.pid for s in spool.journal.starts("alice")][1:], [made])
        for what in "killed before its worker", "with its worker":
            with self.subTest(what):
                made = self.made_by(spool, worker)
                procs.kill(made if what.startswith("killed") else worker)
                spool.wait_for(lambda made=made: made not in procs.pids(), what="its end")
                name = what.replace(" ", "-") + ".csv"
                spool.drop("alice", name)
                self.assertEqual(spool.wait_state(name, "done")["attempt"], 1)
        self.assertEqual(len(spool.journal.starts("alice")), 4)


    def test_one_that_was_stopped_goes_on(self):
        """Promise 7: neither its worker nor the end of spoold waits for it."""
        spool = self.spool(handler=OK)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        procs.kill(self.made_by(spool, spool.workers()[0]), signal.SIGSTOP)
        spool.drop("alice", "b.csv")
        self.assertEqual(spool.wait_state("b.csv", "done")["attempt"], 1)
        procs.kill(self.made_by(spool, spool.workers()[0]), signal.SIGSTOP)
        self.assertEqual(spool.stop(), 0)

    def test_where_unshare_is_refused(self):
        """As in most containers."""
        spool = self.spool(handler=OK, start=False)
        spool.start(preexec_fn=seccomp.refuse("unshare"))
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.made_by(spool, spool.workers()[0])
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done")


class CannotBeStarted(SystemTest):
    """FIELD (permissions found too late): that is no fault of the file, which waits in its place
    and says why."""

    def wait_told(self, spool, times):
        spool.wait_for(lambda: spool.log().count("cannot run ") == times, what="that to be logged")

    def test_waits_for_its_handler(self):
        """Promises 3, 6 and 7: no attempt is counted, nobody of the user passes it, others
        wait for nothing; a reload and a crash do not let it wait longer."""
        spool = self.spool({"users": {"bob": {"handler": {"command": ["handlers/other"]}}}},
                           users=("alice", "bob"), start=False)
        spool.handler(OK, name="other")
        spool.start()
        handler = os.path.join(spool.base, "handlers", "main")
        for times, how in (1, "reload"), (2, "crash"):
            with self.subTest(how):
                first, second = f"{how}-1.csv", f"{how}-2.csv"
                os.rename(handler, handler + ".away")
                spool.drop("alice", first)
                self.wait_told(spool, times)
                spool.drop("alice", second)
                spool.drop("bob", first)
                spool.wait_state(first, "done", "bob")
                spool.wait_state(second, "pending")
                job = spool.wait_state(first, "pending")
                self.assertEqual((job["attempt"], job["failures"]), (0, 0))
                why = spool.explain(job["job"])
                self.assertSays("^cannot run .*handlers/main: No such file", why["because"])
                self.assertSays("tried again in .*reload", why["next"])
                why = spool.explain(spool.job(second)["job"])
                self.assertSays(f"behind {first}", why["because"])
                self.assertSays("tried again|again in", spool.ctl("status", "alice").out)
                self.assertEqual(spool.files("alice", "failed"), [])
                if how == "crash":
                    spool.kill9()
                os.rename(handler + ".away", handler)
                if how == "crash":
                    spool.restart()
                else:
                    spool.ctl("reload")
                for name in first, second:
                    self.assertEqual(spool.wait_state(name, "done", limit=8)["attempt"], 1)
        self.assertEqual([s.name for s in spool.journal.starts("alice")],
                         ["reload-1.csv", "reload-2.csv", "crash-1.csv", "crash-2.csv"])

    def test_is_tried_again_by_itself(self):
        """Promise 7: who mends it need not know of spoold."""
        spool = self.spool()
        handler = os.path.join(spool.base, "handlers", "main")
        os.chmod(handler, 0o644)
        spool.drop("alice", "a.csv")
        self.wait_told(spool, 1)
        self.assertSays("not executable: chmod", spool.log())
        os.chmod(handler, 0o755)
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)

    def test_who_waits_for_it_is_told(self):
        """FIELD (silence: behind what?): the uploader in a notice, whoever submitted it, and doctor."""
        spool = self.spool({"spool": {"notice_after_seconds": 0.3}})
        handler = os.path.join(spool.base, "handlers", "main")
        path = os.path.join(spool.base, "a.csv")
        with open(path, "wb") as file:
            file.write(b"a\n")
        spool.expect("alice", "a.csv", b"a\n")
        os.chmod(handler, 0o644)
        submit = spool.begin_ctl("submit", "--user", "alice", "--wait", path)
        notice = spool.path("alice", "incoming", "SPOOLD-NOTICE.txt")
        spool.wait_for(lambda: os.path.exists(notice), what="a notice")
        with open(notice) as file:
            text = file.read()
        self.assertSays("a.csv.*cannot start the work.*keeps its place", " ".join(text.split()))
        self.assertNotIn("handlers/main", text)
        found = [f for f in spool.ctl("doctor", json=True, check=None).data["findings"]
                 if "a.csv" in f["what"]]
        self.assertEqual(len(found), 1, found)
        self.assertSays("alice: job 1 .*a.csv.* waits.*cannot run.*main", found[0]["what"])
        self.assertSays("spoolctl reload", found[0]["mend"])
        os.chmod(handler, 0o755)
        spool.ctl("reload")
        spool.wait_state("a.csv", "done")
        spool.wait_for(lambda: not os.path.exists(notice), what="the notice to go")
        out, err = submit.communicate(timeout=60 * harness.slowness())
        self.assertEqual(submit.returncode, 0)
        self.assertEqual(err.count("waits: cannot run"), 1, err)

    def test_each_try_waits_longer(self):
        """Each is written down: who waits for days must not wear out the disk."""
        spool = self.spool()
        os.remove(os.path.join(spool.base, "handlers", "main"))
        spool.drop("alice", "a.csv")
        self.wait_told(spool, 1)
        first = spool.wait_state("a.csv", "pending")["not_before"]
        second = spool.wait_for(lambda: (found := spool.job("a.csv")["not_before"]) not in
                                (first, None) and found, what="the second try")
        waits_s = (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()
        self.assertGreaterEqual(waits_s, 20)

    def test_each_is_tried_at_once_after_a_reload(self):
        """Not only the first of a user's, and attempts that failed keep their delay."""
        spool = self.spool({"scheduler_settings": {"retry_delay_seconds": 600},
                            "job_processing": {"single_job_per_user": False},
                            "users": {"alice": {"max_concurrent_jobs_per_user": 3}}},
                           users=("alice", "bob"), handler=BAD_FAILS, overlap_allowed=True)
        handler = os.path.join(spool.base, "handlers", "main")
        spool.drop("bob", "bad.csv")
        spool.wait_for(lambda: (spool.job("bad.csv", "bob") or {}).get("failures") == 1,
                       what="an attempt to fail")
        os.rename(handler, handler + ".away")
        names = ["a.csv", "b.csv", "c.csv"]
        for name in names:
            spool.drop("alice", name)
            self.wait_told(spool, names.index(name) + 1)
            spool.ctl("hold", str(spool.job(name)["job"]))
        for name in names:
            spool.ctl("release", str(spool.job(name)["job"]))
        os.rename(handler + ".away", handler)
        spool.ctl("reload")
        for name in names:
            spool.wait_state(name, "done", limit=8)
        job = spool.job("bad.csv", "bob")
        self.assertEqual((job["state"], job["attempt"]), ("pending", 1))

    def test_its_log_tells_of_attempts_alone(self):
        """What was never begun leaves no line in the log of those that were."""
        spool = self.spool(handler='echo "what went wrong"; rm "$BASE/handlers/main"; exit 1')
        spool.drop("alice", "a.csv")
        self.wait_told(spool, 1)
        spool.ctl("cancel", str(spool.job("a.csv")["job"]))
        spool.wait_file("a.csv.log", place="failed")
        with open(spool.path("alice", "failed", "a.csv.log")) as file:
            text = file.read()
        self.assertIn("what went wrong", text)
        self.assertNotIn("attempt 2", text)

    def test_can_be_canceled(self):
        """Who gives it up need not wait for the handler."""
        spool = self.spool()
        os.remove(os.path.join(spool.base, "handlers", "main"))
        spool.drop("alice", "a.csv")
        self.wait_told(spool, 1)
        spool.ctl("cancel", str(spool.job("a.csv")["job"]))
        spool.wait_file("a.csv", place="failed")

    @root_only
    def test_without_an_account(self):
        """Section 6: nor is it, where the account that is to run it is not there."""
        spool = self.spool({"handler": {"run_as": "{user}"}}, users=("no-such-account",))
        spool.drop("no-such-account", "a.csv")
        spool.wait_log("waits in its place: cannot run as no-such-account: there is no such account")
        self.assertEqual(spool.wait_state("a.csv", "pending", "no-such-account")["attempt"], 0)

    def test_once_does_not_wait_for_ever(self):
        """Section 8: --mode once ends, with 1 and the reason; the next start goes on."""
        spool = self.spool(start=False, handler='rm "$BASE/handlers/main"')
        spool.init()
        spool.drop("alice", "a.csv")
        spool.drop("alice", "b.csv")
        self.assertEqual(spool.spoold("--mode", "once").code, 1)
        spool.handler(OK)
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        self.assertEqual(spool.files("alice", "done"), ["a.csv", "b.csv"])
        self.assertEqual([s.attempt for s in spool.journal.starts("alice")][1:], [1])


class Start(SystemTest):
    def test_arguments(self):
        """Section 6: the placeholders are replaced inside the elements, and
        no shell ever sees them."""
        spool = self.spool({"handler": {"command": [
            "handlers/main", "--in={file}", "{user}", "{job}:{name}", "{output}", "$HOME; id",
            ""]}}, handler=DUMP)
        spool.drop("alice", "a b;id.csv")
        job = spool.wait_state("a b;id.csv", "done")["job"]
        directory = spool.path("alice", "processing", str(job))
        argv = read(spool, "cmdline").split(b"\0")[:-1]
        self.assertEqual(argv[:2], [b"/bin/bash", os.fsencode(spool.base) + b"/handlers/main"])
        self.assertEqual(argv[2:], [
            b"--in=" + directory + b"/a b;id.csv", b"alice", b"%d:a b;id.csv" % job,
            directory + b"/output", b"$HOME; id", b""])

    def test_environment(self):
        """Section 6: exactly the contract's environment, and the cookie by
        which strays are found."""
        spool = self.spool(handler=DUMP)
        spool.drop("alice", "deep/a.csv")
        job = spool.wait_state("deep/a.csv", "done")["job"]
        directory = spool.path("alice", "processing", str(job))
        pairs = [v.split(b"=", 1) for v in read(spool, "environ").split(b"\0")[:-1]]
        environment = {k.decode(): v for k, v in pairs}
        self.assertEqual(len(pairs), len(environment), "each variable once")
        self.assertEqual(set(environment) - {"SPOOL_COOKIE"}, ENVIRONMENT)
        self.assertEqual(environment["SPOOL_FILE"], directory + b"/a.csv")
        self.assertEqual(environment["SPOOL_NAME"], b"a.csv")
        self.assertEqual(environment["SPOOL_USER"], b"alice")
        self.assertEqual(environment["SPOOL_JOB"], b"%d" % job)
        self.assertEqual(environment["SPOOL_ATTEMPT"], b"1")
        self.assertEqual(environment["SPOOL_OUTPUT_DIR"], directory + b"/output")
        self.assertRegex(environment["SPOOL_REPORT_FD"], rb"^\d+$")
        self.assertEqual(read(spool, "cwd").strip(), directory)

    def test_process_is_clean(self):
        """Section 6: a session of its own, no signal blocked or ignored."""
        spool = self.spool({"handler": {
            "command": ["cat", "/proc/self/stat", "/proc/self/status"], "keep_logs": "always"}})
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")["job"]
        stat, *lines = spool.ctl("log", str(job)).out.splitlines()
        fields = stat.rsplit(")", 1)[1].split()
        self.assertEqual(fields[3], stat.split()[0], "session leader")
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        self.assertEqual(int(status["SigBlk"], 16), 0)
        # posix_spawn() of glibc ignores its own two signals, 32 and 33.
        self.assertEqual(int(status["SigIgn"], 16) & ~(3 << 31), 0)

    def test_policy(self):
        """A worker gives way to the daemon; its handlers are scheduled as spoold was started."""
        spool = self.spool({"handler": {
            "command": ["cut", "-d ", "-f41", "/proc/self/stat"], "keep_logs": "always"}})
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")["job"]
        self.assertEqual(os.sched_getscheduler(spool.workers()[0]), os.SCHED_BATCH)
        self.assertIn(str(os.SCHED_OTHER), spool.ctl("log", str(job)).out.splitlines())
        self.assertEqual(os.sched_getscheduler(spool.daemon.pid), os.SCHED_OTHER)

    def test_descriptors(self):
        """Section 6: stdin is /dev/null; output, report, nothing else: no
        lock, socket or index leaks into a handler."""
        spool = self.spool({"handler": {"command": ["ls", "-l", "/proc/self/fd"],
                                        "keep_logs": "always"}})
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "done")["job"]
        lines = re.findall(r" (\d+) -> (\S+)", spool.ctl("log", str(job)).out)
        there = {int(fd): target for fd, target in lines}
        self.assertEqual(there[0], "/dev/null")
        own = [fd for fd, target in there.items() if target.startswith("/proc/")]  # ls's own
        others = {fd: t for fd, t in there.items() if fd > 2 and fd not in own}
        self.assertEqual(len(others), 1, f"the report descriptor alone: {there}")
        self.assertRegex(list(others.values())[0], "^(pipe|socket):")
        for target in there.values():
            self.assertNotIn(".spoold", target)
            self.assertNotIn(".lock", target)

    def test_program_from_path(self):
        """Section 7: a command without a slash is looked up in PATH."""
        spool = self.spool({"handler": {"command": ["true"]}})
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    @root_only
    def test_run_as(self):
        """Section 6: another account's credentials; the file's owner is put
        back at the end."""
        nobody = pwd.getpwnam("nobody")
        spool = self.spool({"handler": {"run_as": "nobody"}}, start=False,
                           handler='id >$BASE/staging/id\ncat "$SPOOL_FILE" >$BASE/staging/copy\n'
                                   'echo x >"$SPOOL_OUTPUT_DIR/result"\nexit $?\n')
        spool.start()
        path = os.path.join(spool.base, "staging", "mine.csv")
        with open(path, "wb") as file:
            file.write(b"mine")
        os.chown(path, 1, 1)
        os.chmod(path, 0o600)
        os.rename(path, spool.path("alice", "incoming", "mine.csv"))
        spool.expect("alice", "mine.csv", b"mine")
        spool.wait_state("mine.csv", "done")
        told = read(spool, "staging/id").decode()
        self.assertIn(f"uid={nobody.pw_uid}(", told)
        self.assertIn(f"gid={nobody.pw_gid}(", told)
        self.assertRegex(told, r"groups=[^,]*\n", "no group of the daemon's is left")
        self.assertEqual(read(spool, "staging/copy"), b"mine")
        self.assertEqual(os.stat(spool.path("alice", "done", "mine.csv")).st_uid, 1)

    @root_only
    def test_run_as_unknown_account(self):
        """Section 7: it is checked at load."""
        spool = self.spool({"handler": {"run_as": "no-such-account"}}, start=False)
        result = spool.spoold("--check-config")
        self.assertNotEqual(result.code, 0)
        self.assertIn("no-such-account", result.err + result.out)


class Output(SystemTest):
    def test_log_is_bounded(self):
        """Section 6: the log is bounded, the handler is not slowed by it."""
        spool = self.spool({"handler": {"log_limit_kib": 4, "keep_logs": "always"}},
                           handler="echo the beginning\nhead -c 3000000 /dev/zero | tr '\\0' x\n"
                                   "echo\necho the end\nexit 0\n")
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        log = spool.path("alice", "done", "a.csv.log")
        self.assertLess(os.path.getsize(log), 6 * 1024)
        with open(log) as file:
            self.assertIn("the beginning", file.read())

    def test_logs_of_success_are_not_kept(self):
        """Section 7: keep_logs failed."""
        spool = self.spool(handler="echo hello\nexit 0\n")
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertEqual(spool.files("alice", "done"), ["a.csv"])

    def test_a_silent_success_has_its_log_where_all_are_kept(self):
        """Section 7: keep_logs always is the proof that each job ran."""
        spool = self.spool({"handler": {"keep_logs": "always"}}, handler=OK)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertEqual(spool.files("alice", "done"), ["a.csv", "a.csv.log"])
        self.assertSays("^== exit code 0, and nothing was printed ==\n",
                        spool.ctl("log", str(spool.job("a.csv")["job"])).out)

    def test_output_files_are_kept(self):
        """Section 3: done/<name>.output/."""
        spool = self.spool(handler='mkdir "$SPOOL_OUTPUT_DIR/deep"\n'
                                   'echo 42 >"$SPOOL_OUTPUT_DIR/deep/result"\nexit 0\n')
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        with open(spool.path("alice", "done", "a.csv.output/deep/result")) as file:
            self.assertEqual(file.read(), "42\n")

    def test_empty_output_leaves_nothing(self):
        """Section 3: only what is kept is there."""
        spool = self.spool(handler=OK)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertEqual(os.listdir(spool.path("alice", "done")), ["a.csv"])

    def test_names_of_our_own_files(self):
        """Promise 1: uploads named like our own files lose nothing."""
        spool = self.spool({"handler": {"keep_logs": "always"}}, handler="echo told\nexit 0\n")
        spool.check_contents = False  # "log" is told from our logs below
        names = ("log", "output", "a.csv", "a.csv.log", "a.csv.output")
        for name in names:
            spool.drop("alice", name, f"upload {name}".encode())
        spool.wait_for(lambda: spool.user("alice")["done"] == len(names), what="all done")
        contents = {}
        for path in spool.files("alice", "done"):
            with open(spool.path("alice", "done", path)) as file:
                contents[file.read()] = path
        for name in names:
            self.assertIn(f"upload {name}", contents)

    def test_garbage_on_the_report_descriptor(self):
        """Section 6: what is no report is not believed, and harms nothing."""
        spool = self.spool(handler="report progress=7\nreport records=-3\nreport nonsense\n"
                                   "head -c 200000 /dev/urandom >&$SPOOL_REPORT_FD\n"
                                   "report\nreport progress=0.25\ngate\n")
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.wait_for(lambda: [r for r in spool.user("alice")["running"]
                                if r["progress"] == 0.25], what="the last report")
        spool.open_gate()
        job = spool.wait_state("a.csv", "done")
        self.assertIn(job["records"], (None, 0))

    def test_log_while_running(self):
        """Section 8: log shows what the handler said so far."""
        spool = self.spool(handler="echo so far\n" + GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        job = spool.job("a.csv")["job"]
        spool.wait_for(lambda: "so far" in spool.ctl("log", str(job), check=None).out,
                       what="the log of the running job")

    def test_handler_that_removes_its_file(self):
        """Section 4: the job ends, and says what is so."""
        spool = self.spool(handler='rm "$SPOOL_FILE"\nexit 0\n')
        spool.drop("alice", "a.csv")
        spool.drop("alice", "b.csv")
        spool.forget("alice", "a.csv")
        spool.forget("alice", "b.csv")
        for name in ("a.csv", "b.csv"):
            spool.wait_for(lambda: (spool.job(name) or {}).get("state") in ("done", "failed"),
                           what="its end")
        # They stay until the index knows that there is no file, one commit later.
        spool.wait_for(lambda: os.listdir(spool.path("alice", "processing")) == [],
                       what="the private directories to go")


TREE = """echo $$ >>$BASE/staging/pids
trap '' TERM HUP INT
setsid bash -c 'trap "" TERM HUP; echo $$ >>'$BASE'/staging/pids; while :; do sleep 0.2; done' &
bash -c 'setsid setsid bash -c "trap \\"\\" TERM; echo \\$\\$ >>'$BASE'/staging/pids; sleep 1000"' &
%s
"""


class Timeouts(SystemTest):
    def tree(self, spool):
        try:
            return [int(line) for line in read(spool, "staging/pids").split()]
        except FileNotFoundError:
            return []

    def test_the_whole_tree_is_killed(self):
        """FIELD (grandchildren left): on timeout SIGTERM, then SIGKILL, for
        setsid grandchildren that ignore SIGTERM too."""
        spool = self.spool({"scheduler_settings": {"job_timeout_minutes": 2 / 60,
                                                   "max_retries": 0}},
                           handler=TREE % "while :; do sleep 0.2; done")
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "failed")
        self.assertSays("time|longer", job["error"])
        self.assertEqual(len(self.tree(spool)), 3)
        self.assertEqual([p for p in self.tree(spool) if procs.alive(p)], [])
        attempts = spool.show(job["job"])["attempts"]
        self.assertEqual(len(attempts), 1)
        with open(spool.path("alice", "failed", "a.csv.log")) as file:
            self.assertSays("time|longer", file.read())

    def test_strays_do_not_outlive_success(self):
        """Section 6: a worker leaves no stray descendants, also when the
        handler itself succeeded; the lock is free then."""
        spool = self.spool(handler=TREE % (
            'while [ "$(wc -l <$BASE/staging/pids)" -lt 3 ]; do sleep 0.05; done\nexit 0'))
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertEqual([p for p in self.tree(spool) if procs.alive(p)], [])

    def test_cancel_kills_the_whole_tree(self):
        """The same for cancel."""
        spool = self.spool(handler=TREE % "while :; do sleep 0.2; done")
        spool.drop("alice", "a.csv")
        spool.wait_for(lambda: len(self.tree(spool)) == 3, what="three processes")
        spool.ctl("cancel", str(spool.job("a.csv")["job"]))
        self.assertEqual([p for p in self.tree(spool) if procs.alive(p)], [])

    def test_sigterm_comes_first(self):
        """Section 6: a handler that obeys SIGTERM may end by itself."""
        spool = self.spool({"scheduler_settings": {"job_timeout_minutes": 1 / 60,
                                                   "max_retries": 0},
                            "handler": {"kill_grace_seconds": 20}},
                           handler="trap 'echo gave up; exit 1' TERM\n"
                                   "while :; do sleep 0.1; done\n")
        begun = time.monotonic()
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "failed", limit=18)
        self.assertLess(time.monotonic() - begun, 19)
        self.assertIn("gave up", spool.ctl("log", str(job["job"])).out)

    def test_all_attempts_together(self):
        """Section 7: max_processing_time_minutes limits all attempts of a job."""
        spool = self.spool({"scheduler_settings": {"max_retries": 50},
                            "job_processing": {"max_processing_time_minutes": 2 / 60}},
                           handler="sleep 0.5\nexit 1\n")
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "failed")
        self.assertLess(job["attempt"], 12)
        self.assertGreater(job["attempt"], 1)

    def test_killed_by_a_signal(self):
        """Section 6: a handler that crashes is a failed attempt, said so."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, handler="kill -SEGV $$\n")
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "failed")
        self.assertEqual(job["exit_code"], 128 + 11)
        self.assertSays("signal|segmentation|SEGV", job["error"])


class Choice(SystemTest):
    def test_routes(self):
        """Section 7: the first route that matches the file name wins."""
        spool = self.spool(start=False)
        for name in ("csv", "any"):
            spool.handler(f"echo {name} >>$BASE/staging/$SPOOL_NAME.took\nexit 0\n", name)
        spool.configure({"routes": [
            {"match": "*.csv", "handler": {"command": ["handlers/csv", "{file}"]}},
            {"match": "x*", "handler": {"command": ["handlers/any", "{file}"]}}]})
        spool.start()
        for name in ("x.csv", "x.txt", "sub/y.csv", "other"):
            spool.drop("alice", name)
            spool.wait_state(name, "done")
        took = {name: read(spool, f"staging/{name}.took").decode().split()
                for name in ("x.csv", "x.txt", "y.csv")}
        self.assertEqual(took, {"x.csv": ["csv"], "x.txt": ["any"], "y.csv": ["csv"]})
        self.assertFalse(os.path.exists(os.path.join(spool.base, "staging", "other.took")))

    def test_handler_of_a_user(self):
        """Section 7: users.<name>.handler, as a block."""
        spool = self.spool(users=("alice", "bob"), start=False)
        spool.handler("exit 65\n", "strict")
        spool.configure({"users": {
            "bob": {"handler": {"command": ["handlers/strict", "{file}"]}, "max_retries": 0}}})
        spool.start()
        spool.drop("alice", "a.csv")
        spool.drop("bob", "a.csv")
        spool.wait_state("a.csv", "done", "alice")
        self.assertEqual(spool.wait_state("a.csv", "failed", "bob")["exit_code"], 65)

    def test_settings_of_a_user(self):
        """Section 7: any setting of a user by its plain name."""
        spool = self.spool({"users": {"bob": {"max_retries": 0}}}, users=("alice", "bob"),
                           handler="exit 1\n")
        spool.drop("alice", "a.csv")
        spool.drop("bob", "a.csv")
        self.assertEqual(spool.wait_state("a.csv", "failed", "alice")["attempt"], 3)
        self.assertEqual(spool.wait_state("a.csv", "failed", "bob")["attempt"], 1)
