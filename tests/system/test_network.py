"""A network file system under the spool: sshfs, spoken to over a pipe."""

import os
import shutil
import stat
import subprocess
import unittest

from harness import SystemTest

SERVER = "/usr/lib/openssh/sftp-server"


def why_not():
    if os.geteuid() != 0:
        return "mounting needs root"
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if shutil.which("sshfs") is None or not os.path.exists(SERVER):
        return "sshfs or sftp-server is not installed"
    return None


@unittest.skipIf(why_not(), why_not())
class Network(SystemTest):
    def mount(self, spool):
        """Puts what lies in far/ under near/ of the spool's directory."""
        far, near = (os.path.join(spool.base, name) for name in ("far", "near"))
        os.mkdir(far)
        os.mkdir(near)
        ssh = os.path.join(spool.base, "no-ssh")
        with open(ssh, "w") as file:
            file.write(f"#!/bin/sh\nexec {SERVER}\n")
        os.chmod(ssh, stat.S_IRWXU)
        subprocess.run(["sshfs", "-o", f"ssh_command={ssh},dir_cache=no", f"far:{far}", near],
                       check=True, timeout=30)
        self.addCleanup(subprocess.run, ["fusermount", "-u", "-z", near], check=False)
        return far

    def test_index_there_is_refused(self):
        """Section 3: the index is never on a network mount; the message says
        which setting to change."""
        spool = self.spool({"spool": {"root": "near/spool"}}, users=(), start=False)
        self.mount(spool)
        self.assertEqual(spool.spoold("--init").code, 0)
        result = spool.spoold()
        self.assertEqual(result.code, 1)
        self.assertSays(r"network file system.*spool\.index", result.err)

    def test_doctor_finds_an_index_there(self):
        """FIELD: said before spoold is started, and gone when it is mended."""
        spool = self.spool({"spool": {"root": "spool", "index": "near/index"}}, start=False)
        self.mount(spool)
        self.assertEqual(spool.spoold("--init").code, 0)
        result = spool.ctl("doctor", check=None)
        self.assertSays(r"index is on a network file system.*spool\.index to a directory on a local",
                        result.out)
        spool.configure({"spool": {"index": "index"}})
        self.assertNotIn("network", spool.ctl("doctor", check=None).out)

    def test_spool_there_is_polled(self):
        """FIELD (inotify is blind on network shares): what comes from the far
        side is found, and status says how."""
        spool = self.spool({"spool": {"root": "near/spool", "index": "index", "socket": "sock",
                                      "poll_seconds": 0.2}}, users=(), start=False)
        far = self.mount(spool)
        self.assertEqual(spool.spoold("--init").code, 0)
        os.makedirs(os.path.join(far, "spool", "alice", "incoming"))
        spool.start()
        with open(os.path.join(far, "spool", "alice", "incoming", "far.csv"), "w") as file:
            file.write("from the far side\n")
        spool.wait_state("far.csv", "done")
        self.assertEqual(spool.user("alice")["watch"], "poll")
        with open(os.path.join(far, "spool", "alice", "done", "far.csv")) as file:
            self.assertEqual(file.read(), "from the far side\n")
        spool.stop()
