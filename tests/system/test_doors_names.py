"""Names are bytes, also through the doors: what each of them can carry arrives under its
own name, and is done."""

import ftplib
import io
import os
import subprocess

from doors import FIRST_UID, RULES, Client, Smbd, Sshd, program
from harness import SystemTest, root_only
from test_doors_ftp import Vsftpd
from test_hostile import NAMES


class AnyBytes(SystemTest):
    def files(self, spool, names=NAMES):
        """A directory at home with a file of each name; the name is in it."""
        top = os.path.join(spool.base, "staging", "names")
        os.mkdir(top)
        for name in names:
            with open(os.path.join(os.fsencode(top), name), "wb") as file:
                file.write(name)
        return top

    def all_done(self, spool, names, below=b""):
        for name in names:
            spool.expect("alice", below + name, name)
        spool.wait_for(lambda: spool.user("alice")["done"] == len(names), what="all to be done")
        done = os.path.join(os.fsencode(spool.path("alice", "done")), below)
        self.assertEqual(sorted(os.listdir(done)), sorted(names))
        self.assertEqual(len(spool.jobs("alice")), len(names))

    def test_sftp(self):
        spool = self.spool()
        top = self.files(spool)
        Sshd(self, spool).sftp([f"cd {spool.path('alice')}", f"put -r {top}"]).wait()
        self.all_done(spool, NAMES, b"names/")

    def test_scp(self):
        spool = self.spool()
        door = Sshd(self, spool)
        door.scp("-r", self.files(spool), f"{door.host()}:{spool.path('alice')}").wait()
        self.all_done(spool, NAMES, b"names/")

    def test_rsync(self):
        spool = self.spool()
        door = Sshd(self, spool)
        Client(self, [program("rsync"), "-r", "-e", door.shell(), self.files(spool) + "/",
                      f"{door.host()}:{spool.path('alice')}/"]).wait()
        self.all_done(spool, NAMES)

    def test_tar(self):
        spool = self.spool()
        top = self.files(spool)
        packed = subprocess.run(["tar", "c", "-C", top, "."], check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "x", "-C", spool.path("alice")], check=True, input=packed.stdout)
        self.all_done(spool, NAMES)

    def test_smbclient(self):
        """SMB knows text only, and has signs of its own in it."""
        def can(name):
            try:
                text = name.decode()
            except UnicodeDecodeError:
                return False
            return not set(text) & set('\\/:*?"<>|') and min(text) >= " "
        names = [name for name in NAMES if can(name)]
        self.assertGreater(len(names), 8)
        spool = self.spool()
        door = Smbd(self, spool)
        top = self.files(spool, names)
        door.client("alice", f"lcd {top}; prompt off; mput *").wait()
        self.all_done(spool, names)

    @root_only
    def test_ftp(self):
        """Its commands are lines."""
        names = [name for name in NAMES if b"\n" not in name]
        spool = self.spool(users=tuple(RULES))
        for user in RULES:
            os.chown(spool.path(user, "incoming"), FIRST_UID, FIRST_UID)
        door = Vsftpd(self, spool)
        with ftplib.FTP(encoding="latin-1", timeout=120) as ftp:
            ftp.connect("127.0.0.1", door.server.port)
            ftp.login("alice", "secret")
            ftp.cwd("/incoming")
            for name in names:
                ftp.storbinary("STOR " + name.decode("latin-1"), io.BytesIO(name))
        self.all_done(spool, names)
