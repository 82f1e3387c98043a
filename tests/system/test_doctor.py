"""Every mistake of an installation is found, with a command that mends it: the
test runs that command and looks again."""

import json
import os
import pwd
import re
import resource
import shutil
import stat
import subprocess

import harness
from harness import FAILED, SystemTest, root_only

USER = "nobody"  # an account that is there


@root_only
class Mended(SystemTest):
    def findings(self, spool, *what):
        """Of user check or doctor: [(what, mend)]; without what is always so here."""
        data = spool.ctl(*what, json=True, check=None).data
        return [(f["what"], f["mend"]) for f in data["findings"] if f.get("level") != "ok"]

    def find(self, spool, pattern, *what):
        found = [f for f in self.findings(spool, *what) if re.search(pattern, f[0])]
        self.assertTrue(found, f"/{pattern}/ among {self.findings(spool, *what)}")
        return found[0]

    def mend(self, command, **options):
        """Just as a person would paste it."""
        command = re.sub(r"^spoolctl\b", os.path.join(harness.BUILD, "spoolctl"), command)
        done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **options)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}")

    def expect_mended(self, spool, pattern, *what):
        """Found, mended by its command, and found no more."""
        said, command = self.find(spool, pattern, *what)
        self.assertTrue(command, said)
        self.mend(command, env={**spool.environment(), "SPOOLD_CONFIG": spool.config_path})
        again = [f for f in self.findings(spool, *what) if re.search(pattern, f[0])]
        self.assertEqual(again, [], f"after {command}")

    def spool_of_account(self, config=None):
        spool = self.spool(config, users=())
        spool.ctl("user", "add", USER)
        spool.wait_for(lambda: spool.user(USER), what="the user")
        self.assertEqual(self.findings(spool, "user", "check", USER), [])
        return spool

    def test_directories_of_a_user(self):
        """Owners, groups and modes: chroot, upload, secrets."""
        spool = self.spool_of_account()
        account = pwd.getpwnam(USER)
        mistakes = [
            ("", lambda p: os.chown(p, account.pw_uid, -1), "belongs to the uploader"),
            ("", lambda p: os.chown(p, 4321, -1), "neither to root nor"),
            ("", lambda p: os.chmod(p, 0o775), "writable by others: sshd"),
            ("", lambda p: os.chmod(p, 0o700), "cannot pass through"),
            ("incoming", lambda p: os.chown(p, 0, 0), "cannot write to incoming"),
            ("incoming", lambda p: os.chown(p, 4321, 4321), "cannot write to incoming"),
            ("incoming", lambda p: os.chmod(p, 0o570), "not writable by its owner"),
            ("incoming", lambda p: os.chmod(p, 0o777), "writable by everybody"),
            ("processing", lambda p: os.chmod(p, 0o755), "can be listed"),
            ("processing", lambda p: os.chown(p, account.pw_uid, -1), "belongs to the uploader"),
            ("done", lambda p: os.chown(p, -1, 4321), "cannot be read by the uploader"),
            ("failed", lambda p: os.chmod(p, 0o770), "writable by others"),
            ("failed", lambda p: os.rmdir(p), "is missing"),
        ]
        spool.stop()  # it would make what is missing itself
        for place, make, pattern in mistakes:
            with self.subTest(pattern):
                path = spool.path(USER, place)
                make(path)
                self.expect_mended(spool, pattern, "user", "check", USER)
                self.assertEqual(self.findings(spool, "user", "check", USER), [])
        spool.restart()

    def test_directory_that_was_moved(self):
        """Nothing in it is worked on, and nothing else says so."""
        spool = self.spool_of_account()
        os.rename(spool.path(USER, "done"), spool.path(USER, "done.2025"))
        os.makedirs(spool.path(USER, "empty"))
        os.makedirs(spool.path(USER, "dev/log"))
        with open(spool.path(USER, "done.2025", "a.csv"), "w"):
            pass
        for what in (("user", "check", USER), ("doctor",)):
            self.find(spool, "done.2025 is none of spoold's directories", *what)
            said = [f[0] for f in self.findings(spool, *what) if "none of spoold's" in f[0]]
            self.assertEqual(len(said), 1, said)

    def test_what_is_beside_the_jobs(self):
        """What retention left when it was cut short, and an index was lost; and strangers,
        of which the log tells at each start, and which are left alone."""
        spool = self.spool()
        spool.stop()
        rest = spool.path("alice", "processing", ".removed.4711")
        strange = spool.path("alice", "processing", "lost+found; x")
        os.makedirs(os.path.join(rest, b"some dir"))
        with open(os.path.join(rest, b"some dir", b"x"), "w"):
            pass
        with open(strange, "w"):
            pass
        spool.restart()
        spool.wait_log("lost.found; x is not spoold's")
        self.find(spool, "lost.found; x is not spoold's", "doctor")
        self.expect_mended(spool, "removed.4711 is what is left of a directory", "doctor")
        self.assertFalse(os.path.lexists(rest))
        self.assertTrue(os.path.lexists(strange))

    def test_add_fits_a_chroot_and_a_share(self):
        """user add: what sshd asks of a chroot, and what an uploader needs."""
        spool = self.spool_of_account()
        account = pwd.getpwnam(USER)
        home = spool.path(USER, "")
        st = os.stat(home)
        self.assertEqual((st.st_uid, stat.S_IMODE(st.st_mode) & 0o022), (0, 0))
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        script = ("set -e; cd incoming; echo x >a.part; mv a.part b.part; rm b.part; ls ../done ../failed; "
                  "! ls ../processing; ! mkdir ../mine; ! mv ../incoming ../other; "
                  "! touch ../done/x ../failed/x")
        done = subprocess.run(["bash", "-c", script], cwd=home, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **as_user)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_root_of_the_spool(self):
        spool = self.spool()
        os.chmod(spool.root, 0o777)
        self.expect_mended(spool, "writable by others than its owner", "doctor")
        os.chown(spool.root, 4321, -1)
        self.expect_mended(spool, "belongs neither to root", "doctor")

    def test_way_to_the_spool(self):
        """What leads to it: sshd asks as much of that."""
        spool = self.spool(root="srv/spool")
        way = os.path.join(spool.base, "srv")
        for path in (way, spool.base):
            os.chmod(path, 0o775)
            self.expect_mended(spool, f"{path} is writable by others than its owner", "doctor")
            os.chown(path, 4321, -1)
            self.expect_mended(spool, f"{path} belongs neither to root", "doctor")

    def test_handler_on_a_noexec_mount(self):
        spool = self.spool()
        handlers = os.path.join(spool.base, "handlers")
        kept = os.path.join(spool.base, "staging", "kept")
        shutil.copytree(handlers, kept)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "none", handlers],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", handlers], check=True)
        shutil.copytree(kept, handlers, dirs_exist_ok=True)
        self.expect_mended(spool, "mounted noexec", "doctor")

    def test_all_mistakes_of_the_configuration(self):
        """What spoold --check-config says, to its end."""
        spool = self.spool({"spool": {"watch": "maybe", **{f"nonsense{n}": n for n in range(25)}},
                            "handler": {"command": ["./none", "{fil}"], "run_as": "nosuchaccount"},
                            "users": {"bob": {"handler": {"command": ["./none-of-bob"]}}}},
                           start=False)
        checked = spool.spoold("--check-config")
        said = checked.err.splitlines()
        self.assertGreater(len(said), 28)
        found = spool.ctl("doctor", json=True, check=FAILED).data["findings"]
        self.assertEqual([f["what"] for f in found if f["level"] == "error"], said)

    def test_handler_that_is_not_executable(self):
        spool = self.spool()
        os.chmod(os.path.join(spool.base, "handlers", "main"), 0o644)
        self.expect_mended(spool, "handler .* cannot be run", "doctor")

    def test_handler_without_a_first_line(self):
        spool = self.spool()
        with open(os.path.join(spool.base, "handlers", "main"), "w") as file:
            file.write("exit 0\n")
        found = [f for f in self.findings(spool, "doctor") if "handlers/main" in f[0]]
        self.assertEqual(len(found), 1, found)
        self.assertRegex(found[0][0], "without a first line like #!/bin/sh")

    def test_settings_of_nobody(self):
        """A name in "users" that is mistyped: its settings count for nobody."""
        spool = self.spool({"users": {"hbbo": {"max_retries": 1}, "zz": {"max_retries": 1},
                                      "hbob": {"max_retries": 1}}}, users=("alice", "hbob"))
        found = [f for f in self.findings(spool, "doctor") if "no such user" in f[0]]
        self.assertEqual(len(found), 2, found)
        self.assertRegex(found[0][0], r"users\.hbbo.*no such user.*did you mean \"hbob\"\?")
        self.assertRegex(found[0][1], "correct the name.*spoolctl user add hbbo$")
        self.assertRegex(found[1][0], r"users\.zz\b")
        self.assertNotIn("mean", found[1][0])
        self.assertEqual(spool.ctl("doctor").code, 0)  # a warning
        spool.ctl("user", "add", "hbbo")
        spool.configure({"users": {"zz": None}})
        self.assertEqual([f for f in self.findings(spool, "doctor") if "no such user" in f[0]], [])

    def test_handler_that_cannot_be_run_is_an_error(self):
        """No job can run: told once, although routes and users share it, with exit 1."""
        spool = self.spool(users=("alice", "bob"))
        main = os.path.join(spool.base, "handlers", "main")
        spool.configure({
            "routes": [{"match": match, "handler": {"recycle_after_jobs": 1}}
                       for match in ("*.csv", "*.txt")],
            "users": {user: {"handler": {"recycle_after_jobs": 2}} for user in ("alice", "bob")}})
        spool.ctl("reload")

        def replace(line):
            with open(main, "w") as file:
                file.write(line)

        for break_it, pattern in ((lambda: os.chmod(main, 0o644), "Permission denied"),
                                  (lambda: replace("#!/usr/bin/pyhton3\n"), "pyhton3.*not there"),
                                  (lambda: replace("#!/usr/bin/env pyhton3\n"), "env does not find"),
                                  (lambda: os.unlink(main), "No such file"),
                                  (lambda: os.mkdir(main), "Is a directory")):
            with self.subTest(pattern):
                if os.path.exists(main):
                    os.chmod(main, 0o755)
                break_it()
                result = spool.ctl("doctor", json=True, check=harness.FAILED)
                found = [f for f in result.data["findings"] if "cannot be run" in f["what"]]
                self.assertEqual(len(found), 1, found)
                self.assertEqual(found[0]["level"], "error")
                self.assertRegex(found[0]["what"], f"handlers/main cannot be run: .*{pattern}")
                self.assertTrue(found[0]["mend"])

    def test_handlers_that_run_as_root(self):
        """A note, once for all of them; none where each has an account."""
        pattern = "handlers run as root"
        spool = self.spool({"users": {"bob": {"handler": {"recycle_after_jobs": 2}}}},
                           users=("alice", "bob"))

        def told():
            return [f for f in self.findings(spool, "doctor") if pattern in f[0]]
        self.assertEqual(len(told()), 1)
        self.assertIn("handler.run_as", told()[0][1])
        said = spool.ctl("doctor").out
        self.assertIn("note     handlers run as root", said)
        self.assertIn("the handlers can be run", said)
        self.assertSays("all is well", said)
        spool.stop()
        self.assertEqual(len(told()), 1)
        spool.configure({"handler": {"run_as": USER}})
        self.assertEqual(told(), [])
        spool.restart()
        self.assertEqual(told(), [])
        self.assertSays("all is well", spool.ctl("doctor").out)
        spool.configure({"users": {"bob": {"handler": {"run_as": ""}}}})
        self.assertEqual(len(told()), 1)
        os.chown(spool.index_path(), 4321, -1)
        self.assertEqual(len(told()), 1)
        spool.stop()
        self.assertEqual(told(), [])
        os.chown(spool.index_path(), 0, -1)

    def test_account_out_of_reach_is_told_once(self):
        """Whoever shares handler and account."""
        spool = self.spool({"handler": {"run_as": USER}}, users=("alice", "bob"))
        spool.configure({"users": {u: {"handler": {"recycle_after_jobs": 2}} for u in ("alice", "bob")}})
        os.chmod(os.path.join(spool.base, "handlers", "main"), 0o700)
        os.chmod(spool.root, 0o700)
        said = [what for what, _ in self.findings(spool, "doctor") if "run_as" in what]
        self.assertEqual(len(said), 2, said)

    def test_handler_out_of_reach_of_its_account(self):
        """run_as: the program, a directory above it, and the spool itself."""
        spool = self.spool({"handler": {"run_as": USER}})
        self.assertEqual([f for f in self.findings(spool, "doctor") if "run_as" in f[0]], [])
        for path, pattern in ((os.path.join(spool.base, "handlers", "main"), "run the handler"),
                              (os.path.join(spool.base, "handlers"), "run the handler"),
                              (spool.root, "get to the spool")):
            os.chmod(path, 0o700)
            self.expect_mended(spool, pattern, "doctor")

    def test_account_that_is_missing(self):
        name = f"spoold-t{os.getpid()}"
        spool = self.spool()
        spool.stop()
        spool.configure({"handler": {"run_as": "{user}"}})
        os.makedirs(spool.path(name))
        self.addCleanup(subprocess.run, ["userdel", name], stderr=subprocess.DEVNULL, check=False)
        self.expect_mended(spool, f"no account {name} ", "doctor")
        self.assertTrue(pwd.getpwnam(name))

    def test_socket_out_of_reach(self):
        """Of the group spool, or, without one, of who is not root."""
        spool = self.spool()
        os.chmod(spool.socket_path(), 0o600)
        self.expect_mended(spool, "cannot ask spoold", "doctor")
        os.chmod(os.path.dirname(spool.socket_path()), 0o700)
        self.expect_mended(spool, "cannot ask spoold", "doctor")

    def test_too_few_watches(self):
        """In a mount namespace of its own, the limit is another one."""
        spool = self.spool()
        limit = os.path.join(spool.base, "limit")
        with open(limit, "w") as file:
            file.write("1\n")
        doctor = f"'{harness.BUILD}/spoolctl' --config '{spool.config_path}' --json doctor"
        bound = "/proc/sys/fs/inotify/max_user_watches"
        in_there = ["unshare", "--mount", "bash", "-c",
                    f"mount --bind '{limit}' {bound} && exec {doctor}"]
        done = subprocess.run(in_there, cwd=spool.base, env=spool.environment(),
                              stdout=subprocess.PIPE)
        before = json.loads(done.stdout)
        found = [f for f in before["findings"] if "inotify watches" in f["what"]]
        self.assertEqual(found[0]["level"], "warning", found)
        name, value = re.fullmatch(r"sysctl ([a-z_.]+)=(\d+)", found[0]["mend"]).groups()
        self.assertEqual("/proc/sys/" + name.replace(".", "/"), bound)
        with open(limit, "w") as file:
            file.write(value)
        done = subprocess.run(in_there, cwd=spool.base, env=spool.environment(),
                              stdout=subprocess.PIPE)
        after = json.loads(done.stdout)
        levels = [f["level"] for f in after["findings"] if "inotify watches" in f["what"]]
        self.assertEqual(levels, ["ok"])

    def test_too_few_files(self):
        spool = self.spool()
        pid = spool.daemon.pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (200, hard))
        self.expect_mended(spool, "files open", "doctor")
        self.assertEqual(resource.prlimit(pid, resource.RLIMIT_NOFILE)[1], hard)

    def test_group_out_of_reach(self):
        """Where there is a group spool, it is its members that must get in."""
        spool = self.spool()
        # All of /etc is another: a mount on the file goes when another test replaces that.
        # (So do temporary files there, which cp may miss.)
        etc = os.path.join(spool.base, "etc")
        subprocess.run(["cp", "-a", "/etc", etc], check=False, stderr=subprocess.DEVNULL)
        with open("/etc/group") as old, open(os.path.join(etc, "group"), "w") as new:
            new.write(re.sub(r"(?m)^spool:.*\n", "", old.read()) + "spool:x:54321:\n")
        os.chmod(spool.socket_path(), 0o660)

        def doctor():
            command = f"mount --bind '{etc}' /etc && exec '{harness.BUILD}/spoolctl' " \
                      f"--config '{spool.config_path}' --json doctor"
            done = subprocess.run(["unshare", "--mount", "bash", "-c", command], cwd=spool.base,
                                  env=spool.environment(), stdout=subprocess.PIPE)
            return [f for f in json.loads(done.stdout)["findings"]
                    if "the group spool" in f["what"]]
        found = doctor()
        self.assertEqual(len(found), 1, found)
        self.mend(found[0]["mend"])
        self.assertEqual(doctor(), [])
