"""An index that is damaged, at rest or while it is open: it is said with its
path, the index is set aside and rebuilt, and no file is lost."""

import os
import re
import shutil
import signal
import struct

import procs
from harness import GATE, NO_DAEMON, SystemTest, limit

PAGE = 4096
VERSION_AT = 20  # in LMDB's two heads, at the start of the first two pages


def cut(size):
    return lambda data: data[:size]


def overwritten(at, new, end=None):
    """From `at` on, up to `end`."""
    return lambda data: data[:at] + new(len(data[at:end])) + (data[end:] if end else b"")


DAMAGE = {
    "empty": cut(0),
    "one byte": cut(1),
    "cut within its first head": cut(100),
    "cut after its first head": cut(PAGE),
    "cut after its heads": cut(2 * PAGE),
    "cut in the middle of a page": lambda data: data[:len(data) // 2 + 77],
    "nothing but zeros": overwritten(0, bytes),
    "zeros after its heads": overwritten(2 * PAGE, bytes),
    "zeros for its heads": overwritten(0, bytes, 2 * PAGE),
    "garbage": overwritten(0, os.urandom),
    "garbage after its heads": overwritten(2 * PAGE, os.urandom),
    "every byte changed": lambda data: bytes(byte ^ 0x10 for byte in data),
    "pages for its heads": lambda data: data[2 * PAGE:4 * PAGE] + data[2 * PAGE:],
    "text": lambda _: b"this is no index\n" * 1000,
}


def data_of(spool):
    return os.path.join(spool.index_path(), "data.mdb")


class DamageTest(SystemTest):
    def prepared(self):
        """One done, one failed, two pending."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler="case $SPOOL_NAME in bad*) exit 1 ;; esac\n")
        for name, state in (("good.csv", "done"), ("bad.csv", "failed")):
            spool.drop("alice", name)
            spool.wait_state(name, state)
        spool.stop()
        spool.configure({"job_processing": {"auto_start_processing": False}})
        spool.restart()
        for name in ("p1.csv", "p2.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
        return spool

    def assertRecovers(self, spool):
        """What waited is worked off in its order, what was done is not."""
        before = len(spool.journal.starts("alice"))
        spool.ctl("start")
        for name in ("p1.csv", "p2.csv"):
            spool.wait_file(name)
        self.assertEqual(spool.journal.order("alice")[-2:], ["p1.csv", "p2.csv"])
        self.assertEqual(len(spool.journal.starts("alice")), before + 2)
        self.assertEqual(spool.files("alice", "done"), ["good.csv", "p1.csv", "p2.csv"])
        self.assertEqual(spool.ctl("doctor", json=True, check=None).data["findings"][-1]["level"],
                         "ok")

    def set_aside(self, spool, offset):
        said = re.search(r"index is damaged; it was set aside as (\S+)", spool.log(offset))
        self.assertTrue(said, spool.log(offset))
        return said.group(1)


class AtRest(DamageTest):
    @limit(240)
    def test_is_said_and_rebuilt(self):
        """Section 3, for each kind of damage: status, explain and doctor name
        the path and what happens next; spoold sets the index aside under a
        name it says, and works on."""
        spool = self.prepared()
        spool.stop()
        with open(data_of(spool), "rb") as file:
            whole = file.read()
        index = spool.index_path()
        for name, damage in DAMAGE.items():
            with self.subTest(name), open(data_of(spool), "r+b") as file:
                file.truncate(0)
                file.write(damage(whole))
                file.close()
                said = (spool.ctl("status", check=NO_DAEMON).err,
                        spool.ctl("explain", spool.path("alice", "incoming", "p1.csv"),
                                  check=NO_DAEMON).err)
                for text in said:
                    self.assertSays(f"not running.*{index} is damaged.*rebuilds it", text)
                self.assertDoctorSays(spool, f"{index} is damaged", "restart spoold")
                offset = spool.log_size()
                spool.restart()
                aside = self.set_aside(spool, offset)
                self.assertTrue(os.path.isdir(aside), aside)
                self.assertIn("index.damaged-", aside)
                for pending in ("p1.csv", "p2.csv"):
                    spool.wait_state(pending, "pending", limit=20)
                spool.stop()
        spool.restart()
        self.assertRecovers(spool)

    def assertDoctorSays(self, spool, what, mend):
        findings = spool.ctl("doctor", json=True, check=None).data["findings"]
        found = [f for f in findings if f["level"] == "error" and re.search(what, f["what"])]
        self.assertTrue(found, findings)
        self.assertSays(mend, found[0]["mend"])

    def test_no_file_at_all(self):
        """What is no file is not read as one, nor waited for."""
        spool = self.prepared()
        spool.stop()
        data = data_of(spool)
        shutil.move(data, data + ".whole")
        for make in (lambda: os.mkdir(data), lambda: os.symlink("nowhere", data),
                     lambda: os.symlink("data.mdb.whole", data), lambda: os.mkfifo(data)):
            make()
            offset = spool.log_size()
            spool.restart()
            aside = self.set_aside(spool, offset)
            spool.wait_state("p2.csv", "pending")
            spool.stop()
            shutil.rmtree(spool.index_path())
            os.rename(aside, spool.index_path())
            (os.rmdir if os.path.isdir(data) and not os.path.islink(data) else os.unlink)(data)

    def assertRefused(self, spool):
        """Not damaged, and so left as it is."""
        index = spool.index_path()
        with open(data_of(spool), "rb") as file:
            before = file.read()
        spool.start(init=False, wait=False)
        self.assertEqual(spool.wait_exit(20), 1)
        self.assertSays(f"{index} was written by a newer version.*move.*away", spool.log())
        self.assertSays(f"{index} was written by a newer version",
                        spool.ctl("status", check=NO_DAEMON).err)
        self.assertDoctorSays(spool, f"{index} was written by a newer version", "newer version")
        with open(data_of(spool), "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual([n for n in os.listdir(os.path.dirname(index)) if "damaged" in n], [])

    def test_schema_of_a_newer_version(self):
        """Bytes on disk are versioned: what comes from the future is refused by
        name, and not thrown away."""
        spool = self.prepared()
        spool.stop()
        with open(data_of(spool), "rb") as file:
            whole = file.read()
        ours, newer = (b"schema" + struct.pack(">Q", n) for n in (1, 2))
        self.assertIn(ours, whole)
        with open(data_of(spool), "r+b") as file:
            file.write(whole.replace(ours, newer))
        self.assertRefused(spool)
        with open(data_of(spool), "r+b") as file:
            file.write(whole)
        spool.restart()
        self.assertEqual(spool.job("good.csv")["state"], "done")

    def test_format_of_a_newer_lmdb(self):
        spool = self.prepared()
        spool.stop()
        with open(data_of(spool), "r+b") as file:
            for head in (0, PAGE):
                file.seek(head + VERSION_AT)
                file.write(struct.pack("=I", 2))
        self.assertRefused(spool)


class WhileOpen(DamageTest):
    def damaged(self, damage):
        """A job runs; then the index is damaged, and something happens."""
        spool = self.spool(handler=GATE)
        spool.drop("alice", "a.csv")
        stamp = spool.wait_started("a.csv")
        for n in range(20):
            spool.drop("alice", f"p{n:02}.csv")
        spool.wait_for(lambda: spool.user()["pending"] == 20, 30, "all to be pending")
        damage(spool)
        offset = spool.log_size()
        spool.drop("alice", "q.csv")
        code = spool.wait_exit(60)
        self.assertIn(code, (1, -signal.SIGSEGV), "it ended, but not in its own way")
        self.assertSays(f"error: .*{spool.index_path()}.*(damaged|cut off|moved away)",
                        spool.log(offset))
        self.assertTrue(procs.alive(stamp.pid), "the handler goes on")
        return spool

    def assertGoesOn(self, spool):
        """The next daemon waits for the old worker, takes its result, and has
        all files worked off once."""
        spool.restart()
        spool.open_gate()
        names = ["a.csv"] + [f"p{n:02}.csv" for n in range(20)] + ["q.csv"]
        spool.wait_for(lambda: spool.files("alice", "done") == names, 60, "all to be done")
        self.assertEqual(sorted(s.name for s in spool.journal.starts("alice")), names)

    def test_cut_off(self):
        """SIGBUS is no silent end."""
        for size in (0, PAGE, 2 * PAGE, 5 * PAGE):
            with self.subTest(size):
                spool = self.damaged(lambda spool: os.truncate(data_of(spool), size))
                self.assertGoesOn(spool)

    def test_overwritten(self):
        """Nor are LMDB's own assertions, nor pages that lead nowhere."""
        def overwrite(spool):
            with open(data_of(spool), "r+b") as file:
                data = file.read()
                file.seek(0)
                file.write(damage(data))
        for damage in (overwritten(0, bytes), overwritten(2 * PAGE, bytes),
                       overwritten(0, os.urandom), overwritten(2 * PAGE, os.urandom)):
            self.assertGoesOn(self.damaged(overwrite))

    def test_moved_away_removed_or_replaced(self):
        """What would be written from then on would be lost."""
        def moved(spool):
            os.rename(spool.index_path(), spool.index_path() + ".old")

        def removed(spool):
            shutil.rmtree(spool.index_path())

        def restored(spool):
            shutil.copy(data_of(spool), data_of(spool) + ".backup")
            os.rename(data_of(spool) + ".backup", data_of(spool))
        for damage in (moved, removed, restored):
            with self.subTest(damage.__name__):
                self.assertGoesOn(self.damaged(damage))


class Numbers(SystemTest):
    """The number of a job means that job for ever: a note of an operator, a name in done, a
    private directory that a power cut brings back."""

    def number_of(self, spool, name):
        spool.drop("alice", name)
        return spool.wait_state(name, "done")["job"]

    def test_a_new_index_goes_on(self):
        spool = self.spool()
        last = self.number_of(spool, "a.csv")
        for end in (spool.stop, spool.kill9):
            end()
            shutil.rmtree(spool.index_path())
            spool.restart()
            number = self.number_of(spool, f"after-{end.__name__}.csv")
            self.assertGreater(number, last)
            last = number

    def test_no_gap_after_a_kill_or_a_stop(self):
        spool = self.spool()
        numbers = [self.number_of(spool, "a.csv")]
        for end in (spool.kill9, spool.stop):
            end()
            spool.restart()
            numbers.append(self.number_of(spool, f"after-{end.__name__}.csv"))
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 3)))

    def test_damaged_record(self):
        """It is said, and written anew."""
        spool = self.spool()
        self.number_of(spool, "a.csv")
        spool.stop()
        record = os.path.join(spool.root, ".spoold", "numbers")
        with open(record, "w", encoding="ascii") as file:
            file.write("spoold numbers 1\nbelow 12")
        offset = spool.log_size()
        spool.restart()
        self.assertSays(f"{record}.* is damaged.*written anew", spool.log(offset))
        self.assertGreater(self.number_of(spool, "b.csv"), 1)
