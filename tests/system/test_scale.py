"""Many files, many users: nobody waits for others' backlog, memory stays, nothing
is lost where the kernel cannot tell of all."""

import ctypes
import fcntl
import itertools
import os
import re
import signal
import struct
import termios
import time
import unittest

from harness import SystemTest, limit, root_only
from matrix import ALL
from spool import has_sanitizer

CLONE_NEWUSER = 0x10000000
SYS_PIDFD_GETFD = 438
libc = ctypes.CDLL(None, use_errno=True)
MIB = 1024
# Only jobs of "large" last.
HELD = '[ "$SPOOL_USER" = large ] && gate\nexit 0\n'
STOPPED = {"job_processing": {"auto_start_processing": False}}


def fill(spool, user, number, prefix="f"):
    """Empty files, not recorded one by one: the test counts them itself."""
    directory = os.fsdecode(spool.path(user, "incoming"))
    for n in range(number):
        os.close(os.open(os.path.join(directory, f"{prefix}{n:06}"),
                         os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def own_memory_kib(spool):
    with open(f"/proc/{spool.daemon.pid}/status") as file:
        return int(re.search(r"RssAnon:\s*(\d+)", file.read()).group(1))


def commits(spool):
    """LMDB counts its transactions in the heads of its file."""
    with open(os.path.join(spool.index_path(), "data.mdb"), "rb") as file:
        heads = file.read(8192)
    return max(struct.unpack_from("<Q", heads, page + 144)[0] for page in (0, 4096))


def queue_limit():
    """Events that the kernel keeps for who does not read them."""
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        return int(file.read())


def inotify_of(pid):
    """A descriptor of ours for its instance."""
    directory = f"/proc/{pid}/fd"
    fd = next(int(fd) for fd in os.listdir(directory)
              if os.readlink(os.path.join(directory, fd)) == "anon_inode:inotify")
    pidfd = os.pidfd_open(pid)
    try:
        ours = libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if ours < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return ours


def unread(events):
    """Bytes that wait in the kernel."""
    return struct.unpack("i", fcntl.ioctl(events, termios.FIONREAD, b"\0" * 4))[0]


def few_watches(number):
    """For a child before its exec: in a user namespace of its own, where so many
    directories can be watched."""
    def enter():
        if libc.unshare(CLONE_NEWUSER) != 0:
            os._exit(99)
        for path, text in (("/proc/self/setgroups", "deny"), ("/proc/self/uid_map", "0 0 1"),
                           ("/proc/self/gid_map", "0 0 1"),
                           ("/proc/sys/user/max_inotify_watches", str(number))):
            with open(path, "w") as file:
                file.write(text)
    return enter


def no_namespaces():
    pid = os.fork()
    if pid == 0:
        try:
            few_watches(5)()
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] != 0


class Scale(SystemTest):
    def accepted(self, spool, user):
        row = spool.user(user)
        return row["pending"] + row["done"] if row else 0

    @limit(600)
    def test_a_backlog_takes_bounded_memory(self):
        spool = self.spool(STOPPED, start=False)
        fill(spool, "alice", 50_000)
        spool.start()
        most = 0

        def all_accepted():
            nonlocal most
            most = max(most, own_memory_kib(spool))
            return self.accepted(spool, "alice") == 50_000
        spool.wait_for(all_accepted, 400, "50,000 jobs")
        if not has_sanitizer():
            self.assertLess(most, 14 * MIB)

    @limit(600)
    def test_a_large_directory_keeps_nobody_waiting(self):
        others = ["anna", "bert", "carl", "dora", "emil"]
        spool = self.spool(STOPPED, start=False, users=("large", *others))
        fill(spool, "large", 20_000)
        for user in others:
            spool.drop(user, "small")
        spool.start()
        for user in others:
            job = spool.wait_state("small", "pending", user)
            # In front of nearly all of what waited before it.
            self.assertLess(job["job"], 8000, user)
        spool.wait_for(lambda: self.accepted(spool, "large") == 20_000, 300, "20,000 jobs")

    @limit(1200)
    def a_million_files_keep_nobody_waiting(self):
        """What another user drops meanwhile starts within a second, and the first of the
        million long before the last is known; memory stays."""
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 2}}, start=False,
                           users=("large", "small"), handler=HELD)
        fill(spool, "large", 1_000_000)
        spool.start()
        waits = []
        for n in range(20):
            spool.drop("small", f"{n}")
            dropped = time.time_ns()
            waits.append((spool.wait_started(f"{n}", "small").ns - dropped) / 1e9)
        self.assertLess(sorted(waits)[len(waits) // 2], 1, waits)
        spool.wait_for(lambda: spool.journal.starts("large"), 300, "work to begin")
        self.assertLess(self.accepted(spool, "large"), 900_000)
        if not has_sanitizer():
            self.assertLess(own_memory_kib(spool), 32 * MIB)

    if ALL:  # it takes minutes
        test_a_million_files_keep_nobody_waiting = a_million_files_keep_nobody_waiting

    @limit(600)
    def test_two_large_directories_share(self):
        spool = self.spool(start=False, users=("one", "two"))
        for user in ("one", "two"):
            fill(spool, user, 10_000)
        spool.start()
        for user in ("one", "two"):
            spool.wait_for(lambda: self.accepted(spool, user) > 0, 60, f"jobs of {user}")
        # While jobs run both get on, neither only when the other's backlog is in.
        spool.wait_for(lambda: all(spool.user(u)["done"] >= 200 for u in ("one", "two")), 200,
                       "both to get on")
        self.assertLess(min(self.accepted(spool, u) for u in ("one", "two")), 10_000)

    @limit(600)
    def test_order_of_a_large_backlog(self):
        spool = self.spool(STOPPED, start=False, users=("alice", "bob"))
        for user in ("alice", "bob"):
            # Names run against time.
            for part in range(5):
                fill(spool, user, 1100, prefix=f"{9 - part}-")
                spool.next_tick()
        spool.start()
        for user in ("alice", "bob"):
            spool.wait_for(lambda: self.accepted(spool, user) == 5500, 200, "5,500 jobs")
            parts = [j["name"][0] for j in spool.jobs(user, "--state", "pending")]
            self.assertEqual(parts, sorted(parts, reverse=True))

    def keep_names(self, *larger):
        """Of the 60 files of "some" the next names are kept until it needs more: the only place
        is taken, and `larger` is looked through beside it."""
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 1}}, users=("large",),
                           handler=HELD)
        spool.drop("large", "first")
        spool.wait_started("first", "large")
        staging = os.path.join(spool.base, "staging")
        users = {"some": 60, **{f"much{n}": files for n, files in enumerate(larger)}}
        for user, number in users.items():
            os.makedirs(os.path.join(staging, user, "incoming"))
            for n in range(number):
                last = os.path.join(staging, user, "incoming", f"{n:06}")
                os.close(os.open(last, os.O_WRONLY | os.O_CREAT, 0o644))
                spool.expect(user, f"{n:06}", b"")
        spool.wait_for(lambda: time.time() > os.stat(last).st_ctime + 0.5, 60, "all to be quiet")
        for user in reversed(users):
            os.rename(os.path.join(staging, user), os.path.join(spool.root, user))
        spool.wait_for(lambda: self.accepted(spool, "some"), 60, "the first jobs of some")
        return spool

    @limit(300)
    def test_what_changes_while_its_name_is_kept(self):
        """What was written anew meanwhile comes after what was not, and what is gone is no job."""
        spool = self.keep_names(20_000)
        spool.drop("some", "000040", how="mv", replace=True)
        spool.withdraw("some", "000050")
        self.assertLess(self.accepted(spool, "some"), 40)
        spool.open_gate()
        spool.wait_for(lambda: len(spool.journal.starts("some")) == 59, 100, "all of some")
        ran = spool.journal.order("some")
        self.assertEqual(ran[-1], "000040")
        self.assertEqual(ran, sorted(ran[:-1]) + ran[-1:])

    @limit(300)
    def test_what_is_ignored_while_its_name_is_kept(self):
        """Section 5: what the patterns cover by then is no job."""
        spool = self.keep_names(20_000)
        spool.configure({"spool": {"ignore": [".*", "*5"]}})
        spool.ctl("reload")
        jobs = {job["name"] for job in spool.jobs("some")}
        ignored = [f"{n:06}" for n in range(5, 60, 10) if f"{n:06}" not in jobs]
        self.assertIn("000055", ignored)
        for name in ignored:
            self.assertEqual(spool.explain_file(name, "some")["state"], "ignored")
        spool.open_gate()
        spool.wait_for(lambda: "000059" in spool.journal.order("some"), 100, "the last of some")
        self.assertEqual([n for n in spool.journal.order("some") if n in ignored], [])

    @limit(300)
    def test_what_is_linked_while_its_name_is_kept(self):
        """A backup by hard links changes its ctime, and no event tells: it keeps its place."""
        spool = self.keep_names(*[3000] * 4)
        for n in range(80):
            if n == 40:
                path = os.fsdecode(spool.path("some", "incoming", "f30"))
                os.link(path, os.path.join(spool.base, "staging", "backup"))
                os.unlink(os.path.join(spool.base, "staging", "backup"))
            spool.next_tick()
            spool.drop("some", f"f{n:02}")
            spool.next_tick()
        spool.open_gate()
        spool.wait_for(lambda: len(spool.journal.starts("some")) == 140, 100, "all of some")
        ran = spool.journal.order("some")
        self.assertEqual(ran[:60], [f"{n:06}" for n in range(60)])
        # By its event, or by its age.
        self.assertIn(ran.index("f30") - 60, (30, 39))

    def rename_in(self, spool, user):
        """One file for each step."""
        aside = os.path.join(spool.base, "staging")
        os.makedirs(aside, exist_ok=True)
        for n in itertools.count():
            made = os.path.join(aside, "made")
            os.close(os.open(made, os.O_WRONLY | os.O_CREAT, 0o644))
            os.rename(made.encode(), spool.path(user, "incoming", f"{n:06}"))
            yield 1

    @limit(600)
    def test_more_events_than_the_kernel_keeps(self):
        """Not by the safety rescan, which would come too late; a new user as well."""
        users = ("alice", "bob", "carol")
        spool = self.spool({**STOPPED, "scheduler_settings": {"interval_minutes": 60}}, users=users)
        each = (100_000 if ALL else queue_limit() + 3000) // len(users)
        files = [self.rename_in(spool, user) for user in users]
        spool.daemon.send_signal(signal.SIGSTOP)
        try:
            for _ in range(each):
                for of_user in files:
                    next(of_user)
            os.makedirs(spool.path("dora"))
            spool.drop("dora", "first", how="mv")
        finally:
            spool.daemon.send_signal(signal.SIGCONT)
        for user in users:
            spool.drop(user, "last", how="mv")
        for user in users:
            spool.wait_for(lambda: self.accepted(spool, user) == each + 1, 200, "all jobs")
        spool.wait_for(lambda: self.accepted(spool, "dora") == 1, 200, "the new user's job")
        for user in users:
            names = [j["name"] for j in spool.jobs(user, "--state", "pending")]
            self.assertEqual(names, [f"{n:06}" for n in range(each)] + ["last"])
        self.assertGreater(spool.status()["daemon"]["overflows"], 0)

    @root_only
    @limit(600)
    def test_events_are_lost_twice(self):
        """Promise 3. spoold has taken what the kernel could tell, and is long behind with it, when
        more is lost: the scan after the first loss finds all, and what it is told later of some
        of these does not put them behind the others."""
        users = [f"user{n:02}" for n in range(20)]
        spool = self.spool({**STOPPED, "scheduler_settings": {"interval_minutes": 60}}, users=users)
        files = [self.rename_in(spool, user) for user in users]
        each = queue_limit() // len(users) + 50
        events = inotify_of(spool.daemon.pid)
        try:
            for _ in range(2):
                spool.daemon.send_signal(signal.SIGSTOP)
                for _ in range(each):
                    for of_user in files:
                        next(of_user)
                spool.daemon.send_signal(signal.SIGCONT)
                spool.wait_for(lambda: unread(events) == 0, 100, "it to take all that is told")
        finally:
            spool.daemon.send_signal(signal.SIGCONT)
            os.close(events)
        for user in users:
            spool.wait_for(lambda: self.accepted(spool, user) == 2 * each, 200, "all jobs")
        for user in users:
            names = [j["name"] for j in spool.jobs(user, "--state", "pending")]
            self.assertEqual(names, [f"{n:06}" for n in range(2 * each)])
        spool.wait_for(lambda: spool.status()["daemon"]["overflows"] == 2, 100, "both to be told")

    @limit(300)
    def test_a_rescan_of_the_known_commits_nothing(self):
        users = [f"user{n:03}" for n in range(60)]
        spool = self.spool(STOPPED, start=False, users=users)
        for user in users:
            fill(spool, user, 5)
        spool.start()
        spool.wait_for(lambda: all(row["pending"] == 5 for row in spool.status()["users"]) and
                       not spool.status()["daemon"]["starting"], 100, "all jobs")
        before = commits(spool)
        spool.ctl("rescan")
        # One that came after is found: the scan went through all of them.
        spool.drop("user000", "news")
        spool.wait_state("news", "pending", "user000")
        self.assertLessEqual(commits(spool) - before, 1)

    def test_idle_users_are_summed_up(self):
        users = [f"user{n:03}" for n in range(60)]
        spool = self.spool(STOPPED, users=users)
        spool.drop("user007", "only")
        spool.wait_state("only", "pending", "user007")
        spool.wait_for(lambda: len(spool.status()["users"]) == 60, 60, "all users in JSON")
        for options, shown in ((["status"], 1), (["status", "--all"], 60)):
            text = spool.ctl(*options).out
            self.assertEqual(len(re.findall(r"(?m)^user\d+ ", text)), shown, text)
        self.assertSays("59 idle users", spool.ctl("status").out)
        busy = spool.ctl("status", "--busy", json=True).data
        self.assertEqual([row["user"] for row in busy["users"]], ["user007"])
        self.assertEqual((busy["totals"]["users"], busy["totals"]["idle"]), (60, 59))
        self.assertEqual(busy["totals"]["pending"], 1)
        spool.stop()
        self.assertSays("59 idle users", spool.ctl("status", check=3).out)
        self.assertEqual(len(spool.ctl("status", json=True, check=3).data["users"]), 60)

    def test_pages_of_users(self):
        users = [f"user{n:03}" for n in range(7)]
        spool = self.spool(STOPPED, users=users)
        spool.wait_for(lambda: len(spool.status()["users"]) == 7, 60, "all users")
        seen, after = [], {}
        for _ in range(4):
            page = spool.request({"command": "status", "limit": 3, **after})
            seen += [row["user"] for row in page["users"]]
            if "next" not in page:
                break
            after = {"after": page["next"]}
        self.assertEqual(seen, users)


@root_only
@unittest.skipIf(no_namespaces(), "no user namespaces")
class FewWatches(SystemTest):
    """fs.inotify.max_user_watches, as small as a test wants it."""

    CONFIG = {"spool": {"poll_seconds": 0.5}, "scheduler_settings": {"interval_minutes": 60}}

    def start(self, users, watches):
        spool = self.spool(self.CONFIG, start=False, users=users)
        spool.init()
        spool.start(init=False, preexec_fn=few_watches(watches))
        spool.wait_for(lambda: not spool.status()["daemon"]["starting"], 60, "the first look")
        return spool

    def test_users_beyond_the_limit_are_polled(self):
        users = [f"user{n}" for n in range(8)]
        spool = self.start(users, 4)
        watched = [row["watch"] for row in spool.status()["users"]]
        self.assertEqual(sorted(watched), ["inotify"] * 3 + ["poll"] * 5)
        for user in users:
            spool.drop(user, "late")
        for user in users:
            spool.wait_file("late", "done", user)
        self.assertEqual(spool.log().count("fs.inotify.max_user_watches"), 1)

    def test_directories_beyond_the_limit_are_polled(self):
        spool = self.start(["alice"], 3)
        for name in ("a", "b", "c"):
            os.mkdir(spool.path("alice", "incoming", name))
        spool.wait_log("fs.inotify.max_user_watches")
        for name in ("a/late", "b/late", "c/late", "late"):
            spool.drop("alice", name)
        for name in ("a/late", "b/late", "c/late", "late"):
            spool.wait_file(name)
        self.assertEqual(spool.log().count("fs.inotify.max_user_watches"), 1)
