"""Processes of this machine, as /proc shows them."""

import os
import signal
import time


def _read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _link(pid, name):
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""


def _stat(pid):
    """State letter and parent, or None: the name in between may hold anything."""
    stat = _read(pid, "stat")
    if not stat:
        return None
    fields = stat[stat.rindex(b")") + 2:].split()
    return fields[0].decode(), int(fields[1])


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def alive(pid):
    """Running, and not merely waiting to be reaped."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def state(pid):
    """A letter: "S", "D" ...; "" for one that is gone."""
    stat = _stat(pid)
    return stat[0] if stat else ""


def system_call(pid):
    """The number of the one it is in, of a process that waits or is stopped; or -1."""
    fields = _read(pid, "syscall").split()
    return int(fields[0]) if fields and fields[0].isdigit() else -1


def name(pid):
    return _read(pid, "comm").decode(errors="backslashreplace").strip()


def with_argument(program, argument):
    return [pid for pid in pids() if name(pid) == program and
            os.fsencode(argument) in _read(pid, "cmdline").split(b"\0")]


def parent(pid):
    stat = _stat(pid)
    return stat[1] if stat else 0


def children(pid):
    return [p for p in pids() if parent(p) == pid and alive(p)]


def workers(parent_pid):
    """The spool-worker processes of a daemon; or of a worker: what it has made ahead."""
    return [p for p in children(parent_pid)
            if os.path.basename(_link(p, "exe").replace(" (deleted)", "")) == "spool-worker"
            or b"spool-worker" in _read(p, "cmdline")]


def describe(pid):
    command = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="backslashreplace").strip()
    stat = _stat(pid)
    wchan = _read(pid, "wchan").decode(errors="replace")
    state = stat[0] if stat else "?"
    return (f"pid {pid} (parent {parent(pid)}, state {state}, in {wchan or '?'}): "
            f"{command or _read(pid, 'comm').decode(errors='replace').strip()}")


def _below(path, directory):
    return path == directory or path.startswith(directory + "/")


def of_directory(directory):
    """Processes that belong to a spool: its path in their environment or
    arguments (daemon, workers, handlers), or their working directory there."""
    mark = os.fsencode(directory) + b"/"
    found = []
    for pid in pids():
        if pid == os.getpid() or not alive(pid):
            continue
        if (mark in _read(pid, "environ") or mark in _read(pid, "cmdline")
                or _below(_link(pid, "cwd"), directory)):
            found.append(pid)
    return found


def kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def kill_directory(directory):
    """Ends whatever is left of a spool; says what it was."""
    told = []
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = of_directory(directory)
        if not left:
            break
        for pid in left:
            told.append(describe(pid))
            kill(pid)
        time.sleep(0.05)
    return told
