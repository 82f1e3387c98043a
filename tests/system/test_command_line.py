"""spoold's own command line."""

import json
import os
import signal

from harness import REPO, SystemTest


class CommandLine(SystemTest):
    def test_help_and_version(self):
        """Section 8: every option is explained."""
        spool = self.spool(start=False)
        text = spool.run("spoold", "--help")
        self.assertEqual(text.code, 0)
        for option in ("--config", "--mode", "--interval", "--check-config", "--print-config",
                       "--init"):
            self.assertIn(option, text.out)
        self.assertRegex(spool.run("spoold", "--version").out, r"\d+\.\d+")

    def test_bad_options(self):
        """Section 8: a mistake is told, and nothing is started."""
        spool = self.spool(start=False)
        spool.init()
        for args in (("--nonsense",), ("--mode", "sometimes"), ("--interval", "soon"),
                     ("--interval", "-1"), ("extra",), ("--mode",)):
            result = spool.spoold(*args)
            self.assertNotEqual(result.code, 0, args)
            self.assertTrue(result.err.strip(), args)

    def test_init_twice(self):
        """Section 8: the second time changes nothing, and says so."""
        spool = self.spool(start=False)
        spool.init()
        before = sorted(os.listdir(os.path.join(spool.root, ".spoold")))
        contents = marker_contents(spool)
        again = spool.spoold("--init")
        self.assertEqual(again.code, 0, again)
        self.assertSays("already|was there|is there", again.out + again.err)
        self.assertEqual(sorted(os.listdir(os.path.join(spool.root, ".spoold"))), before)
        self.assertEqual(marker_contents(spool), contents)

    def test_init_beside_a_running_daemon(self):
        """Section 8: it disturbs nobody."""
        spool = self.spool()
        spool.init()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    def test_print_config_can_be_read_again(self):
        """Section 7: the effective configuration, as valid JSON that loads."""
        spool = self.spool({"users": {"bob": {"max_retries": 0, "completion": "rename"}}},
                           start=False)
        spool.configure({"routes": [{"match": "*.csv", "handler": {
            "command": ["handlers/main", "{file}", "csv"]}}]})
        printed = spool.spoold("--print-config")
        self.assertEqual(printed.code, 0)
        first = json.loads(printed.out)
        path = os.path.join(spool.base, "printed.json")
        with open(path, "w") as file:
            file.write(printed.out)
        check = spool.run("spoold", "--config", path, "--check-config")
        self.assertEqual(check.code, 0, check)
        second = json.loads(spool.run("spoold", "--config", path, "--print-config").out)
        self.assertEqual(first, second)
        self.assertEqual(first["users"]["bob"]["max_retries"], 0)
        self.assertEqual(first["scheduler_settings"]["retry_delay_seconds"], 0.1)

    def test_interval(self):
        """Sections 5 and 8: --interval overrides the configuration, and the
        rescan finds what no event tells: that the second name of a hard link
        is gone."""
        spool = self.spool({"scheduler_settings": {"interval_minutes": 60}}, start=False)
        spool.start("--interval", "0.05")
        outside = os.path.join(spool.base, "staging", "outside")
        with open(outside, "wb") as file:
            file.write(b"linked")
        os.link(outside, spool.path("alice", "incoming", "linked.csv"))
        spool.expect("alice", "linked.csv", b"linked")
        spool.drop("alice", "plain.csv")
        spool.wait_state("plain.csv", "done")
        self.assertIsNone(spool.job("linked.csv"))
        os.unlink(outside)
        spool.wait_state("linked.csv", "done", limit=30)

    def test_check_config_starts_nothing(self):
        """Section 8: it only looks; also beside a running daemon."""
        spool = self.spool(start=False)
        self.assertEqual(spool.spoold("--check-config").code, 0)
        self.assertFalse(os.path.exists(os.path.join(spool.root, ".spoold")))
        spool.start()
        self.assertEqual(spool.spoold("--check-config").code, 0)
        self.assertTrue(spool.answers())

    def test_continuous_is_the_default(self):
        """Section 8: --mode continuous."""
        spool = self.spool(start=False)
        spool.start("--mode", "continuous")
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    def test_sigint_stops_like_sigterm(self):
        """For `make run`: Ctrl-C ends it cleanly."""
        spool = self.spool()
        spool.daemon.send_signal(signal.SIGINT)
        self.assertEqual(spool.wait_exit(), 0)

    def test_it_stays_in_the_foreground_and_logs_to_stderr(self):
        """Section 8: for systemd and people alike: no fork, no log file."""
        spool = self.spool()
        self.assertTrue(spool.log().strip(), "it says that it started")
        self.assertIsNone(spool.daemon.poll())

    def test_repository_config(self):
        """The config.json of the repository is a good one."""
        path = os.path.join(REPO, "config.json")
        if not os.path.exists(path):
            self.skipTest("config.json is not there")
        spool = self.spool(start=False)
        result = spool.run("spoold", "--config", path, "--check-config")
        self.assertEqual(result.code, 0, result)

    def test_schema_is_current(self):
        """Section 7: the schema file comes from the table of settings."""
        path = os.path.join(REPO, "packaging", "config.schema.json")
        if not os.path.exists(path):
            self.skipTest("packaging/config.schema.json is not there")
        spool = self.spool(start=False)
        printed = spool.run("spoold", "--print-schema")
        if printed.code != 0:
            self.skipTest("spoold does not print its schema")
        with open(path) as file:
            self.assertEqual(json.loads(printed.out), json.load(file))


def marker_contents(spool):
    contents = {}
    top = os.path.join(spool.root, ".spoold")
    for name in os.listdir(top):
        path = os.path.join(top, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                contents[name] = file.read()
    return contents
