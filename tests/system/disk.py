"""File systems of a test's own, on images that are mounted by loop devices.

They live in a mount namespace of this process: when it ends, however it
ends, they are gone and their loop devices free."""

import ctypes
import errno
import fcntl
import functools
import os
import shutil
import subprocess
import tempfile

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
FICLONE = 0x40049409

_libc = ctypes.CDLL(None, use_errno=True)
_own = False


def _call(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def own_mounts():
    """From here on, what this process mounts is its own. Once is enough."""
    global _own
    if _own:
        return
    _call(_libc.unshare(CLONE_NEWNS), "unshare")
    _call(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount --make-rprivate /")
    _own = True


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120)
    if done.returncode != 0:
        raise OSError(errno.EIO, f"{' '.join(command)}: "
                                 f"{done.stdout.decode(errors='replace').strip()}")


class Disk:
    """A file system in a file. The mount point is made."""

    def __init__(self, image, mounted, size_mib=None, mkfs=("mkfs.ext4", "-q", "-m", "0"),
                 options=""):
        self.image, self.mounted, self.options = image, mounted, options
        own_mounts()
        if size_mib is not None:
            with open(image, "wb") as file:
                file.truncate(size_mib << 20)
            run(*mkfs, image)
        os.makedirs(mounted, exist_ok=True)
        self.mount()

    def mount(self):
        run("mount", "-o", ",".join(filter(None, ("loop", self.options))), self.image,
            self.mounted)

    def remount(self, how):
        run("mount", "-o", f"remount,{how}", self.mounted)

    def umount(self):
        run("umount", self.mounted)

    def clone_to(self, image):
        """What a power cut at this moment would leave, in a file of that name
        on the same (XFS) file system."""
        with open(self.image, "rb") as source, open(image, "wb") as copy:
            fcntl.ioctl(copy, FICLONE, source.fileno())

    def free(self):
        st = os.statvfs(self.mounted)
        return st.f_bavail * st.f_frsize

    def fill(self, leave=0, directory=None):
        """Takes all room but `leave` bytes; returns the file that has it."""
        path = os.path.join(directory or self.mounted, ".filler")
        block = 1 << 16
        with open(path, "ab", buffering=0) as file:
            while block >= 512:
                try:
                    if file.write(b"\xff" * block) < block:
                        block //= 2
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    block //= 2
            os.fsync(file.fileno())
            if leave:
                file.truncate(max(0, file.tell() - leave))
                os.fsync(file.fileno())
        return path


def _attempt(mkfs, size_mib, clone):
    """In a process of its own, so that the caller keeps its mounts."""
    directory = tempfile.mkdtemp(prefix="spd-disk-")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            disk = Disk(f"{directory}/image", f"{directory}/disk", size_mib, mkfs)
            if clone:
                with open(f"{disk.mounted}/a", "wb") as file:
                    file.write(b"x")
                with open(f"{disk.mounted}/a", "rb") as a, open(f"{disk.mounted}/b", "wb") as b:
                    fcntl.ioctl(b, FICLONE, a.fileno())
            code = 0
        except OSError as error:
            with open(f"{directory}/why", "w") as file:
                file.write(str(error))
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    why = None
    if status != 0:
        try:
            with open(f"{directory}/why") as file:
                why = file.read()
        except OSError:
            why = "it ended unexpectedly"
    shutil.rmtree(directory, ignore_errors=True)
    return why


@functools.cache
def why_not(mkfs=("mkfs.ext4", "-q", "-m", "0"), size_mib=4, clone=False):
    """Why such disks are not to be had here, or None."""
    if os.geteuid() != 0:
        return "needs root: mounts file systems"
    if shutil.which(mkfs[0]) is None:
        return f"needs {mkfs[0]}"
    if not os.path.exists("/dev/loop-control"):
        return "needs loop devices: there is no /dev/loop-control"
    why = _attempt(mkfs, size_mib, clone)
    return why and f"needs loop devices and {mkfs[0][5:]}: {why}"


def why_no_clones():
    return why_not(("mkfs.xfs", "-q"), 320, True)
