"""Uploaders that mean no good: nothing outside the spool is opened, changed or
moved, nobody else waits for it, and what is dropped honestly is taken once."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import time
import unittest

from canary import Canaries
from harness import SystemTest, escape, limit, root_only

NOBODY = pwd.getpwnam("nobody")
HERE = os.path.dirname(os.path.abspath(__file__))
# Only what the villain wrote is ever handed to a handler.
WATCHFUL = """if [ -L "$SPOOL_FILE" ] || ! [ -f "$SPOOL_FILE" ]; then
    echo "$SPOOL_NAME is no file" >>$BASE/staging/evil
elif [ "$SPOOL_USER" = mallory ] && [ -s "$SPOOL_FILE" ] && ! head -c 4 "$SPOOL_FILE" | grep -q mine; then
    cat "$SPOOL_FILE" >>$BASE/staging/evil
fi
exit 0
"""
QUEUE = "/proc/sys/fs/inotify/max_queued_events"


@root_only
class Villains(SystemTest):
    def begin(self, over=None):
        spool = self.spool(over, users=("mallory", "bob"), handler=WATCHFUL)
        spool.check_contents = False
        # The daemon could get there, the villain not.
        self.canaries = Canaries(os.path.join(spool.base, "outside"), 0o700)
        os.chown(spool.path("mallory"), NOBODY.pw_uid, NOBODY.pw_gid)
        os.mkdir(self.pool(spool))
        os.chmod(self.pool(spool), 0o777)
        return spool

    def pool(self, spool):
        return os.path.join(spool.path("mallory"), ".pool")

    def fill_pool(self, spool):
        """What the villain cannot make itself."""
        for n in range(4):
            link, device = (os.path.join(self.pool(spool), f"{kind}{n}") for kind in "ld")
            if not os.path.lexists(link):
                os.link(self.canaries.path("linked"), link)
            if not os.path.lexists(device):
                os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3 + 2 * (n % 2)))

    def villain(self, spool, seconds, seed):
        return subprocess.Popen([sys.executable, os.path.join(HERE, "villain.py"),
                                 spool.path("mallory"), self.canaries.directory, str(seconds),
                                 str(seed)], env=spool.environment(), stdout=subprocess.PIPE,
                                user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[])

    def judge(self, spool, seed):
        spool.wait_for(lambda: spool.user("mallory")["pending"] == 0 and
                       not spool.user("mallory")["running"], what="all to be done")
        self.assertFalse(os.path.exists(os.path.join(spool.base, "staging", "evil")), f"seed {seed}")
        self.assertEqual(self.canaries.touched(), [], f"seed {seed}")
        doctor = spool.ctl("doctor", json=True, check=None).data
        self.assertEqual([f for f in doctor["findings"] if f["level"] == "error"], [], f"seed {seed}")
        # What arrived last may run just now.
        spool.wait_for(lambda: not os.listdir(spool.path("mallory", "processing")),
                       what="processing to be empty")
        for place in ("done", "failed"):
            for name in spool.files("mallory", place):
                path = spool.path("mallory", place, name)
                if os.stat(path).st_nlink == 1 and not name.endswith(".log"):
                    with open(path, errors="replace") as file:
                        self.assertIn(file.read(4), ("mine", ""), name)

    def with_villains(self, spool, seconds):
        seed = int(os.environ.get("SPOOLD_TEST_SEED") or time.time_ns() % 1000000)
        villains = [self.villain(spool, seconds, seed + n) for n in range(2)]
        n = 0
        while any(v.poll() is None for v in villains):
            self.fill_pool(spool)
            spool.drop("bob", f"{n}.csv", how="mv")
            spool.wait_state(f"{n}.csv", "done", "bob", limit=30)
            n += 1
        for villain in villains:
            self.assertEqual(villain.wait(), 0)
            villain.stdout.close()
        return seed

    @limit(200)
    def test_everything_swapped_all_the_time(self):
        """Section 5, hostile uploads."""
        spool = self.begin()
        seed = self.with_villains(spool, 3)
        self.assertGreater(spool.user("mallory")["done"], 0, "some of it was taken")
        self.judge(spool, seed)

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    @limit(200)
    def test_with_wide_windows(self):
        """The same with the daemon slow between a look and the rename after it."""
        spool = self.begin({"scheduler_settings": {"max_concurrent_jobs": 1}})
        tracer = subprocess.Popen(
            ["strace", "-o", "/dev/null", "-p", str(spool.daemon.pid), "-e", "trace=renameat2",
             "-e", "inject=renameat2:delay_enter=20000"], stderr=subprocess.PIPE)
        try:
            tracer.stderr.readline()  # attached
            seed = self.with_villains(spool, 3)
        finally:
            tracer.kill()  # asked, it may wait for who waits for it
            tracer.communicate()
        self.judge(spool, seed)

    def test_directory_to_a_link_while_its_files_wait(self):
        """Section 5: the way to an accepted file is beneath incoming, or it is
        withdrawn; the file of its name outside is another one."""
        spool = self.begin({"job_processing": {"auto_start_processing": False}})
        for name in ("sub/secret.csv", "sub/a.csv", "sub/fifo.csv"):
            spool.drop("mallory", name, b"mine")
            spool.wait_state(name, "pending", "mallory")
        os.rename(spool.path("mallory", "incoming", "sub"),
                  os.path.join(spool.base, "staging", "sub"))
        os.symlink(self.canaries.path("inner"), spool.path("mallory", "incoming", "sub"))
        spool.ctl("start")
        for name in ("sub/secret.csv", "sub/a.csv", "sub/fifo.csv"):
            spool.wait_state(name, "canceled", "mallory")
        self.assertSays("symbolic link", spool.explain_file("sub", "mallory", check=None)["because"])
        self.judge(spool, 0)


class Flood(SystemTest):
    CONFIG = {"spool": {"durability": "relaxed"}, "scheduler_settings": {"interval_minutes": 60},
              "job_processing": {"auto_start_processing": False}}

    def flood(self, spool, files, naps=False):
        """With naps of the daemon, in which a tiny queue overflows for sure."""
        incoming = spool.path("alice")
        for n in range(files):
            if naps and n % 500 == 0:
                spool.daemon.send_signal(subprocess.signal.SIGSTOP)
            elif naps and n % 500 == 200:
                spool.daemon.send_signal(subprocess.signal.SIGCONT)
            fd = os.open(os.path.join(incoming, f"{n:05}.csv"), os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"x")
            os.close(fd)

    def judge(self, spool, files, may_be_late):
        spool.check_contents = False
        spool.wait_for(lambda: spool.user("alice")["pending"] >= files, 100,
                       "all to be pending")
        jobs = sorted(spool.jobs("alice"), key=lambda job: job["job"])
        self.assertEqual(len(jobs), files)
        self.assertEqual(len({job["name"] for job in jobs}), files)
        ctimes = [os.stat(spool.path("alice", "incoming", job["name"])).st_ctime_ns
                  for job in jobs]
        late = [f"{jobs[n]['name']} {jobs[n]['accepted_at']} before {jobs[n + 1]['name']} "
                f"{jobs[n + 1]['accepted_at']}"
                for n, (a, b) in enumerate(zip(ctimes, ctimes[1:])) if a > b]
        self.assertLessEqual(len(late), may_be_late, f"in the order of their arrival: {late}")
        self.assertGreater(spool.status()["daemon"]["overflows"], 0, "counted")
        self.assertRegex(spool.log(), "more happened at once")
        self.assertSays("more happened at once", str(spool.ctl("doctor", json=True).data))

    @limit(240)
    def test_while_the_daemon_sleeps(self):
        """Section 5: events were lost, files are not."""
        spool = self.spool(self.CONFIG)
        spool.daemon.send_signal(subprocess.signal.SIGSTOP)
        self.flood(spool, 10000)
        spool.daemon.send_signal(subprocess.signal.SIGCONT)
        self.judge(spool, 10000, 0)

    @root_only
    @unittest.skipUnless(os.access(QUEUE, os.W_OK), f"{QUEUE} cannot be written")
    @limit(240)
    def test_with_a_tiny_queue(self):
        """The same while it is awake, with a queue of 64 events. Whose event was
        lost may be found a moment after a younger one whose event was not."""
        spool = self.spool(self.CONFIG, start=False)
        spool.init()
        with open(QUEUE) as file:
            before = file.read()
        try:
            with open(QUEUE, "w") as file:
                file.write("64")
            spool.start(init=False)  # it keeps what was in force as it began
        finally:
            with open(QUEUE, "w") as file:
                file.write(before)
        self.flood(spool, 4000, naps=True)
        self.judge(spool, 4000, 10)


class Paths(SystemTest):
    def test_every_byte_in_a_name(self):
        """Section 5: names are bytes, all of them but "/" and NUL."""
        spool = self.spool({"handler": {"command": ["true"]}})
        names = [b"n" + bytes([byte]) for byte in range(1, 256) if byte not in b"/~"]
        for name in names:
            spool.drop("alice", name, how="mv")
        spool.wait_for(lambda: spool.user("alice")["done"] == len(names), 100, "all done")
        self.assertEqual(sorted(os.listdir(os.fsencode(spool.path("alice", "done")))),
                         sorted(names))
        self.assertEqual({j["name"] for j in spool.jobs("alice")}, {escape(n) for n in names})

    def test_longest_names_and_their_neighbours(self):
        """Promise 1: names of 255 bytes that differ in their tails only, each
        failing twice under the same name, with logs and outputs of their own."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler='echo "$SPOOL_JOB" >"$SPOOL_OUTPUT_DIR/job"\n'
                                   'echo "job $SPOOL_JOB"\nexit 1\n')
        spool.check_contents = False  # by the logs below
        names = [b"n" * 250 + b"." + tail for tail in (b"aaaa", b"aaab", b"log\n", b"\xff\xfe\xfd\xfc")]
        for turn in range(2):
            for name in names:
                spool.drop("alice", name, b"%d %s" % (turn, name[-4:]), how="mv")
            spool.wait_for(lambda: spool.user("alice")["failed"] == (turn + 1) * len(names),
                           what="all to fail")
        for job in spool.jobs("alice"):
            self.assertIn(f"job {job['job']}", spool.ctl("log", str(job["job"])).out)
        there = os.listdir(os.fsencode(spool.path("alice", "failed")))
        self.assertEqual(len(there), 3 * 2 * len(names), "file, log and output of each")

    def test_longest_paths(self):
        """Section 5: a path of nearly PATH_MAX bytes, and one beyond."""
        spool = self.spool()
        fd = os.open(spool.path("alice"), os.O_RDONLY)
        length = 0
        for _ in range(16):
            os.mkdir("d" * 240, dir_fd=fd)
            inner = os.open("d" * 240, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd, length = inner, length + 241
        for name in (b"short.csv", b"l" * (4095 - length)):
            staged = os.path.join(spool.base, "staging", "file")
            with open(staged, "wb") as file:
                file.write(name[:5])
            os.rename(staged, name, dst_dir_fd=fd)
        os.mkdir("e" * 250, dir_fd=fd)
        inner = os.open("e" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(os.open("too-long.csv", os.O_WRONLY | os.O_CREAT, dir_fd=inner))
        os.close(inner)
        os.close(fd)
        spool.check_contents = False  # longer than open() takes
        spool.wait_for(lambda: spool.user("alice")["done"] == 2, what="both to be done")
        spool.drop("alice", "after.csv")
        spool.wait_state("after.csv", "done")

    @limit(240)
    def test_thousands_of_directories(self):
        """Section 5: each is watched, and what comes into one is noticed."""
        spool = self.spool({"scheduler_settings": {"interval_minutes": 60},
                            "job_processing": {"auto_start_processing": False}})
        for n in range(1500):
            os.makedirs(os.path.join(spool.path("alice"), f"{n % 50}", f"{n}"))
        spool.wait_for(lambda: self.watches(spool) >= 1550, 100, "all to be watched")
        for n in range(0, 1500, 10):
            spool.drop("alice", f"{n % 50}/{n}/a.csv", how="mv")
        spool.wait_for(lambda: spool.user("alice")["pending"] == 150, 60, "all to be pending")

    def watches(self, spool):
        count = 0
        for fd in os.listdir(f"/proc/{spool.daemon.pid}/fdinfo"):
            try:
                with open(f"/proc/{spool.daemon.pid}/fdinfo/{fd}") as file:
                    count += file.read().count("inotify wd")
            except OSError:
                pass
        return count
