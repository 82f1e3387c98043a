"""Doors: real servers on 127.0.0.1, and the real clients that come through them.

A server is started by the test, in its own directory, on a port of its own, and
ended with it. Configurations are the ones of packaging/examples, with the paths
of the test in the place of theirs."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

import procs
from spool import REPO, slowness

RULES = {"alice": "auto", "bob": "rename", "carol": "marker", "dave": "checksum"}
RATE = 1_000_000       # bytes per second of a slow upload
EXAMPLES = os.path.join(REPO, "packaging", "examples")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def program(name):
    """Its path; a test that needs it is skipped with the reason where it is not there."""
    path = shutil.which(name, path=PATH)
    if path is None:
        raise unittest.SkipTest(f"{name} is not installed: make test-deps")
    return path


def example(name, spool, skip_to=""):
    """An example of ours, with the root of this spool in it."""
    with open(os.path.join(EXAMPLES, name)) as file:
        text = file.read()
    assert "/srv/spool" in text, name
    return text[text.index(skip_to):].replace("/srv/spool", spool.root)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def descendants(pid):
    found, look = [], [pid]
    while look:
        more = procs.children(look.pop())
        found += more
        look += more
    return found


class Server:
    """A server process; `test` ends it."""

    def __init__(self, test, spool, argv, port, **options):
        self.spool = spool
        self.port = port
        self.log_path = os.path.join(spool.base, f"server-{port}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=spool.base,
                start_new_session=True, **options)
        test.addCleanup(self.end)
        self.wait_listening()

    def wait_listening(self):
        deadline = time.monotonic() + 60 * slowness()
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the server did not start: {self.log()}") from None
                time.sleep(0.05)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()[-2000:]

    def sessions(self):
        return descendants(self.process.pid)

    def signal_sessions(self, *numbers):
        pids = self.sessions()
        for number in numbers:
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass

    def kill_sessions(self):
        """As a crash of the server would: no handler, no clean-up, all at once."""
        self.signal_sessions(signal.SIGSTOP, signal.SIGKILL)

    def end(self):
        pids = [self.process.pid, *self.sessions()]
        self.process.terminate()
        try:
            self.process.wait(10 * slowness())
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


FIRST_UID = 47011
ACCOUNTS = """set -e
mount --make-rprivate /
mkdir {dir}/etc
cp -a /etc/. {dir}/etc 2>/dev/null || true  # others' temporary files may go meanwhile
for file in passwd group shadow; do cat {dir}/$file >{dir}/etc/$file; done
[ -L {dir}/etc/mtab -o -e {dir}/etc/mtab ] || ln -s /proc/self/mounts {dir}/etc/mtab
mount --bind {dir}/etc /etc
exec "$@"
"""


def with_accounts(spool, users, password="*"):
    """Before a command: it runs where these accounts exist, in the group
    "uploaders". Nothing else of the machine sees them. All of /etc is another:
    what is mounted on a single file of it goes when somebody replaces that."""
    directory = os.path.join(spool.base, "accounts")
    os.mkdir(directory, 0o755)
    more = {"passwd": "", "group": f"uploaders:x:47000:{','.join(users)}\n", "shadow": ""}
    for number, user in enumerate(users):
        uid = FIRST_UID + number
        more["passwd"] += f"{user}:x:{uid}:{uid}::/:/bin/sh\n"
        more["group"] += f"{user}:x:{uid}:\n"
        more["shadow"] += f"{user}:{password}:19000:0:99999:7:::\n"
    for name, text in more.items():
        with open(f"/etc/{name}") as file:
            text = file.read() + text
        with open(os.path.join(directory, name), "w") as file:
            os.fchmod(file.fileno(), 0o600 if name == "shadow" else 0o644)
            file.write(text)
    return [program("unshare"), "--mount", "sh", "-c", ACCOUNTS.format(dir=directory), "sh"]


def may_unshare():
    return subprocess.run(["unshare", "--mount", "true"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


class Throttle:
    """A slow line to a server, for clients that have no limit of their own."""

    def __init__(self, test, port):
        self.to = port
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.sockets = [self.listener]
        test.addCleanup(self.end)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self.sockets += [client, server]
            for pair in ((client, server, RATE), (server, client, 0)):
                threading.Thread(target=self.forward, args=pair, daemon=True).start()

    def forward(self, source, target, rate):
        try:
            while data := source.recv(16384):
                target.sendall(data)
                time.sleep(len(data) / rate if rate else 0)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def end(self):
        for one in self.sockets:
            one.close()


class Client:
    """A client at work in a session of its own, so that it can be killed with
    all that it started."""

    def __init__(self, test, argv, data=None):
        self.argv = argv
        self.data = data
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        test.addCleanup(self.kill)

    def wait(self, check=True, seconds=90):
        """What it said; `self.process.returncode` tells the rest."""
        out, _ = self.process.communicate(self.data, timeout=seconds * slowness())
        if check and self.process.returncode != 0:
            raise AssertionError(f"{self.argv} ended with {self.process.returncode}: "
                                 f"{out.decode(errors='replace')}")
        return out.decode(errors="replace")

    def kill(self):
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Sshd:
    """An sshd for the account that runs the test, and a key to get in."""

    def __init__(self, test, spool, extra="", **options):
        self.test, self.spool = test, spool
        self.directory = os.path.join(spool.base, "ssh")
        os.mkdir(self.directory, 0o755)
        for key in ("host", "user"):
            subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f",
                            os.path.join(self.directory, key)], check=True)
        port = free_port()
        config = os.path.join(self.directory, "sshd_config")
        with open(config, "w") as file:
            file.write(f"Port {port}\nListenAddress 127.0.0.1\n"
                       f"HostKey {self.directory}/host\nPidFile none\nUsePAM no\n"
                       f"StrictModes no\nPermitRootLogin yes\nMaxStartups 100\n"
                       f"AuthorizedKeysFile {self.directory}/user.pub\n"
                       f"Subsystem sftp internal-sftp\n{extra}\n")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        before = options.pop("before", [])
        self.server = Server(test, spool, [*before, program("sshd"), "-D", "-e", "-f", config], port,
                             **options)
        self.options = ["-F", "/dev/null", "-i", f"{self.directory}/user",
                        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                        "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]

    def host(self, user=""):
        return (user + "@" if user else "") + "127.0.0.1"

    def shell(self):
        """For rsync -e."""
        return " ".join([program("ssh"), "-p", str(self.server.port), *self.options])

    def sftp(self, commands, *args, user="", **options):
        batch = os.path.join(self.directory, f"batch{time.monotonic_ns()}")
        with open(batch, "w") as file:
            file.write("\n".join(commands) + "\n")
        return Client(self.test, [program("sftp"), "-P", str(self.server.port), *self.options,
                                  "-b", batch, *args, self.host(user)], **options)

    def scp(self, *args, **options):
        return Client(self.test, [program("scp"), "-P", str(self.server.port), *self.options,
                                  *args], **options)


SMB_OWN = """[global]
    server role = standalone server
    map to guest = Bad User
    guest account = {account}
    interfaces = 127.0.0.1
    bind interfaces only = yes
    smb ports = {port}
    disable netbios = yes
    load printers = no
    printcap name = /dev/null
    disable spoolss = yes
    # A slow upload shall arrive bit by bit.
    smb2 max write = 65536
    private dir = {dir}
    lock directory = {dir}
    state directory = {dir}
    cache directory = {dir}
    pid directory = {dir}
    ncalrpc dir = {dir}
    log file = {dir}/log
    log level = 0
"""


class Smbd:
    """A Samba of its own. Whoever comes is a guest with the rights of the test; or has one
    of these accounts."""

    def __init__(self, test, spool, accounts=()):
        self.test, self.spool = test, spool
        directory = os.path.join(spool.base, "smb")
        os.mkdir(directory, 0o755)
        port = free_port()
        config = os.path.join(directory, "smb.conf")
        shares = example("smb.conf", spool, "[upload]")
        with open(config, "w") as file:
            file.write(SMB_OWN.format(port=port, dir=directory,
                                      account=pwd.getpwuid(os.geteuid()).pw_name))
            file.write(shares if accounts else
                       shares.replace("[upload]", "[upload]\n    guest ok = yes"))
        self.config = config
        before = []
        if accounts:
            known = f'printf "x\\nx\\n" | {program("smbpasswd")} -c {config} -s -a "$user"'
            before = [*with_accounts(spool, accounts), "sh", "-c",
                      f"for user in {' '.join(accounts)}; do {known} || exit 1; done; exec \"$@\"",
                      "sh"]
        self.server = Server(test, spool, [*before, program("smbd"), "--foreground",
                                           "--no-process-group", f"--configfile={config}"], port)

    def client(self, user, command, slow=False, share="upload"):
        port = Throttle(self.test, self.server.port).port if slow else self.server.port
        return Client(self.test, [program("smbclient"), f"//127.0.0.1/{share}", "-p", str(port),
                                  "-s", self.config, "-U", user + "%x", "-c",
                                  command])
