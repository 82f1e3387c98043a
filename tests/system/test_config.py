"""Mistakes in the configuration and in the spool: said in words, all at once."""

import json
import os
import shutil

from harness import FAILED, SystemTest, root_only


class Messages(SystemTest):
    def check(self, text):
        spool = self.spool(start=False)
        spool.write_config(text)
        result = spool.spoold("--check-config")
        self.assertNotEqual(result.code, 0)
        return result.err + result.out

    def test_all_at_once_with_their_places(self):
        """Section 7: each with file:line:column, what was expected, and for
        an unknown key the nearest known one."""
        told = self.check('''{
  "spool": { "root": "spool", "setle_seconds": 1 },
  "scheduler_settings": {
    "max_retries": "three",
    "job_timeout_minutes": -5
  },
  "handler": { "command": ["handlers/main", "{file}"] },
  "job_processing": { "retry_position": "middle" }
}
''')
        self.assertRegex(told, r"config\.json:2:31: .*settle_seconds")
        self.assertRegex(told, r"config\.json:4:(5|20): .*max_retries")
        self.assertRegex(told, r"config\.json:5:(5|28): .*job_timeout_minutes")
        self.assertRegex(told, r"config\.json:8:(23|41): .*retry_position")
        self.assertRegex(told, r"(?s)front.*back|back.*front")

    def test_broken_json(self):
        """Section 7: the place where reading ended."""
        self.assertRegex(self.check('{\n  "spool": {\n    "root": "spool"\n'),
                         r"config\.json:\d+:\d+: ")

    def test_not_an_object(self):
        """Section 7: what was expected."""
        for text in ("[]", "7", '"spool"', "", "\0\0\0", "null"):
            with self.subTest(text):
                self.assertIn("config.json", self.check(text))

    def test_duplicate_key(self):
        """FACTS: libyaml accepts it, we do not."""
        self.assertRegex(self.check('{\n "spool": {"root": "a",\n  "root": "b"}\n}\n'),
                         r"config\.json:3:\d+: .*root")

    def test_yaml(self):
        """Section 7: YAML by the same loader."""
        spool = self.spool(start=False)
        path = os.path.join(spool.base, "config.yaml")
        with open(path, "w") as file:
            file.write("spool:\n  root: spool\nhandler:\n  command: [handlers/main, '{file}']\n")
        self.assertEqual(spool.run("spoold", "--config", path, "--check-config").code, 0)

    def test_no_such_file(self):
        """Section 7: which file was looked for."""
        spool = self.spool(start=False)
        result = spool.run("spoold", "--config", "missing.json", "--check-config")
        self.assertNotEqual(result.code, 0)
        self.assertIn("missing.json", result.err)

    def test_a_contradiction_is_a_warning(self):
        """Section 7: single_job_per_user with a limit beyond one."""
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs_per_user": 3},
                            "job_processing": {"single_job_per_user": True}}, start=False)
        result = spool.spoold("--check-config")
        self.assertEqual(result.code, 0)
        self.assertIn("single_job_per_user", result.err + result.out)

    def test_good_file(self):
        """Section 8: exit 0."""
        self.assertEqual(self.spool(start=False).spoold("--check-config").code, 0)

    def test_handler_missing(self):
        """Section 7: the command is checked at load."""
        spool = self.spool({"handler": {"command": ["handlers/nothing", "{file}"]}}, start=False)
        result = spool.spoold("--check-config")
        self.assertNotEqual(result.code, 0)
        self.assertIn("handlers/nothing", result.err + result.out)

    def test_handler_not_executable(self):
        """Section 7: and what to do is said."""
        spool = self.spool(start=False)
        os.chmod(os.path.join(spool.base, "handlers", "main"), 0o644)
        result = spool.spoold("--check-config")
        self.assertNotEqual(result.code, 0)
        self.assertSays("execut", result.err + result.out)

    def test_handler_without_its_interpreter(self):
        """Section 7: a script is started by what its first line names, and handlers have a
        PATH of their own: said at load, with its place, and a reload keeps what was in force."""
        spool = self.spool()
        tools = os.path.join(spool.base, "tools")
        os.mkdir(tools)
        shutil.copy("/bin/sh", os.path.join(tools, "interpret"))
        os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
        for line, pattern in (("#!/usr/bin/pyhton3", '"/usr/bin/pyhton3", which is not there'),
                              ("#!/bin/sh\r", "carriage returns"),
                              ("#!/usr/bin/env interpret", '"interpret", which env does not find')):
            with self.subTest(line):
                with open(os.path.join(spool.base, "handlers", "script"), "w", newline="") as file:
                    file.write(line + "\necho\n")
                os.chmod(file.name, 0o755)
                spool.configure({"handler": {"command": ["handlers/script", "{file}"]}})
                result = spool.spoold("--check-config")
                self.assertNotEqual(result.code, 0)
                self.assertRegex(result.err, r"config\.json:\d+:\d+: handler\.command: .*" + pattern)
                self.assertRegex(spool.ctl("reload", check=FAILED).err, pattern)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    def test_handler_without_a_first_line(self):
        """The same where a shell would run it, but the kernel does not: a warning, since the kernel
        can be told of other formats; its jobs wait."""
        spool = self.spool()
        with open(os.path.join(spool.base, "handlers", "main"), "w") as file:
            file.write("echo\n")
        result = spool.spoold("--check-config")
        self.assertEqual(result.code, 0)
        self.assertRegex(result.err, r"config\.json:\d+:\d+: .*handler\.command: .*main.* first line like #!")
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "pending")["job"]
        spool.wait_for(lambda: "a script needs a first line" in spool.explain(job)["because"],
                       what="explain to say why")

    def test_handler_missing_in_path(self):
        """Section 7: without a slash it is looked up in PATH."""
        spool = self.spool({"handler": {"command": ["no-such-program-here"]}}, start=False)
        result = spool.spoold("--check-config")
        self.assertNotEqual(result.code, 0)
        self.assertIn("no-such-program-here", result.err + result.out)

    def test_socket_path_too_long(self):
        """A socket's path has 107 bytes at most: said at load, not as a
        riddle at the start."""
        spool = self.spool({"spool": {"socket": "x" * 150 + "/control.sock"}}, start=False)
        result = spool.spoold("--check-config")
        self.assertNotEqual(result.code, 0)
        self.assertIn("107", result.err)


class Root(SystemTest):
    def test_missing_root(self):
        """Section 8: said with its path; --init makes it."""
        spool = self.spool(start=False)
        shutil.rmtree(spool.root)
        spool.dropped.clear()
        result = spool.spoold()
        self.assertNotEqual(result.code, 0)
        self.assertIn(spool.root, result.err)
        self.assertFalse(os.path.exists(spool.root), "not made by accident")
        spool.init()
        spool.add_user("alice")
        spool.start(init=False)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    def test_no_marker(self):
        """Section 8: without a marker it refuses and asks whether the spool
        is mounted: an unmounted spool is not an empty one."""
        spool = self.spool(start=False)
        result = spool.spoold()
        self.assertNotEqual(result.code, 0)
        self.assertSays("mount", result.err)
        self.assertIn("--init", result.err)

    def test_marker_gone_while_running(self):
        """FIELD (the mount goes away and the index is emptied): nothing is
        purged, status says so, and work resumes when it is back."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        aside = spool.root + ".away"
        os.rename(spool.root, aside)
        os.mkdir(spool.root)
        spool.run("spoolctl", "--config", spool.config_path, "rescan")
        os.rmdir(spool.root)
        os.rename(aside, spool.root)
        spool.wait_for(spool.answers, what="status to answer")
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done", limit=90)
        self.assertEqual(spool.user("alice")["done"], 2)

    @root_only
    def test_unwritable_root(self):
        """FIELD (permissions found too late): the path and the reason, at the
        start."""
        spool = self.spool(start=False)
        spool.init()
        result = spool.spoold(user="nobody", group="nogroup", extra_groups=[], timeout=30)
        self.assertNotEqual(result.code, 0)
        self.assertIn(spool.root, result.err)
        self.assertSays("permission|write|denied|may not", result.err)

    def test_root_is_a_file(self):
        """The same for a path that is no directory."""
        spool = self.spool({"spool": {"root": "config.json"}}, start=False)
        result = spool.spoold()
        self.assertNotEqual(result.code, 0)
        self.assertIn("config.json", result.err)

    def test_user_directory_without_subdirectories(self):
        """Section 3: what is missing is made, live."""
        spool = self.spool()
        os.mkdir(os.path.join(spool.root, "dave"))
        spool.wait_for(lambda: os.path.isdir(spool.path("dave")), what="dave's incoming")
        spool.drop("dave", "a.csv")
        spool.wait_state("a.csv", "done", "dave", limit=20)

    def test_directory_removed_while_running(self):
        """Promise 7: a user's missing directory is made again or explained;
        others are not disturbed."""
        spool = self.spool(users=("alice", "bob"))
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        shutil.rmtree(spool.path("alice", "processing"))
        os.rmdir(spool.path("alice", "incoming"))
        spool.drop("bob", "b.csv")
        spool.wait_state("b.csv", "done", "bob")
        os.makedirs(spool.path("alice", "incoming"), exist_ok=True)
        spool.drop("alice", "again.csv")
        spool.wait_state("again.csv", "done", limit=90)

    def test_subdirectory_is_a_file(self):
        """A user whose directory cannot be used: others are unaffected, and
        doctor names it."""
        spool = self.spool(users=("alice",), start=False)
        os.mkdir(os.path.join(spool.root, "eve"))
        with open(os.path.join(spool.root, "eve", "incoming"), "w") as file:
            file.write("no directory")
        spool.start()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertIn("eve", spool.ctl("doctor", check=1).out)

    def test_illegal_user_names(self):
        """Section 6, names are bytes: directories that are no users are
        named in the log and left alone."""
        spool = self.spool(start=False)
        for name in (b".hidden", b"-dash", b"two words", b"bad\xff", b"new\nline", b"a" * 101):
            os.makedirs(os.path.join(os.fsencode(spool.root), name, b"incoming"))
        spool.start()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertEqual([u["user"] for u in spool.status()["users"]], ["alice"])
        self.assertIn("two words", spool.log())
        self.assertNotIn("new\nline", spool.log())
        self.assertFalse(os.path.exists(os.path.join(spool.root, "-dash", "done")))

    def test_symlink_as_user(self):
        """Section 5: no name leads out of the spool."""
        spool = self.spool(start=False)
        outside = os.path.join(spool.base, "outside")
        os.makedirs(os.path.join(outside, "incoming"))
        with open(os.path.join(outside, "incoming", "theirs.csv"), "w") as file:
            file.write("theirs")
        os.symlink(outside, os.path.join(spool.root, "mallory"))
        spool.start()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertEqual(os.listdir(outside), ["incoming"])
        self.assertEqual(os.listdir(os.path.join(outside, "incoming")), ["theirs.csv"])
        spool.check_contents = False


class Printed(SystemTest):
    def test_defaults_are_the_contract(self):
        """Section 7: the defaults that the contract names."""
        spool = self.spool(start=False)
        spool.write_config('{"handler": {"command": ["handlers/main", "{file}"]}}')
        printed = json.loads(spool.spoold("--print-config").out)
        self.assertEqual(printed["spool"]["settle_seconds"], 1)
        self.assertEqual(printed["spool"]["ignore"], [".*", "*.part", "*.filepart", "*.tmp", "*~"])
        settings = printed["scheduler_settings"]
        self.assertEqual({k: settings[k] for k in (
            "interval_minutes", "max_concurrent_jobs_per_user", "job_timeout_minutes",
            "retry_failed_jobs", "max_retries", "retry_delay_seconds",
            "cleanup_completed_jobs_days", "cleanup_failed_jobs_days")}, {
            "interval_minutes": 2, "max_concurrent_jobs_per_user": 1, "job_timeout_minutes": 30,
            "retry_failed_jobs": True, "max_retries": 3, "retry_delay_seconds": 10,
            "cleanup_completed_jobs_days": 7, "cleanup_failed_jobs_days": 30})
        self.assertEqual(printed["handler"]["permanent_exit_codes"], [65])
        self.assertEqual(printed["job_processing"]["retry_position"], "front")
