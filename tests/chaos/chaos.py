"""One round of the campaign: what happens in it."""

from collections import Counter
import os
import pwd
import random
import signal
import subprocess
import sys
import time

from attacks import AS_DAEMON, ATTACKS, Attack, handler
from canary import Canaries
from judge import Judge
import procs
from spool import BUILD, Spool

HERE = os.path.dirname(os.path.abspath(__file__))
VILLAIN = os.path.join(os.path.dirname(HERE), "system", "villain.py")
NOBODY = pwd.getpwnam("nobody")
USERS = ("ann", "ben", "cem", "wide", "tree")
LIMIT = {"wide": 3}
FOLDERS = ("tree",)  # each upload is a directory, and one job
PARTS = ("a", "sub/b")
SECONDS = 25
PLAIN = {
    "plain": Attack(""),
    "slow": Attack("sleep 0.5\n"),
    "bad": Attack("exit 1\n", "failed"),
    "never": Attack("exit 65\n", "failed"),
    "flaky": Attack('[ "$SPOOL_ATTEMPT" -gt 1 ] || exit 1\n'),
    "writes": Attack('echo x >"$SPOOL_OUTPUT_DIR/x"; echo said\n'),
    "replaces-slowly": Attack('cp "$SPOOL_FILE" new; sleep 0.1; mv new "$SPOOL_FILE"\n'),
}
# What these do is done to a file.
FILES_ONLY = {"replaces-slowly"}
# A process without its environment is not found again when daemon and worker
# were both killed; what takes long says little here.
LEFT_OUT = {"nameless", "eats-memory-by-shell", "floods-log", "deaf", "many-beside"}
SLOTS = """stamp_start() {
    local n=1
    [ "$SPOOL_USER" != wide ] || n=3
    while [ "$n" -gt 0 ]; do
        exec 9>>"$BASE/locks/$SPOOL_USER.$n"
        if flock -n 9; then stamp start; break; fi
        n=$((n - 1))
    done
    [ "$n" -gt 0 ] || stamp overlap
"""


class Drop:
    """An upload, and what may have become of it."""

    def __init__(self, number, user, kind, how, replaces):
        self.number, self.user, self.kind, self.how = number, user, kind, how
        self.name = replaces.name if replaces else f"{number:04}-{kind}.x"
        content = f"{user} upload {number} {kind}"
        parts = [f"{content} {part}\n" for part in PARTS] if user in FOLDERS else [f"{content}\n"]
        self.parts = [part.encode() for part in parts]
        self.may_be_gone = False   # taken away or replaced by its uploader, or its handler


class Round:
    def __init__(self, directory, seed):
        self.dice = random.Random(seed)
        self.figures = Counter()
        self.drops, self.steered = [], set()
        self.stopped = []    # workers under SIGSTOP
        self.others = []     # second daemons
        self.root, self.users = os.geteuid() == 0, USERS
        attacks = PLAIN | {n: a for n, a in ATTACKS.items() if n not in LEFT_OUT}
        self.as_nobody = self.root and self.dice.random() < 0.5
        if not self.as_nobody:
            attacks |= AS_DAEMON
        self.attacks = attacks
        base = os.path.join(directory, "1")
        os.mkdir(base)
        os.chmod(base, 0o755)
        self.spool = Spool(base, self.config(), users=USERS + ("mallory",),
                           handler=handler(attacks, "${SPOOL_NAME#*-}"))
        self.spool.check_contents = False
        self.spool.overlap_allowed = True  # judged by the slots
        self.use_slots()
        self.canaries = Canaries(os.path.join(base, "outside"), 0o700 if self.root else 0o755)
        self.spool.init()
        self.spool.start(init=False)
        self.villain = self.start_villain(seed) if self.root else None

    def config(self):
        return {
            "spool": {"durability": self.dice.choice(("full", "relaxed"))},
            "scheduler_settings": {"max_concurrent_jobs": self.dice.choice((2, 4)), "max_retries": 1,
                                   "job_timeout_minutes": 4 / 60, "retry_delay_seconds": 0.05,
                                   "max_concurrent_jobs_per_user": 1},
            "job_processing": {"single_job_per_user": True},
            "handler": {"run_as": "nobody" if self.as_nobody else "", "log_limit_kib": 16,
                        "keep_logs": self.dice.choice(("failed", "always")),
                        "limits": {"memory_mib": 300, "file_mib": 20}},
            "users": {"wide": {"single_job_per_user": False, "max_concurrent_jobs_per_user": 3},
                      "tree": {"directories": "job", "directory_settle_seconds": 1}},
        }

    def use_slots(self):
        """The handlers' own locks, as many as a user may have attempts."""
        path = os.path.join(self.spool.base, "handlers", "main")
        with open(path) as file:
            text = file.read()
        begin = text.index("stamp_start() {")
        end = text.index("\ttrap 'stamp end", begin)
        with open(path, "w") as file:
            file.write(text[:begin] + SLOTS + text[end:])

    def start_villain(self, seed):
        incoming = self.spool.path("mallory")
        os.chown(incoming, NOBODY.pw_uid, NOBODY.pw_gid)
        pool = os.path.join(incoming, ".pool")
        os.mkdir(pool)
        os.chmod(pool, 0o777)
        for n in range(20):
            os.link(self.canaries.path("linked"), os.path.join(pool, f"l{n}"))
        return subprocess.Popen(
            ["nice", sys.executable, VILLAIN, incoming, self.canaries.directory, str(SECONDS),
             str(seed)], env=self.spool.environment(), stdout=subprocess.DEVNULL, user=NOBODY.pw_uid,
            group=NOBODY.pw_gid, extra_groups=[])

    # --- what happens -----------------------------------------------------

    def count(self, what):
        self.figures[what] += 1

    def drop(self, replaces=None):
        user = replaces.user if replaces else self.dice.choice(USERS)
        kinds = (sorted(set(PLAIN) - FILES_ONLY) if user in FOLDERS
                 else list(PLAIN) * 3 + list(self.attacks))
        kind = replaces.kind if replaces else self.dice.choice(kinds)
        drop = Drop(len(self.drops), user, kind, self.dice.choice(("mv", "mv", "cp")), replaces)
        drop.may_be_gone = not self.attacks[kind].keeps
        self.drops.append(drop)
        self.count("uploads")
        path = os.fsdecode(self.spool.path(user, "incoming", drop.name))
        if user in FOLDERS:
            self.drop_folder(drop, path)
            return
        target = os.path.join(self.spool.base, "staging", "moving") if drop.how == "mv" else path
        with open(target, "wb") as file:
            file.write(drop.parts[0])
        if drop.how == "mv":
            os.rename(target, path)

    def drop_folder(self, drop, path):
        """Moved in, or made there."""
        target = os.path.join(self.spool.base, "staging", drop.name) if drop.how == "mv" else path
        os.makedirs(os.path.join(target, "sub"))
        for name, content in zip(PARTS, drop.parts):
            with open(os.path.join(target, name), "wb") as file:
                file.write(content)
        if drop.how == "mv":
            os.rename(target, path)

    def write_into(self):
        """Into a directory that waits, or is being taken: it is a new upload then."""
        drop = self.some_upload(FOLDERS)
        if drop is None:
            return
        path = os.fsdecode(self.spool.path(drop.user, "incoming", drop.name))
        try:
            with open(os.path.join(path, "sub", "late"), "ab") as file:
                file.write(b"late")
        except FileNotFoundError:
            pass
        self.count("directories written into")

    def some_upload(self, users=USERS):
        waiting = [d for d in self.drops if d.user in users and os.path.exists(
            self.spool.path(d.user, "incoming", d.name))]
        return self.dice.choice(waiting) if waiting else None

    def withdraw(self):
        drop = self.some_upload()
        if drop is not None:
            self.replaced(drop)
            try:
                # Gone at once, a directory as well.
                os.rename(self.spool.path(drop.user, "incoming", drop.name),
                          os.path.join(os.fsencode(self.spool.base), b"staging",
                                       b"withdrawn-%d" % drop.number))
            except FileNotFoundError:
                pass
            self.count("withdrawn")

    def replaced(self, drop):
        for other in self.drops:
            if (other.user, other.name) == (drop.user, drop.name):
                other.may_be_gone = True

    def replace(self):
        drop = self.some_upload([u for u in USERS if u not in FOLDERS])
        if drop is not None:
            self.replaced(drop)
            self.drop(drop)
            self.count("replaced")

    def kill_daemon(self):
        """With or without its workers, before or after it."""
        workers = self.spool.workers()
        which = self.dice.randrange(4)
        if which == 1:
            for worker in workers:
                procs.kill(worker)
        if which == 2:
            self.spool.daemon.send_signal(signal.SIGSTOP)
            for worker in workers:
                procs.kill(worker)
        self.spool.kill9()
        if which == 3 and workers:
            procs.kill(self.dice.choice(workers))
        self.wake_workers()
        if self.dice.random() < 0.3:
            for _ in range(self.dice.randrange(4)):
                self.drop()
        self.spool.start(init=False)
        self.count("daemons killed")

    def stop_daemon(self):
        self.wake_workers()
        self.spool.stop()
        self.spool.start(init=False)
        self.count("daemons stopped")

    def signal_worker(self):
        workers = self.spool.workers()
        if workers:
            procs.kill(self.dice.choice(workers),
                       self.dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
            self.count("workers killed")

    def freeze_worker(self):
        workers = self.spool.workers()
        if workers:
            self.stopped.append(self.dice.choice(workers))
            procs.kill(self.stopped[-1], signal.SIGSTOP)
            self.count("workers frozen")

    def wake_workers(self):
        for worker in self.stopped:
            procs.kill(worker, signal.SIGCONT)
        self.stopped.clear()

    def freeze_daemon(self):
        self.spool.daemon.send_signal(signal.SIGSTOP)
        time.sleep(self.dice.random() * 0.5)
        for _ in range(self.dice.randrange(5)):
            self.drop()
        self.spool.daemon.send_signal(signal.SIGCONT)
        self.count("daemons frozen")

    def second_daemon(self):
        self.others.append(subprocess.Popen(
            [os.path.join(BUILD, "spoold"), "--config", self.spool.config_path, "--mode",
             self.dice.choice(("once", "continuous"))], cwd=self.spool.base,
            env=self.spool.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL))
        self.count("second daemons")
        # One that outlives a killed first one would be the daemon: not here.
        self.others.pop().wait()

    def reload(self):
        self.spool.configure({"scheduler_settings": {
            "max_concurrent_jobs": self.dice.choice((1, 2, 4))}})
        self.spool.daemon.send_signal(signal.SIGHUP)
        self.count("reloads")

    def steer(self):
        """As an operator, who may be too late: that is an answer, too."""
        words = self.dice.choice((["hold"], ["release"], ["cancel"], ["cancel"], ["retry"],
                                  ["rescan"], ["user-hold"]))
        if words == ["rescan"]:
            self.spool.ctl("rescan", check=None)
        elif words == ["user-hold"]:
            user = self.dice.choice(USERS)
            self.spool.ctl("hold", "--user", user, check=None)
            time.sleep(self.dice.random() * 0.3)
            self.spool.ctl("release", "--user", user, check=None)
        else:
            jobs = [j for j in self.spool.jobs() if j["user"] in USERS]
            if jobs:
                job = self.dice.choice(jobs[-40:])
                self.steered.add(job["job"])
                self.spool.ctl(words[0], str(job["job"]), check=None)
        self.count("operator's commands")

    def play(self):
        deeds = ([self.drop] * 60 + [self.withdraw] * 2 + [self.replace] * 2 +
                 [self.write_into] * 3 +
                 [self.kill_daemon] * 3 + [self.stop_daemon] + [self.signal_worker] * 3 +
                 [self.freeze_worker] * 2 + [self.wake_workers] * 3 + [self.freeze_daemon] * 2 +
                 [self.second_daemon, self.reload] + [self.steer] * 5)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            self.dice.choice(deeds)()
            time.sleep(self.dice.random() * 0.12)
        self.rest()

    def rest(self):
        """Until nothing waits or runs."""
        self.wake_workers()
        if self.villain is not None:
            self.villain.wait()
        spool = self.spool
        for job in spool.jobs(None, "--state", "held"):
            spool.ctl("release", str(job["job"]), check=None)
        for user in USERS:
            spool.ctl("release", "--user", user, check=None)
        spool.ctl("rescan")

        def quiet():
            rows = spool.status()["users"]
            return all(not row["pending"] and not row["running"] and not row["arriving"] and
                       not row.get("held_jobs") for row in rows if row["user"] != "mallory")
        spool.wait_for(quiet, 240, "everything to come to rest")

    # --- the end ----------------------------------------------------------

    def judge(self):
        return Judge(self).problems

    def end(self):
        if self.villain is not None and self.villain.poll() is None:
            self.villain.kill()
            self.villain.wait()
        self.wake_workers()
        return self.spool.end()
