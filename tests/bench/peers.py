"""What people use today, as they would set it up for this job: look at each
user's incoming, run the handler on every file, move it to done. A queue that
keeps an order is one for each user.

Whose time is up gets the file "over": what it still knows of then goes to "left",
quickly, and not to the handler. So the rest is what it would never have done."""

import os
import shlex
import subprocess
import time

from systems import TOOLS, WAIT_S, System, has

# One file: move it aside, run the handler, move it on. In the shell, as in
# the recipes one finds.
ONE = r"""
one() {
	if [ -e @DIRECTORY@/over ]; then echo "$1" >>@DIRECTORY@/left; return; fi
	user=${1%%/incoming/*}; user=${user##*/}; name=${1##*/}
	mv "$1" "@ROOT@/$user/processing/$name" &&
	@HANDLER@ @STAMPS@ "$user" "$name" &&
	mv "@ROOT@/$user/processing/$name" "@ROOT@/$user/done/$name"
}
"""
SOCKET_MAX = 107
WATCH = "inotifywait -m -e moved_to -e close_write --format %w%f @ROOT@/*/incoming"


class Peer(System):
    limit_s = 30
    grace_s = 0  # what it did not do by then it does not do

    def script(self, text, name="peer"):
        for key, value in (("@ROOT@", self.root), ("@STAMPS@", self.stamps),
                           ("@DIRECTORY@", self.directory),
                           ("@HANDLER@", os.path.join(TOOLS, "handler"))):
            text = text.replace(key, shlex.quote(value))
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)
        return path

    def call_off(self):
        open(os.path.join(self.directory, "over"), "w").close()

    def left(self):
        """(user, name) of what it put aside since then."""
        try:
            with open(os.path.join(self.directory, "left")) as file:
                paths = [line.rstrip("\n").split("/") for line in file]
        except FileNotFoundError:
            return set()
        return {(path[-3], path[-1]) for path in paths if len(path) > 2}

    def peak_kib(self):
        """Of a shell that waits for others it would say nothing."""
        return None

    def wait_ready(self, is_ready):
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if is_ready():
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not get ready")


class Inotifywait(Peer):
    loop = None

    @classmethod
    def missing(cls):
        return has("inotifywait")

    def command(self):
        return [self.script("#!/bin/bash\n" + ONE + "export -f one\n" + self.loop)]

    def _is_ready(self):
        with open(os.path.join(self.directory, "log"), errors="replace") as file:
            return "Watches established" in file.read()

    def ready(self):
        self.wait_ready(self._is_ready)


class InotifywaitLoop(Inotifywait):
    name = "inotifywait | while read"
    loop = f'{WATCH} | while read -r path; do one "$path"; done\n'


class InotifywaitXargs(Inotifywait):
    name = "inotifywait | xargs -P 4"
    loop = f"{WATCH} | xargs -d '\\n' -P 4 -n 1 bash -c 'one \"$1\"' _\n"


class Watchdog(Peer):
    name = "Python watchdog, 4 threads"
    peak_kib = System.peak_kib
    ready = System.ready

    @classmethod
    def missing(cls):
        found = subprocess.run(["/usr/bin/python3", "-c", "import watchdog"],
                               capture_output=True).returncode == 0
        return None if found else "python3-watchdog not installed"

    # Each watch is a thread and an inotify instance of its own: one for all is what works.
    def command(self):
        return [self.script(r"""#!/usr/bin/python3
import concurrent.futures, os, subprocess, sys
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
root, stamps, handler, directory = sys.argv[1:]
pool = concurrent.futures.ThreadPoolExecutor(4)
def one(path):
    if os.path.exists(f"{directory}/over"):
        with open(f"{directory}/left", "a") as left: left.write(path + "\n")
        return
    incoming, name = os.path.split(path)
    user = os.path.basename(os.path.dirname(incoming))
    aside = f"{root}/{user}/processing/{name}"
    os.rename(path, aside)
    if subprocess.run([handler, stamps, user, name]).returncode == 0:
        os.rename(aside, f"{root}/{user}/done/{name}")
class Incoming(FileSystemEventHandler):
    def on_created(self, event):
        if "/incoming/" in event.src_path: pool.submit(one, event.src_path)
    def on_moved(self, event):
        if "/incoming/" in event.dest_path: pool.submit(one, event.dest_path)
observer = Observer()
observer.schedule(Incoming(), root, recursive=True)
observer.start()
print("ready", flush=True)
observer.join()
"""), self.root, self.stamps, os.path.join(TOOLS, "handler"), self.directory]


class Queue(Inotifywait):
    """Fed by hand, one call per file. Each file that waits is a process."""
    feed = None

    @property
    def loop(self):
        return (f"mkdir @DIRECTORY@/queues\n{WATCH} |\n"
                "while read -r path; do\n"
                "user=${path%%/incoming/*} queue=@DIRECTORY@/queues/${user##*/}\n"
                f'if [ -e @DIRECTORY@/over ]; then one "$path"; else {self.feed}; fi\ndone\n')


class TaskSpooler(Queue):
    name = "inotifywait | task-spooler"
    feed = 'TS_SOCKET=$queue tsp -n bash -c \'one "$1"\' _ "$path" >/dev/null'

    @classmethod
    def missing(cls):
        if len(TOOLS) > SOCKET_MAX - len("/work-12345678/queues/u00000"):
            return "the path of its socket would be too long"
        return has("tsp", "inotifywait")


class Nq(Queue):
    name = "inotifywait | nq"
    feed = 'NQDIR=$queue nq -q bash -c \'one "$1"\' _ "$path"'

    @classmethod
    def missing(cls):
        return has("nq", "inotifywait")


class Incron(Peer):
    """With tables and a lock of its own: the system's daemon and tables are not touched,
    only its log gets a line for each file. It starts a process for every event, and knows
    no order."""
    name = "incron"

    @classmethod
    def missing(cls):
        return has("incrond") or (os.geteuid() != 0 and "incrond needs root") or None

    def command(self):
        one = self.script("#!/bin/bash\n" + ONE + 'one "$1"\n', "one")
        tables = os.path.join(self.directory, "tables")
        for table in (tables, os.path.join(self.directory, "no-users")):
            os.mkdir(table)
        # A name is looked up in PATH, a path may not have blanks.
        with open(os.path.join(tables, "spool"), "w") as file:
            for user in os.listdir(self.root):
                file.write(f"{self.root}/{user}/incoming IN_MOVED_TO,IN_CLOSE_WRITE,recursive=false "
                           f"{one} $@/$#\n")
        with open(os.path.join(self.directory, "conf"), "w") as file:
            file.write(f"system_table_dir = {tables}\n"
                       f"user_table_dir = {self.directory}/no-users\n"
                       f"lockfile_dir = {self.directory}\nlockfile_name = incrond\n")
        return ["incrond", "-n", "-f", os.path.join(self.directory, "conf")]

    def _is_ready(self):
        """It only says so in the system's log: are all users watched?"""
        watched = 0
        try:
            fdinfo = f"/proc/{self.pid()}/fdinfo"
            for entry in os.listdir(fdinfo):
                with open(os.path.join(fdinfo, entry)) as file:
                    watched += file.read().count("inotify wd:")
        except (OSError, RuntimeError):  # not there yet
            pass
        return watched >= len(os.listdir(self.root))

    def ready(self):
        self.wait_ready(self._is_ready)


PEERS = (InotifywaitXargs, InotifywaitLoop, Watchdog, TaskSpooler, Nq, Incron)
