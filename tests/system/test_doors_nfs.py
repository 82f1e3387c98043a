"""Through NFS: nfs-ganesha with the blocks of packaging/examples/ganesha.conf, and a
client of libnfs, which needs none in the kernel."""

import ctypes.util
import os
import sys
import unittest

from doors import RATE, RULES, Client, Server, example, free_port, program, with_accounts
from harness import SystemTest, limit, root_only
from matrix import Matrix, content, sha256_line

SEND = """
import ctypes, os, sys, time
library, port, user, path, name, rate, end_name = sys.argv[1:]
nfs = ctypes.CDLL(library)
nfs.nfs_init_context.restype = nfs.nfs_get_error.restype = ctypes.c_void_p
context = ctypes.c_void_p(nfs.nfs_init_context())
def check(result):
    if result < 0:
        sys.exit(ctypes.string_at(nfs.nfs_get_error(context)).decode())
    return result
nfs.nfs_parse_url_dir.restype = ctypes.c_void_p
# The port is to be had by a URL only.
nfs.nfs_parse_url_dir(context, f"nfs://127.0.0.1/{user}?version=4&nfsport={port}&uid=0".encode())
check(nfs.nfs_mount(context, b"127.0.0.1", b"/" + user.encode()))
handle = ctypes.c_void_p()
# It can create a file only where none is, and truncate one only that is there.
for flags in (os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT):
    opened = nfs.nfs_open2(context, b"/" + name.encode(), flags, 0o640, ctypes.byref(handle))
    if opened >= 0:
        break
check(opened)
nfs.nfs_write.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p]
# What is larger this version of it cannot encode.
with open(path, "rb") as file:
    while piece := file.read(1024):
        check(nfs.nfs_write(context, handle, len(piece), piece))
        time.sleep(len(piece) / int(rate) if int(rate) else 0)
check(nfs.nfs_close(context, handle))
if end_name != name:
    check(nfs.nfs_rename(context, b"/" + name.encode(), b"/" + end_name.encode()))
nfs.nfs_destroy_context(context)
"""


class Ganesha:
    """One export for each user. A client that is gone is forgotten after some
    seconds, and not after a minute."""

    def __init__(self, test, spool):
        self.test, self.spool = test, spool
        port = free_port()
        state = os.path.join(spool.base, "ganesha")
        os.makedirs(state, exist_ok=True)
        text = example("ganesha.conf", spool)
        export = text[text.index("EXPORT"):]
        text = text[:text.index("EXPORT")].replace(
            "Protocols = 4;", f"Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1;").replace(
            "Lease_Lifetime = 60;", f'Lease_Lifetime = 5; Graceless = true; RecoveryBackend = fs; '
                                    f'RecoveryRoot = "{state}";')
        for number, user in enumerate(RULES):
            text += export.replace("alice", user).replace("Export_Id = 1", f"Export_Id = {number + 1}") \
                          .replace("192.0.2.0/24", "127.0.0.1").replace("= 1001", "= 0")
        config = os.path.join(spool.base, "ganesha.conf")
        with open(config, "w") as file:
            file.write(text)
        # It reads the mounts there; containers and bare installations have none.
        before = [] if os.path.exists("/etc/mtab") else with_accounts(spool, ())
        self.server = Server(test, spool, [*before, program("ganesha.nfsd"), "-F", "-f", config, "-L",
                                           "/dev/stderr", "-p", os.path.join(state, "pid")], port)
        # It has no processes for its sessions.
        self.server.kill_sessions = self.server.process.kill


@root_only
class Nfs(Matrix, SystemTest):
    renames = True

    def open(self, spool):
        self.libnfs = ctypes.util.find_library("nfs")
        if self.libnfs is None:
            raise unittest.SkipTest("libnfs is not installed: make test-deps")
        return Ganesha(self, spool)

    def put(self, door, user, path, name, slow=False, end_name=None):
        """What is whole is renamed by the client, where its user's rule wants that."""
        if RULES[user] == "rename" and not slow and end_name is None:
            name, end_name = name + ".part", name
        return Client(self, [sys.executable, "-c", SEND, self.libnfs, str(door.server.port), user,
                             path, name, str(RATE if slow else 0), end_name or name])

    @limit(240)
    def test_written_aside_and_renamed(self):
        """Written aside and renamed, under every rule; complete when the server has let
        go of the file, which takes it some seconds."""
        spool = self.door_spool()
        door = self.open(spool)
        data = {user: content(user, "x.csv", 300_000) for user in RULES}
        for user in RULES:
            self.put(door, user, self.source(spool, user, "x.csv", data[user]), "x.csv.part",
                     end_name="x.csv").wait()
            spool.expect(user, "x.csv", data[user])
        spool.wait_state("x.csv", "done", "alice")
        spool.wait_state("x.csv", "done", "bob")
        for user, suffix, text in (("carol", ".done", b""),
                                   ("dave", ".sha256", sha256_line(data["dave"], "x.csv"))):
            self.assertEqual(spool.jobs(user), [])
            self.put(door, user, self.source(spool, user, "x.csv" + suffix, text),
                     "x.csv" + suffix).wait()
            spool.expect(user, "x.csv" + suffix, text)
        for user in ("carol", "dave"):
            spool.wait_state("x.csv", "done", user)
        for user in RULES:
            self.assertEqual(len(spool.jobs(user)), 1)

    def send_again(self, spool, door, taken):
        if door.server.process.poll() is not None:
            door = self.open(spool)
        super().send_again(spool, door, taken)
