"""Nobody answers spoolctl: it says why, and does not take silence for absence."""

import os
import signal

import harness
from harness import FAILED, GATE, NO_DAEMON, SystemTest


class Silent(SystemTest):
    def test_without_a_spool(self):
        """A root that does not exist (yet) is told, by every command."""
        spool = self.spool(start=False)
        os.rename(spool.root, spool.root + ".away")
        for args in (("status",), ("status", "alice"), ("status", "--all"), ("list",)):
            result = spool.ctl(*args, check=NO_DAEMON)
            self.assertIn("spoold is not running", result.err, args)
        self.assertIn("there is no spool at", spool.ctl("status", check=NO_DAEMON).err)
        answer = spool.ctl("status", json=True, check=NO_DAEMON)
        self.assertIn("there is no spool at", answer.data["error"])
        for args in (("list",), ("list", "alice"), ("status", "alice"), ("show", "1"),
                     ("explain", "1")):
            said = spool.ctl(*args, check=NO_DAEMON)
            self.assertIn("there is no spool at", said.err, args)
            self.assertEqual(said.out, "", args)
            self.assertIn("there is no spool at",
                          spool.ctl(*args, json=True, check=NO_DAEMON).data["error"], args)
        os.mkdir(spool.root)
        self.assertIn("has no marker", spool.ctl("list", check=NO_DAEMON).err)
        os.rmdir(spool.root)
        os.rename(spool.root + ".away", spool.root)

    def test_a_socket_that_was_removed(self):
        """Who holds the lock of the spool runs; its socket comes back."""
        spool = self.spool()
        os.unlink(spool.socket_path())
        for args in (("status",), ("list",), ("start",), ("doctor",)):
            result = spool.ctl(*args, check=None)
            self.assertIn(f"process {spool.daemon.pid} holds", result.out + result.err, args)
            self.assertNotIn("not running", result.out + result.err, args)
        self.assertIn("kill -HUP", spool.ctl("doctor", check=FAILED).out)
        status = spool.ctl("status", json=True, check=NO_DAEMON).data["daemon"]
        self.assertEqual((status["running"], status["answers"], status["pid"]),
                         (True, False, spool.daemon.pid))
        spool.daemon.send_signal(signal.SIGHUP)
        spool.wait_for(spool.answers, what="the socket to be there again")
        spool.wait_log("control socket was gone")

    def test_a_removed_socket_comes_back_with_the_next_look(self):
        spool = self.spool({"scheduler_settings": {"interval_minutes": 0.01}})
        os.unlink(spool.socket_path())
        spool.wait_for(spool.answers, what="the socket to be there again")

    def test_while_mode_once_is_at_work(self):
        """It answers nobody, and is not taken for nobody."""
        spool = self.spool(handler=GATE, start=False)
        spool.drop("alice", "a.csv")
        spool.start("--mode", "once", wait=False)
        spool.wait_started("a.csv")
        for args in (("status",), ("list",), ("start",), ("doctor",)):
            result = spool.ctl(*args, check=None)
            self.assertIn("--mode once", result.out + result.err, args)
            self.assertNotIn("not running", result.out + result.err, args)
        spool.open_gate()
        self.assertEqual(spool.wait_exit(), 0)
        self.assertIn("not running", spool.ctl("status", check=NO_DAEMON).err)


class Restart(SystemTest):
    """Who waits for a job outlives a restart of spoold, as the job does."""

    def test_submit_and_log_go_on(self):
        spool = self.spool({"handler": {"keep_logs": "always"}},
                           handler="echo before\n" + GATE)
        path = os.path.join(spool.base, "staging", "a.csv")
        with open(path, "w") as file:
            file.write("a\n")
        submit = spool.begin_ctl("submit", "--user", "alice", "--wait", path)
        spool.wait_started("a.csv")
        log = spool.begin_ctl("log", "--follow", str(spool.job("a.csv")["job"]))
        self.assertEqual(log.stdout.readline(), "before\n")
        spool.kill9()
        for waiting in (submit, log):
            self.assertIn("Waiting for spoold to come back", waiting.stderr.readline())
        spool.restart()
        spool.open_gate()
        out, err = submit.communicate(timeout=60 * harness.slowness())
        self.assertEqual((submit.returncode, err), (0, "spoolctl: spoold is back\n"))
        self.assertIn("done", out)
        out, err = log.communicate(timeout=60 * harness.slowness())
        self.assertEqual(log.returncode, 0)
        self.assertNotIn("before", out, "what was shown is not shown again")
