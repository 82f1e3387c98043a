"""What handlers do that mean no good, each as a piece of a handler script.

A job is named after the attack its handler makes: "<attack>.x". $OUT is a
directory outside the spool with canaries in it."""

from dataclasses import dataclass

HEAD = """OUT=$BASE/outside
stray() { echo "$BASHPID" >>"$BASE/staging/strays"; exec sleep 1000; }
for fd in /proc/self/fd/*; do
    case $(readlink "$fd") in
    *.spoold*|*.lock|*/index/*|*socket*) echo "$fd $(readlink "$fd")" >>"$BASE/staging/leaks" ;;
    esac
done
"""


@dataclass(frozen=True)
class Attack:
    """`state`: what the job ends as; `attempts`: how many it takes."""
    body: str
    state: str = "done"
    attempts: int = 1
    keeps: bool = True  # the upload is there afterwards, unchanged
    error: str = ""     # a pattern for the reason


# Between two attempts of the same job.
FIRST = '[ "$SPOOL_ATTEMPT" = 1 ] || exit 0\n'

ATTACKS = {
    # Processes that want to stay.
    "daemonize": Attack("(setsid bash -c 'trap \"\" TERM HUP; echo $$ >>$0; setsid sleep 1000 & "
                        "echo $! >>$0; wait' $BASE/staging/strays &)\n"
                        "until [ -s $BASE/staging/strays ]; do sleep 0.02; done\n"),
    "background": Attack("for i in 1 2 3 4 5; do (stray) & done\nsleep 0.1\n"),
    "nameless": Attack("env -i setsid setsid bash -c 'echo $$ >>$0; exec -a \"\" sleep 1000' "
                       "$BASE/staging/strays &\nsleep 0.2\n"),
    "stopped-child": Attack("(trap '' TERM; echo $BASHPID >>$BASE/staging/strays; "
                            "kill -STOP $BASHPID) &\nsleep 0.1\n"),
    "deaf": Attack("trap '' TERM HUP INT; while :; do sleep 0.1; done\n", "failed", 2,
                   error="timed out"),
    "stops-itself": Attack("kill -STOP $$\n", "failed", 2, error="timed out"),
    "signals-itself": Attack("kill -KILL $$\n", "failed", 2, error="signal 9"),
    "signals-all": Attack("kill -TERM 0\nsleep 1000\n", "failed", 2, error="signal 15"),
    # What it says.
    "floods-log": Attack("yes 'all work and no play' | head -c 60000000\n"),
    "one-long-line": Attack("head -c 5000000 /dev/zero | tr '\\0' x\nexit 1\n", "failed", 2),
    "escapes": Attack("printf 'a\\033]0;owned\\007\\033[2J\\000\\377\\u202e\\u009b31m\\r\\n'\n"
                      "printf 'message=\\033[31m\\302\\233x\\377\\n' >&$SPOOL_REPORT_FD\nexit 1\n",
                      "failed", 2, error=r"\\x1b\[31m"),
    "cuts-its-log": Attack("echo before; sleep 0.05; : >log; head -c 3000000 /dev/zero; "
                           "rm -f log; echo after\n"),
    "forbids-log": Attack("chmod 0 log 2>&-; echo told; exit 1\n", "failed", 2, error="told"),
    # What it reports.
    "floods-report": Attack("yes progress=0.5 | head -c 8000000 >&$SPOOL_REPORT_FD\n"),
    "odd-reports": Attack("""head -c 300000 /dev/zero >&$SPOOL_REPORT_FD
echo >&$SPOOL_REPORT_FD
head -c 300000 /dev/urandom >&$SPOOL_REPORT_FD
echo >&$SPOOL_REPORT_FD
head -c 100000 /dev/zero | tr '\\0' m >&$SPOOL_REPORT_FD
for v in nan inf -inf 1e999 -1e999 0x1p4 '' ' 1' 1x; do report "progress=$v"; done
for v in 18446744073709551615 18446744073709551616 99999999999999999999999 -1 1.5 0x10 ''; do
    report "records=$v"
done
report "message=$(head -c 3000 /dev/zero | tr '\\0' m)"
report records=9223372036854775808
"""),
    "closes-report": Attack("exec 3>&- 1>&- 2>&-\n"),
    "holds-report": Attack("(exec 1>/dev/null 2>&1; stray) &\nsleep 0.1\n"),
    # Its input.
    "appends": Attack('echo more >>"$SPOOL_FILE"\n', keeps=False),
    "truncates": Attack(': >"$SPOOL_FILE"\n', keeps=False),
    "forbids-input": Attack('chmod 0 "$SPOOL_FILE"\n'),
    "replaces": Attack('echo new >new; mv new "$SPOOL_FILE"\n', keeps=False),
    "deletes": Attack('rm "$SPOOL_FILE"\n', keeps=False),
    "deletes-and-fails": Attack('rm "$SPOOL_FILE"\nexit 1\n', "failed", 2, keeps=False,
                                error="vanished"),
    "renames-input": Attack('mv "$SPOOL_FILE" other\n'),
    "renames-and-fails": Attack(FIRST + 'mv "$SPOOL_FILE" other\nexit 1\n', attempts=2),
    "hides-and-fails": Attack(FIRST + 'mkdir -p output/a; mv "$SPOOL_FILE" output/a/b\nexit 1\n',
                              "failed", 2, keeps=False, error="vanished"),
    "input-to-directory": Attack('rm "$SPOOL_FILE"; mkdir "$SPOOL_FILE"; echo x >"$SPOOL_FILE/x"\n',
                                 keeps=False),
    "input-to-fifo": Attack('rm "$SPOOL_FILE"; mkfifo "$SPOOL_FILE"\n', keeps=False),
    "input-to-symlink": Attack('rm "$SPOOL_FILE"; ln -s $OUT/secret "$SPOOL_FILE"\n', keeps=False),
    "input-to-link-and-fails": Attack('ln -s $OUT/secret new; mv new "$SPOOL_FILE"\nexit 1\n',
                                      "failed", 2, keeps=False, error="plain file"),
    # Its directories.
    "closes-directory": Attack("chmod 0 .\n"),
    "closes-and-fails": Attack(FIRST + "chmod 0 . output\nexit 1\n", attempts=2),
    "read-only": Attack('mkdir output/d; echo x >output/d/x; chmod 0500 output/d output .\n'),
    "closes-output": Attack("mkdir output/d; echo x >output/d/x; chmod 0 output/d output\n"),
    "removes-all": Attack('rm -rf ./* ./.[a-z]*\n', keeps=False),
    "removes-output": Attack("rmdir output; exit 1\n", "failed", 2),
    "output-to-link": Attack("rmdir output; ln -s $OUT output\n"),
    "output-to-link-and-fails": Attack("rm -rf output; ln -s $OUT output; exit 1\n", "failed", 2),
    "output-to-fifo": Attack("rmdir output; mkfifo output\n"),
    "log-to-link": Attack("rm log; ln -s $OUT/secret log; echo told; exit 1\n", "failed", 2),
    "log-to-fifo": Attack("rm log; mkfifo log; echo told; exit 1\n", "failed", 2),
    "log-to-directory": Attack("rm -rf log; mkdir -p log/x; echo told; exit 1\n", "failed", 2),
    "names-of-ours": Attack("""for n in .spoold-result .spoold-result.new .spoold-cancel log.spoold \\
    output.spoold .spoold-log.0123456789abcdef; do ln -s $OUT/secret "$n" 2>/dev/null; done
exit 1
""", "failed", 2),
    "directories-of-ours": Attack("""for n in .spoold-result .spoold-result.new .spoold-cancel \\
    log.spoold output.spoold .spoold-output; do mkdir -p "$n/x" "output/$n/x"; done
exit 1
""", "failed", 2),
    "many-files": Attack("cd output; exec python3 -c 'import os\nfor n in range(3000):\n"
                         " os.close(os.open(str(n), os.O_CREAT))\nfor n in range(500):\n"
                         " os.mkfifo(f\"f{n}\"); os.symlink(\"'$OUT'/secret\", f\"l{n}\")'\n"),
    "many-beside": Attack("ln -s $OUT s; mkfifo f; exec python3 -c 'import os\n"
                          "for n in range(2000): os.close(os.open(str(n), os.O_CREAT))'\n"),
    "deep-output": Attack("cd output; python3 -c 'import os\nfor n in range(180):\n"
                          " os.mkdir(\"d\" * 30); os.chdir(\"d\" * 30)\nopen(\"x\", \"w\")'\n"),
    "sockets": Attack("python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); "
                      "s.bind(\"output/s\"); t = socket.socket(socket.AF_UNIX); t.bind(\"s\")'\n"),
    "makes-executable": Attack("cp /bin/true output/true; chmod 6755 output/true\n"),
    # More than it may have.
    "eats-memory": Attack("exec python3 -c 'x = [bytearray(1 << 24) for _ in range(1000)]'\n",
                          "failed", 2, error="exit code 1: MemoryError"),
    "eats-memory-by-shell": Attack("x=x; while :; do x=$x$x; done\n", "failed", 2,
                                   error="allocate|signal"),
    "crashes-for-memory": Attack("exec python3 -c 'import os; x = []\ntry:\n"
                                 " while True: x.append(bytearray(1 << 24))\n"
                                 "except MemoryError: os.abort()'\n", "failed", 2,
                                 error="memory_mib"),
    "writes-too-much": Attack("exec head -c 40000000 /dev/zero >output/big\n", "failed", 2,
                              error="file_mib"),
}

# These need the account of the daemon.
AS_DAEMON = {
    "kills-worker": Attack(FIRST + "kill -KILL $PPID\nsleep 1000\n", attempts=2),
    "terminates-worker": Attack(FIRST + "kill -TERM $PPID\nsleep 1000\n", attempts=2),
    "freezes-worker": Attack(FIRST + "kill -STOP $PPID\nsleep 1000\n", attempts=2),
    "moves-away": Attack(FIRST + 'mv "$PWD" "$OUT/moved.$SPOOL_JOB"\n', keeps=False),
}


def handler(attacks, word="$SPOOL_NAME"):
    cases = "".join(f"{name}.x)\n{attack.body};;\n" for name, attack in attacks.items())
    return f"{HEAD}case {word} in\n{cases}esac\nexit 0\n"
