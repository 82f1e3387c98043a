"""Through Samba, with smbclient and the share of packaging/examples/smb.conf."""

import os
import time

from doors import Smbd
from harness import SystemTest
from matrix import ALL, TREE, Matrix, packed


class Smb(Matrix, SystemTest):
    def open(self, spool):
        return Smbd(self, spool)

    def put(self, door, user, path, name, slow=False):
        return door.client(user, f'put "{path}" "{name}"', slow)

    def test_mput_and_directories(self):
        spool = self.spool()
        door = self.open(spool)
        top = os.path.join(spool.base, "staging", "tree")
        names = ["a.csv", "b.csv", "deep/c.csv"]
        for name in names:
            os.makedirs(os.path.dirname(os.path.join(top, name)), exist_ok=True)
            with open(os.path.join(top, name), "wb") as file:
                file.write(name.encode() * 1000)
            spool.expect("alice", name, name.encode() * 1000)
        door.client("alice", f"lcd {top}; recurse on; prompt off; mput *").wait()
        for name in names:
            spool.wait_state(name, "done")
        self.assertEqual(len(spool.jobs("alice")), 3)


class SmbMput(Smb):
    """mput, which names what it finds"""

    def put(self, door, user, path, name, slow=False):
        directory = os.path.join(door.spool.base, f"mput-{time.monotonic_ns()}")
        os.mkdir(directory)
        os.link(path, os.path.join(directory, name))
        return door.client(user, f'lcd "{directory}"; prompt off; mput *', slow)

    if not ALL:
        test_one_upload_one_job = test_broken_off_by_the_server = None
    test_mput_and_directories = None


class SmbTree(Smb):
    """mput of a directory"""

    below = TREE
    test_mput_and_directories = None

    def put(self, door, user, path, name, slow=False):
        home = os.path.dirname(packed(door.spool, path, name))
        return door.client(user, f'lcd "{home}"; recurse on; prompt off; mput *', slow)

    if not ALL:
        test_one_upload_one_job = test_broken_off_by_the_client = None
