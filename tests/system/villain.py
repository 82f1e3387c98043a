#!/usr/bin/python3
"""A user that means no good: villain.py DIRECTORY OUTSIDE SECONDS SEED

Makes uploads in DIRECTORY (its incoming) and, in a loop, truncates, appends to,
links, renames and removes them, puts symlinks, FIFOs, hard links and devices in
their places, moves whole directories, and puts symlinks to OUTSIDE in theirs. What
it cannot make itself lies in .pool. Whatever it wrote begins with "mine"."""

import ctypes
import os
import random
import shutil
import stat
import sys
import time

AT_FDCWD, RENAME_EXCHANGE = -100, 2
libc = ctypes.CDLL(None, use_errno=True)


class Villain:
    def __init__(self, directory, outside, seed):
        os.chdir(directory)
        self.outside = outside
        self.dice = random.Random(seed)
        self.made = 0
        self.staging = f".staging-{os.getpid()}"
        os.makedirs(self.staging, exist_ok=True)

    def name(self):
        """Few names, so that attacks meet uploads; "inner" is outside, too."""
        base = self.dice.choice(("a.csv", "b.csv", "secret.csv", "fifo.csv", "c.csv"))
        return self.dice.choice(("", "sub/", "inner/", "sub/deep/")) + base

    def directory(self):
        return self.dice.choice(("sub", "inner", "sub/deep"))

    def aside(self):
        self.made += 1
        return os.path.join(self.staging, str(self.made))

    def upload(self):
        path = self.aside()
        with open(path, "w") as file:
            file.write("mine " * self.dice.randrange(1, 200))
        return path

    def put(self, path):
        """Moves something aside into the place of an upload."""
        name = self.name()
        if self.dice.random() < 0.3:
            libc.renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(name),
                           RENAME_EXCHANGE)
        else:
            os.rename(path, name)

    def drop(self):
        os.makedirs(self.directory(), exist_ok=True)
        os.rename(self.upload(), self.name())

    def write(self):
        fd = os.open(self.name(), os.O_WRONLY | os.O_NONBLOCK |
                     self.dice.choice((0, os.O_APPEND, os.O_TRUNC)))
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.write(fd, b"mine and more")
        if self.dice.random() < 0.2:
            time.sleep(0.002)
        os.close(fd)

    def hard_link(self):
        path = self.aside()
        os.link(self.name(), path, follow_symlinks=False)
        self.put(path)

    def symlink(self):
        path = self.aside()
        os.symlink(os.path.join(self.outside, self.dice.choice(
            ("secret", "inner/secret.csv", "fifo", "inner", "link"))), path)
        self.put(path)

    def fifo(self):
        path = self.aside()
        os.mkfifo(path)
        self.put(path)

    def from_pool(self):
        """A hard link to a file outside, a device."""
        self.put(os.path.join(".pool", self.dice.choice(os.listdir(".pool"))))

    def remove(self):
        os.unlink(self.name())

    def rename(self):
        os.rename(self.name(), self.name())

    def swap_directory(self):
        """A directory in the twinkling of an eye becomes a link to outside."""
        path, name = self.aside(), self.directory()
        os.symlink(os.path.join(self.outside, "inner"), path)
        if libc.renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(name),
                          RENAME_EXCHANGE) == 0:
            time.sleep(self.dice.random() * 0.004)
            libc.renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(name),
                           RENAME_EXCHANGE)
        if os.path.islink(path):
            os.unlink(path)

    def move_directory(self):
        path = self.aside()
        os.rename(self.directory(), path)
        if self.dice.random() < 0.5:
            time.sleep(0.002)
        os.rename(path, self.directory())

    def clear_directory(self):
        name = self.directory()
        if os.path.islink(name):
            os.unlink(name)
        else:
            path = self.aside()
            os.rename(name, path)
            shutil.rmtree(path, ignore_errors=True)

    def run(self, seconds):
        deeds = [self.drop] * 12 + [self.write] * 4 + [
            self.hard_link, self.symlink, self.fifo, self.from_pool, self.remove, self.rename,
            self.swap_directory, self.swap_directory, self.move_directory, self.clear_directory]
        end = time.monotonic() + seconds
        count = 0
        while time.monotonic() < end:
            try:
                self.dice.choice(deeds)()
            except (OSError, IndexError):  # IndexError: the pool is empty
                pass
            count += 1
            if self.dice.random() < 0.02:
                time.sleep(self.dice.random() * 0.3)  # so that something is accepted
        print(count)


if __name__ == "__main__":
    Villain(sys.argv[1], sys.argv[2], int(sys.argv[4])).run(float(sys.argv[3]))
