"""Through vsftpd, as packaging/examples/vsftpd.conf has it: accounts of their own,
locked into their spool directories. The client is Python's ftplib."""

import os
import subprocess
import sys

from doors import FIRST_UID, RATE, RULES, Client, Server, example, free_port, may_unshare, program, \
    with_accounts
from harness import SystemTest, root_only
from matrix import ALL, Matrix, Resumed

SEND = """
import ftplib, sys, time
port, user, path, name, rate, resume = sys.argv[1:]
ftp = ftplib.FTP()
ftp.connect("127.0.0.1", int(port), timeout=120)
ftp.login(user, "secret")
ftp.cwd("/incoming")
def told(piece):
    time.sleep(len(piece) / int(rate) if int(rate) else 0)
with open(path, "rb") as file:
    if resume:
        ftp.voidcmd("TYPE I")
        file.seek(ftp.size(name))
    ftp.storbinary(("APPE " if resume else "STOR ") + name, file, blocksize=32768, callback=told)
ftp.quit()
"""


class Vsftpd:
    def __init__(self, test, spool):
        if not may_unshare():
            test.skipTest("needs a mount namespace, for accounts of its own")
        port = free_port()
        config = os.path.join(spool.base, "vsftpd.conf")
        with open(config, "w") as file:
            file.write(example("vsftpd.conf", spool) +
                       f"\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\n"
                       "connect_from_port_20=NO\nsecure_chroot_dir=/var/run/vsftpd/empty\n")
        os.makedirs("/var/run/vsftpd/empty", exist_ok=True)
        hashed = subprocess.run([program("openssl"), "passwd", "-6", "secret"], check=True,
                                stdout=subprocess.PIPE, text=True).stdout.strip()
        self.spool = spool
        self.server = Server(test, spool, [*with_accounts(spool, tuple(RULES), hashed),
                                           program("vsftpd"), config], port)


@root_only
class Ftp(Matrix, SystemTest):
    """STOR"""

    def open(self, spool):
        for number, user in enumerate(RULES):
            os.chown(spool.path(user, "incoming"), FIRST_UID + number, FIRST_UID + number)
        return Vsftpd(self, spool)

    def put(self, door, user, path, name, slow=False, resume=""):
        return Client(self, [sys.executable, "-c", SEND, str(door.server.port), user, path, name,
                             str(RATE if slow else 0), resume])


class Appe(Resumed, Ftp):
    """APPE, with the rest"""

    def resume(self, door, user, path, name):
        return self.put(door, user, path, name, resume="resume")

    if not ALL:
        test_broken_off_by_the_client = None
