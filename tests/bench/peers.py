"""What people use today, as they would set it up for this job: look at each
user's incoming, run the handler on every file, move it to done."""

import os
import shlex
import subprocess
import time

from systems import TOOLS, System, has

# One file: move it aside, run the handler, move it on. In the shell, as in
# the recipes one finds.
ONE = r"""
one() {
	user=${1%%/incoming/*}; user=${user##*/}; name=${1##*/}
	mv "$1" "@ROOT@/$user/processing/$name" &&
	@HANDLER@ @STAMPS@ "$user" "$name" &&
	mv "@ROOT@/$user/processing/$name" "@ROOT@/$user/done/$name"
}
"""


class Peer(System):
    settle_s = 2

    def script(self, text):
        for key, value in (("@ROOT@", self.root), ("@STAMPS@", self.stamps),
                           ("@HANDLER@", os.path.join(TOOLS, "handler"))):
            text = text.replace(key, shlex.quote(value))
        path = os.path.join(self.directory, "peer")
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)
        return path


class Inotifywait(Peer):
    loop = None

    @classmethod
    def missing(cls):
        return has("inotifywait")

    def command(self):
        return [self.script("#!/bin/bash\n" + ONE + self.loop)]

    def ready(self):
        """It says so on its standard error."""
        log = os.path.join(self.directory, "log")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with open(log, errors="replace") as file:
                if "Watches established" in file.read():
                    return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not get ready")


class InotifywaitLoop(Inotifywait):
    name = "inotifywait | while read"
    loop = """
inotifywait -m -r -e moved_to -e close_write --format %w%f @ROOT@ |
while read -r path; do case $path in */incoming/*) one "$path" ;; esac; done
"""


class InotifywaitXargs(Inotifywait):
    name = "inotifywait | xargs -P 4"
    loop = """
export -f one
inotifywait -m -r -e moved_to -e close_write --format %w%f @ROOT@ |
grep --line-buffered /incoming/ | xargs -P 4 -I{} bash -c 'one "$1"' _ {}
"""


class Watchdog(Peer):
    name = "Python watchdog, 4 threads"

    @classmethod
    def missing(cls):
        found = subprocess.run(["/usr/bin/python3", "-c", "import watchdog"],
                               capture_output=True).returncode == 0
        return None if found else "python3-watchdog not installed"

    def command(self):
        return [self.script("""#!/usr/bin/python3
import concurrent.futures, os, signal, subprocess, sys
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
root, stamps, handler = "@ROOT@", "@STAMPS@", "@HANDLER@"
pool = concurrent.futures.ThreadPoolExecutor(4)
def one(path):
    directory, name = os.path.split(path)
    user = os.path.basename(os.path.dirname(directory))
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
signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
observer.join()
""")]


class Queue(Peer):
    """Queues that are fed by hand: one call per file."""
    feed = None

    def command(self):
        return [self.script("#!/bin/bash\n" + ONE + "export -f one\n" + self.feed_loop())]

    def feed_loop(self):
        return ("inotifywait -m -r -e moved_to --format %w%f @ROOT@ |\n"
                "grep --line-buffered /incoming/ |\n"
                f"while read -r path; do {self.feed}; done\n")

    ready = Inotifywait.ready


class TaskSpooler(Queue):
    name = "task-spooler behind inotifywait"
    feed = 'tsp -n bash -c \'one "$1"\' _ "$path" >/dev/null'

    @classmethod
    def missing(cls):
        return has("tsp", "inotifywait")

    def start(self):
        os.environ["TS_SOCKET"] = os.path.join(self.directory, "tsp")
        os.environ["TS_SLOTS"] = "4"
        super().start()

    def stop(self):
        subprocess.run(["tsp", "-K"], capture_output=True)
        return super().stop()


class Nq(Queue):
    name = "nq behind inotifywait"
    feed = 'nq -q bash -c \'one "$1"\' _ "$path"'

    @classmethod
    def missing(cls):
        return has("nq", "inotifywait")

    def start(self):
        os.environ["NQDIR"] = os.path.join(self.directory, "nq")
        super().start()


PEERS = (InotifywaitXargs, InotifywaitLoop, Watchdog, TaskSpooler, Nq)

