"""Fixtures: a spool on a network mount, by sshfs through a real sshd on 127.0.0.1."""

import os
import shutil
import subprocess
import unittest

import contents
import doors
import procs
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


def unmount(path):
    subprocess.run(["fusermount", "-u", "-z", path], check=False, stderr=subprocess.DEVNULL)


FAR = {"index": "index", "socket": "sock", "poll_seconds": 0.3}


@unittest.skipIf(why_not(), why_not())
class FarSpool(SystemTest):
    """All of it is there. The caches of sshfs last for a second, where 20 are usual."""

    caches = ("-o", "dcache_timeout=1")
    mounts = 0

    def share(self, spool):
        """far/ of the spool's directory is served; nothing is mounted yet."""
        self.door = doors.Sshd(self, spool)
        self.far = os.path.join(spool.base, "far")
        os.mkdir(self.far)

    def tearDown(self):
        """Before the mounts go; the rest is judged after that."""
        for spool in self.spools:
            spool.open_gate()
            if spool.daemon is not None:
                self.assertEqual(spool.stop(), 0)
            self.assertEqual(contents.lost(spool.root, spool.dropped), [])
            spool.check_contents = False

    def mount(self, near, sub="."):
        os.makedirs(near, exist_ok=True)
        subprocess.run(["sshfs", "-o", f"ssh_command={self.door.shell()}", *self.caches,
                        f"127.0.0.1:{os.path.join(self.far, sub)}", near],
                       check=True, timeout=60)
        self.addCleanup(unmount, near)
        # Numbers are given in the order of looks: each mount has others.
        for n in range(self.mounts):
            os.mkdir(os.path.join(near, f"mount{self.mounts}.{n}"))
        self.mounts += 50

    def kill_server(self, spool):
        """And waits until it was noticed, and until sshfs has ended: before that it
        unmounts whatever is at its place by then."""
        sshfs = procs.with_argument("sshfs", self.near)
        self.assertEqual(len(sshfs), 1)
        self.door.server.kill_sessions()
        spool.wait_for(lambda: not self.mounted(spool), what="it to be noticed")
        spool.wait_for(lambda: not procs.alive(sshfs[0]), what="its sshfs to end")
        unmount(self.near)

    def remote_spool(self, **options):
        """All of the spool on the mount; alice is its user."""
        spool = self.spool({"spool": {"root": "near/spool", **FAR}}, users=(), start=False,
                           root="near/spool", **options)
        shutil.rmtree(os.path.join(spool.base, "near"))
        self.share(spool)
        self.near = os.path.join(spool.base, "near")
        self.mount(self.near)
        os.makedirs(os.path.join(self.far, "spool", "alice", "incoming"))
        spool.socket_path = lambda: os.path.join(spool.base, "sock")
        spool.start()
        return spool

    def far_file(self, name, data=b"far\n", user="alice"):
        path = os.path.join(self.far, "spool", user, "incoming", name)
        with open(path + ".part", "wb") as file:
            file.write(data)
        os.rename(path + ".part", path)
        return path

    def pending(self, spool, count=3):
        """The first is being processed, the others wait. Returns their ids by name."""
        for n in range(count):
            self.far_file(f"{n}.csv", f"{n}\n".encode())
            spool.expect("alice", f"{n}.csv", f"{n}\n".encode())
            spool.wait_for(lambda: spool.job(f"{n}.csv"), what="it to be a job")
        spool.wait_started("0.csv")
        return {job["name"]: job["job"] for job in spool.jobs("alice")}

    def all_done(self, spool, ids, repeated=()):
        """The same jobs; only the handlers of some may have been cut off."""
        for name in ids:
            spool.wait_state(name, "done")
        self.assertEqual(sorted((job["name"], job["job"]) for job in spool.jobs("alice")),
                         sorted(ids.items()))
        for name in set(ids) - set(repeated):
            self.assertEqual(len(spool.journal.starts("alice", name)), 1, name)

    def mounted(self, spool):
        return spool.status()["daemon"]["mounted"]


class FarUser(FarSpool):
    """The directory of alice is a mount of its own; bob is local."""

    def remote_spool(self, **options):
        more = options.pop("more", {})
        spool = self.spool({"spool": FAR, **more}, users=("bob",), start=False, **options)
        self.share(spool)
        self.near = os.path.join(spool.root, "alice")
        os.makedirs(os.path.join(self.far, "spool/alice/incoming"))
        self.mount(self.near, "spool/alice")
        spool.socket_path = lambda: os.path.join(spool.base, "sock")
        spool.start()
        return spool

    def mounted(self, spool):
        return spool.user("alice")["mounted"]

    def bob_goes_on(self, spool, name):
        spool.drop("bob", name)
        spool.open_gate(name)
        spool.wait_state(name, "done", "bob")
