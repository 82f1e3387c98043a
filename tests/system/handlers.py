"""Handler scripts of the tests, and what they share."""

# Every handler starts with this: it stamps the journal without starting a
# program, and holds a lock per user for as long as any process of it lives.
PRELUDE = r"""#!/bin/bash
BASE=@BASE@
stamp() {
	local name=${SPOOL_NAME//%/%25}
	name=${name// /%20}
	name=${name//$'\n'/%0A}
	local code=${2:-}
	printf '%s %s000 %s %s %s %s %s%s\n' "$1" "${EPOCHREALTIME//[.,]/}" "$SPOOL_USER" \
		"$name" "$SPOOL_JOB" "$SPOOL_ATTEMPT" "$$" "${code:+ $code}" >>"$BASE/journal"
}
report() { printf '%s\n' "$1" >&"$SPOOL_REPORT_FD"; }
# Waits until the test lets this file go; ends with the exit code it was given.
gate() {
	local code=0
	until [ -e "$BASE/gate/$SPOOL_NAME" ] || [ -e "$BASE/gate/all" ]; do sleep 0.05; done
	[ -e "$BASE/gate/$SPOOL_NAME" ] && read -r code <"$BASE/gate/$SPOOL_NAME"
	exit "$code"
}
stamp_start() {
	exec 9>>"$BASE/locks/$SPOOL_USER"
	if @LOCK@ flock -n 9; then stamp start; else stamp overlap; fi
	trap 'stamp end $?' EXIT
}
stamp_start
"""

OK = "exit 0\n"
GATE = "gate\n"
# bad* fails, the rest succeeds.
BAD_FAILS = """case $SPOOL_NAME in
bad*) echo "cannot digest $SPOOL_NAME" >&2; exit 1 ;;
esac
exit 0
"""


def script(base, body, lock=True):
    """A handler for the spool in `base`. `lock`: attempts of a user must not overlap."""
    prelude = PRELUDE.replace("@BASE@", base).replace("@LOCK@", "" if lock else "true ||")
    return prelude + body


# Every stream handler starts with this; the body defines work(job).
STREAM_PRELUDE = r"""#!/usr/bin/python3
import fcntl, json, os, re, signal, subprocess, sys, time
BASE = "@BASE@"
USER = os.environ["SPOOL_USER"]


def note(name, text=""):
    with open(f"{BASE}/staging/{name}", "a") as file:
        file.write(f"{text or os.getpid()}\n")


def stamp(what, job, code=None):
    name = job["name"].replace("%", "%25").replace(" ", "%20").replace("\n", "%0A")
    with open(BASE + "/journal", "a") as file:
        file.write(f"{what} {time.time_ns()} {USER} {name} {job['job']} {job['attempt']} "
                   f"{os.getpid()}{'' if code is None else f' {code}'}\n")


def say(job, **what):
    print(json.dumps({"job": job["job"], **what}), flush=True)


def log(text):
    print(text, file=sys.stderr, flush=True)


def path(job, key):
    text = os.fsencode(job[key])
    if job.get("escaped"):
        text = re.sub(rb"\\(?:x(..)|\\)",
                      lambda m: bytes([int(m[1], 16)]) if m[1] else b"\\", text)
    return text


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


# Waits until the test lets this file go.
def gate(job):
    ways = [f"{BASE}/gate/{job['name']}", BASE + "/gate/all"]
    while not any(os.path.exists(way) for way in ways):
        time.sleep(0.05)


# Two processes that ignore SIGTERM, one of them in a session of its own.
def leave_processes():
    stubborn = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " \
               f"open('{BASE}/staging/pids', 'a').write(f'{{os.getpid()}}\\n'); time.sleep(1000)"
    for session in (False, True):
        subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=session,
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not os.path.exists(f"{BASE}/staging/pids") or \
            len(open(f"{BASE}/staging/pids").read().split()) < 2:
        time.sleep(0.02)


@BODY@

note("started")
for line in sys.stdin:
    job = json.loads(line)
    with open(f"{BASE}/locks/{USER}", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if @LOCK@ else fcntl.LOCK_SH)
            stamp("start", job)
        except BlockingIOError:
            stamp("overlap", job)
        answer = work(job) or {}
        stamp("end", job, 0)
    say(job, **{"result": "done", **answer})
note("left")
"""


def stream_script(base, body, lock=True):
    return (STREAM_PRELUDE.replace("@BODY@", body).replace("@BASE@", base)
            .replace("@LOCK@", str(lock)))
