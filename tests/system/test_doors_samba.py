"""Through Samba, with smbclient and the share of packaging/examples/smb.conf."""

import os
import time

from doors import FIRST_UID, Smbd, may_unshare
from harness import BAD_FAILS, SystemTest, root_only
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


@root_only
class Accounts(SystemTest):
    """packaging/examples/smb.conf as it is, with an account and the directories that
    spoolctl user add makes for it."""

    def test_upload_and_results(self):
        if not may_unshare():
            self.skipTest("needs a mount namespace, for an account of its own")
        spool = self.spool({"scheduler_settings": {"max_retries": 0}}, users=(), handler=BAD_FAILS)
        spool.ctl("user", "add", "--uid", str(FIRST_UID), "--gid", str(FIRST_UID), "alice")
        spool.wait_for(lambda: spool.user("alice"), what="alice to be known")
        door = Smbd(self, spool, ("alice",))
        at = os.path.join(spool.base, "staging")
        for name in ("bad.csv", "good.csv"):
            with open(os.path.join(at, name), "wb") as file:
                file.write(name.encode())
            spool.expect("alice", name, name.encode())
        door.client("alice", f"lcd {at}; prompt off; mput *").wait()
        spool.wait_state("good.csv", "done")
        spool.wait_state("bad.csv", "failed")
        spool.wait_file("bad.csv.log", "failed")
        st = os.stat(spool.path("alice", "done", "good.csv"))
        self.assertEqual((st.st_uid, st.st_mode & 0o777), (FIRST_UID, 0o640))
        door.client("alice", f'get "done/good.csv" "{at}/back"; get "failed/bad.csv.log" "{at}/log"',
                    share="results").wait()
        with open(os.path.join(at, "back"), "rb") as file:
            self.assertEqual(file.read(), b"good.csv")
        with open(os.path.join(at, "log")) as file:
            self.assertIn("cannot digest bad.csv", file.read())
        for command in ("rm done/good.csv", f"put {at}/good.csv done/more.csv", "ls processing/*"):
            said = door.client("alice", command, share="results").wait(check=False)
            self.assertRegex(said, "NT_STATUS_(ACCESS_DENIED|MEDIA_WRITE_PROTECTED)", command)
