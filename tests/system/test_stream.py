"""Handlers that serve many jobs: handler.mode "stream"."""

import json
import os
import pwd
import signal

import procs
from harness import FAILED, SystemTest, root_only

QUICK = "def work(job): pass"
GATED = "def work(job): gate(job)"


class StreamTest(SystemTest):
    def stream(self, body=QUICK, config=None, start=True, **options):
        spool = self.spool(start=False, **options)
        spool.stream_handler(body)
        spool.configure({"handler": {"command": ["handlers/main"], "mode": "stream"}})
        spool.configure(config)
        if start:
            spool.start()
        return spool

    def notes(self, spool, name):
        try:
            with open(os.path.join(spool.base, "staging", name)) as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    def process_numbers(self, spool, user=None):
        """Of the processes that had jobs, in their order."""
        return list(dict.fromkeys(s.pid for s in spool.journal.starts(user)))

    def run_all(self, spool, names, user="alice", state="done"):
        for name in names:
            spool.drop(user, name)
        for name in names:
            spool.wait_state(name, state, user)


class Jobs(StreamTest):
    def test_one_process_for_many_jobs(self):
        """Section 6: started once, a line for each; first in, first out."""
        spool = self.stream("def work(job): return {'records': len(job['name'])}")
        names = [f"{n:02}.csv" for n in range(20)]
        for name in names:
            spool.drop("alice", name, how="mv")
            spool.next_tick()
        for name in names:
            self.assertEqual(spool.wait_state(name, "done")["records"], 6)
        self.assertEqual(spool.journal.order("alice"), names)
        self.assertEqual(len(self.process_numbers(spool)), 1)
        self.assertEqual(spool.files("alice", "done"), names)

    def test_failed_is_tried_again_and_permanent_is_not(self):
        """The words of an answer, and what the uploader gets to read."""
        spool = self.stream("""
def work(job):
    if job["name"] == "bad.csv":
        return {"result": "permanent", "message": "line 3 is bad"}
    if job["name"] == "later.csv" and job["attempt"] == 1:
        return {"result": "failed", "message": "no connection"}
""")
        self.run_all(spool, ["bad.csv"], state="failed")
        self.run_all(spool, ["later.csv"])
        bad, later = spool.job("bad.csv"), spool.job("later.csv")
        self.assertEqual((bad["attempt"], bad["error"]), (1, "line 3 is bad"))
        with open(spool.path("alice", "failed", "bad.csv.log")) as file:
            self.assertIn("line 3 is bad", file.read())
        self.assertEqual([a["error"] for a in spool.show(later["job"])["attempts"]],
                         ["no connection", None])
        self.assertEqual(len(self.process_numbers(spool)), 1)

    def test_progress_and_log(self):
        """Section 6: reports appear in status at once, standard error in the log."""
        spool = self.stream("""
def work(job):
    log(f"this is {job['name']}")
    say(job, progress=0.25, records=7, message="reading")
    gate(job)
""", {"handler": {"keep_logs": "always"}})
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        running = spool.wait_for(lambda: [r for r in spool.user("alice")["running"]
                                          if r["progress"] == 0.25], what="the report")[0]
        self.assertEqual((running["records"], running["message"]), (7, "reading"))
        job = spool.job("a.csv")["job"]
        self.assertIn("this is a.csv", spool.ctl("log", str(job)).out)
        spool.open_gate()
        self.run_all(spool, ["b.csv"])
        spool.wait_state("a.csv", "done")
        for name in ("a.csv", "b.csv"):
            with open(spool.path("alice", "done", name + ".log")) as file:
                self.assertEqual(file.readline(), f"this is {name}\n")

    def test_names_are_bytes(self):
        """A name that is no UTF-8 comes escaped, and says so; others as they are."""
        spool = self.stream("""
def work(job):
    with open(path(job, "file"), "rb") as upload:
        return {"message": upload.read().decode()}
""")
        for number, name in enumerate((b"\xff\\x41 \xc3\xa4.csv", "ä \\x41\n\".csv".encode())):
            spool.drop("alice", name, b"text %d" % number)
            job = spool.wait_state(name, "done")
            self.assertEqual(spool.show(job["job"])["attempts"][0]["message"], f"text {number}")

    def test_output_files_are_kept(self):
        """Section 3: done/<name>.output/."""
        spool = self.stream("""
def work(job):
    with open(job["output"] + "/result", "w") as file:
        file.write(job["name"])
""")
        self.run_all(spool, ["a.csv", "b.csv"])
        for name in ("a.csv", "b.csv"):
            with open(spool.path("alice", "done", name + ".output/result")) as file:
                self.assertEqual(file.read(), name)

    def test_once(self):
        """Section 8: works off what is there, and leaves no process."""
        spool = self.stream(start=False)
        spool.init()
        for n in range(5):
            spool.drop("alice", f"{n}.csv")
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        self.assertEqual(len(spool.files("alice", "done")), 5)
        self.assertEqual(len(self.process_numbers(spool)), 1)
        spool.wait_for(lambda: self.notes(spool, "left"), what="its end")


class Places(StreamTest):
    def test_each_user_has_its_own(self):
        """More users than places: each one's process waits for its next job."""
        users = ("alice", "bob", "carol")
        spool = self.stream(users=users, config={"scheduler_settings": {"max_concurrent_jobs": 1}})
        for n in range(4):
            for user in users:
                self.run_all(spool, [f"{n}.csv"], user)
        numbers = [self.process_numbers(spool, user) for user in users]
        self.assertEqual([len(n) for n in numbers], [1, 1, 1])
        self.assertEqual(len(set(n[0] for n in numbers)), 3)

    def test_another_user_needs_the_worker(self):
        """Without room to wait, it is ended before the other's job begins."""
        spool = self.stream("""
def work(job):
    note("seen", f"{USER}:{','.join(sorted(set(open(BASE + '/staging/left').read().split())))}"
         if os.path.exists(BASE + "/staging/left") else f"{USER}:")
""", {"scheduler_settings": {"max_concurrent_jobs": 1, "max_idle_handlers": 0}},
                            users=("alice", "bob"))
        self.run_all(spool, ["a.csv", "b.csv"], "alice")
        self.run_all(spool, ["a.csv"], "bob")
        self.run_all(spool, ["c.csv"], "alice")
        alice, bob = self.process_numbers(spool, "alice"), self.process_numbers(spool, "bob")
        self.assertEqual((len(alice), len(bob)), (2, 1))
        self.assertEqual(self.notes(spool, "seen"),
                         ["alice:", "alice:", f"bob:{alice[0]}",
                          "alice:" + ",".join(sorted([str(alice[0]), str(bob[0])]))])

    def test_one_that_does_not_leave_is_killed(self):
        """The other user waits for the grace time and no longer."""
        spool = self.stream("""
import atexit
def work(job):
    atexit.register(time.sleep, 1000)
""", {"scheduler_settings": {"max_concurrent_jobs": 1, "max_idle_handlers": 0}},
                            users=("alice", "bob"))
        self.run_all(spool, ["a.csv"], "alice")
        self.run_all(spool, ["a.csv"], "bob")
        self.assertFalse(procs.alive(self.process_numbers(spool, "alice")[0]))

    def test_jobs_of_one_user_side_by_side(self):
        """Each running job has a process of its own."""
        spool = self.stream(GATED, {"job_processing": {"single_job_per_user": False},
                                    "scheduler_settings": {"max_concurrent_jobs_per_user": 2}},
                            overlap_allowed=True)
        for name in ("a.csv", "b.csv", "c.csv", "d.csv"):
            spool.drop("alice", name)
        spool.wait_for(lambda: len(spool.journal.starts()) == 2, what="two at once")
        spool.open_gate()
        for name in ("a.csv", "b.csv", "c.csv", "d.csv"):
            spool.wait_state(name, "done")
        self.assertEqual(len(self.process_numbers(spool)), 2)

    def test_routes_and_users(self):
        """Section 7: routes and handlers of a user choose the mode, too."""
        spool = self.stream(users=("alice", "bob"), start=False)
        spool.handler("exit 0\n", "plain")
        plain = {"command": ["handlers/plain", "{file}"], "mode": "per_file"}
        spool.configure({"routes": [{"match": "*.txt", "handler": plain}],
                         "users": {"bob": {"handler": plain, "routes": []}}})
        spool.start()
        for n in range(3):
            self.run_all(spool, [f"{n}.csv", f"{n}.txt"])
            self.run_all(spool, [f"{n}.csv"], "bob")
        pids = {s.pid for s in spool.journal.starts("alice") if s.name.endswith(".csv")}
        self.assertEqual(len(pids), 1, "files for others do not cost the process")
        self.assertEqual(len({s.pid for s in spool.journal.starts("bob")}), 3)

    @root_only
    def test_run_as(self):
        """Section 7: the account of the handler, which gets each job's files."""
        nobody = pwd.getpwnam("nobody")
        spool = self.stream("""
def work(job):
    with open(job["file"]) as file, open(job["output"] + "/copy", "w") as copy:
        copy.write(f"{os.getuid()} {os.getgid()} {file.read()}")
""", {"handler": {"run_as": "nobody"}})
        for name in ("a.csv", "b.csv"):
            spool.drop("alice", name, b"text")
            spool.wait_state(name, "done")
            with open(spool.path("alice", "done", name + ".output/copy")) as file:
                self.assertEqual(file.read(), f"{nobody.pw_uid} {nobody.pw_gid} text")
        self.assertEqual(len(self.process_numbers(spool)), 1)

    def test_limits(self):
        """Section 6: resource limits are in force."""
        spool = self.stream("""
import resource
def work(job):
    return {"records": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
""", {"handler": {"limits": {"open_files": 77}}})
        self.run_all(spool, ["a.csv"])
        self.assertEqual(spool.job("a.csv")["records"], 77)


class Ends(StreamTest):
    def test_recycled_after_jobs(self):
        spool = self.stream(config={"handler": {"recycle_after_jobs": 2}})
        self.run_all(spool, [f"{n}.csv" for n in range(6)])
        self.assertEqual(len(self.process_numbers(spool)), 3)

    def test_recycled_when_it_is_old(self):
        spool = self.stream(config={"handler": {"recycle_after_seconds": 0.5}})
        self.run_all(spool, ["a.csv"])
        spool.wait_for(lambda: self.notes(spool, "left"), what="its end")
        self.run_all(spool, ["b.csv"])
        self.assertEqual(len(self.process_numbers(spool)), 2)

    def test_ended_when_it_waits_too_long(self):
        spool = self.stream(config={"handler": {"idle_seconds": 0.3}})
        self.run_all(spool, ["a.csv"])
        spool.wait_for(lambda: self.notes(spool, "left"), what="its end")
        self.run_all(spool, ["b.csv"])

    def test_reload_with_another_command(self):
        """Section 7: the old process has ended before the next job begins; one
        that still fits goes on."""
        spool = self.stream(users=("alice", "bob"))
        self.run_all(spool, ["a.csv"])
        self.run_all(spool, ["a.csv"], "bob")
        spool.stream_handler("""
def work(job):
    note("alive", str(alive(open(BASE + "/staging/started").readline().strip())))
""", "other")
        spool.configure({"users": {"alice": {"handler": {"command": ["handlers/other"]}}}})
        spool.ctl("reload")
        self.run_all(spool, ["b.csv"])
        self.run_all(spool, ["b.csv"], "bob")
        self.assertEqual(self.notes(spool, "alive"), ["False"])
        self.assertEqual(len(self.process_numbers(spool, "alice")), 2)
        self.assertEqual(len(self.process_numbers(spool, "bob")), 1)

    def test_stop_lets_all_go(self):
        """SIGTERM: what waits for jobs is asked to go."""
        spool = self.stream()
        self.run_all(spool, ["a.csv"])
        number = self.process_numbers(spool)[0]
        self.assertEqual(spool.stop(), 0)
        spool.wait_for(lambda: not procs.alive(number), what="the handler's end")
        self.assertEqual(self.notes(spool, "left"), [str(number)])

    def test_stop_interrupts(self):
        """A job that takes too long then is repeated after the next start."""
        spool = self.stream(GATED, {"scheduler_settings": {"stop_grace_seconds": 0.2}})
        spool.drop("alice", "a.csv")
        number = spool.wait_started("a.csv").pid
        self.assertEqual(spool.stop(), 0)
        self.assertFalse(procs.alive(number))
        spool.open_gate()
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 2)

    def test_cancel(self):
        """The whole tree ends; the next job has a new process."""
        spool = self.stream("""
def work(job):
    if job["name"] == "a.csv":
        leave_processes()
        gate(job)
""")
        spool.drop("alice", "a.csv")
        spool.wait_for(lambda: len(self.notes(spool, "pids")) == 2, what="its processes")
        spool.ctl("cancel", str(spool.job("a.csv")["job"]))
        self.assertEqual([p for p in self.notes(spool, "pids") if procs.alive(int(p))], [])
        self.run_all(spool, ["b.csv"])
        self.assertEqual(len(self.process_numbers(spool)), 2)

    def test_timeout(self):
        """A hang is a failed attempt, and its whole tree ends."""
        spool = self.stream("""
def work(job):
    if job["name"] == "a.csv":
        leave_processes()
        gate(job)
""", {"scheduler_settings": {"job_timeout_minutes": 2 / 60, "max_retries": 0}})
        spool.drop("alice", "a.csv")
        spool.drop("alice", "b.csv")
        job = spool.wait_state("a.csv", "failed")
        self.assertSays("timed out", job["error"])
        self.assertEqual([p for p in self.notes(spool, "pids") if procs.alive(int(p))], [])
        spool.wait_state("b.csv", "done")


BREAK = """
def work(job):
    if job["name"] != "bad.csv":
        return
    if job["attempt"] == 1:
        %s
"""


class Faults(StreamTest):
    def broken(self, how, why):
        """It fails that attempt and no other; another user's process goes on."""
        spool = self.stream(BREAK % how, users=("alice", "bob"))
        self.run_all(spool, ["a.csv"], "bob")
        self.run_all(spool, ["a.csv", "bad.csv", "c.csv"])
        self.run_all(spool, ["b.csv"], "bob")
        job = spool.job("bad.csv")
        self.assertEqual(job["attempt"], 2)
        attempts = spool.show(job["job"])["attempts"]
        self.assertEqual(attempts[0]["outcome"], "failed")
        self.assertSays(why, attempts[0]["error"])
        for name in ("a.csv", "c.csv"):
            self.assertEqual(spool.job(name)["attempt"], 1)
        self.assertEqual(len(self.process_numbers(spool, "alice")), 2)
        self.assertEqual(len(self.process_numbers(spool, "bob")), 1)

    def test_crash(self):
        self.broken("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11")

    def test_exit(self):
        self.broken("log('gave up'); os._exit(7)", "exit code 7 without an answer: gave up")

    def test_exit_0(self):
        self.broken("os._exit(0)", "exit code 0 without an answer")

    def test_garbage(self):
        self.broken("print('hello', flush=True); time.sleep(1000)", "no answer.*hello")

    def test_wrong_job(self):
        self.broken("say({'job': 4711}, result='done'); time.sleep(1000)", "answered for job 4711")

    def test_unknown_result(self):
        self.broken("say(job, result='perhaps'); time.sleep(1000)", "wrong value")

    def test_overlong_line(self):
        self.broken("print('x' * 10_000_000, flush=True); time.sleep(1000)", "more than 64 KiB")

    def test_closed_output(self):
        self.broken("os.close(1); time.sleep(1000)", "closed its standard output")

    def test_answered_twice(self):
        """The first answer counts; the process is replaced before the next job."""
        spool = self.stream("""
def work(job):
    if job["name"] == "a.csv":
        line = json.dumps({"job": job["job"], "result": "done"}) + "\\n"
        os.write(1, (line + line).encode())
        time.sleep(1000)
""")
        self.run_all(spool, ["a.csv", "b.csv"])
        self.assertEqual([spool.job(n)["attempt"] for n in ("a.csv", "b.csv")], [1, 1])
        self.assertEqual(len(self.process_numbers(spool)), 2)

    def test_line_between_two_jobs(self):
        spool = self.stream("""
import threading
def work(job):
    if job["name"] == "a.csv":
        threading.Timer(0.3, print, ["hello"], {"flush": True}).start()
""")
        self.run_all(spool, ["a.csv"])
        number = self.process_numbers(spool)[0]
        spool.wait_for(lambda: not procs.alive(number), what="its end")
        self.assertIn("while it had no job: hello", spool.log())
        self.run_all(spool, ["b.csv"])
        self.assertEqual(spool.job("b.csv")["attempt"], 1)

    def test_exit_between_two_jobs(self):
        spool = self.stream("""
import threading
def work(job):
    if job["name"] == "a.csv":
        threading.Timer(0.3, os._exit, [1]).start()
""")
        self.run_all(spool, ["a.csv"])
        number = self.process_numbers(spool)[0]
        spool.wait_for(lambda: not procs.alive(number), what="its end")
        self.run_all(spool, ["b.csv"])
        self.assertEqual(spool.job("b.csv")["attempt"], 1)

    def test_exits_while_jobs_come(self):
        """It leaves after every job, just when the next one is on its way:
        no attempt is lost to that."""
        spool = self.stream("""
import threading
def work(job):
    threading.Timer(0.002, os._exit, [0]).start()
""", {"scheduler_settings": {"max_retries": 30}})
        names = [f"{n}.csv" for n in range(30)]
        self.run_all(spool, names)
        left = [n for n in names if spool.job(n)["attempt"] != 1]
        # One that read its line before it left has had the job.
        for name in left:
            errors = [a["error"] for a in spool.show(spool.job(name)["job"])["attempts"]]
            self.assertIn("without an answer", errors[0])

    def test_floods(self):
        """Bounded memory, bounded logs, and others go on."""
        spool = self.stream("""
def work(job):
    if USER == "bob":
        return
    if job["name"] == "out.csv":
        while True:
            os.write(1, b'{"job":%d,"progress":0.5}\\n' % job["job"] * 1000)
    while True:
        os.write(2, b"x" * 65536)
""", {"scheduler_settings": {"job_timeout_minutes": 3 / 60, "max_retries": 0},
                            "handler": {"log_limit_kib": 16}}, users=("alice", "bob"))
        for name in ("out.csv", "err.csv"):
            spool.drop("alice", name)
            spool.wait_started(name)
            worker = procs.parent(spool.journal.starts("alice", name)[0].pid)
            self.run_all(spool, [name], "bob")
            with open(f"/proc/{worker}/status") as file:
                resident = [int(line.split()[1]) for line in file if line.startswith("VmRSS")]
            if resident and not self.sanitized():
                self.assertLess(resident[0], 16 * 1024)
            self.assertSays("timed out", spool.wait_state(name, "failed")["error"])
            self.assertLess(os.path.getsize(spool.path("alice", "failed", name + ".log")), 20000)

    def sanitized(self):
        from spool import has_sanitizer
        return has_sanitizer()


class Killed(StreamTest):
    def test_worker_killed(self):
        """Its handler and all that started are ended; that job is repeated."""
        spool = self.stream("""
def work(job):
    if job["attempt"] == 1:
        leave_processes()
        gate(job)
""")
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        spool.wait_for(lambda: len(self.notes(spool, "pids")) == 2, what="its processes")
        os.kill(procs.parent(stamp.pid), signal.SIGKILL)
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 2)
        self.assertEqual([p for p in [stamp.pid, *self.notes(spool, "pids")]
                          if procs.alive(int(p))], [])

    def test_idle_worker_killed(self):
        """The same where it has no job."""
        spool = self.stream("def work(job): job['name'] == 'a.csv' and leave_processes()")
        self.run_all(spool, ["a.csv"])
        number = self.process_numbers(spool)[0]
        os.kill(procs.parent(number), signal.SIGKILL)
        spool.wait_for(lambda: not any(procs.alive(int(p))
                                       for p in [number, *self.notes(spool, "pids")]),
                       what="the end of what it had")
        self.run_all(spool, ["b.csv"])

    def test_daemon_killed(self):
        """The worker finishes its job, leaves the result, ends the handler."""
        spool = self.stream(GATED)
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        worker = procs.parent(stamp.pid)
        spool.kill9()
        self.assertTrue(procs.alive(stamp.pid))
        spool.open_gate()
        spool.wait_for(lambda: not procs.alive(worker), what="the worker's end")
        self.assertFalse(procs.alive(stamp.pid))
        self.assertEqual(self.notes(spool, "left"), [str(stamp.pid)])
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)
        self.assertEqual(len(spool.journal.starts()), 1)

    def test_daemon_killed_while_it_waits(self):
        """An idle worker goes at once, and its handler with it."""
        spool = self.stream()
        self.run_all(spool, ["a.csv"])
        number = self.process_numbers(spool)[0]
        spool.kill9()
        spool.wait_for(lambda: not procs.alive(number), what="the handler's end")
        self.assertEqual(self.notes(spool, "left"), [str(number)])

    def kill_both(self, spool, pid):
        worker = procs.parent(pid)
        os.kill(spool.daemon.pid, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        spool.kill9()
        spool.wait_for(lambda: not procs.alive(pid), what="the handler to die with its worker")
        return [p for p in self.notes(spool, "pids") if procs.alive(int(p))]

    def test_both_killed(self):
        """Recovery finds by their cookie what the handler of a job left."""
        spool = self.stream("""
def work(job):
    if job["attempt"] == 1 and job["name"] == "b.csv":
        leave_processes()
        gate(job)
    elif job["name"] == "b.csv":
        note("alive", ",".join(p for p in open(BASE + "/staging/pids").read().split() if alive(p))
             or "none")
""")
        self.run_all(spool, ["a.csv"])
        spool.drop("alice", "b.csv")
        stamp = spool.wait_started("b.csv")
        spool.wait_for(lambda: len(self.notes(spool, "pids")) == 2, what="its processes")
        self.assertEqual(len(self.kill_both(spool, stamp.pid)), 2, "strays")
        spool.restart()
        self.assertEqual(spool.wait_state("b.csv", "done")["attempt"], 2)
        self.assertEqual(self.notes(spool, "alive"), ["none"])

    def test_both_killed_while_it_waits(self):
        """And what it left without a job."""
        spool = self.stream("def work(job): job['name'] == 'a.csv' and leave_processes()")
        self.run_all(spool, ["a.csv"])
        self.assertEqual(len(self.kill_both(spool, self.process_numbers(spool)[0])), 2, "strays")
        spool.restart()
        spool.wait_for(lambda: not any(procs.alive(int(p)) for p in self.notes(spool, "pids")),
                       what="the strays to end")
        self.run_all(spool, ["b.csv"])


class Configuration(StreamTest):
    def test_a_command_for_one_file_is_refused(self):
        """Section 7: mistakes are told at load, wherever they come together."""
        spool = self.stream(start=False)
        for config in ({"handler": {"command": ["handlers/main", "{file}"]}},
                       {"routes": [{"match": "*", "handler": {
                           "command": ["handlers/main", "{name}"]}}]},
                       {"users": {"bob": {"handler": {"command": ["handlers/main", "{job}"]}}}}):
            kept = json.loads(json.dumps(spool.config))
            spool.configure(config)
            result = spool.spoold("--check-config")
            self.assertEqual(result.code, FAILED)
            self.assertSays("started once for many files", result.err + result.out)
            spool.config = kept
        spool.configure({"handler": {"command": ["handlers/main", "{user}"]}})
        self.assertEqual(spool.spoold("--check-config").code, 0)
