"""Users who upload in all ways there are, and an operator who steers."""

import os
import random
import threading
import time

from reports import Client

USERS = {
    "auto": {},
    "rename": {"completion": "rename"},
    "marker": {"completion": "marker"},
    "whole": {"directories": "job", "directory_settle_seconds": 2},
    "wide": {"single_job_per_user": False, "max_concurrent_jobs_per_user": 2},
}
ONE_BY_ONE = ("auto", "rename", "marker", "whole")
PARTS = 3  # files of a directory, which lie in two directories

CONFIG = {
    "spool": {"settle_seconds": 0.05},
    "scheduler_settings": {"max_retries": 2, "retry_delay_seconds": 0.05,
                           "max_concurrent_jobs": 3, "stop_grace_seconds": 5},
    "users": USERS,
}

# By its name: fails always, fails at first, takes its time, makes output.
HANDLER = """case $SPOOL_NAME in
bad*) echo "cannot digest $SPOOL_NAME" >&2; exit 1 ;;
flaky*) [ "$SPOOL_ATTEMPT" -gt 1 ] || exit 3 ;;
slow*) sleep 0.3 ;;
out*) cp -r "$SPOOL_FILE" "$SPOOL_OUTPUT_DIR/copy" ;;
esac
exit 0
"""
KINDS = ("ok",) * 8 + ("bad", "flaky", "slow", "out", "out")


def becomes(name):
    """The state in which a job of this name ends."""
    return "failed" if name.startswith("bad") else "done"


class Load:
    def __init__(self, spool, reports, seed, pace_s):
        self.spool, self.reports, self.pace_s = spool, reports, pace_s
        self.stopping = threading.Event()
        self.errors = []
        rooms = [(self._upload, user) for user in USERS] + [(self._steer, "operator"),
                                                           (self._observe, "observer")]
        self.threads = [threading.Thread(target=self._run, args=(work, name, f"{seed}/{name}"))
                        for work, name in rooms]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _run(self, work, name, seed):
        dice, client = random.Random(seed), Client(self.spool.socket_path())
        try:
            while not self.stopping.is_set():
                work(name, dice, client)
        except Exception as error:  # told by stop()
            self.errors.append(error)
        finally:
            client.close()

    # --- the users ----------------------------------------------------------

    def _upload(self, user, dice, client):
        self.stopping.wait(dice.expovariate(1 / self.pace_s))
        kind = dice.choice(KINDS)
        # Nothing is renamed over a directory.
        if dice.random() < 0.2 and user != "whole":
            name = f"{kind}-again{dice.randrange(4)}.csv"
        else:
            name = f"{kind}-{dice.randrange(10 ** 9)}.csv"
        upload = self.reports.begin_upload(user, name)
        how = dice.random()
        if user == "whole":
            self._move_directory(upload, dice)
        elif how < 0.2:
            self._submit(upload)
        elif how < 0.55 and user != "rename":
            self._copy(upload, dice)
        else:
            self._move(upload, dice)
        if user == "marker" and dice.random() < 0.95:
            with open(self.spool.path(user, "incoming", name + ".done"), "wb"):
                pass
        if "again" not in name and dice.random() < 0.1:
            self._explain(upload, client)

    def _copy(self, upload, dice):
        with open(self.spool.path(upload.user, "incoming", upload.name), "wb") as file:
            cut = dice.randrange(upload.size)
            file.write(upload.data[:cut])
            file.flush()
            if dice.random() < 0.1:
                time.sleep(0.1)
            file.write(upload.data[cut:])

    def _move(self, upload, dice):
        aside = self.spool.path(upload.user, "incoming", f".{upload.name}.part")
        with open(aside, "wb") as file:
            file.write(upload.data)
            if dice.random() < 0.3:
                os.fsync(file.fileno())
        os.rename(aside, self.spool.path(upload.user, "incoming", upload.name))

    def _move_directory(self, upload, dice):
        """The first part lies deeper, so that no look at the top tells of it."""
        incoming = os.fsdecode(self.spool.path(upload.user, "incoming"))
        aside = os.path.join(incoming, f".{upload.name}.part")
        os.makedirs(os.path.join(aside, "part0"))
        step = upload.size // PARTS + 1
        for part in range(PARTS):
            inside = "part0/data" if part == 0 else f"part{part}"
            with open(os.path.join(aside, inside), "wb") as file:
                file.write(upload.data[part * step:(part + 1) * step])
                if dice.random() < 0.3:
                    os.fsync(file.fileno())
        os.rename(aside, os.path.join(incoming, upload.name))

    def _submit(self, upload):
        staged = os.path.join(self.spool.base, "staging", f"{upload.size}")
        with open(staged, "wb") as file:
            file.write(upload.data)
        answer = self.spool.ctl("submit", "--user", upload.user, "--name", upload.name, staged,
                                json=True, check=None)
        os.unlink(staged)
        if answer.code == 0 and answer.data and answer.data.get("size") == upload.size:
            self.reports.note(answer.data)

    def _explain(self, upload, client):
        """To an upload under a name of its own: another could be meant else."""
        path = os.fsdecode(self.spool.path(upload.user, "incoming", upload.name))
        answer = client.ask(command="explain", path=path)
        if answer and answer["ok"] and answer["job"] and answer["state"] == "pending":
            self.reports.note({"job": answer["job"], "user": upload.user, "name": upload.name,
                               "size": upload.size, "state": "pending", "place": "incoming",
                               "attempt": 0})

    # --- the operator and an observer -----------------------------------------

    def _steer(self, _, dice, client):
        self.stopping.wait(dice.expovariate(1 / 0.15))
        command = dice.choice(("hold", "release", "release", "cancel", "retry", "line"))
        if command == "line":
            user = dice.choice(list(USERS))
            self.reports.steer_line(client, user, "hold")
            self.stopping.wait(0.3)
            if dice.random() < 0.9:
                self.reports.steer_line(client, user, "release")
            return
        wanted = {"hold": ("pending",), "release": ("held",), "retry": ("failed", "canceled"),
                  "cancel": ("pending", "held", "queued", "processing")}[command]
        with self.reports.lock:
            jobs = [job for job, known in self.reports.known.items()
                    if known.row["state"] in wanted]
        if jobs and (command != "cancel" or dice.random() < 0.4):
            self.reports.steer(client, dice.choice(jobs[-30:]), command)

    def _observe(self, _, dice, client):
        self.reports.look(client)
        self.stopping.wait(dice.random() * 0.05)
