"""Through rsync over ssh, in its ways of writing: aside and renamed (its default),
in place, and with --partial."""

import os

from doors import ALL, RATE, Client, Matrix, Sshd, content, program
from harness import SystemTest


class Rsync(Matrix, SystemTest):
    """Written aside under a dot name, renamed at the end: never a half."""

    flags = ()
    renames = True
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
    half_taken_when_client_dies = {"auto"}
    half_taken_when_server_dies = {"auto"}


class RsyncPartial(Rsync):
    """--partial gives the half the final name, by a rename: not even "rename"
    tells it from a whole one."""

    flags = ("--partial",)
    half_taken_when_client_dies = {"auto", "rename"}

    if not ALL:
        test_one_upload_one_job = None


class RsyncPartialDir(Rsync):
    """What is recommended in its place: halves are kept below a dot name."""

    flags = ("--partial-dir=.rsync-partial",)

    if not ALL:
        test_one_upload_one_job = None


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

    def test_append_goes_on_where_it_broke_off(self):
        """--append under "marker": the half waits, the rest and the marker come."""
        spool = self.spool({"spool": {"completion": "marker"}})
        data = content("alice", "big.csv")
        path = os.path.join(spool.base, "staging", "big.csv")
        with open(path, "wb") as file:
            file.write(data)
        spool.expect("alice", "big.csv", data)
        door = Sshd(self, spool)
        remote = f"{spool.path('alice')}/big.csv"
        half = Client(self, [program("rsync"), "--inplace", f"--bwlimit={RATE // 1024}", "-e",
                             door.shell(), path, f"{door.host()}:{remote}"])
        spool.wait_for(lambda: os.path.exists(remote) and os.path.getsize(remote) > 100_000,
                       what="bytes to arrive")
        half.kill()
        Client(self, [program("rsync"), "--append", "-e", door.shell(), path,
                      f"{door.host()}:{remote}"]).wait()
        self.assertEqual(spool.jobs("alice"), [])
        spool.drop("alice", "big.csv.done", b"")
        spool.wait_state("big.csv", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)
