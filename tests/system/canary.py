"""Things outside a spool that nobody may touch, and a watch that tells."""

import ctypes
import os
import struct

IN_ACCESS, IN_MODIFY, IN_ATTRIB, IN_OPEN = 0x1, 0x2, 0x4, 0x20
IN_MOVED, IN_DELETE, IN_CREATE = 0xc0, 0x200, 0x100
ALL = IN_ACCESS | IN_MODIFY | IN_ATTRIB | IN_OPEN | IN_MOVED | IN_DELETE | IN_CREATE
NAMES = {IN_ACCESS: "read", IN_MODIFY: "written", IN_ATTRIB: "changed (owner, mode, links)",
         IN_OPEN: "opened", 0x40: "moved away", 0x80: "moved here", IN_DELETE: "deleted",
         IN_CREATE: "created", 0x4000: "overflow"}
libc = ctypes.CDLL(None, use_errno=True)


class Canaries:
    """A directory with a file, a file in a directory, a FIFO, a link, and a
    file ("linked") that may get and lose further names."""

    def __init__(self, directory, mode=0o755):
        self.directory = directory
        os.mkdir(directory)
        os.chmod(directory, mode)
        os.mkdir(self.path("inner"))
        for name in ("secret", "linked", "inner/secret.csv", "inner/a.csv"):
            with open(self.path(name), "w") as file:
                file.write(f"canary {name}\n")
        os.mkfifo(self.path("fifo"))
        os.mkfifo(self.path("inner/fifo.csv"))
        os.symlink("secret", self.path("link"))
        self.before = self._state()
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for place in (directory, self.path("inner")):
            if libc.inotify_add_watch(self.fd, os.fsencode(place), ALL) < 0:
                raise OSError(ctypes.get_errno(), f"inotify_add_watch {place}")

    def path(self, name):
        return os.path.join(self.directory, name)

    def _state(self, allowed=None):
        state = {}
        for top, directories, names in os.walk(self.directory):
            if allowed:
                directories[:] = [n for n in directories if not n.startswith(allowed)]
            for name in directories + names:
                path = os.path.join(top, name)
                st = os.lstat(path)
                links = 1 if name == "linked" else st.st_nlink
                state[path] = (st.st_ino, st.st_mode, st.st_uid, st.st_gid, links, st.st_size,
                               st.st_mtime_ns)
        return state

    def touched(self, allowed=None):
        """What happened to them: a list of sentences. `allowed` begins the
        names that the test itself brings."""
        told = []
        try:
            events = os.read(self.fd, 1 << 20)
        except BlockingIOError:
            events = b""
        at = 0
        while at < len(events):
            _, mask, _, size = struct.unpack_from("iIII", events, at)
            name = os.fsdecode(events[at + 16:at + 16 + size].rstrip(b"\0"))
            at += 16 + size
            if name == "linked" and mask == IN_ATTRIB:
                continue
            if not (allowed and name.startswith(allowed)):
                told.append(f"{name or 'the directory'} was {NAMES.get(mask & 0xffff, hex(mask))}")
        after = self._state(allowed)
        for path in self.before.keys() | after.keys():
            if self.before.get(path) != after.get(path):
                told.append(f"{path}: {self.before.get(path)} became {after.get(path)}")
        os.close(self.fd)
        for name in ("secret", "linked", "inner/secret.csv"):
            with open(self.path(name)) as file:
                if file.read() != f"canary {name}\n":
                    told.append(f"{name} has another content")
        return told
