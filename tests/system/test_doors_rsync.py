"""Through rsync over ssh, in its ways of writing: aside and renamed (its default),
in place, and with --partial."""

import os

from doors import RATE, Client, Sshd, program
from harness import SystemTest
from matrix import ALL, TREE, Matrix, Resumed, content, packed


class Rsync(Matrix, SystemTest):
    """Written aside under a dot name, renamed at the end: never a half."""

    flags = ()
    renames = True
    half_takes_the_name = False
    half_taken_when_client_dies = set()
    half_taken_when_server_dies = set()

    def open(self, spool):
        program("rsync")
        return Sshd(self, spool)

    def put(self, door, user, path, name, slow=False):
        flags = [*self.flags, *([f"--bwlimit={RATE // 1024}"] if slow else [])]
        return Client(self, [program("rsync"), "--whole-file", *flags, "-e", door.shell(), path,
                             f"{door.host()}:{door.spool.path(user)}/{name}"])


class RsyncInplace(Rsync):
    flags = ("--inplace",)
    renames = False
    half_takes_the_name = True
    half_taken_when_client_dies = {"auto"}
    half_taken_when_server_dies = {"auto"}


class RsyncPartial(Rsync):
    """--partial gives the half the final name, by a rename: not even "rename"
    tells it from a whole one."""

    flags = ("--partial",)
    half_takes_the_name = True
    half_taken_when_client_dies = {"auto", "rename"}

    if not ALL:
        test_one_upload_one_job = None


class RsyncPartialDir(Rsync):
    """What is recommended in its place: halves are kept below a dot name."""

    flags = ("--partial-dir=.rsync-partial",)

    if not ALL:
        test_one_upload_one_job = test_broken_off_by_the_server = None


class RsyncTree(Rsync):
    """-r: a directory"""

    below = TREE

    def put(self, door, user, path, name, slow=False):
        flags = [*self.flags, *([f"--bwlimit={RATE // 1024}"] if slow else [])]
        return Client(self, [program("rsync"), "-r", "--whole-file", *flags, "-e", door.shell(),
                             packed(door.spool, path, name),
                             f"{door.host()}:{door.spool.path(user)}/"])

    if not ALL:
        test_one_upload_one_job = test_broken_off_by_the_server = None


class RsyncTreeInplace(RsyncTree):
    flags = ("--inplace",)
    renames = False
    half_takes_the_name = True
    half_taken_when_client_dies = {"auto"}
    half_taken_when_server_dies = {"auto"}

    if not ALL:
        test_broken_off_by_the_client = None


class RsyncAppend(Resumed, RsyncInplace):
    """--append"""

    def resume(self, door, user, path, name):
        return Client(self, [program("rsync"), "--append", "-e", door.shell(), path,
                             f"{door.host()}:{door.spool.path(user)}/{name}"])

    if not ALL:
        test_broken_off_by_the_server = None


class Variants(SystemTest):
    def test_rsync_r(self):
        """A tree, and once more the same: nothing is sent twice but what is new."""
        spool = self.spool()
        top = os.path.join(spool.base, "staging", "tree")
        names = {"tree/a.csv": b"a", "tree/deep/b.csv": content("alice", "b", 200_000)}
        for name, data in names.items():
            path = os.path.join(spool.base, "staging", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
            spool.expect("alice", name, data)
        door = Sshd(self, spool)
        command = [program("rsync"), "-rt", "--remove-source-files", "-e", door.shell(), top,
                   f"{door.host()}:{spool.path('alice')}/"]
        Client(self, command).wait()
        for name in names:
            spool.wait_state(name, "done")
        self.assertEqual(len(spool.jobs("alice")), 2)
