"""A spool of its own for each test, with the real programs.

Nothing here sleeps and hopes: tests wait for an event with a generous limit.
After each test the harness itself checks that no dropped file was lost or
changed, that no two attempts of a user overlapped (unless the test allows
it), that no process is left, and that no sanitizer complained."""

import os
import shutil
import tempfile
import unittest

from contents import PLACES, escape
from handlers import BAD_FAILS, GATE, OK
from spool import BUILD, FAILED, NO_DAEMON, REPO, USAGE, Spool, slowness

__all__ = ["BAD_FAILS", "BUILD", "FAILED", "GATE", "NO_DAEMON", "OK", "PLACES", "REPO", "USAGE",
           "Spool", "SystemTest", "escape", "limit", "new_directory", "root_only", "slowness"]


def limit(seconds):
    """Decorator: a test that needs longer than the usual limit."""
    def mark(function):
        function.limit_seconds = seconds
        return function
    return mark


root_only = unittest.skipUnless(os.geteuid() == 0, "needs root: changes owners or accounts")


class SystemTest(unittest.TestCase):
    """Base of all tests: makes spools, ends them, and judges what is left."""

    maxDiff = None

    def setUp(self):
        self.spools = []
        self.directory = os.environ.get("SPOOLD_TEST_DIR") or new_directory()
        self.addCleanup(self._end_all)

    def spool(self, config=None, start=True, **options):
        base = os.path.join(self.directory, str(len(self.spools) + 1))
        os.mkdir(base)
        os.chmod(base, 0o755)
        spool = Spool(base, config, **options)
        self.spools.append(spool)
        if start:
            spool.start()
        return spool

    def _end_all(self):
        problems = []
        for spool in self.spools:
            problems += spool.end()
        if "SPOOLD_TEST_DIR" not in os.environ:
            shutil.rmtree(self.directory, ignore_errors=True)
        if problems:
            self.fail("after the test:\n" + "\n".join(problems[:20]))

    def assertSays(self, pattern, text):
        """The text speaks of it, in whatever case."""
        self.assertRegex(text or "", "(?is)" + pattern)


def new_directory():
    """A short path: a socket's has 107 bytes at most."""
    where = os.environ.get("TMPDIR", "/tmp")
    if len(where) > 60 or not os.path.isdir(where):
        where = "/tmp"
    directory = tempfile.mkdtemp(prefix="spd-", dir=where)
    os.chmod(directory, 0o755)
    return directory
