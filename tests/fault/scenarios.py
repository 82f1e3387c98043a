"""The transitions of a job, each as: how it is prepared, what sets it off,
when it is complete, and what must be true of it in the end."""

import os
import shutil
import signal

import procs

MANUAL = {"job_processing": {"auto_start_processing": False}}


class Scenario:
    name = None
    victims = ("daemon",)
    config = {}
    users = ("alice",)
    ordered = True       # names run in the order of their uploads
    history = True       # attempts count on (not where the index is lost)
    runs = {}            # name -> starts of its handler that are called for; 1 if not named
    at_start = False     # the calls are those of a start of the daemon
    args = ()            # of the daemon that is cut
    whole = False        # its uploads are directories, each one job
    about = ""           # only calls on paths that hold this text count
    errors = ()          # errors that come once, where it is about those and not about all;
                         # they are judged by their order, and none is left out

    def prepare(self, s):
        """Before the calls count."""

    def trigger(self, s):
        raise NotImplementedError

    def reached(self, s):
        raise NotImplementedError

    def resume(self, s):
        """After the restart: lets what waits for a hand go on."""
        s.open_gate()
        if self.config.get("job_processing", {}).get("auto_start_processing") is False:
            s.ask("start")

    def started(self, s, name, user="alice"):
        s.wait_started(name, user)
        s.wait_for(lambda: s.count("processing", user) == 1, what="processing")

    def pending(self, s, *names, user="alice"):
        for name in names:
            s.upload(name, user)
        s.wait_for(lambda: s.count("pending", user) == len(names), what="pending")

    def job(self, s, name):
        found = [j for j in s.all_jobs() or [] if j["name"] == name]
        return found[-1] if found else None

    def done(self, s, *names, user="alice"):
        return (all(os.path.lexists(s.path(user, "done", n)) for n in names)
                and not s.private() and s.count("processing", user) == 0)

    def failed(self, s, *names, user="alice"):
        return (all(os.path.lexists(s.path(user, "failed", n)) for n in names)
                and not s.private() and s.count("processing", user) == 0)

    def promise(self, s, answer, told, check):
        """Where the daemon said yes, it has to be so in the end."""
        if answer is not None and answer.get("ok"):
            s.promised.append((told, check))


class Accept(Scenario):
    name = "accept"
    config = MANUAL

    def trigger(self, s):
        s.upload("a.csv")

    def reached(self, s):
        if s.count("pending") != 1:
            return False
        s.promised.append(("pending means durable: job 1 is a.csv",
                           lambda: any(j["job"] == 1 and j["name"] == "a.csv"
                                       for j in s.all_jobs())))
        return True


class AcceptDeep(Accept):
    name = "accept in a new directory"

    def trigger(self, s):
        s.upload("sub/dir/a.csv")

    def reached(self, s):
        return s.count("pending") == 1


class Replaced(Scenario):
    name = "replaced upload"
    config = MANUAL
    ordered = False

    def prepare(self, s):
        self.pending(s, "a.csv", "b.csv")

    def trigger(self, s):
        s.forget("alice", "a.csv")
        s.upload("a.csv")

    def reached(self, s):
        return s.count("canceled") == 1 and s.count("pending") == 2


class Withdrawn(Scenario):
    name = "withdrawn upload"
    config = MANUAL

    def prepare(self, s):
        self.pending(s, "a.csv", "b.csv")

    def trigger(self, s):
        s.withdraw("alice", "a.csv")

    def reached(self, s):
        return s.count("canceled") == 1


class UserAdded(Scenario):
    name = "user added"

    def trigger(self, s):
        s.add_user("bob")
        s.upload("a.csv", "bob")

    def reached(self, s):
        return self.done(s, "a.csv", user="bob")


class ClaimStart(Scenario):
    name = "claim and start"
    victims = ("daemon", "worker")
    config = MANUAL

    def prepare(self, s):
        self.pending(s, "run.csv", "b.csv")

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return s.count("processing") == 1 and s.journal.starts(name="run.csv") != []


class ClaimWritten(Scenario):
    """The claim finds that somebody still writes: the file goes back."""
    name = "claim of a file that is written"
    config = MANUAL

    def prepare(self, s):
        self.pending(s, "a.csv")
        self.writer = open(s.path("alice", "incoming", "a.csv"), "r+b")

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return s.count("canceled") == 1 and s.in_place("incoming") == ["a.csv"]

    def resume(self, s):
        self.writer.close()
        super().resume(s)


class Finish(Scenario):
    name = "finish to done"
    victims = ("daemon", "worker")

    def prepare(self, s):
        s.upload("run.csv")
        self.started(s, "run.csv")

    def trigger(self, s):
        s.open_gate()

    def reached(self, s):
        return self.done(s, "run.csv")


class FinishKept(Scenario):
    name = "run to done, log and output kept"
    victims = ("daemon", "worker")
    config = {**MANUAL, "handler": {"keep_logs": "always"}}

    def prepare(self, s):
        self.pending(s, "out.csv", "out2.csv")

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return self.done(s, "out.csv", "out2.csv")


class HandedOn(Scenario):
    """The private directory of each job becomes that of the next one."""
    name = "one job after the other"
    config = MANUAL

    def prepare(self, s):
        self.pending(s, "a.csv", "b.csv", "c.csv")

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return self.done(s, "a.csv", "b.csv", "c.csv")


class FinishTaken(Scenario):
    name = "finish where the name is taken"
    config = MANUAL

    def prepare(self, s):
        s.ask("start")
        s.upload("a.csv")
        s.wait_for(lambda: self.done(s, "a.csv"), what="the first")
        s.ask("stop")
        self.pending(s, "a.csv")

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return s.count("done") == 2 and not s.private() and s.count("processing") == 0

    runs = {"a.csv": 2}


class FinishDeep(Scenario):
    name = "finish in directories"
    config = MANUAL

    def prepare(self, s):
        self.pending(s, "x/y/a.csv")

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return self.done(s, "x/y/a.csv")


class FailFinal(Scenario):
    name = "fail and final failed"
    victims = ("daemon", "worker")

    def prepare(self, s):
        s.upload("run.csv")
        self.started(s, "run.csv")

    def trigger(self, s):
        s.open_gate("run.csv", 65)

    def reached(self, s):
        return self.failed(s, "run.csv")


class Retry(Scenario):
    name = "retry of an attempt"
    victims = ("daemon", "worker")
    runs = {"again.csv": 2}

    def prepare(self, s):
        s.upload("again.csv")
        self.started(s, "again.csv")

    def trigger(self, s):
        s.open_gate("again.csv", 1)

    def reached(self, s):
        return self.done(s, "again.csv")


class OperatorRetry(Scenario):
    name = "operator's retry"
    runs = {"mend.csv": 2}
    config = {"handler": {"keep_logs": "always"}}

    def prepare(self, s):
        s.upload("mend.csv")
        s.wait_for(lambda: self.failed(s, "mend.csv"), what="failed")
        s.open_gate("mended")

    def trigger(self, s):
        answer = s.ask("retry", job=1)
        self.promise(s, answer, "the retry was answered yes: mend.csv is done",
                     lambda: os.path.lexists(s.path("alice", "done", "mend.csv")))

    def reached(self, s):
        return self.done(s, "mend.csv")


class CancelPending(Scenario):
    name = "cancel of a pending job"
    config = MANUAL

    def prepare(self, s):
        self.pending(s, "a.csv", "b.csv")

    def trigger(self, s):
        answer = s.ask("cancel", job=1)
        self.promise(s, answer, "the cancel was answered yes: a.csv is in failed, and never ran",
                     lambda: os.path.lexists(s.path("alice", "failed", "a.csv"))
                     and s.journal.starts(name="a.csv") == [])

    def reached(self, s):
        return self.failed(s, "a.csv")


class CancelRunning(Scenario):
    name = "cancel of a running job"
    victims = ("daemon", "worker")

    def prepare(self, s):
        s.upload("run.csv")
        self.started(s, "run.csv")

    def trigger(self, s):
        answer = s.ask("cancel", job=1)
        self.promise(s, answer, "the cancel was answered yes: run.csv is in failed",
                     lambda: os.path.lexists(s.path("alice", "failed", "run.csv")))

    def reached(self, s):
        return self.failed(s, "run.csv")


class Hold(Scenario):
    """Of a job and of the line, each an answer that has to last."""
    name = "hold"
    config = MANUAL
    ordered = False

    def prepare(self, s):
        self.pending(s, "a.csv", "b.csv")
        self.job_held = self.line_held = False

    def trigger(self, s):
        answer = s.ask("hold", job=1)
        self.job_held = answer is not None and answer["ok"]
        answer = s.ask("hold", user="alice")
        self.line_held = answer is not None and answer["ok"]

    def reached(self, s):
        row = s.status_of()
        return row is not None and row["held"] and row["held_jobs"] == 1

    def resume(self, s):
        row = s.status_of()
        if (self.job_held and row["held_jobs"] != 1) or (self.line_held and not row["held"]):
            s.promised.append((f"a hold was answered yes, but after the restart it was {row}",
                               lambda: False))
        s.ask("release", user="alice")
        s.ask("release", job=1)
        super().resume(s)


class Release(Hold):
    name = "release"

    def prepare(self, s):
        self.pending(s, "a.csv", "b.csv")
        s.ask("hold", job=1)
        s.ask("hold", user="alice")
        s.ask("start")

    def trigger(self, s):
        s.ask("release", user="alice")
        s.ask("release", job=1)

    def reached(self, s):
        return self.done(s, "a.csv", "b.csv")

    def resume(self, s):
        s.ask("release", user="alice")
        s.ask("release", job=1)
        Scenario.resume(self, s)


class Retention(Scenario):
    name = "retention"
    config = {"handler": {"keep_logs": "always"}}
    ordered = False

    def prepare(self, s):
        s.upload("out.csv")
        s.upload("bad.csv")
        s.wait_for(lambda: self.done(s, "out.csv") and self.failed(s, "bad.csv"), what="finals")

    runs = {"bad.csv": 2}

    def trigger(self, s):
        s.optional.add(("alice", b"out.csv"))
        s.configure({"scheduler_settings": {"cleanup_completed_jobs_days": 0.000001}})
        s.ask("reload")

    def reached(self, s):
        return s.in_place("done") == [] and s.count("done") == 0

    def resume(self, s):
        super().resume(s)
        s.wait_for(lambda: s.count("done") == 0, what="the history of out.csv to go")
        left = os.listdir(s.path("alice", "done"))
        if left:
            s.promised.append((f"retention left behind: {left}", lambda: False))


class Reload(Scenario):
    name = "reload"
    config = MANUAL

    def prepare(self, s):
        self.pending(s, "a.csv", "b.csv")

    def trigger(self, s):
        s.configure({"scheduler_settings": {"max_concurrent_jobs": 1},
                     "spool": {"watch": "poll", "poll_seconds": 0.2}})
        self.answered = s.ask("reload")

    def reached(self, s):
        answer = s.ask("status")
        return answer is not None and answer["ok"] and answer["daemon"]["workers"] == 1


class Growth(Scenario):
    name = "growth of the index"
    at_start = True
    config = MANUAL

    def prepare(self, s):
        s.stop()
        s.fill_index()
        s.upload("a.csv")

    def trigger(self, s):
        pass

    def reached(self, s):
        return s.count("pending") == 1


class Many(Scenario):
    """Two users with three files each, all the way."""
    name = "two lines from upload to done"
    users = ("alice", "bob")

    def trigger(self, s):
        for n in range(3):
            for user in self.users:
                s.upload(f"{n}.csv", user)

    def reached(self, s):
        return all(self.done(s, "0.csv", "1.csv", "2.csv", user=user) for user in self.users)


class HeldUp(Scenario):
    """Two uploads of one moment, and a look at the first one fails: the second must not
    overtake it. Both are there before the daemon reads of either."""
    name = "a line that an error holds up"
    about = "/first.csv"
    errors = ("EIO", "EMFILE")

    def trigger(self, s):
        s.daemon.send_signal(signal.SIGSTOP)
        try:
            s.upload("first.csv")
            s.upload("second.csv")
        finally:
            s.daemon.send_signal(signal.SIGCONT)

    def reached(self, s):
        return self.done(s, "first.csv", "second.csv")


class HeldUpRelaxed(HeldUp):
    """Without a sync between the look and the job."""
    name = "a line that an error holds up, relaxed"
    config = {"spool": {"durability": "relaxed"}}


class HeldUpForScan(HeldUp):
    """The scan that is to find the first again waits for another's, which takes many
    ticks: the second waits for it all the same."""
    name = "a line that a scan is to sort"
    users = ("alice", "bob")

    def prepare(self, s):
        for n in range(2000):
            os.mkdir(s.path("bob", "incoming", f".{n}"))

    def trigger(self, s):
        s.daemon.send_signal(signal.SIGSTOP)
        try:
            os.mkdir(s.path("bob", "incoming", "new"))
            s.upload("first.csv")
            s.upload("second.csv")
        finally:
            s.daemon.send_signal(signal.SIGCONT)


class Ahead(Scenario):
    """A line of short jobs: a worker has some of them ahead of their turn."""
    name = "a line handed ahead"
    victims = ("daemon", "worker")
    config = MANUAL
    files = [f"{n}.csv" for n in range(6)]

    def prepare(self, s):
        self.pending(s, *self.files)

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return self.done(s, *self.files)


class StandBy(Scenario):
    """Three lines of short jobs and one place: some stand by for it."""
    name = "lines that stand by"
    victims = ("daemon", "worker")
    users = ("alice", "bob", "carol")
    config = {**MANUAL, "scheduler_settings": {"max_concurrent_jobs": 1, "prefetch_jobs_per_worker": 0}}
    files = [f"{n}.csv" for n in range(3)]

    def prepare(self, s):
        for user in self.users:
            self.pending(s, *self.files, user=user)

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return all(self.done(s, *self.files, user=user) for user in self.users)


class Stop(Scenario):
    name = "stop"
    ordered = False

    def prepare(self, s):
        s.upload("run.csv")
        self.started(s, "run.csv")
        s.upload("b.csv")

    def trigger(self, s):
        s.daemon.send_signal(signal.SIGTERM)
        s.open_gate("run.csv")

    def reached(self, s):
        return s.ended()


class Recovery(Scenario):
    """One was running and lost its worker, one left its result, one is between
    two attempts, one had not left processing, two are pending."""
    name = "recovery at the start"
    at_start = True
    users = ("alice", "bob", "carol")
    runs = {"bad.csv": 2, "run.csv": 2}

    def prepare(self, s):
        s.upload("run.csv")
        s.upload("run2.csv", "bob")
        self.started(s, "run.csv")
        self.started(s, "run2.csv", "bob")
        s.upload("b.csv")
        s.upload("c.csv", "bob")
        s.wait_for(lambda: s.count("pending") == 1 and s.count("pending", "bob") == 1,
                   what="pending")
        running = {st.name: st.pid for st in s.journal.starts()}
        s.daemon.send_signal(signal.SIGSTOP)
        procs.kill(procs.parent(running["run.csv"]))
        worker = procs.parent(running["run2.csv"])
        s.kill9()
        s.open_gate("run2.csv")
        s.wait_for(lambda: not procs.alive(worker), what="the result to be left")
        s.upload("d.csv", "carol")
        s.open_gate("run.csv")

    def trigger(self, s):
        pass

    def reached(self, s):
        return (self.done(s, "run.csv", "b.csv") and self.done(s, "run2.csv", "c.csv", user="bob")
                and self.done(s, "d.csv", user="carol"))


class Rebuild(Recovery):
    name = "rebuild of a lost index"
    history = False
    ordered = False
    runs = {"run.csv": 2, "run2.csv": 2}

    def prepare(self, s):
        super().prepare(s)
        shutil.rmtree(s.index_path())


class SetAside(Rebuild):
    name = "start with a damaged index"

    def prepare(self, s):
        Recovery.prepare(self, s)
        with open(os.path.join(s.index_path(), "data.mdb"), "r+b") as file:
            file.seek(100)
            file.write(b"\xff" * 20000)


class Once(Scenario):
    name = "once"
    at_start = True
    args = ("--mode", "once")

    def prepare(self, s):
        s.stop()
        for name in ("a.csv", "b.csv"):
            s.upload(name)

    def trigger(self, s):
        pass

    def reached(self, s):
        return s.ended()


class Whole(Scenario):
    """A directory that is one job."""
    whole = True
    config = {**MANUAL, "spool": {"directories": "job", "directory_settle_seconds": 0.05},
              "handler": {"keep_logs": "always"}}

    def pending(self, s, *names, user="alice"):
        for name in names:
            s.upload_whole(name, user)
        s.wait_for(lambda: s.count("pending", user) == len(names), what="pending")


class WholeAccept(Whole):
    name = "accept of a directory"

    def trigger(self, s):
        s.upload_whole("a")

    def reached(self, s):
        return s.count("pending") == 1


class WholeRun(Whole):
    name = "directory to done, log and output kept"
    victims = ("daemon", "worker")

    def prepare(self, s):
        self.pending(s, "out", "b")

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return self.done(s, "out", "b")


class WholeBack(Whole):
    """The worker finds that it changed: the directory goes back, and is a new upload."""
    name = "claim of a directory that changed"
    victims = ("daemon", "worker")
    ordered = False

    def prepare(self, s):
        self.pending(s, "a")
        data = b"more\n"
        with open(s.path("alice", "incoming", "a/deep/er/d.tif"), "wb") as file:
            file.write(data)
        s.expect("alice", "a/deep/er/d.tif", data)

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return self.done(s, "a") and s.count("canceled") == 1


class WholeFailed(Whole):
    name = "directory to failed"
    runs = {"bad": 2}

    def prepare(self, s):
        self.pending(s, "bad")

    def trigger(self, s):
        s.ask("start")

    def reached(self, s):
        return self.failed(s, "bad")


class LeaveResult(Scenario):
    """The worker whose daemon is gone writes down its result."""
    name = "result left by a worker"
    victims = ("worker",)

    def prepare(self, s):
        s.upload("run.csv")
        self.started(s, "run.csv")
        self.worker = s.workers()[0]
        s.kill9()

    def trigger(self, s):
        s.open_gate()

    def reached(self, s):
        return not procs.alive(self.worker)


SCENARIOS = [Accept, AcceptDeep, Replaced, Withdrawn, UserAdded, ClaimStart, ClaimWritten, Finish,
             FinishKept, HandedOn, FinishTaken, FinishDeep, FailFinal, Retry, OperatorRetry,
             CancelPending, CancelRunning, Hold, Release, Retention, Reload, Growth, Many, HeldUp,
             HeldUpRelaxed, HeldUpForScan, Ahead, StandBy, Stop, Recovery, Rebuild, SetAside, Once,
             LeaveResult, WholeAccept, WholeRun, WholeBack, WholeFailed]
