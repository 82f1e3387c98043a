"""spoolctl alone: answers of a daemon of another version or a broken one, no
answer at all, and what it tells of a spool whose daemon is down."""

import json
import os
import socket
import subprocess
import threading

import harness
from harness import FAILED, NO_DAEMON, USAGE, SystemTest, root_only


class Daemon:
    """Listens like spoold, and answers every request with the same bytes."""

    def __init__(self, path, answer):
        self.answer = answer
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rb") as lines:
                try:
                    while self.answer is not None and lines.readline():
                        peer.sendall(self.answer)
                        if not self.answer.endswith(b"\n"):
                            break
                except OSError:
                    continue

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


ASKING = (("status",), ("list",), ("show", "1"), ("explain", "1"), ("retry", "1"),
          ("cancel", "1", "2"), ("hold", "1"), ("release", "--user", "alice"), ("start",),
          ("stop",), ("rescan",), ("reload",), ("log", "1"))


class Answers(SystemTest):
    def ask(self, answer, *args, **options):
        """spoolctl, answered with these bytes."""
        spool = self.spool(start=False) if not self.spools else self.spools[0]
        path = os.path.join(spool.base, "other.sock")
        daemon = Daemon(path, answer)
        try:
            return spool.ctl("--socket", path, *args, check=None, **options)
        finally:
            daemon.close()
            os.unlink(path)

    def test_no_answer_that_can_be_understood(self):
        """Exit 1, and a reason in words, whatever was asked."""
        for answer in (b"nonsense\n", b"[]\n", b"\xff\xfe\n", b"{}x\n", b"\n"):
            for args in ASKING:
                with self.subTest(answer=answer, args=args):
                    result = self.ask(answer, *args)
                    self.assertEqual(result.code, FAILED, result)
                    self.assertIn("another version", result.err)

    def test_a_daemon_that_goes_away(self):
        """Exit 3: before its answer, and within it."""
        for answer in (None, b'{"ok": true'):
            for args in ASKING:
                with self.subTest(answer=answer, args=args):
                    result = self.ask(answer, *args)
                    self.assertEqual(result.code, NO_DAEMON, result)
                    self.assertIn("went away", result.err)

    def test_refused_without_a_reason(self):
        """A refusal is a refusal, also one that says little or too much."""
        for answer, code in (({"ok": False}, FAILED), ({"ok": False, "exit": 2}, USAGE),
                             ({"ok": False, "exit": 1 << 40}, FAILED), ({"ok": "yes"}, FAILED),
                             ({"ok": False, "error": 7, "exit": "no"}, FAILED), ({}, FAILED)):
            for args in ASKING:
                with self.subTest(answer=answer, args=args):
                    result = self.ask(json.dumps(answer).encode() + b"\n", *args)
                    self.assertEqual(result.code, code, result)
                    self.assertIn("does not say why", result.err)

    def test_every_mistake_of_a_refusal_is_shown(self):
        answer = {"ok": False, "error": "the configuration has mistakes", "exit": 1,
                  "errors": ["config.json:1:2: this", "and that", 5]}
        result = self.ask(json.dumps(answer).encode() + b"\n", "reload")
        self.assertEqual(result.code, FAILED)
        for word in (answer["error"], "config.json:1:2: this", "and that"):
            self.assertIn(word, result.err)
        told = self.ask(json.dumps(answer).encode() + b"\n", "reload", json=True)
        self.assertEqual(told.data["errors"], answer["errors"])

    def test_fields_of_another_kind_count_as_missing(self):
        """src/spoolctl/view.h: a daemon of another version breaks no view."""
        odd = (7, -1, 1e300, "x" * 3000, [], [[]], [7], [{}], {}, {"a": {}}, True, None,
               [{"job": "x", "running": 5, "progress": 1e308, "elapsed_seconds": -5,
                 "attempts": {}, "size": -1, "error": [], "accepted_at": "yesterday"}])
        keys = ("users", "jobs", "job", "daemon", "path", "state", "because", "next", "attempts",
                "message", "warnings", "running", "more", "data", "final")
        for value in odd:
            answer = {"ok": True, **{key: value for key in keys}}
            for args in (("status",), ("list",), ("show", "1"), ("explain", "1"), ("reload",)):
                for as_json in (False, True):
                    with self.subTest(value=str(value)[:40], args=args, json=as_json):
                        result = self.ask(json.dumps(answer).encode() + b"\n", *args,
                                          *(["--json"] if as_json else []))
                        self.assertIn(result.code, (0, FAILED), result)

    def test_warnings_of_a_reload_are_shown(self):
        answer = {"ok": True, "message": "loaded", "warnings": ["first", 2, "third"]}
        result = self.ask(json.dumps(answer).encode() + b"\n", "reload")
        self.assertEqual(result.code, 0)
        self.assertIn("loaded", result.out)
        self.assertIn("warning: first", result.err)
        self.assertIn("warning: third", result.err)


class Sockets(SystemTest):
    def test_nobody_listens(self):
        """Exit 3, for what is no socket too."""
        spool = self.spool(start=False)
        spool.init()
        plain = os.path.join(spool.base, "plain")
        with open(plain, "w"):
            pass
        for path in (os.path.join(spool.base, "none"), plain, os.path.join(plain, "below")):
            result = spool.ctl("--socket", path, "start", check=NO_DAEMON)
            self.assertIn("not running", result.err)

    def test_another_socket_than_the_configured_one(self):
        """The daemon is not blamed for a path that was typed wrong."""
        spool = self.spool()
        wrong = os.path.join(spool.base, "wrong.sock")
        for args in (("status",), ("hold", "1"), ("list",)):
            result = spool.ctl("--socket", wrong, *args, check=NO_DAEMON)
            self.assertSays(f"nothing listens at {wrong} .*{spool.config_path} says "
                            f"{spool.socket_path()}: leave out --socket", result.err)
            self.assertNotIn("not running", result.err + result.out)
            self.assertNotIn("is gone", result.err + result.out)
        found = spool.ctl("--socket", wrong, "doctor", json=True, check=FAILED).data["findings"]
        self.assertEqual([f["what"].split(",")[0] for f in found if f["level"] == "error"],
                         [f"nothing listens at {wrong} (--socket)"])
        result = spool.run("spoolctl", "--config", os.path.join(spool.base, "none.json"), "--socket",
                           wrong, "hold", "1")
        self.assertEqual(result.code, NO_DAEMON)
        self.assertSays(f"nothing listens at {wrong} .*--config FILE", result.err)
        spool.stop()
        said = spool.ctl("--socket", wrong, "hold", "1", check=NO_DAEMON).err
        self.assertSays("nothing listens at .*not running", said)
        self.assertSays("start spoold", said)
        said = spool.ctl("--socket", spool.socket_path(), "hold", "1", check=NO_DAEMON).err
        self.assertNotIn("nothing listens", said)

    def test_a_path_that_is_too_long(self):
        spool = self.spool(start=False)
        result = spool.ctl("--socket", "/" + "x" * 200, "status", check=FAILED)
        self.assertIn("107", result.err)

    @root_only
    def test_no_permission(self):
        spool = self.spool(start=False)
        path = os.path.join(spool.base, "closed.sock")
        daemon = Daemon(path, b"{}\n")
        os.chmod(path, 0o600)
        try:
            result = spool.ctl("--socket", path, "status", check=FAILED, user="nobody")
        finally:
            daemon.close()
        self.assertIn("permission", result.err)

    def test_a_configuration_with_mistakes(self):
        """Root and socket are told all the same; settings that matter are not."""
        spool = self.spool()
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        good = json.dumps(spool.config)
        spool.write_config(good.replace('"max_retries"', '"max_retrys"', 1)
                           if "max_retries" in good else good[:-1] + ', "nonsense": 1}')
        self.assertIn("a.csv", spool.ctl("list").out)
        result = spool.ctl("doctor", check=FAILED)
        self.assertIn("config.json", result.out + result.err)
        spool.write_config("{")
        spool.ctl("status")
        result = spool.ctl("reload", check=FAILED)
        self.assertIn("config.json:1:", result.err)
        spool.write_config(good)

    def test_a_configuration_that_is_no_json(self):
        """Root and socket are where it says, all the same: nobody hears that spoold does not
        run when it does."""
        spool = self.spool(root="elsewhere")
        good = json.dumps(spool.config)
        socket = json.dumps(os.path.join(spool.base, "other.sock"))
        for bad in (good[:-1] + ",}", good.replace(": 0.2}", ": 0.2,"), good.replace("{", "{,", 1),
                    good + "x"):
            spool.write_config(bad)
            result = spool.ctl("reload", check=FAILED)
            self.assertIn("config.json:1:", result.err)
            self.assertNotIn("not running", result.err)
        for bad in (f'{{"spool": {{"root": "elsewhere", "socket": {socket},}}}}',
                    f"spool:\n  root: elsewhere\n  socket: {socket} # ours\n  ["):
            spool.write_config(bad)
            result = spool.ctl("reload", check=NO_DAEMON)
            self.assertIn("not running on " + spool.root, result.err)
        spool.write_config(good)


class Down(SystemTest):
    """Section 8: with the daemon down, the index answers, and exit 3 says so."""

    def test_spool_that_is_not_mounted(self):
        """FIELD (the mount goes away): lock and socket went with it, so that nobody can tell
        whether spoold runs; it does."""
        spool = self.spool()
        ours, aside = os.path.join(spool.root, ".spoold"), os.path.join(spool.base, "aside")
        os.rename(ours, aside)
        for command in ("status", "start"):
            result = spool.ctl(command, check=NO_DAEMON)
            self.assertIn("cannot be told", result.err)
            self.assertIn("mount", result.err)
            self.assertNotIn("never run", result.err)
        os.rename(aside, ours)
        spool.ctl("status")

    def test_every_file_has_a_reason(self):
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler="case $SPOOL_NAME in bad*) exit 1 ;; esac\n")
        for name, state in (("good.csv", "done"), ("bad.csv", "failed")):
            spool.drop("alice", name)
            spool.wait_state(name, state)
        spool.drop("alice", "good.csv")
        spool.wait_for(lambda: [j for j in spool.jobs("alice", "--state", "done")
                                if j["path"] != "alice/done/good.csv"], what="the second one")
        job = spool.job("good.csv")
        spool.stop()
        os.mkdir(spool.path("alice", "incoming", "sub"))
        os.symlink("x", spool.path("alice", "incoming", "link.csv"))
        for name in ("late.csv", "half.part"):
            spool.drop("alice", name)
        numbered = os.path.basename(job["path"])
        self.assertNotEqual(numbered, "good.csv")
        for place, name, state in (("done", "good.csv", "done"), ("done", numbered, "done"),
                                   ("failed", "bad.csv", "failed"),
                                   ("done", "none.csv", "unknown"),
                                   ("done", "none.7.csv", "unknown"),
                                   ("processing", "7/none.csv", "unknown"),
                                   ("incoming", "late.csv", "arriving"),
                                   ("incoming", "half.part", "ignored"),
                                   ("incoming", "sub", "directory"),
                                   ("incoming", "link.csv", "refused"),
                                   ("incoming", "none.csv", "unknown")):
            with self.subTest(place=place, name=name):
                why = spool.explain(spool.path("alice", place, name), check=NO_DAEMON)
                self.assertEqual(why["state"], state)
                self.assertTrue(why["because"])
        self.assertEqual(spool.explain(job["job"], check=NO_DAEMON)["state"], "done")
        for elsewhere in ("/etc/passwd", os.path.join(spool.root, "alice", "x")):
            result = spool.ctl("explain", elsewhere, check=NO_DAEMON)
            self.assertTrue(result.err)
        os.unlink(spool.path("alice", "incoming", "link.csv"))

    def test_what_only_a_daemon_can_do(self):
        spool = self.spool()
        spool.stop()
        for args in (("start",), ("stop",), ("reload",), ("rescan",), ("retry", "1"),
                     ("cancel", "1"), ("hold", "1"), ("release", "1")):
            result = spool.ctl(*args, check=NO_DAEMON)
            self.assertIn("not running", result.err, args)

    def test_no_index_yet(self):
        """A spool that no daemon ever worked on."""
        spool = self.spool(start=False)
        spool.init()
        for args in (("status",), ("list",)):
            spool.ctl(*args, check=NO_DAEMON)
        spool.ctl("show", "1", check=NO_DAEMON)
        why = spool.explain(spool.path("alice", "incoming", "x"), check=NO_DAEMON)
        self.assertEqual(why["state"], "unknown")

    def test_watch_goes_on_through_a_restart(self):
        """src/spoolctl/watch.h: while nobody answers it says so."""
        spool = self.spool()
        watch = subprocess.Popen(
            [os.path.join(harness.BUILD, "spoolctl"), "--config", spool.config_path, "status",
             "--watch"], env=spool.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE)
        try:
            self.wait_for_line(watch, b"alice")
            spool.stop()
            self.wait_for_line(watch, b"does not answer")
            self.wait_for_line(watch, b"last known")
            spool.restart()
            spool.add_user("bob")
            self.wait_for_line(watch, b"bob")
        finally:
            watch.terminate()
            watch.stdout.close()
            self.assertEqual(watch.wait(60), 0)

    def wait_for_line(self, process, word):
        for line in process.stdout:
            if word in line:
                return
        self.fail(f"it ended before it said {word}")

    def test_watch_of_nobody(self):
        spool = self.spool()
        result = spool.ctl("status", "stranger", "--watch", check=FAILED)
        self.assertIn("stranger", result.err)


class Logs(SystemTest):
    def test_as_json(self):
        """Every byte of a log comes back, in pieces larger than an answer."""
        spool = self.spool(handler="head -c 150000 /dev/zero | tr '\\0' 'x'; printf '\\377\\033\\n'\n",
                           config={"handler": {"keep_logs": "always"}})
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        job = spool.job("a.csv")["job"]
        told = spool.ctl("log", str(job), json=True).data
        self.assertTrue(told["final"])
        data = told["data"].encode("latin-1")
        self.assertIn(b"x" * 150000 + b"\xff\x1b\n", data)
        plain = subprocess.run(
            [os.path.join(harness.BUILD, "spoolctl"), "--config", spool.config_path, "log",
             str(job)], env=spool.environment(), stdout=subprocess.PIPE, timeout=60)
        self.assertEqual(plain.stdout, data)
        result = spool.ctl("log", str(job), "--follow", json=False, check=0)
        self.assertIn("xxx", result.out)
        self.assertIn("people", spool.ctl("--json", "log", str(job), "--follow", check=USAGE).out)


class Accounts(SystemTest):
    @root_only
    def test_owner_by_name_and_number(self):
        """user add --uid and --gid, by name and by number."""
        spool = self.spool(start=False)
        spool.init()
        for name, args, owner in (("one", ("--uid", "nobody"), 65534), ("two", ("--uid", "7"), 7),
                                  ("three", ("--gid", "nogroup"), 0), ("four", ("--gid", "7"), 0)):
            spool.ctl("user", "add", name, *args)
            found = os.stat(spool.path(name, "incoming"))
            self.assertEqual(found.st_uid, owner)
            if args[0] == "--gid":
                self.assertEqual(found.st_gid, 65534 if args[1] == "nogroup" else 7)
        told = spool.ctl("user", "add", "five", "--uid", "0", json=True).data
        self.assertEqual((told["user"], told["uid"]), ("five", 0))
        self.assertGreaterEqual(told["made"], 4)
        self.assertIn("already", spool.ctl("user", "add", "five").out)

    @root_only
    def test_user_without_an_account(self):
        """A slip in the name is said, and who owns incoming then; exit 0 all the same. With
        run_as "{user}" also that its jobs cannot run."""
        spool = self.spool(start=False, users=())
        spool.init()
        told = spool.ctl("user", "add", "nobodyhere")
        said = told.err.splitlines()
        self.assertEqual(len(said), 1, said)
        self.assertRegex(said[0], "no account nobodyhere, so root owns.*remove .*/nobodyhere,"
                                  ".*useradd nobodyhere")
        self.assertIn("root uploads", told.out)
        found = spool.ctl("user", "check", "nobodyhere", json=True, check=FAILED).data["findings"]
        self.assertEqual([f["level"] for f in found], ["warning"], found)
        self.assertIn("no account of that name, so root owns incoming", found[0]["what"])
        self.assertEqual(found[0]["mend"], "useradd nobodyhere")
        for args in (("nobody",), ("share", "--uid", "7"), ("group", "--gid", "7")):
            self.assertEqual(spool.ctl("user", "add", *args).err, "", args)
            self.assertEqual(spool.ctl("user", "check", args[0], json=True).data["findings"], [])
        spool.configure({"handler": {"run_as": "{user}"}})
        self.assertSays("run_as.*jobs of other cannot run.*useradd other",
                        spool.ctl("user", "add", "other", "--uid", "7").err)
        self.assertEqual(spool.ctl("user", "add", "daemon").err, "")
        found = spool.ctl("user", "check", "other", json=True, check=FAILED).data["findings"]
        self.assertEqual([f["level"] for f in found], ["error"], found)
        self.assertIn("jobs cannot run", found[0]["what"])
        users = {f["user"] for f in spool.ctl("user", "check", json=True, check=FAILED).data["findings"]}
        self.assertEqual(users, {"nobodyhere", "share", "group", "other"})

    def test_refusals(self):
        """Exit 2, with a reason."""
        spool = self.spool(start=False)
        spool.init()
        for args in (("user",), ("user", "remove", "x"), ("user", "add"), ("user", "list", "x"),
                     ("user", "add", "x", "y"), ("user", "add", "x", "--uid", "no-such-account"),
                     ("user", "add", "x", "--uid", "4294967295"), ("user", "add", "x", "--uid=#7"),
                     ("user", "add", "x", "--gid", "no-such-group"), ("user", "add", "../x")):
            result = spool.ctl(*args, check=USAGE)
            self.assertTrue(result.err, args)

    def test_list_and_check_as_json(self):
        spool = self.spool()
        spool.add_user("bob")
        self.assertTrue(spool.ctl("user", "list", json=True).data["users"])
        spool.wait_for(lambda: os.path.isdir(spool.path("bob", "failed")), what="bob's directories")
        self.assertEqual(spool.ctl("user", "check", json=True).data["findings"], [])
        for found in spool.ctl("user", "check", "alice", json=True, check=None).data["findings"]:
            self.assertIn("no account of that name", found["what"])
            self.assertEqual((found["user"], found["level"]), ("alice", "warning"))
        result = spool.ctl("user", "check", "stranger", check=FAILED)
        self.assertIn("stranger", result.out + result.err)
