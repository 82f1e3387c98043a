"""What every door must hold to, whatever its uploads are completed by."""

import hashlib
import os
import shutil
import time

from doors import RULES
from handlers import GATE
from harness import limit

BYTES = 12_000_000  # slow for longer than it takes all clients to begin
BEGUN = 100_000        # of that many, an upload is on its way


def content(user, name, size=BYTES):
    line = f"{user} {name} ".encode() + b"0123456789" * 5 + b"\n"
    return (line * (size // len(line) + 1))[:size]


# Some doors are others with a flag: they go through all of it with make doors.
ALL = bool(os.environ.get("SPOOLD_DOORS"))
SLOW = 20_000_000 if ALL else 1_500_000  # bytes of an upload that takes its time


class Matrix:
    """Mixed into a SystemTest. A door gives: open(spool), put(door, user, local
    path, name, slow) → Client; and says what becomes of a half under its name."""

    # Rules under which what a broken upload leaves is taken, as it is.
    half_taken_when_client_dies = {"auto"}
    half_taken_when_server_dies = {"auto"}
    half_takes_the_name = True  # also where the client died
    renames = False  # what it brings arrives by a rename
    below = ""       # the directory that it brings its files in

    @property
    def big(self):
        return self.below + "big.csv"

    def door_spool(self, handler=None, **over):
        users = {user: {"completion": rule} for user, rule in RULES.items()}
        options = {} if handler is None else {"handler": handler}
        return self.spool({"users": users, "scheduler_settings": {"max_concurrent_jobs": 4},
                           **over}, users=tuple(RULES), **options)

    def source(self, spool, user, name, data):
        """The file at home, and what must come of it."""
        directory = os.path.join(spool.base, "staging", user)
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, os.path.basename(name))
        with open(path, "wb") as file:
            file.write(data)
        return path

    def send(self, spool, door, user, name, data, replace=False):
        """A whole upload, with what its user's rule asks for besides."""
        if replace:
            spool.forget(user, name)
        spool.expect(user, name, data)
        rule = RULES[user]
        arrives_as = name + ".part" if rule == "rename" and not self.renames else name
        self.put(door, user, self.source(spool, user, name, data), arrives_as).wait()
        if arrives_as != name:
            os.rename(spool.path(user, "incoming", arrives_as), spool.path(user, "incoming", name))
        line = sha256_line(data, os.path.basename(name))
        extra = {"marker": (".done", b""), "checksum": (".sha256", line)}
        if rule in extra:
            suffix, text = extra[rule]
            if replace:
                spool.forget(user, name + suffix)
            spool.expect(user, name + suffix, text)
            self.put(door, user, self.source(spool, user, name + suffix, text),
                     name + suffix).wait()

    def begun(self, spool, user, size=BEGUN):
        """So much of an upload lies in incoming, under whatever name."""
        for directory, _, names in os.walk(spool.path(user, "incoming")):
            for name in names:
                try:
                    if os.stat(os.path.join(directory, name)).st_size >= size:
                        return True
                except OSError:
                    pass
        return False

    def jobs_named(self, spool, user, name):
        return [job for job in spool.jobs(user) if job["name"] == name]

    @limit(300)
    def test_one_upload_one_job(self):
        """However many events it makes: slow, replaced while it waits, sent again
        while it is processed; under every rule."""
        spool = self.door_spool(handler=GATE)
        door = self.open(spool)
        name = self.below + "x.csv"
        for user in RULES:
            spool.drop_by_rule(user, "first.csv")
        for user in RULES:
            spool.wait_started("first.csv", user)
        # Slow: no job before its end, whatever else happens.
        data = content("alice", name, SLOW)
        slow = self.put(door, "alice", self.source(spool, "alice", name, data), name,
                        slow=True)
        spool.wait_for(lambda: self.begun(spool, "alice"), what="bytes to arrive")
        self.assertEqual(self.jobs_named(spool, "alice", name), [])
        self.assertIsNone(slow.process.poll(), "it must still be at work")
        slow.wait()
        spool.expect("alice", name, data)
        spool.wait_state(name, "pending")
        for user in ("bob", "carol", "dave"):
            self.send(spool, door, user, name, content(user, name, 50_000))
            spool.wait_state(name, "pending", user)
        # Replaced while it waits.
        old = {user: spool.job(name, user)["job"] for user in RULES}
        for user in RULES:
            self.send(spool, door, user, name, content(user, "second", 60_000), replace=True)
        for user in RULES:
            spool.wait_for(lambda: spool.job(name, user)["job"] != old[user] and
                           spool.job(name, user)["state"] == "pending",
                           what=f"the second of {user}")
            self.assertEqual(spool.show(old[user])["state"], "canceled")
        # Sent again while it is processed.
        spool.open_gate("first.csv")
        for user in RULES:
            spool.wait_started(os.path.basename(name), user)
            self.send(spool, door, user, name, content(user, "third", 40_000))
        for user in RULES:
            spool.wait_state(name, "pending", user)
        spool.open_gate()
        for user in RULES:
            spool.wait_for(lambda: len(spool.journal.starts(user, os.path.basename(name))) == 2 and
                           spool.job(name, user)["state"] == "done", what="both to be done")
            self.assertEqual(len(self.jobs_named(spool, user, name)), 3)
        spool.ctl("rescan")
        for user in RULES:
            spool.drop_by_rule(user, "last.csv")
            spool.wait_state("last.csv", "done", user)
            self.assertEqual(len(spool.jobs(user)), 5, user)

    def start_all(self, spool, door):
        """One large upload for each rule, until all of them are on their way."""
        clients = []
        for user in RULES:
            path = self.source(spool, user, self.big, content(user, self.big))
            clients.append(self.put(door, user, path, self.big, slow=True))

        spool.wait_for(lambda: all(self.begun(spool, user) for user in RULES),
                       what="bytes of all to arrive")
        for client in clients:
            self.assertIsNone(client.process.poll(), f"{client.argv} must still be at work")
        return clients

    def judge_halves(self, spool, taken, before=0):
        for user, rule in RULES.items():
            if rule in taken:
                spool.wait_state(self.big, "done", user)
                with open(spool.path(user, "done", self.big), "rb") as file:
                    half = file.read()
                self.assertLess(len(half), BYTES)
                self.assertTrue(content(user, self.big).startswith(half.rstrip(b"\0")) or
                                len(half) == 0)
                spool.expect(user, self.big, half)
        # What comes later is taken, and a rescan changes nothing: the halves are not.
        for name in ("clock.csv", "after.csv"):
            for user in RULES:
                spool.drop_by_rule(user, name)
            for user in RULES:
                spool.wait_state(name, "done", user)
            spool.ctl("rescan")
        for user, rule in RULES.items():
            self.assertEqual(len(self.jobs_named(spool, user, self.big)),
                             before + (1 if rule in taken else 0), rule)
            self.assertEqual([j["name"] for j in spool.jobs(user) if j["name"] not in
                              (self.big, "first.csv", "clock.csv", "after.csv")], [], rule)

    def send_again(self, spool, door, taken):
        """The whole, afterwards: one more job, with all of it."""
        for user, rule in RULES.items():
            self.send(spool, door, user, self.big, content(user, self.big))
        for user, rule in RULES.items():
            jobs = 2 if rule in taken else 1
            spool.wait_for(lambda: [j["state"] for j in self.jobs_named(spool, user, self.big)] ==
                           ["done"] * jobs, what=f"the whole of {user} to be done")

    def test_broken_off_by_the_client(self):
        """Its process is killed half way: what is taken then is what the README says."""
        spool = self.door_spool()
        door = self.open(spool)
        for client in self.start_all(spool, door):
            client.kill()
        self.judge_halves(spool, self.half_taken_when_client_dies)
        self.send_again(spool, door, self.half_taken_when_client_dies)

    def broken_off_over_a_waiting_one(self):
        """A complete one waits, and so do the marker and the checksum that spoke for it: they
        do not speak for the half that takes its place."""
        spool = self.door_spool(handler=GATE)
        door = self.open(spool)
        old = {}
        for user in RULES:
            spool.drop_by_rule(user, "first.csv")
        for user in RULES:
            spool.wait_started("first.csv", user)
            self.send(spool, door, user, self.big, content(user, "short", 50_000))
            old[user] = spool.wait_state(self.big, "pending", user)["job"]
        for client in self.start_all(spool, door):
            client.kill()
        if self.half_takes_the_name:
            for user in RULES:
                spool.forget(user, self.big)
        spool.open_gate()
        ends = "canceled" if self.half_takes_the_name else "done"
        for user in RULES:
            spool.wait_for(lambda: spool.show(old[user])["state"] == ends, what=f"it to be {ends}")
        taken = self.half_taken_when_client_dies
        self.judge_halves(spool, taken, before=1)
        for user, rule in RULES.items():
            self.send(spool, door, user, self.big, content(user, self.big),
                      replace=self.half_takes_the_name and rule not in taken)
        for user, rule in RULES.items():
            spool.wait_for(lambda: len(self.jobs_named(spool, user, self.big)) ==
                           (3 if rule in taken else 2), what="one more job")
            spool.wait_state(self.big, "done", user)

    if ALL:
        test_broken_off_over_a_waiting_one = broken_off_over_a_waiting_one

    def test_broken_off_by_the_server(self):
        """The server's processes are killed half way."""
        spool = self.door_spool()
        door = self.open(spool)
        clients = self.start_all(spool, door)
        door.server.kill_sessions()
        for client in clients:
            client.kill()
        self.judge_halves(spool, self.half_taken_when_server_dies)
        self.send_again(spool, door, self.half_taken_when_server_dies)


def sha256_line(data, name):
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()


TREE = "tree/deep/"


def packed(spool, path, name):
    """A directory at home, in which the file has this name with its directories.
    Returns the first of those."""
    home = os.path.join(spool.base, f"home-{time.monotonic_ns()}")
    os.makedirs(os.path.join(home, os.path.dirname(name)))
    shutil.copy(path, os.path.join(home, name))
    return os.path.join(home, name.split("/")[0])


class Resumed(Matrix):
    """Also mixed into a SystemTest: a client that goes on where an upload broke
    off. Besides, a door gives: resume(door, user, local path, name) → Client."""

    test_one_upload_one_job = test_broken_off_over_a_waiting_one = None

    def go_on(self, break_off):
        """Nothing is a job before all of it is there, and then it is one. That the first half
        does not settle before, is up to the setting."""
        spool = self.door_spool(spool={"settle_seconds": 3600})
        door = self.open(spool)
        clients, names = [], {}
        for user, rule in RULES.items():
            names[user] = "big.csv.part" if rule == "rename" else "big.csv"
            data = content(user, "big.csv")
            clients.append(self.put(door, user, self.source(spool, user, "big.csv", data),
                                    names[user], slow=True))
            spool.expect(user, "big.csv", data)
        spool.wait_for(lambda: all(self.begun(spool, user) for user in RULES),
                       what="bytes of all to arrive")
        break_off(door, clients)
        for user in RULES:
            half = os.path.getsize(spool.path(user, "incoming", names[user]))
            self.assertLess(half, BYTES)
            self.resume(door, user, os.path.join(spool.base, "staging", user, "big.csv"),
                        names[user]).wait()
        for user in RULES:
            self.assertEqual(spool.jobs(user), [])
        os.rename(spool.path("bob", "incoming", "big.csv.part"),
                  spool.path("bob", "incoming", "big.csv"))
        spool.drop("carol", "big.csv.done", b"")
        spool.drop("dave", "big.csv.sha256", sha256_line(content("dave", "big.csv"), "big.csv"))
        spool.configure({"spool": {"settle_seconds": 0.2}})
        spool.ctl("reload")
        for user in RULES:
            spool.wait_state("big.csv", "done", user)
        spool.ctl("rescan")
        for user in RULES:
            spool.drop_by_rule(user, "last.csv")
            spool.wait_state("last.csv", "done", user)
            self.assertEqual(len(spool.jobs(user)), 2, user)

    def test_broken_off_by_the_client(self):
        def break_off(_, clients):
            for client in clients:
                client.kill()
        self.go_on(break_off)

    def test_broken_off_by_the_server(self):
        def break_off(door, clients):
            door.server.kill_sessions()
            for client in clients:
                client.kill()
        self.go_on(break_off)
