"""From this machine: programs that put a file into incoming, each in its way."""

import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time

from doors import RATE, Client, program
from harness import SystemTest
from matrix import ALL, BEGUN, TREE, Matrix, content, packed


def slowed(argv):
    """The program itself, kept waiting before each of its writes."""
    return [program("strace"), "-f", "-qq", "-o", "/dev/null", "-e", "trace=write,copy_file_range",
            "-e", "inject=copy_file_range:error=EXDEV",
            "-e", f"inject=write:delay_enter={131072 * 1_000_000 // RATE}", *argv]


class NoServer:
    """The writer is the only process there is."""

    class server:
        @staticmethod
        def kill_sessions():
            pass

    def __init__(self, spool):
        self.spool = spool


class Copy(Matrix, SystemTest):
    test_broken_off_by_the_server = None

    def open(self, spool):
        return NoServer(spool)

    def put(self, door, user, path, name, slow=False):
        argv = ["cp", "--reflink=never", path, os.path.join(door.spool.path(user), name)]
        return Client(self, slowed(argv) if slow else argv)


class CopyTree(Copy):
    """cp -r"""

    below = TREE

    def put(self, door, user, path, name, slow=False):
        argv = ["cp", "-r", "--reflink=never", packed(door.spool, path, name),
                door.spool.path(user)]
        return Client(self, slowed(argv) if slow else argv)

    if not ALL:
        test_one_upload_one_job = None


class Move(Copy):
    """mv: a rename; but from another file system, which is what takes long and
    breaks off, it copies."""

    renames = True
    across = False

    def put(self, door, user, path, name, slow=False):
        if slow or self.across:
            directory = tempfile.mkdtemp(prefix="spd-", dir="/dev/shm")
            self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
            path = shutil.copy(path, directory)
            self.assertNotEqual(os.stat(path).st_dev, os.stat(door.spool.root).st_dev)
        argv = ["mv", "-f", path, os.path.join(door.spool.path(user), name)]
        return Client(self, slowed(argv) if slow else argv)


class MoveAcross(Move):
    renames = False
    across = True
    test_broken_off_by_the_client = test_broken_off_over_a_waiting_one = None

    if not ALL:
        test_one_upload_one_job = None


LINKED = """
import os, subprocess, sys, time
path, to, rate = sys.argv[1:]
other = path + ".other"
with open(path, "rb") as source, open(other, "wb", buffering=0) as target:
    while piece := source.read(32768):
        target.write(piece)
        if target.tell() == len(piece):
            subprocess.run(["ln", "-f", other, to], check=True)
        time.sleep(len(piece) / int(rate) if int(rate) else 0)
os.unlink(other)
"""


class Link(Copy):
    """ln, and then the other name goes. While there are two, it is never taken: that
    is how long it may be written, and what is left of a writer that died."""

    half_taken_when_client_dies = set()

    def put(self, door, user, path, name, slow=False):
        target = os.path.join(door.spool.path(user), name)
        if slow:
            return Client(self, [sys.executable, "-c", LINKED, path, target, str(RATE)])
        return Client(self, ["sh", "-c", 'ln -f "$1" "$2" && rm "$1"', "sh", path, target])

    if not ALL:
        test_one_upload_one_job = None


NAMELESS = """
import os, sys, time
path, directory, name, rate = sys.argv[1:]
fd = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o644)
with open(path, "rb") as source:
    while piece := source.read(32768):
        os.write(fd, piece)
        time.sleep(len(piece) / int(rate) if int(rate) else 0)
into = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
os.link(f"/proc/self/fd/{fd}", f".{name}.new", dst_dir_fd=into, follow_symlinks=True)
os.rename(f".{name}.new", name, src_dir_fd=into, dst_dir_fd=into)
"""


class Nameless(Copy):
    """O_TMPFILE; to replace what is there, the name that it is given at the end is
    one that it is renamed from."""

    renames = True
    half_takes_the_name = False
    half_taken_when_client_dies = set()
    clients = {}

    def put(self, door, user, path, name, slow=False):
        self.clients[user] = Client(self, [sys.executable, "-c", NAMELESS, path,
                                           door.spool.path(user), name, str(RATE if slow else 0)])
        return self.clients[user]

    def begun(self, spool, user, size=BEGUN):
        """Nothing is seen in incoming; but it has it open."""
        fds = f"/proc/{self.clients[user].process.pid}/fd"
        for fd in os.listdir(fds):
            try:
                if os.readlink(f"{fds}/{fd}").startswith(spool.path(user)) and \
                        os.stat(f"{fds}/{fd}").st_size >= size:
                    return True
            except FileNotFoundError:
                pass
        return False

    if not ALL:
        test_one_upload_one_job = None


MAPPED = """
import mmap, sys, time
path, to, rate = sys.argv[1:]
with open(path, "rb") as source, open(to, "w+b") as target:
    size = 0
    while piece := source.read(32768):
        target.truncate(size + len(piece))
        with mmap.mmap(target.fileno(), len(piece), offset=size) as memory:
            memory[:] = piece
        size += len(piece)
        time.sleep(len(piece) / int(rate) if int(rate) else 0)
"""


class Mapped(Copy):
    """A program that writes through a mapping: its stores make no event."""

    def put(self, door, user, path, name, slow=False):
        return Client(self, [sys.executable, "-c", MAPPED, path,
                             os.path.join(door.spool.path(user), name), str(RATE if slow else 0)])

    if not ALL:
        test_one_upload_one_job = None


TAR = """
import sys, tarfile, time
path, name, rate = sys.argv[1:]
class Slow:
    def write(self, data):
        for at in range(0, len(data), 32768):
            sys.stdout.buffer.write(data[at:at + 32768])
            sys.stdout.buffer.flush()
            time.sleep(32768 / int(rate) if int(rate) else 0)
with tarfile.open(fileobj=Slow(), mode="w|") as archive:
    archive.add(path, name)
"""


class Tar(Copy):
    """tar x, out of a pipe"""

    def put(self, door, user, path, name, slow=False):
        return Client(self, ["sh", "-c", '"$1" -c "$2" "$3" "$4" "$5" | tar x -C "$6"', "sh",
                             sys.executable, TAR, path, name, str(RATE if slow else 0),
                             door.spool.path(user)])

    if not ALL:
        test_one_upload_one_job = None


class TarTree(Tar):
    below = TREE


class Others(SystemTest):
    def one(self, spool, name, data):
        spool.expect("alice", name, data)
        spool.wait_state(name, "done")
        self.assertEqual(len([j for j in spool.jobs("alice") if j["name"] == name]), 1)

    def source(self, spool, name="x.csv", size=300_000):
        data = content("alice", name, size)
        path = os.path.join(spool.base, "staging", name)
        with open(path, "wb") as file:
            file.write(data)
        return path, data

    def test_mv(self):
        spool = self.spool()
        path, data = self.source(spool)
        subprocess.run(["mv", path, spool.path("alice")], check=True)
        self.one(spool, "x.csv", data)

    def test_cp_p_and_into_directories(self):
        spool = self.spool()
        path, data = self.source(spool)
        subprocess.run(["cp", "-p", path, spool.path("alice")], check=True)
        self.one(spool, "x.csv", data)
        os.makedirs(os.path.join(spool.base, "staging", "tree", "deep"))
        os.rename(path, os.path.join(spool.base, "staging", "tree", "deep", "x.csv"))
        subprocess.run(["cp", "-r", os.path.join(spool.base, "staging", "tree"),
                        spool.path("alice")], check=True)
        self.one(spool, "tree/deep/x.csv", data)

    def test_mv_of_a_directory(self):
        spool = self.spool()
        path, data = self.source(spool)
        tree = os.path.join(spool.base, "staging", "tree")
        os.makedirs(os.path.join(tree, "deep"))
        os.rename(path, os.path.join(tree, "deep", "x.csv"))
        subprocess.run(["mv", tree, spool.path("alice")], check=True)
        self.one(spool, "tree/deep/x.csv", data)

    def test_tar_x(self):
        spool = self.spool()
        top = os.path.join(spool.base, "staging")
        names = [f"t/{n}.csv" for n in range(20)]
        os.mkdir(os.path.join(top, "t"))
        for name in names:
            with open(os.path.join(top, name), "wb") as file:
                file.write(name.encode())
        archive = os.path.join(spool.base, "t.tar")
        subprocess.run(["tar", "cf", archive, "-C", top, "t"], check=True)
        subprocess.run(["tar", "xf", archive, "-C", spool.path("alice")], check=True)
        for name in names:
            self.one(spool, name, name.encode())
        self.assertEqual(len(spool.jobs("alice")), 20)

    def test_ln_is_taken_when_its_other_name_is_gone(self):
        """A file with two names could be changed through the other one."""
        spool = self.spool()
        path, data = self.source(spool)
        os.link(path, spool.path("alice", "incoming", "x.csv"))
        spool.wait_for(lambda: spool.explain_file("x.csv")["state"] == "refused",
                       what="it to be refused")
        os.unlink(path)
        self.one(spool, "x.csv", data)

    def give_name(self, fd, directory):
        dirfd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        os.link(f"/proc/self/fd/{fd}", "x.csv", dst_dir_fd=dirfd, follow_symlinks=True)
        os.close(dirfd)

    def test_o_tmpfile(self):
        """Written without a name, linked when it is whole: no event but the name."""
        self.link_whole(self.spool())

    def link_whole(self, spool):
        data = content("alice", "x.csv", 300_000)
        fd = os.open(spool.path("alice"), os.O_TMPFILE | os.O_WRONLY, 0o644)
        os.write(fd, data)
        self.give_name(fd, spool.path("alice"))
        os.close(fd)
        self.one(spool, "x.csv", data)

    def test_o_tmpfile_killed(self):
        """It never had a name: nothing is there, and the next try is the only one."""
        spool = self.spool()
        code = ("import os, sys, time; fd = os.open(sys.argv[1], os.O_TMPFILE | os.O_WRONLY); "
                "os.write(fd, b'half'); print('begun', flush=True); time.sleep(600)")
        client = Client(self, [sys.executable, "-c", code, spool.path("alice")])
        self.assertEqual(client.process.stdout.readline(), b"begun\n")
        client.kill()
        self.link_whole(spool)

    def test_o_tmpfile_still_open(self):
        """Linked before it is whole: it waits for its writer."""
        spool = self.spool()
        fd = os.open(spool.path("alice"), os.O_TMPFILE | os.O_WRONLY, 0o644)
        os.write(fd, b"half, ")
        self.give_name(fd, spool.path("alice"))
        spool.wait_for(lambda: "open for writing" in spool.explain_file("x.csv")["because"],
                       what="it to wait for its writer")
        os.write(fd, b"whole")
        self.assertEqual(spool.jobs("alice"), [])
        os.close(fd)
        self.one(spool, "x.csv", b"half, whole")

    def test_mmap_writer(self):
        """Stores are silent, also after the close: it waits for the munmap."""
        spool = self.spool()
        path = spool.path("alice", "incoming", "x.csv")
        with open(path, "w+b") as file:
            file.truncate(8192)
            memory = mmap.mmap(file.fileno(), 8192)
        memory[:4] = b"half"
        spool.wait_for(lambda: "open for writing" in spool.explain_file("x.csv")["because"],
                       what="it to wait for its writer")
        time.sleep(0.5)
        memory[4096:4101] = b"whole"
        self.assertEqual(spool.jobs("alice"), [])
        memory.close()
        data = bytearray(8192)
        data[:4], data[4096:4101] = b"half", b"whole"
        self.one(spool, "x.csv", bytes(data))
