"""Two daemons, and what else is there twice: promise 4 and 6 hold whoever else
is at work. That attempts of a user never overlap is told by the handlers' own
lock (see handlers.py) after every test."""

import json
import os
import shutil
import signal
import socket
import subprocess

import procs
from harness import BUILD, GATE, SystemTest, limit

SLOW = "sleep 0.2\nexit 0\n"


class Refused(SystemTest):
    def second_config(self, spool, **over):
        """Another configuration file of the same root."""
        path = os.path.join(spool.base, "second.json")
        config = dict(spool.config, spool=dict(spool.config["spool"], **over))
        with open(path, "w") as file:
            json.dump(config, file)
        return path

    def assertRefused(self, spool, *args):
        result = spool.run("spoold", *args)
        self.assertEqual(result.code, 1, str(result))
        self.assertSays("another spoold is at work on .*stop it first", result.err)
        self.assertIn(spool.base, result.err, "which spool")

    def test_whatever_its_configuration_says(self):
        """Promise 4: another index, another socket, a root by another path: the
        second one is refused by name, in either mode, and disturbs nothing."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        link = os.path.join(spool.base, "link")
        os.symlink(spool.root, link)
        os.mkdir(os.path.join(spool.base, "elsewhere"))
        apart = {"index": os.path.join(spool.base, "elsewhere", "index"),
                 "socket": os.path.join(spool.base, "elsewhere", "socket")}
        # Each is patient for two seconds.
        for over, mode in ((apart, "continuous"), ({"root": link}, "once"),
                           (dict(apart, root=link), "continuous")):
            path = self.second_config(spool, **over)
            with self.subTest(over=over, mode=mode):
                self.assertRefused(spool, "--config", path, "--mode", mode)
        self.assertEqual(spool.spoold("--init").code, 0)
        spool.drop("alice", "b.csv")
        spool.open_gate()
        spool.wait_state("b.csv", "done")
        self.assertEqual(spool.journal.order("alice"), ["a.csv", "b.csv"])

    def test_index_and_socket_of_another_spool(self):
        """Promise 1: a second spool whose configuration names the index or the
        socket of the first one takes neither away."""
        first = self.spool()
        first.drop("alice", "a.csv")
        job = first.wait_state("a.csv", "done")["job"]
        for over in ({"index": first.index_path()}, {"socket": first.socket_path()}):
            with self.subTest(over):
                second = self.spool({"spool": over}, start=False)
                second.init()
                result = second.spoold()
                self.assertEqual(result.code, 1, str(result))
                self.assertSays("in use by another|another process answers", result.err)
        self.assertEqual(first.job("a.csv")["job"], job)
        first.drop("alice", "b.csv")
        first.wait_state("b.csv", "done")

    def test_index_of_another_spool_after_its_end(self):
        """Promise 1: nor when the first one is down: it is set aside, not
        overwritten, and no history is mixed."""
        first = self.spool()
        first.drop("alice", "a.csv")
        first.wait_state("a.csv", "done")
        first.stop()
        second = self.spool({"spool": {"index": first.index_path()}}, start=False)
        second.start()
        self.assertEqual(second.jobs(), [])
        second.drop("alice", "b.csv")
        second.wait_state("b.csv", "done")
        second.stop()
        aside = [n for n in os.listdir(os.path.dirname(first.index_path()))
                 if n.startswith("index.")]
        self.assertEqual(len(aside), 1)
        self.assertTrue(os.listdir(os.path.join(os.path.dirname(first.index_path()), aside[0])))

    def test_stale_socket(self):
        """Section 8: a socket that a killed daemon left is replaced; anything
        else of that name is not."""
        spool = self.spool()
        spool.kill9()
        self.assertTrue(os.path.exists(spool.socket_path()))
        spool.restart()
        spool.kill9()
        os.unlink(spool.socket_path())
        with open(spool.socket_path(), "w") as file:
            file.write("precious")
        result = spool.spoold()
        self.assertEqual(result.code, 1)
        self.assertSays("control.sock", result.err)
        with open(spool.socket_path()) as file:
            self.assertEqual(file.read(), "precious")
        os.unlink(spool.socket_path())
        spool.restart()

    def test_socket_of_somebody_who_does_not_answer(self):
        """The same where a process listens there that never answers."""
        spool = self.spool()
        spool.kill9()
        os.unlink(spool.socket_path())
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(spool.socket_path())
        listener.listen()
        self.addCleanup(listener.close)
        result = spool.spoold()
        self.assertEqual(result.code, 1)
        self.assertSays("another process answers", result.err)
        listener.close()
        spool.restart()


class Once(SystemTest):
    def once(self, spool):
        with open(spool.stderr_path, "ab") as stderr:
            return subprocess.Popen(
                [os.path.join(BUILD, "spoold"), "--config", spool.config_path, "--mode", "once"],
                cwd=spool.base, env=spool.environment(), stdin=subprocess.DEVNULL, stdout=stderr,
                stderr=stderr)

    def test_overlapping_runs_of_cron(self):
        """Promise 4: of several at the same time one works, the others are
        refused; whoever starts last finds what was left."""
        spool = self.spool({"job_processing": {"single_job_per_user": True}}, users=("alice", "bob"),
                           handler=SLOW, start=False)
        spool.init()
        for n in range(6):
            for user in ("alice", "bob"):
                spool.drop(user, f"{n}.csv")
        codes = []
        running = [self.once(spool) for _ in range(3)]
        while running:
            codes += [p.wait() for p in running if p.poll() is not None]
            running = [p for p in running if p.poll() is None]
            if running and len(codes) < 12:
                running.append(self.once(spool))
        self.assertEqual(set(codes), {0, 1})
        self.assertEqual(spool.spoold("--mode", "once").code, 0)
        for user in ("alice", "bob"):
            self.assertEqual(len(spool.files(user, "done")), 6)
            self.assertEqual(len(spool.journal.starts(user)), 6)

    def test_killed_with_its_worker_still_running(self):
        """Promise 4 and 6: the next run waits for that user, and for that one
        alone; the result counts."""
        spool = self.spool(users=("alice", "bob"), handler="case $SPOOL_NAME in g*) gate ;; esac\n",
                           start=False)
        spool.init()
        spool.drop("alice", "g.csv")
        spool.drop("alice", "later.csv")
        first = self.once(spool)
        self.addCleanup(first.kill)
        spool.wait_started("g.csv")
        first.kill()
        first.wait()
        spool.drop("bob", "b.csv")
        second = self.once(spool)
        self.addCleanup(second.kill)
        spool.wait_file("b.csv", user="bob")
        self.assertEqual(spool.journal.order("alice"), ["g.csv"])
        spool.open_gate()
        self.assertEqual(second.wait(60), 0)
        self.assertEqual(spool.files("alice", "done"), ["g.csv", "later.csv"])
        self.assertEqual(len(spool.journal.starts("alice")), 2)


class Successor(SystemTest):
    @limit(200)
    def test_killed_again_and_again_at_work(self):
        """Promise 4: with one job at a time, however often the daemon is
        killed and a new one started at once, its workers still at work."""
        spool = self.spool(handler="sleep 0.3\nexit 0\n", users=("alice", "bob"))
        for n in range(8):
            for user in ("alice", "bob"):
                spool.drop(user, f"{n}.csv")
        for _ in range(8):
            starts = len(spool.journal.starts())
            spool.wait_for(lambda: len(spool.journal.starts()) > starts or
                           not spool.files("alice", "incoming"), what="something to start")
            spool.kill9()
            spool.restart()
        for user in ("alice", "bob"):
            spool.wait_for(lambda: len(spool.files(user, "done")) == 8, what="all to be done")
            self.assertEqual(spool.journal.order(user), [f"{n}.csv" for n in range(8)])

    def test_limit_above_one(self):
        """Promise 4, with three at a time: what old workers still run counts,
        never more than three in all."""
        spool = self.spool({"job_processing": {"single_job_per_user": False},
                            "scheduler_settings": {"max_concurrent_jobs_per_user": 3,
                                                   "max_concurrent_jobs": 6}},
                           handler="sleep 0.4\nexit 0\n", overlap_allowed=True)
        for n in range(15):
            spool.drop("alice", f"{n}.csv")
        for k in range(4):
            spool.wait_for(lambda: len(spool.journal.running()) == 3 or
                           not spool.files("alice", "incoming"), what="three to run")
            spool.kill9()
            spool.restart()
        spool.wait_for(lambda: len(spool.files("alice", "done")) == 15, what="all to be done")
        self.assertLessEqual(spool.journal.most_at_once("alice"), 3)
        self.assertEqual(len(spool.journal.starts("alice")), 15, "no result was thrown away")

    def test_stopped_daemon_and_a_new_one(self):
        """Promise 4: one that was only stopped (SIGSTOP) still has its locks;
        when it goes on, all is as before."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        spool.daemon.send_signal(signal.SIGSTOP)
        result = spool.spoold()
        self.assertEqual(result.code, 1, str(result))
        spool.daemon.send_signal(signal.SIGCONT)
        spool.open_gate()
        spool.wait_state("a.csv", "done")


class Copied(SystemTest):
    def test_copy_with_the_same_marker(self):
        """Promise 4 and 6: a copy of a spool (a backup, a snapshot mounted
        elsewhere) has its marker's id and its jobs' numbers. A daemon on it
        does not touch what runs for the original."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        spool.wait_for(lambda: spool.job("a.csv")["state"] == "processing", what="its record")
        spool.daemon.send_signal(signal.SIGSTOP)
        copy = self.spool(start=False, users=())
        shutil.rmtree(copy.root)
        shutil.copytree(spool.root, copy.root, symlinks=True,
                        ignore=lambda _, names: [n for n in names if n.endswith(".sock")])
        spool.daemon.send_signal(signal.SIGCONT)
        copy.expect("alice", "a.csv", b"alice a.csv\n")
        copy.start(init=False)
        self.assertEqual(copy.wait_state("a.csv", "done")["attempt"], 2)
        self.assertTrue(procs.alive(stamp.pid), "the original's handler was ended")
        spool.open_gate()
        self.assertEqual(spool.wait_state("a.csv", "done")["attempt"], 1)
        self.assertEqual(len(spool.journal.starts("alice")), 1)
