"""A network mount whose server says nothing any more, and does not close either:
every look at it waits. It holds up its own users, and nobody else."""

import os
import signal
import time

import procs
from handlers import GATE
from network import FarSpool, FarUser, unmount

FRESH_S = 0.1  # so long an answer of a mount counts
EPOLL_WAITS = (232, 281, 441)


class Hanging:
    """The server is stopped (SIGSTOP), and goes on later."""

    def freeze(self, spool):
        """While spoold waits for events, and for longer than an answer counts: what hangs
        under its very hands nobody can see in time."""
        daemon = spool.daemon if spool.daemon is not None and spool.daemon.poll() is None else None
        if daemon is not None:
            spool.wait_for(lambda: self.stop_idle(daemon.pid), what="spoold to be idle")
        self.door.server.signal_sessions(signal.SIGSTOP)
        self.frozen = True
        if daemon is not None:
            time.sleep(2 * FRESH_S)
            daemon.send_signal(signal.SIGCONT)

    def stop_idle(self, pid):
        os.kill(pid, signal.SIGSTOP)
        while procs.state(pid) not in "T":
            time.sleep(0.001)
        if procs.system_call(pid) in EPOLL_WAITS:
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    def thaw(self):
        self.door.server.signal_sessions(signal.SIGCONT)
        self.frozen = False

    def tearDown(self):
        if getattr(self, "frozen", False):
            self.thaw()
        super().tearDown()

    def asking(self, spool):
        """The processes that wait for mounts in the place of the daemon."""
        return [p for p in procs.of_directory(spool.base) if procs.name(p) == "spoold-asks"]


class OneUser(Hanging, FarUser):
    def answers(self, spool):
        return spool.user("alice")["answers"]

    def wait_silent(self, spool):
        spool.wait_for(lambda: not self.answers(spool), what="it to be noticed")

    def wait_back(self, spool):
        spool.wait_for(lambda: self.answers(spool) and self.mounted(spool), what="it to answer again")

    def test_others_go_on(self):
        """Before it is noticed, and after; what lies there is left alone, and goes on."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        self.freeze(spool)
        self.bob_goes_on(spool, "at-once.csv")
        self.wait_silent(spool)
        self.bob_goes_on(spool, "while.csv")
        spool.ctl("rescan")
        self.bob_goes_on(spool, "after.csv")
        self.assertTrue(spool.user("bob")["answers"])
        self.assertEqual(spool.user("alice")["waits_for"], "the mount of its directory to answer")
        self.assertSays("the mount of its directory does not answer", spool.ctl("status").out)
        self.assertSays("does not answer", spool.explain(ids["1.csv"])["because"])
        self.assertSays("does not answer",
                        spool.explain(os.path.join(self.near, "incoming/1.csv"))["because"])
        other = spool.explain(os.path.join(self.near, "incoming/other.csv"), check=1)
        self.assertSays("does not answer", other["because"])
        self.assertSays("alice.*does not answer", spool.ctl("doctor", check=None).out)
        self.assertSays("does not answer", spool.ctl("user", "check", "alice", check=None).out)
        self.assertSays("does not answer|timed out",
                        spool.ctl("submit", "--user", "alice", __file__, check=None).err)
        self.thaw()
        self.wait_back(spool)
        spool.open_gate()
        self.all_done(spool, ids)

    def test_polls_hold_up_nobody(self):
        """Not even for as long as a mount has to answer."""
        spool = self.remote_spool()
        spool.configure({"spool": {"mount_answer_seconds": 30}})
        spool.ctl("reload")
        self.freeze(spool)
        for n in range(3):
            self.bob_goes_on(spool, f"{n}.csv")
        self.assertTrue(self.answers(spool), "nobody waited for that to be found out")

    def test_arrived_meanwhile(self):
        """What comes while it hangs is taken when it answers; the new wait behind the old."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        self.freeze(spool)
        self.wait_silent(spool)
        self.far_file("late.csv", b"late\n")
        spool.expect("alice", "late.csv", b"late\n")
        self.bob_goes_on(spool, "while.csv")
        self.thaw()
        spool.open_gate()
        for name in (*ids, "late.csv"):
            spool.wait_state(name, "done")
        self.assertEqual(spool.journal.order("alice"), ["0.csv", "1.csv", "2.csv", "late.csv"])

    def test_one_waits_for_each_mount(self):
        """However often it is looked at, and however long that lasts."""
        spool = self.remote_spool()
        self.freeze(spool)
        self.wait_silent(spool)
        for n in range(3):
            self.bob_goes_on(spool, f"{n}.csv")
            spool.ctl("rescan")
        self.assertEqual(len(self.asking(spool)), 1)

    def test_mounted_anew(self):
        """Who waits for the one that hung does not keep the new one from being asked; but
        what ran there is still there."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        self.freeze(spool)
        self.wait_silent(spool)
        unmount(self.near)
        self.mount(self.near, "spool/alice")
        self.wait_back(spool)
        self.thaw()
        spool.open_gate()
        self.all_done(spool, ids, ["0.csv"])

    def test_takes_no_place(self):
        """What runs there cannot go on: the one place there is is another's."""
        spool = self.remote_spool(handler=GATE, more={"scheduler_settings": {"max_concurrent_jobs": 1}})
        ids = self.pending(spool)
        self.freeze(spool)
        for n in range(3):
            self.bob_goes_on(spool, f"while{n}.csv")
        self.thaw()
        self.wait_back(spool)
        spool.open_gate()
        self.all_done(spool, ids)

    def test_started_while_it_hangs(self):
        """Killed, and started anew: neither waits, and all is there afterwards."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        self.freeze(spool)
        self.wait_silent(spool)
        spool.kill9()
        spool.restart()
        self.bob_goes_on(spool, "while.csv")
        self.wait_silent(spool)
        self.thaw()
        self.wait_back(spool)
        spool.open_gate()
        self.all_done(spool, ids, ["0.csv"])

    def test_ends_while_it_hangs(self):
        """spoold holds nothing there that keeps it from ending."""
        spool = self.remote_spool()
        self.freeze(spool)
        self.wait_silent(spool)
        self.assertEqual(spool.stop(), 0)

    def test_once_does_not_wait_for_ever(self):
        spool = self.remote_spool()
        spool.stop()
        self.freeze(spool)
        spool.drop("bob", "x.csv")
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        self.assertEqual(os.listdir(spool.path("bob", "done")), ["x.csv"])

    def test_once_gives_up(self):
        """Its jobs are left, and nothing else."""
        spool = self.remote_spool()
        spool.ctl("stop")
        spool.expect("alice", "x.csv", b"far\n")
        self.far_file("x.csv")
        spool.wait_state("x.csv", "pending")
        spool.stop()
        self.freeze(spool)
        spool.drop("bob", "y.csv")
        result = spool.spoold("--mode", "once", timeout=100)
        self.assertEqual(result.code, 1)
        self.assertSays("giving up.*do not answer", result.err)
        self.assertEqual(os.listdir(spool.path("bob", "done")), ["y.csv"])
        self.thaw()
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        self.assertEqual(os.listdir(os.path.join(self.far, "spool/alice/done")), ["x.csv"])


class All(Hanging, FarSpool):
    def test_status_answers(self):
        """The whole spool hangs: that is what is said, at once, by spoold and without it."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        self.freeze(spool)
        spool.wait_for(lambda: not self.mounted(spool), what="it to be noticed")
        self.assertSays("does not answer", spool.status()["daemon"]["problem"])
        self.assertSays("does not answer", spool.ctl("status").out)
        self.assertSays("does not answer", spool.explain(ids["1.csv"])["because"])
        self.assertSays("does not answer", spool.ctl("doctor", check=None).out)
        self.thaw()
        spool.wait_for(lambda: self.mounted(spool), what="it to be back")
        spool.open_gate()
        self.all_done(spool, ids)

    def test_start_says_so(self):
        spool = self.remote_spool()
        spool.stop()
        self.freeze(spool)
        result = spool.spoold()
        self.assertEqual(result.code, 1)
        self.assertSays("does not answer", result.err)
        status = spool.ctl("status", check=None)
        self.assertEqual(status.code, 3)
        self.assertSays("alice", status.out)
