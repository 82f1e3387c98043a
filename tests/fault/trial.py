"""One run of a transition that is cut short, and the judgement of what is left."""

from collections import defaultdict
from dataclasses import dataclass
import os
import re

import cutting  # first: it knows where the other modules are
from cutting import ERRNO, FaultSpool
import procs
from spool import NO_DAEMON

# Which calls each error can come from. Of what could not be synced, the data
# may be lost: such an upload has a rule of its own, and a mode that meets it.
FAULTS = {
    "EIO(sync)": "sync",
    "EIO": "create,write,sync,rename,link,unlink,mkdir,rmdir,truncate,own,open,stat,list,read",
    "ENOSPC": "create,write,sync,rename,link,mkdir,truncate,own,bind",
    "EMFILE": "create,open,fd",
    "EACCES": "create,open,rename,link,unlink,mkdir,rmdir,own,stat",
    "EINTR": "create,open,write,sync,truncate,send,lock,read",
    "EAGAIN": "spawn",
    "ENOBUFS": "send",
    "ENOLCK": "lock",
    "ENOMEM": "map,spawn,watch",
}

# Also judge what errors do to the order (the campaign with errors at every call).
EVERY = bool(os.environ.get("SPOOLD_FAULT_EVERY"))
PATIENCE_S = 8       # until it comes right by itself; but for retention, retries come within 5 s
LASTING_S = 0.3      # a lasting fault is over after this


@dataclass(frozen=True)
class Mode:
    victim: str      # daemon, worker
    action: str      # kill, kill-all, once, lasting
    error: str = ""

    def __str__(self):
        return " ".join(filter(None, (self.victim, self.action, self.error)))

    @property
    def kills(self):
        return self.action.startswith("kill")

    def plan(self, n, about=""):
        kinds = "changes" if self.kills else FAULTS[self.error]
        action = self.action if self.kills else f"{self.action}:{ERRNO[self.error.split('(')[0]]}"
        return f"{self.victim} {kinds} {n} {action} {about}"


def modes_of(scenario):
    for error in scenario.errors:
        yield Mode("daemon", "once", error)
    if scenario.errors:
        return
    for victim in scenario.victims:
        yield Mode(victim, "kill")
        # Without its workers: what it ran is an orphan.
        yield Mode(victim, "kill-all")
        for error in FAULTS:
            yield Mode(victim, "once", error)
        for error in ("EIO", "ENOSPC", "EMFILE"):
            yield Mode(victim, "lasting", error)


@dataclass
class Outcome:
    fired: str = ""        # "N kind call about", or "" where the n-th call never came
    calls: tuple = ()
    restarted: bool = False
    problems: tuple = ()
    log: str = ""


class Trial:
    def __init__(self, scenario, mode, n, base):
        self.scenario, self.mode, self.n = scenario(), mode, n
        self.problems = []
        self.s = FaultSpool(base, scenario.config, users=scenario.users)
        self.known_done = set()
        self.unsafe = set()    # paths of uploads that are said to be so
        self.restarted = False

    # --- the run ----------------------------------------------------------

    def run(self):
        s = self.s
        outcome = Outcome()
        try:
            s.init()
            self.transition()
            outcome.fired = s.cut.has_fired() or ""
            if self.n == 0:
                outcome.calls = tuple(s.cut.calls(os.path.join(s.base, "calls")))
            outcome.restarted = self.restarted = self.come_back()
            self.work_off()
            self.judge()
        except Exception as error:  # whatever goes wrong is a finding
            self.problems.append(f"{type(error).__name__}: {error}")
        self.problems += s.end()
        outcome.problems = tuple(self.problems)
        outcome.log = s.log()
        return outcome

    def transition(self):
        """Up to its end, or to the cut and what follows from it at once."""
        s, scenario = self.s, self.scenario
        plan = self.mode.plan(self.n, scenario.about)
        if scenario.at_start:
            s.start()
            scenario.prepare(s)
            self.log_before = s.log_size()
            s.start_cut(plan, wait=False, args=scenario.args)
        else:
            s.start_cut()
            scenario.prepare(s)
            self.log_before = s.log_size()
            s.cut.arm(plan)
        try:
            scenario.trigger(s)
        except OSError as error:
            self.problems.append(f"trigger: {error}")
        if self.mode.kills:
            s.until(lambda: self.was_killed() or self.over(), 60)
        elif s.until(lambda: s.cut.has_fired() or self.over(), 60) or s.ended():
            self.fault_ends()
        else:
            self.problems.append("the transition was not complete after 60 s")

    def over(self):
        """Complete, and still so when everything that follows is done."""
        s, reached = self.s, self.scenario.reached
        if not reached(s) or s.ended():
            return reached(s)
        return s.answers() and s.answers() and reached(s)

    def was_killed(self):
        """By the cut: the daemon, or the worker with its daemon alive."""
        return self.s.cut.has_fired() and (self.mode == Mode("worker", "kill")
                                           or self.s.ended())

    def fault_ends(self):
        s = self.s
        if self.mode.action == "lasting" and s.cut.has_fired():
            s.until(lambda: s.ended() or self.over(), LASTING_S)
        s.cut.disarm()

    # --- back to work -----------------------------------------------------

    def come_back(self):
        """Where the daemon is gone it is started again. Returns whether it was."""
        s = self.s
        fired = s.cut.has_fired()
        if self.mode.kills and not fired and not s.ended():
            s.cut.disarm()
            return False
        if not s.ended():
            if self.mode.kills:   # the worker alone
                return False
            if s.until(lambda: self.over() or self.find_unsafe(), PATIENCE_S):
                if not s.ended():
                    return False
            elif not s.ended():
                self.check_said("does not come right by itself")
                s.stop()
        self.after_the_end()
        s.start(init=False)
        return True

    def after_the_end(self):
        """The daemon is gone: how, and what is left at this instant."""
        s = self.s
        code = None if s.daemon is None else s.daemon.wait()
        s.daemon = None
        killed = self.mode.kills and s.cut.has_fired()
        if code is not None and not killed and code not in (0, 1):
            self.problems.append(f"spoold ended with {code}")
        if code == 1 and not self.mode.kills:
            self.check_said("ended")
        self.problems += [f"at the instant of the cut: {told}" for told in s.lost()]
        self.remember_done()

    def check_said(self, what):
        if not self.s.log(self.log_before).strip():
            self.problems.append(f"spoold {what}, and says nothing")

    def remember_done(self):
        """What the index has as done, without a daemon: it must not run again."""
        s = self.s
        if not self.scenario.history:
            return
        result = s.ctl("list", "--limit", "10000", json=True, check=None)
        if result.code == NO_DAEMON and result.data:
            self.known_done = {(j["job"], j["attempt"]) for j in result.data["jobs"]
                               if j["state"] == "done"}

    def work_off(self):
        s = self.s
        self.scenario.resume(s)
        s.until(lambda: self.settled() or self.find_unsafe(), 60)
        self.judge_unsafe()
        if not s.until(self.settled, 60):
            jobs = [(j["name"], j["state"], j["place"], j["error"]) for j in s.all_jobs() or []]
            self.problems.append(f"not everything ends in done or failed: jobs {jobs}, incoming "
                                 f"{s.in_place('incoming')}, processing {s.private()}")

    def find_unsafe(self):
        """Nothing else is left but what is said to be unsafe."""
        for user, place, name in self.uploads():
            if place == "incoming":
                full = os.fsencode(os.path.join(self.s.root, user, "incoming", name))
                answer = self.s.ask("explain", path=os.fsdecode(full))
                if answer and answer["ok"] and "did not reach the disk" in answer["because"]:
                    self.unsafe.add(full)
        return self.unsafe != set()

    def judge_unsafe(self):
        """An upload whose sync failed is not taken before it is touched,
        whichever daemon looks at it."""
        s, fired = self.s, self.s.cut.has_fired() or ""
        failed = re.fullmatch(r"\d+ sync fsync (.*/incoming/.*\.csv)", fired)
        # A disk that went on failing until spoold ended took no mark for the next one.
        forgotten = self.mode.action == "lasting" and self.restarted
        if not self.mode.kills and self.mode.error in ("EIO", "EIO(sync)", "ENOSPC") and failed \
                and not forgotten and os.fsencode(failed[1]) not in self.unsafe:
            self.problems.append(f"the sync of {failed[1]} failed, and it was taken all the same")
        if self.unsafe:
            s.stop()
            s.start(init=False)
            self.scenario.resume(s)
            before, self.unsafe = self.unsafe, set()
            s.until(self.find_unsafe, 10)
            # A disk that went on failing did not take the mark either.
            if self.unsafe != before and self.mode.action != "lasting":
                self.problems.append(f"unsafe before a restart: {before}, after: {self.unsafe}")
        for path in self.unsafe:
            os.utime(path)

    def settled(self):
        s = self.s
        answer = s.ask("status")
        return (answer is not None and answer["ok"] and not answer["daemon"]["starting"]
                and answer["daemon"]["mounted"]
                and all(row[state] == 0 for row in answer["users"]
                        for state in ("arriving", "pending", "held_jobs", "queued", "processing"))
                and not s.in_place("incoming") and not s.private())

    # --- the judgement ----------------------------------------------------

    def judge(self):
        self.judge_files()
        self.judge_runs()
        self.judge_order()
        self.judge_processes()
        self.judge_doctor()
        for told, check in self.s.promised:
            if not check():
                self.problems.append(f"broken: {told}")

    def judge_files(self):
        """Index and directories agree on every job, and count alike."""
        s = self.s
        jobs = s.all_jobs() or []
        places = defaultdict(list)
        for job in jobs:
            if job["place"] in ("done", "failed"):
                places[job["user"], job["path"]].append(job["job"])
        for user, place, name in self.uploads():
            if place in ("done", "failed") and not name.endswith(".log") and ".output/" not in name:
                told = places.pop((user, f"{user}/{place}/{name}"), [])
                # What was put in the place of an upload, with a word beside it.
                kept = not self.mode.kills and not told and \
                    os.path.exists(s.path(user, place, name + ".log"))
                if len(told) != 1 and not kept:
                    self.problems.append(f"{user}/{place}/{name} is the file of jobs {told}")
        self.problems += [f"job {ids}: {path} is not there" for (_, path), ids in places.items()]
        for user in self.scenario.users:
            row = s.status_of(user)
            for state in ("done", "failed", "canceled"):
                n = sum(j["user"] == user and j["state"] == state for j in jobs)
                if row[state] != n:
                    self.problems.append(f"{user}: {row[state]} {state} in status, {n} in list")

    def uploads(self):
        """What lies there; a directory that is one job is one thing."""
        found = dict.fromkeys((user, place, os.fsdecode(path).split("/")[0]
                               if self.scenario.whole and b".output/" not in path
                               else os.fsdecode(path))
                              for user, place, path in self.s.inventory())
        return list(found)

    def judge_runs(self):
        s = self.s
        starts = defaultdict(list)
        for stamp in s.journal.starts():
            starts[stamp.user, stamp.job].append(stamp)
        for (user, job), stamps in starts.items():
            numbers = [stamp.attempt for stamp in stamps]
            if self.scenario.history and (sorted(set(numbers)) != numbers):
                self.problems.append(f"{user}: job {job} ran as attempts {numbers}")
            for known, attempt in self.known_done:
                if known == job and numbers[-1] > attempt:
                    self.problems.append(f"{user}: job {job} was done, and ran again: {numbers}")
        self.judge_number_of_runs()

    def judge_number_of_runs(self):
        """A worker that survives finishes its attempt: nothing is repeated."""
        s, spared = self.s, self.mode.victim == "daemon" and self.mode.action == "kill"
        if not spared and self.n != 0:
            return
        for user, names in s.names.items():
            for name in set(names):
                called_for = self.scenario.runs.get(name, names.count(name))
                ran = len(s.journal.starts(user, os.path.basename(name)))
                if ran > called_for:
                    self.problems.append(f"{user}/{name} ran {ran} times, {called_for} were "
                                         f"called for")

    def judge_order(self):
        """What did not reach the disk is complete only when it was touched. An error may still
        cost an upload its place, once in a hundred: the campaign tells of those, and scenarios that
        are about that."""
        s = self.s
        if not self.mode.kills and not EVERY and not self.scenario.errors:
            return
        late = {os.path.basename(os.fsdecode(path)) for path in self.unsafe}
        for user, names in s.names.items():
            if self.scenario.ordered:
                names = [n for n in names if os.path.basename(n) not in late]
                wanted = [os.path.basename(n) for n in dict.fromkeys(names)]
                ran = [n for n in s.journal.order(user) if n not in late]
                if ran != [n for n in wanted if n in ran]:
                    self.problems.append(f"{user}: ran in the order {ran}, uploaded as {wanted}")

    def judge_processes(self):
        """The daemon and its idle workers; nothing of a handler."""
        s = self.s

        def strangers():
            workers = s.workers()
            ours = [s.daemon.pid, *workers, *(p for w in workers for p in procs.workers(w))]
            found = [procs.describe(pid) for pid in procs.of_directory(s.base) if pid not in ours]
            return [told for told in found if cutting.CUT not in told]
        if not s.until(lambda: not strangers(), 10):
            self.problems.append(f"left over: {strangers()}")

    def judge_doctor(self):
        """The next rescan may have to mend something first."""
        wrong = []

        def is_well():
            result = self.s.ctl("doctor", json=True, check=None)
            wrong[:] = [f["what"] for f in result.data["findings"] if f["level"] not in ("ok", "note")]
            return result.code == 0 and not wrong
        if not self.s.until(is_well, 1 if self.mode.kills else 10):
            self.problems.append(f"doctor: {wrong}")
