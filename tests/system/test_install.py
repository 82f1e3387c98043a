"""What `make install` brings, tried where it was installed."""

import os
import shutil
import stat
import subprocess
import unittest

from harness import BUILD, REPO, SystemTest
from spool import has_sanitizer

PROGRAMS = ("sbin/spoold", "bin/spoolctl", "libexec/spoold/spool-worker")
PAGES = ("man1/spoolctl.1", "man5/spoold.json.5", "man7/spool-handler.7", "man8/spoold.8")
EXAMPLES = "share/doc/spoold/examples"


@unittest.skipIf(has_sanitizer(), "installs the plain build")
class Install(SystemTest):
    """A few objects are compiled for the other prefix, the rest is copied."""

    def setUp(self):
        super().setUp()
        self.build = os.path.join(self.directory, "build")
        self.prefix = os.path.join(self.directory, "installed")
        os.mkdir(self.build)
        for name in ("obj", "libbase.a", "libcore.a", "libio.a", "spoold", "spoolctl",
                     "spool-worker", "flags", "built-for"):
            source, target = os.path.join(BUILD, name), os.path.join(self.build, name)
            # With their times: make takes them as they are.
            (shutil.copytree if os.path.isdir(source) else shutil.copy2)(source, target)
        self.make("install")

    def make(self, target):
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "DESTDIR")}
        done = subprocess.run(["make", "-C", REPO, "B=" + self.build, "PREFIX=" + self.prefix,
                               target], env=env, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)

    def path(self, name):
        return os.path.join(self.prefix, name)

    def run_it(self, *args, **options):
        return subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60, **options)

    def files(self):
        return [os.path.join(at, name) for at, _, names in os.walk(self.prefix) for name in names]

    def check_modes(self):
        for path in self.files():
            runs = "/bin/" in path or "/sbin/" in path or "/libexec/" in path
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o755 if runs else 0o644, path)

    def check_programs(self):
        for name in PROGRAMS[:2]:
            for option in ("--version", "--help"):
                done = self.run_it(self.path(name), option)
                self.assertEqual(done.returncode, 0, done)
                self.assertTrue(done.stdout.strip(), name)
        self.assertTrue(os.access(self.path(PROGRAMS[2]), os.X_OK))

    def check_pages(self):
        for name in PAGES:
            path = self.path("share/man/" + name)
            self.assertTrue(os.path.getsize(path) > 0)
            if shutil.which("man"):
                done = self.run_it("man", "--warnings", "-l", path,
                                   env={**os.environ, "LC_ALL": "C.UTF-8", "MANPAGER": "cat"})
                self.assertEqual((done.returncode, done.stderr), (0, ""), path)
            if shutil.which("mandoc"):
                done = self.run_it("mandoc", "-Tlint", path)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), path)

    def check_unit(self):
        path = self.path("lib/systemd/system/spoold.service")
        with open(path) as file:
            text = file.read()
        self.assertIn(f"ExecStart={self.prefix}/sbin/spoold ", text)
        self.assertIn(f"ExecReload={self.prefix}/bin/spoolctl ", text)
        self.assertNotIn("@PREFIX@", text)
        if shutil.which("systemd-analyze"):
            done = self.run_it("systemd-analyze", "verify", "--man=no", path)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            done = self.run_it("systemd-analyze", "security", "--offline=true", "--threshold=50",
                               path)
            self.assertEqual(done.returncode, 0, done.stdout[-500:])

    def check_examples(self):
        self.assertEqual(sorted(os.listdir(self.path(EXAMPLES))),
                         ["config.json", "exports", "ganesha.conf", "smb.conf", "sshd_config",
                          "stream-handler.c", "vsftpd.conf"])
        done = self.run_it(self.path("sbin/spoold"), "--check-config", "--config",
                           self.path(EXAMPLES + "/config.json"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def check_it_works(self):
        """Its worker and its default handler are found where they are now."""
        os.mkdir(self.path("site"))
        config = self.path("site/config.json")
        with open(config, "w") as file:
            file.write("{}")
        self.assertEqual(self.run_it(self.path("sbin/spoold"), "--config", config,
                                     "--init").returncode, 0)
        incoming = self.path("site/spool/alice/incoming")
        os.makedirs(incoming)
        with open(os.path.join(incoming, "a.csv"), "w") as file:
            file.write("id,amount\n1,2\n")
        done = self.run_it(self.path("sbin/spoold"), "--config", config, "--mode", "once")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(os.path.exists(self.path("site/spool/alice/done/a.csv")))
        shutil.rmtree(self.path("site"))

    def test_install(self):
        """All that is installed is there, is sound, and works where it is."""
        self.check_modes()
        self.check_programs()
        self.check_pages()
        self.check_unit()
        self.check_examples()
        self.check_it_works()
        with open(self.path("share/doc/own"), "w") as file:
            file.write("not ours\n")
        self.make("uninstall")
        self.assertEqual(self.files(), [self.path("share/doc/own")])
