"""Handlers that mean no good: each attack of attacks.py ends as it should, in
words, and neither the daemon, nor the jobs behind it, nor anything outside the
spool is the worse for it."""

import os
import pwd
import re
import shutil
import unittest.mock

import procs
from attacks import AS_DAEMON, ATTACKS, handler
from canary import Canaries
from harness import BUILD, SystemTest, limit, root_only
from spool import has_sanitizer

NOBODY = pwd.getpwnam("nobody")
TIMED = {"deaf", "stops-itself", "freezes-worker"}  # wait for a timeout
COSTLY = {"eats-memory", "eats-memory-by-shell", "crashes-for-memory", "floods-log", "many-files",
          "floods-report"}  # and the same for all accounts
CONFIG = {
    "scheduler_settings": {"max_retries": 1, "retry_delay_seconds": 0.05},
    "handler": {"keep_logs": "always", "log_limit_kib": 16, "kill_grace_seconds": 0.2,
                "limits": {"memory_mib": 300, "file_mib": 20}},
    "users": {"timed": {"job_timeout_minutes": 1 / 60}},
}
HARMFUL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])


def content(user, attack):
    return f"{user} {attack}\n".encode()


class Attacks(SystemTest):
    def attack(self, attacks, config=None, **options):
        """A spool on which all the attacks were made, until each has ended."""
        users = ("timed", "ann", "ben", "cem")
        spool = self.spool(CONFIG, users=users, handler=handler(attacks), start=False)
        spool.configure(config)
        spool.check_contents = False  # judged below
        spool.init()
        if options:
            for top, directories, names in os.walk(spool.base):
                for name in directories + names:
                    os.chown(os.path.join(top, name), options["user"], options["group"])
        self.canaries = Canaries(os.path.join(spool.base, "outside"))
        spool.start(init=False, **options)
        self.line = {user: [] for user in users}
        for n, name in enumerate(attacks):
            user = "timed" if name in TIMED else users[1 + n % 3]
            self.line[user].append(name)
            spool.drop(user, f"{name}.x", content(user, name))
        for user in users:
            spool.drop(user, "last", content(user, "last"))
        for user in users:
            spool.wait_state("last", "done", user, limit=100)
        return spool

    def judge(self, spool, attacks, allowed=None):
        jobs = {job["name"]: job for job in spool.jobs() if job["name"] != "last"}
        for user, names in self.line.items():
            for name in names:
                with self.subTest(name):
                    self.judge_one(spool, user, name, attacks[name], jobs[f"{name}.x"])
        with self.subTest("afterwards"):
            self.judge_rest(spool, allowed)

    def judge_one(self, spool, user, name, attack, job):
        told = spool.show(job["job"])
        self.assertEqual((job["state"], job["attempt"]), (attack.state, attack.attempts),
                         f"{job} {told['attempts']}")
        self.assertIsNotNone(re.search(attack.error, job["error"] or ""), job["error"])
        self.assertFalse(HARMFUL.search((job["error"] or "").encode()), job["error"])
        if attack.keeps:
            with open(spool.path(user, attack.state, f"{name}.x"), "rb") as file:
                self.assertEqual(file.read(), content(user, name))
        if attack.state == "failed":
            beside = [n for n in os.listdir(spool.path(user, "failed"))
                      if n.startswith(name + ".") and n.endswith(".log")]
            self.assertEqual(len(beside), 1, "a log says why")
            with open(spool.path(user, "failed", beside[0]), "rb") as file:
                self.assertIn(job["error"].split("\\")[0].encode(), file.read(2000))
        spool.ctl("log", str(job["job"]), json=True, check=None)
        spool.explain(job["job"])

    def judge_rest(self, spool, allowed):
        self.assertEqual(self.alive(spool, "strays"), [])
        self.assertFalse(os.path.exists(os.path.join(spool.base, "staging", "leaks")),
                         "a descriptor of ours leaked into a handler")
        self.assertEqual(self.canaries.touched(allowed), [])
        for user, names in self.line.items():
            spool.wait_for(lambda user=user: not os.listdir(spool.path(user, "processing")),
                           what=f"processing of {user} to be empty")
            order = [n.removesuffix(".x") for n in spool.journal.order(user)]
            self.assertEqual(order, names + ["last"], "first in, first out")
            logs = [spool.path(user, place, n) for place in ("done", "failed")
                    for n in os.listdir(spool.path(user, place)) if n.endswith(".log")]
            for log in logs:
                self.assertLess(os.path.getsize(log), 40 * 1024, log)
        for pid in (spool.daemon.pid, *spool.workers()):
            self.assertLess(memory_kib(pid), 900_000 if has_sanitizer() else 60_000)
        doctor = spool.ctl("doctor", json=True, check=None).data
        self.assertEqual([f for f in doctor["findings"] if f["level"] == "error"], [])

    def alive(self, spool, name):
        try:
            with open(os.path.join(spool.base, "staging", name)) as file:
                return [procs.describe(int(p)) for p in file if procs.alive(int(p))]
        except FileNotFoundError:
            return []

    @limit(200)
    def test_as_the_daemon(self):
        """Section 6, with the handler's account that of the daemon."""
        attacks = ATTACKS | AS_DAEMON
        spool = self.attack(attacks)
        self.judge(spool, attacks, "moved.")

    @root_only
    @limit(200)
    def test_as_another_account(self):
        """Section 6, with run_as: another account's credentials, no way back
        to those of the daemon."""
        spool = self.attack(ATTACKS, {"handler": {"run_as": "nobody"}})
        self.judge(spool, ATTACKS)

    @root_only
    @limit(200)
    def test_without_root(self):
        """The same where the daemon itself is no root: what a handler forbids
        to itself is forbidden to the daemon."""
        build = os.path.join(self.directory, "build")
        os.mkdir(build)
        for program in ("spoold", "spool-worker", "spoolctl"):
            shutil.copy(os.path.join(BUILD, program), build)
        self.enterContext(unittest.mock.patch("spool.BUILD", build))
        attacks = {n: a for n, a in (ATTACKS | AS_DAEMON).items() if n not in COSTLY}
        spool = self.attack(attacks, user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[])
        self.judge(spool, attacks, "moved.")


DAEMON = 'read -r _ _ _ DAEMON _ <"/proc/$PPID/stat"\n'


class Regicide(SystemTest):
    def begin(self, body):
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler=f'[ "$SPOOL_ATTEMPT" = 1 ] || exit 0\n{DAEMON}{body}')
        for name in ("a.csv", "b.csv"):
            spool.drop("alice", name, how="mv")
        spool.wait_started("a.csv")
        self.assertEqual(spool.wait_exit(), -9)
        return spool

    def test_kills_the_daemon(self):
        """Promise 6: its worker finishes it, and the next daemon has the result."""
        spool = self.begin("case $SPOOL_NAME in a*) kill -KILL $DAEMON; sleep 0.5 ;; esac\n")
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)
        spool.wait_state("b.csv", "done")
        self.assertEqual(len(spool.journal.starts("alice")), 2)

    def test_kills_both_and_goes_on(self):
        """Promise 4: what it left is ended before anything of its user starts."""
        spool = self.begin("case $SPOOL_NAME in a*) trap '' TERM HUP\n"
                           "(setsid setsid sleep 1000 &)\n"
                           "setsid bash -c 'kill -KILL '$DAEMON' '$PPID'; sleep 1000' ;; esac\n")
        self.assertTrue(procs.of_directory(spool.base), "something goes on")
        spool.restart()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 2)
        spool.wait_state("b.csv", "done")
        self.assertEqual(spool.journal.order("alice"), ["a.csv", "b.csv"])

    def test_cancel_of_a_frozen_worker(self):
        """Section 6: who was stopped obeys all the same."""
        spool = self.spool(handler="kill -STOP $PPID; sleep 1000\n")
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.ctl("cancel", str(spool.job("a.csv")["job"]))
        spool.wait_state("a.csv", "canceled", limit=20)


class RemovedInput(SystemTest):
    """A handler may remove its file: documented, and no reason to lose more."""

    def test_result_found_by_the_next_daemon(self):
        """Promise 6: a result that the worker has is never thrown away."""
        spool = self.spool(handler='rm "$SPOOL_FILE"; echo 42 >"$SPOOL_OUTPUT_DIR/sum"\ngate\n')
        spool.check_contents = False
        for name in ("a.csv", "b.csv"):
            spool.drop("alice", name)
        spool.wait_started("a.csv")
        spool.wait_for(lambda: not any("a.csv" in f for f in spool.files("alice", "processing")),
                       what="its file to be removed")
        spool.kill9()
        spool.open_gate()
        spool.wait_for(lambda: not procs.of_directory(spool.base), what="the worker to end")
        # A new upload of that name is not it.
        spool.drop("alice", "a.csv", b"another")
        spool.restart()
        spool.wait_for(lambda: spool.user("alice")["done"] == 3, what="all to be done")
        self.assertEqual(sorted(len(spool.show(j["job"])["attempts"]) for j in spool.jobs()),
                         [1, 1, 1])
        kept = [f for f in spool.files("alice", "done") if f.endswith("/sum")]
        self.assertEqual(len(kept), 3)

    def test_what_was_kept_of_it_is_purged(self):
        """Section 7: retention, also where only log and output are left."""
        spool = self.spool({"scheduler_settings": {"cleanup_completed_jobs_days": 2 / 86400,
                                                   "cleanup_failed_jobs_days": 2 / 86400},
                            "handler": {"keep_logs": "always"}},
                           handler='rm "$SPOOL_FILE"; echo x >"$SPOOL_OUTPUT_DIR/x"; echo said\n'
                                   'case $SPOOL_NAME in f*) exit 65 ;; esac\n')
        spool.check_contents = False
        for name in ("a.csv", "f.csv"):
            spool.drop("alice", name)
        spool.wait_for(lambda: len(spool.journal.ends()) == 2 and not spool.jobs(), 40,
                       "their history to go")
        for place in ("done", "failed"):
            self.assertEqual(os.listdir(spool.path("alice", place)), [])

    def test_vanished_with_its_reason(self):
        """Section 3: where an attempt removed its file and failed, failed/ says
        so, with what else is left."""
        spool = self.spool(handler='rm "$SPOOL_FILE"; echo half >"$SPOOL_OUTPUT_DIR/half"\n'
                                   'echo gave up; exit 1\n')
        spool.check_contents = False
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "failed")
        self.assertSays("vanished", job["error"])
        spool.wait_for(lambda: not os.listdir(spool.path("alice", "processing")), what="its move")
        failed = spool.path("alice", "failed")
        log, = (n for n in os.listdir(failed) if n.endswith(".log"))
        with open(os.path.join(failed, log)) as file:
            self.assertSays("vanished.*gave up", file.read())
        self.assertTrue(any(f.endswith("/half") for f in spool.files("alice", "failed")))

    def test_hidden_and_failed_before_a_crash(self):
        """Section 4: what waits for its retry is out of the uploader's reach:
        it was not "withdrawn", and nothing of it stays in processing."""
        spool = self.spool({"scheduler_settings": {"retry_delay_seconds": 5}},
                           handler='mkdir -p output/a; mv "$SPOOL_FILE" output/a/b; exit 1\n')
        spool.drop("alice", "a.csv")
        spool.wait_for(lambda: (spool.job("a.csv") or {}).get("failures") == 1, what="its failure")
        spool.check_contents = False
        spool.kill9()
        spool.restart()
        self.assertSays("vanished", spool.wait_state("a.csv", "failed")["error"])
        spool.wait_for(lambda: not os.listdir(spool.path("alice", "processing")), what="its move")
        self.assertTrue(any(f.endswith("output/a/b") for f in spool.files("alice", "failed")))
