"""Disks that are full, read-only or over quota: files stay safe, what is wrong
is said with its path and its remedy, and work goes on by itself."""

import os
import resource
import shutil
import signal
import subprocess
import unittest

import disk
from disk import Disk
from harness import FAILED, GATE, SystemTest, limit
from spool import has_sanitizer

HELD = {"job_processing": {"auto_start_processing": False}}
QUICK = {"scheduler_settings": {"max_retries": 0}}
# More jobs of long paths than the index first has room for.
MAP_FIRST, MORE, FILES = 16 << 20, 24 << 20, 9000


def memory_of(pid):
    """Bytes of address space."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def why_no_quota():
    return disk.why_not(("mkfs.btrfs", "-q"), 128)


class DiskTest(SystemTest):
    def disk(self, size_mib=16, **options):
        os.mkdir(os.path.join(self.directory, "disks"))
        made = Disk(os.path.join(self.directory, "disks", "image"),
                    os.path.join(self.directory, "disks", "disk"), size_mib, **options)
        os.chmod(made.mounted, 0o755)
        return made

    def on_disk(self, where, *config, handler=GATE, **options):
        """A spool on a disk, its index elsewhere; where is its file system."""
        spool = self.spool({"spool": {"index": "index"}}, start=False, handler=handler,
                           root=os.path.join(where.mounted, "spool"), **options)
        for over in config:
            spool.configure(over)
        spool.start()
        return spool

    def waiting(self, spool, *names):
        for name in names:
            spool.drop("alice", name)
            spool.wait_state(name, "pending")

    def problem(self, spool):
        return spool.status()["daemon"].get("problem")

    def findings(self, spool):
        found = spool.ctl("doctor", json=True, check=None).data["findings"]
        return "\n".join(f"{f['level']}: {f['what']}; {f['mend']}" for f in found
                         if f["level"] != "ok")


@unittest.skipIf(disk.why_not(), disk.why_not())
class Full(DiskTest):
    def test_index_on_a_full_disk_of_its_own(self):
        """Promises 1 and 6: the spool has room, its index has not."""
        where = self.disk()
        index = os.path.join(where.mounted, "index")
        spool = self.spool({"spool": {"index": index}}, handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        filler = where.fill()
        dropped = 0
        while not self.problem(spool):
            spool.drop("alice", f"b{dropped:04}.csv")
            dropped += 1
            self.assertLess(dropped, 5000)
        spool.drop("alice", "late.csv")
        spool.open_gate()
        self.assertSays(f"cannot be written.*No space.*make room.*{index}", spool.log())
        self.assertSays(f"No space.*make room.*{index}", self.problem(spool))
        why = spool.explain_file("late.csv")
        self.assertEqual(why["state"], "arriving")
        self.assertSays("index cannot be written: No space", why["because"])
        self.assertSays(f"make room.*{index}.*by itself", why["next"])
        self.assertSays(f"error: .* free for {index}; make room", self.findings(spool))
        self.assertSays("No space", spool.ctl("status").out)
        os.unlink(filler)
        spool.wait_log("can be written again")
        spool.wait_file("late.csv")
        spool.wait_for(lambda: len(spool.files("alice", "done")) == dropped + 2, 60, "all of them")
        self.assertEqual(len(spool.journal.starts("alice", "a.csv")), 1)
        self.assertIsNone(self.problem(spool))

    def test_spool_on_a_full_disk(self):
        """The other way round: nothing starts where there is no room for it,
        and a job says so, with the place."""
        where = self.disk()
        spool = self.on_disk(where, HELD, handler="exit 0\n")
        self.waiting(spool, "a.csv", "b.csv")
        filler = where.fill()
        spool.ctl("start")
        spool.wait_log("could not be started: No space left.*make room")
        why = spool.explain_file("a.csv")
        self.assertEqual(why["state"], "pending")
        self.assertSays(f"^it could not be started: No space.*make room.*{spool.root}/alice",
                        why["because"])
        self.assertSays(f"error: 0 B are free for {spool.root}; make room", self.findings(spool))
        result = spool.ctl("submit", "--user", "alice", spool.config_path, check=FAILED)
        self.assertSays(f"make room.*{spool.root}", result.err)
        self.assertIsNone(self.problem(spool), "the index has room")
        self.assertEqual(spool.journal.starts(), [])
        os.unlink(filler)
        spool.wait_state("b.csv", "done")
        self.assertEqual([s.attempt for s in spool.journal.starts()], [1, 1])
        self.assertEqual(spool.journal.order("alice"), ["a.csv", "b.csv"])

    def test_both_on_one_full_disk(self):
        """Promise 6: a result that cannot be written down is kept."""
        where = self.disk()
        spool = self.spool(handler=GATE, root=os.path.join(where.mounted, "spool"))
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        self.waiting(spool, "b.csv", "c.csv")
        filler = where.fill()
        spool.open_gate("a.csv")
        spool.wait_log("index cannot be written: No space")
        self.assertSays("index cannot be written: No space", spool.explain_file("b.csv")["because"])
        self.assertSays("make room", self.findings(spool))
        spool.open_gate()
        os.unlink(filler)
        spool.wait_state("c.csv", "done")
        self.assertEqual(spool.journal.order("alice"), ["a.csv", "b.csv", "c.csv"])
        self.assertEqual(len(spool.journal.starts()), 3)

    def test_job_that_fails_on_a_full_disk(self):
        """Section 4: also without room for its log a job ends, and its file is
        where it belongs."""
        where = self.disk()
        spool = self.on_disk(where, QUICK, handler="echo no; gate\n")
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        filler = where.fill()
        spool.open_gate("a.csv", 3)
        self.assertEqual(spool.wait_state("a.csv", "failed")["exit_code"], 3)
        self.assertSays("no$|exit code 3", spool.explain(spool.job("a.csv")["job"])["because"])
        os.unlink(filler)
        spool.wait_file("a.csv", "failed")

    def test_no_inodes(self):
        """A disk can be full with room left: that is said."""
        where = self.disk(mkfs=("mkfs.ext4", "-q", "-m", "0", "-N", "64"))
        spool = self.on_disk(where, HELD, handler="exit 0\n")
        self.waiting(spool, "a.csv")
        taken = []
        try:
            for n in range(100):
                path = os.path.join(where.mounted, f"taken{n}")
                open(path, "wb").close()
                taken.append(path)
        except OSError:
            pass
        spool.ctl("start")
        spool.wait_log("could not be started: No space left")
        self.assertSays("inodes", spool.explain_file("a.csv")["because"])
        self.assertSays("error: 0 inodes are free", self.findings(spool))
        for path in taken:
            os.unlink(path)
        spool.wait_state("a.csv", "done")

    @unittest.skipIf(has_sanitizer(), "it needs the address space")
    @limit(400)
    def test_index_that_may_not_grow(self):
        """The index grows by itself, and where the system does not let it, it
        says what it lacks and goes on when it may."""
        spool = self.spool({"spool": {"durability": "relaxed", "settle_seconds": 0}, **HELD})
        spool.check_contents = False
        pid = spool.daemon.pid
        resource.prlimit(pid, resource.RLIMIT_AS, (memory_of(pid) + MORE, resource.RLIM_INFINITY))
        deep = spool.path("alice", "incoming", "/".join(["x" * 250] * 6))
        os.makedirs(deep)
        for n in range(FILES):
            os.mknod(os.path.join(deep, b"%d" % n))
        spool.wait_log(r"index cannot be written: (Cannot allocate|No space)", limit=90)
        self.assertSays("more memory|make room", self.problem(spool))
        resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        spool.wait_for(lambda: spool.user()["pending"] == FILES, 180, "all to be pending")
        self.assertEqual(spool.user()["canceled"], 0, "each is a job once")
        self.assertIsNone(self.problem(spool))
        self.assertGreater(os.path.getsize(os.path.join(spool.index_path(), "data.mdb")), MAP_FIRST)


    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_slow_disk_does_not_use_up_descriptors(self):
        """What is complete waits for the syncer, and not with its file open, however much."""
        spool = self.spool({"spool": {"settle_seconds": 0}, **HELD})
        spool.check_contents = False
        pid, files = spool.daemon.pid, 4000
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (5000, hard))
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-p", str(pid), "-e", "trace=syncfs", "-e",
             "inject=syncfs:delay_enter=1500000"], stderr=subprocess.PIPE)
        try:
            tracer.stderr.readline()  # attached
            spool.daemon.send_signal(signal.SIGSTOP)
            for n in range(files):
                os.mknod(spool.path("alice", "incoming", b"%d" % n))
            spool.daemon.send_signal(signal.SIGCONT)
            spool.wait_for(lambda: spool.user()["pending"] == files, 100, "all to be pending")
        finally:
            tracer.terminate()
            tracer.communicate()
        self.assertNotRegex(spool.log(), "Too many open files")


@unittest.skipIf(why_no_quota(), why_no_quota())
class Quota(DiskTest):
    def test_spool_over_its_quota(self):
        """As a full disk, but what is to be done is another thing."""
        where = self.disk(128, mkfs=("mkfs.btrfs", "-q"))
        spool_root = os.path.join(where.mounted, "spool")
        disk.run("btrfs", "subvolume", "create", spool_root)
        disk.run("btrfs", "quota", "enable", where.mounted)
        spool = self.on_disk(where, HELD, handler="exit 0\n")
        self.waiting(spool, "a.csv")
        disk.run("btrfs", "qgroup", "limit", "1M", spool_root)
        filler = where.fill(directory=spool_root)
        spool.ctl("start")
        spool.wait_log("could not be started: Disk quota exceeded")
        self.assertSays(f"quota.*{spool.root}/alice", spool.explain_file("a.csv")["because"])
        disk.run("btrfs", "qgroup", "limit", "none", spool_root)
        spool.wait_state("a.csv", "done")
        os.unlink(filler)


@unittest.skipIf(disk.why_not(), disk.why_not())
class ReadOnly(DiskTest):
    def test_directories_of_a_user(self):
        """Mounted read-only while a job runs, and back: it goes on by itself,
        and nothing ran twice."""
        disk.own_mounts()
        spool = self.spool(users=("alice", "bob"), handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        self.waiting(spool, "b.csv")
        alice = os.path.join(spool.root, "alice")
        disk.run("mount", "--bind", alice, alice)
        disk.run("mount", "-o", "remount,bind,ro", alice)
        spool.open_gate()
        spool.wait_log("cannot be moved to done: Read-only file system")
        spool.wait_log("could not be started: Read-only file system")
        self.assertSays(f"Read-only.*mount read-write.*{alice}",
                        spool.explain_file("b.csv")["because"])
        why = spool.explain(spool.job("a.csv")["job"])
        self.assertSays("done.*could not be moved to done: Read-only", why["because"])
        self.assertSays(f"mount read-write.*{alice}", why["next"])
        found = self.findings(spool)
        self.assertSays("alice: .*mounted read-only", found)
        self.assertNotIn("chown", found)
        spool.drop("bob", "c.csv")
        spool.wait_state("c.csv", "done", "bob")
        disk.run("umount", alice)
        for name in ("a.csv", "b.csv"):
            spool.wait_file(name)
        self.assertEqual(len(spool.journal.starts("alice")), 2)

    @unittest.skipIf(has_sanitizer(), "it cannot end under strace")
    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_index(self):
        """The kernel lets no busy file system be mounted read-only by hand; one
        that meets an error is, and then each write fails like this."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-p", str(spool.daemon.pid), "-e",
             "trace=pwrite64,pwritev", "-e", "inject=pwrite64,pwritev:error=EROFS"],
            stderr=subprocess.PIPE)
        try:
            tracer.stderr.readline()  # attached
            spool.open_gate()
            spool.drop("alice", "b.csv")
            spool.wait_log(f"cannot be written: Read-only.*mount read-write.*{spool.index_path()}")
            self.assertSays("mount read-write", self.problem(spool))
        finally:
            tracer.terminate()
            tracer.communicate()
        spool.wait_file("a.csv")
        spool.wait_file("b.csv")
        self.assertEqual(len(spool.journal.starts("alice", "a.csv")), 1)
