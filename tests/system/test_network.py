"""A network file system under the spool: sshfs, spoken to over a pipe or through a
real sshd on 127.0.0.1; under all of it, or under the directory of one user."""

import os
import shutil
import stat
import subprocess
import time
import unittest

from handlers import GATE
from harness import SystemTest
from matrix import sha256_line
from network import SERVER, FarSpool, FarUser, unmount, why_not
from spool import has_sanitizer


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
        self.addCleanup(unmount, near)
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


@unittest.skipIf(has_sanitizer(), "it cannot end under strace")
@unittest.skipUnless(shutil.which("strace"), "needs strace")
class Unclear(SystemTest):
    def test_polled_while_it_cannot_be_told(self):
        """The kernel goes on showing directories of a mount whose server is gone, and
        watches them: nothing is ever told of them."""
        spool = self.spool({"spool": {"poll_seconds": 0.3}})
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-p", str(spool.daemon.pid), "-e",
             "trace=fstatfs", "-e", "inject=fstatfs:error=ENOTCONN"], stderr=subprocess.PIPE)
        try:
            tracer.stderr.readline()  # attached
            spool.ctl("user", "add", "carol")
            spool.drop("carol", "a.csv")
            spool.wait_state("a.csv", "done", "carol")
            self.assertEqual(spool.user("carol")["watch"], "poll")
            spool.wait_log("carol: incoming cannot be watched .*not connected.*polled")
        finally:
            tracer.terminate()
            tracer.communicate()
        spool.wait_for(lambda: spool.user("carol")["watch"] == "inotify",
                       what="it to be watched again")


class Remote(FarSpool):
    def test_from_the_far_side_and_from_here(self):
        spool = self.remote_spool()
        spool.expect("alice", "near.csv", b"near\n")
        for name in ("far.csv", "deep/er/x.csv"):
            spool.expect("alice", name, b"far\n")
        self.assertEqual(spool.user("alice")["watch"], "poll")
        self.far_file("far.csv")
        with open(os.path.join(self.near, "spool/alice/incoming/near.csv"), "w") as file:
            file.write("near\n")
        os.makedirs(os.path.join(self.far, "spool/alice/incoming/deep/er"))
        self.far_file("deep/er/x.csv")
        for name in ("far.csv", "near.csv", "deep/er/x.csv"):
            spool.wait_state(name, "done")
            self.assertTrue(os.path.exists(os.path.join(self.far, "spool/alice/done", name)))
        self.assertEqual(len(spool.jobs("alice")), 3)

    def test_growing_on_the_far_side(self):
        """What another machine writes shows neither as an open file nor, for the time
        of the caches, as a change; its times may be those of the original."""
        self.caches = ("-o", "dcache_timeout=20,dcache_dir_timeout=1")
        spool = self.remote_spool()
        path = os.path.join(self.far, "spool/alice/incoming/x.csv")
        written = b""
        ends = time.monotonic() + 5
        with open(path, "wb", buffering=0) as file:
            while time.monotonic() < ends:
                file.write(b"a line\n")
                written += b"a line\n"
                os.utime(path, (1e9, 1e9))
                time.sleep(0.02)
        self.assertEqual(spool.jobs("alice"), [])
        spool.expect("alice", "x.csv", written)
        spool.wait_state("x.csv", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)

    def test_marker_and_checksum(self):
        spool = self.remote_spool()
        spool.configure({"users": {"alice": {"completion": "checksum"}}})
        spool.ctl("reload")
        self.far_file("x.csv", b"data\n")
        self.far_file("x.csv.sha256", sha256_line(b"data\n", "x.csv"))
        spool.expect("alice", "x.csv", b"data\n")
        spool.expect("alice", "x.csv.sha256", sha256_line(b"data\n", "x.csv"))
        spool.wait_state("x.csv", "done")

    def test_mount_gone_and_back(self):
        """Files have other inode numbers afterwards: their jobs keep their place."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        unmount(self.near)
        spool.wait_for(lambda: not self.mounted(spool), what="it to be noticed")
        self.assertSays("not mounted", spool.status()["daemon"]["problem"])
        self.assertSays("not mounted", spool.ctl("status").out)
        self.assertEqual([job["state"] for job in spool.jobs("alice")][1:], ["pending"] * 2)
        self.mount(self.near)
        spool.wait_for(lambda: self.mounted(spool), what="it to be back")
        spool.open_gate()
        self.all_done(spool, ids)

    def test_ended_while_the_mount_was_gone(self):
        """The handler ends meanwhile: its result counts, the move follows."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        unmount(self.near)
        spool.wait_for(lambda: not self.mounted(spool), what="it to be noticed")
        spool.open_gate("0.csv")
        spool.wait_for(lambda: spool.user("alice")["done"] + spool.user("alice")["failed"] == 1,
                       what="its result")
        self.mount(self.near)
        spool.open_gate()
        self.all_done(spool, ids)

    def test_restarted_without_the_mount(self):
        """Killed, and the mount is gone and in its place an empty directory: it does
        not start; with it, it goes on."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        spool.kill9()
        unmount(self.near)
        result = spool.spoold()
        self.assertEqual(result.code, 1)
        self.assertSays("mounted", result.err)
        spool.open_gate()
        self.mount(self.near)
        spool.restart()
        self.all_done(spool, ids, ["0.csv"])

    def test_server_killed_and_back(self):
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        self.kill_server(spool)
        self.mount(self.near)
        spool.wait_for(lambda: self.mounted(spool), what="it to be back")
        spool.open_gate()
        self.all_done(spool, ids, ["0.csv"])

    def test_another_directory_in_its_place(self):
        """An empty share instead of the spool: nothing is purged, nothing is made there."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        unmount(self.near)
        os.mkdir(os.path.join(self.far, "other"))
        os.mkdir(os.path.join(self.far, "other", "spool"))
        self.mount(self.near, "other")
        spool.wait_for(lambda: not self.mounted(spool), what="it to be noticed")
        spool.ctl("rescan", check=None)
        self.assertEqual(os.listdir(os.path.join(self.far, "other", "spool")), [])
        unmount(self.near)
        self.mount(self.near)
        spool.open_gate()
        self.all_done(spool, ids)


class OneUser(FarUser):
    def test_from_the_far_side_and_from_here(self):
        spool = self.remote_spool()
        self.far_file("far.csv")
        spool.expect("alice", "far.csv", b"far\n")
        spool.drop("bob", "local.csv")
        spool.wait_state("local.csv", "done", "bob")
        spool.wait_state("far.csv", "done")
        self.assertEqual((spool.user("alice")["watch"], spool.user("bob")["watch"]),
                         ("poll", "inotify"))

    def test_mount_gone_and_back(self):
        """The empty directory beneath is not the user's: nothing is canceled, nothing made
        in it, and bob does not notice."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        unmount(self.near)
        spool.wait_for(lambda: not self.mounted(spool), what="it to be noticed")
        self.bob_goes_on(spool, "while.csv")
        spool.ctl("rescan")
        self.bob_goes_on(spool, "after.csv")
        self.assertEqual(spool.user("alice")["waits_for"], "its directory to be mounted")
        self.assertTrue(spool.user("bob")["mounted"])
        self.assertSays("a mount of its own, is not there", spool.ctl("status").out)
        self.assertSays("mount of its own, is not there", spool.explain(ids["1.csv"])["because"])
        self.assertSays("mount it", spool.ctl("user", "check", "alice", check=None).out)
        self.assertSays("mount it", spool.ctl("doctor", check=None).out)
        self.assertEqual(os.listdir(self.near), [])
        self.assertEqual({job["state"] for job in spool.jobs("alice")}, {"pending", "processing"})
        self.mount(self.near, "spool/alice")
        spool.wait_for(lambda: self.mounted(spool), what="it to be back")
        spool.open_gate()
        self.all_done(spool, ids)

    def test_ended_while_the_mount_was_gone(self):
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        unmount(self.near)
        spool.wait_for(lambda: not self.mounted(spool), what="it to be noticed")
        spool.open_gate("0.csv")
        self.bob_goes_on(spool, "while.csv")
        self.mount(self.near, "spool/alice")
        spool.open_gate()
        self.all_done(spool, ids, ["0.csv"])

    def test_restarted_without_the_mount(self):
        """The next daemon knows that it was a mount."""
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        spool.kill9()
        unmount(self.near)
        spool.open_gate()
        spool.restart()
        self.bob_goes_on(spool, "while.csv")
        spool.ctl("rescan")
        self.bob_goes_on(spool, "after.csv")
        self.assertFalse(self.mounted(spool))
        self.assertEqual(os.listdir(self.near), [])
        self.mount(self.near, "spool/alice")
        self.all_done(spool, ids, ["0.csv"])

    def test_server_killed_and_back(self):
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        self.kill_server(spool)
        self.bob_goes_on(spool, "while.csv")
        self.mount(self.near, "spool/alice")
        spool.wait_for(lambda: self.mounted(spool), what="it to be back")
        spool.open_gate()
        self.all_done(spool, ids, ["0.csv"])

    def test_another_directory_in_its_place(self):
        spool = self.remote_spool(handler=GATE)
        ids = self.pending(spool)
        unmount(self.near)
        os.mkdir(os.path.join(self.far, "other"))
        self.mount(self.near, "other")
        spool.wait_for(lambda: not self.mounted(spool), what="it to be noticed")
        spool.ctl("rescan")
        self.bob_goes_on(spool, "while.csv")
        self.assertEqual([name for name in os.listdir(os.path.join(self.far, "other"))
                          if not name.startswith("mount")], [])
        unmount(self.near)
        self.mount(self.near, "spool/alice")
        spool.open_gate()
        self.all_done(spool, ids)
