"""Completion "checksum": an upload is taken when its SHA-256 is there and right;
and what becomes of markers and checksums: they go where their upload goes."""

import hashlib
import os
import re
import subprocess
import time

from harness import GATE, SystemTest, limit, root_only


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def line(data, name):
    return f"{sha256(data)}  {name}\n".encode()


class ChecksumTest(SystemTest):
    def checked(self, over=None, **options):
        config = {"spool": {"completion": "checksum"}}
        config["spool"].update((over or {}).pop("spool", {}))
        return self.spool({**config, **(over or {})}, **options)

    def wait_explained(self, spool, name, pattern, user="alice"):
        def told():
            why = spool.explain_file(name, user)
            return re.search("(?is)" + pattern, f"{why['because']} {why['next']}")
        spool.wait_for(told, what=f"explain {name} to speak of /{pattern}/")

    def pair(self, spool, name, data=None, user="alice"):
        """An upload and its checksum."""
        data = f"{user} {name}\n".encode() if data is None else data
        spool.drop(user, name, data)
        spool.drop(user, name + ".sha256", line(data, os.path.basename(name)))
        return data


class Right(ChecksumTest):
    def test_file_first(self):
        """Section 5: taken when <name>.sha256 arrives and matches; both are in
        done then, and the checksum was never a job."""
        spool = self.checked()
        spool.drop("alice", "a.csv", b"content")
        self.wait_explained(spool, "a.csv", "checksum is missing.*sha256")
        self.assertEqual(spool.jobs("alice"), [])
        spool.drop("alice", "a.csv.sha256", line(b"content", "a.csv"))
        spool.wait_state("a.csv", "done")
        spool.wait_file("a.csv.sha256")
        self.assertEqual(spool.files("alice", "incoming"), [])
        self.assertEqual(len(spool.jobs("alice")), 1)

    def test_checksum_first(self):
        spool = self.checked()
        spool.drop("alice", "a.csv.sha256", line(b"content", "a.csv"))
        spool.drop("alice", "clock.csv")
        self.wait_explained(spool, "clock.csv", "checksum is missing")
        spool.drop("alice", "a.csv", b"content")
        spool.wait_state("a.csv", "done")
        spool.wait_file("a.csv.sha256")

    def test_forms(self):
        """What sha256sum writes: text, binary, tagged, escaped; digits alone;
        whatever directory it was made in."""
        spool = self.checked()
        odd = "new\nline\\x.csv"
        forms = {
            "text.csv": "{sum}  text.csv\n", "binary.csv": "{sum} *binary.csv\n",
            "dot.csv": "{sum}  ./dot.csv\n", "digits.csv": "{sum}\n", "stdin.csv": "{sum}  -\n",
            "crlf.csv": "{sum}  crlf.csv\r\n", "upper.csv": "{SUM}  upper.csv\n",
            "tag.csv": "SHA256 (tag.csv) = {sum}\n", "away.csv": "{sum}  /home/x/away.csv\n",
            "comment.csv": "# made by hand\n\n{sum}  comment.csv",
            odd: "\\{sum}  new\\nline\\\\x.csv\n",
        }
        for name, form in forms.items():
            data = name.encode() * 3
            spool.drop("alice", name, data)
            text = form.replace("{sum}", sha256(data)).replace("{SUM}", sha256(data).upper())
            spool.drop("alice", name + ".sha256", text.encode())
        for name in forms:
            spool.wait_state(name, "done")

    def test_what_sha256sum_itself_writes(self):
        """The real program's list, of names that it escapes, too."""
        spool = self.checked()
        names = ["a.csv", "b b.csv", "back\\slash.csv", "deep/c.csv"]
        for name in names:
            spool.drop("alice", name, name.encode() * 1000)
        done = subprocess.run(["sha256sum", *names], cwd=spool.path("alice"), check=True,
                              stdout=subprocess.PIPE)
        spool.drop("alice", "batch.sha256", done.stdout)
        for name in names:
            spool.wait_state(name, "done")
        self.assertEqual(spool.files("alice", "incoming"), ["batch.sha256"])
        self.assertEqual(spool.journal.order("alice"), [os.path.basename(n) for n in names],
                         "in the order of their arrival")

    def test_list_first(self):
        spool = self.checked()
        data = {f"f{n}.csv": f"content {n}".encode() for n in range(5)}
        spool.drop("alice", "all.sha256", b"".join(line(d, n) for n, d in data.items()))
        for name, content in data.items():
            spool.drop("alice", name, content)
        for name in data:
            spool.wait_state(name, "done")

    def test_list_above_its_files(self):
        """Names are relative to the directory of the list, and a list below does
        not speak for what is above."""
        spool = self.checked()
        spool.drop("alice", "2026/11/a.csv", b"a")
        spool.drop("alice", "top.csv", b"top")
        spool.drop("alice", "2026/month.sha256", line(b"a", "11/a.csv") + line(b"top", "top.csv"))
        spool.wait_state("2026/11/a.csv", "done")
        self.wait_explained(spool, "top.csv", "missing")

    def test_after_a_restart(self):
        """What arrived while spoold was down is judged alike: pairs and lists."""
        spool = self.checked()
        spool.drop("alice", "waits.csv", b"waits")
        self.wait_explained(spool, "waits.csv", "missing")
        spool.kill9()
        self.pair(spool, "pair.csv")
        spool.drop("alice", "listed.csv", b"listed")
        spool.drop("alice", "list.sha256", line(b"listed", "listed.csv") +
                   line(b"waits", "waits.csv"))
        spool.drop("alice", "wrong.csv", b"wrong")
        spool.drop("alice", "wrong.csv.sha256", line(b"other", "wrong.csv"))
        spool.restart()
        for name in ("pair.csv", "listed.csv", "waits.csv"):
            spool.wait_state(name, "done")
        spool.wait_state("wrong.csv", "failed")

    def test_order_is_that_of_arrival(self):
        """Promise 3: large files do not let small ones overtake."""
        spool = self.checked(handler=GATE)
        names = [f"f{n}.csv" for n in range(6)]
        data = {n: os.urandom(30_000_000 if n == "f0.csv" else 100) for n in names}
        for name in names:
            spool.drop("alice", name, data[name])
            spool.next_tick()
        spool.drop("alice", "x.sha256", b"".join(line(data[n], n) for n in reversed(names)))
        spool.open_gate()
        for name in names:
            spool.wait_state(name, "done")
        self.assertEqual(spool.journal.order("alice"), names)

    def test_per_user(self):
        spool = self.spool({"users": {"bob": {"completion": "checksum"}}}, users=("alice", "bob"))
        spool.drop("bob", "a.csv")
        spool.drop("alice", "a.csv")
        spool.drop("alice", "a.csv.sha256", b"a job like any other here")
        spool.wait_state("a.csv", "done")
        spool.wait_state("a.csv.sha256", "done")
        self.wait_explained(spool, "a.csv", "missing", "bob")
        spool.drop("bob", "a.csv.sha256", line(b"bob a.csv\n", "a.csv"))
        spool.wait_state("a.csv", "done", "bob")

    def test_reload(self):
        """What waits is judged by the new rule at once, in both directions."""
        spool = self.spool({"spool": {"completion": "marker"},
                            "scheduler_settings": {"interval_minutes": 60}})
        self.pair(spool, "a.csv", b"a")
        spool.drop("alice", "b.csv", b"b")
        self.wait_explained(spool, "b.csv", "marker")
        spool.configure({"spool": {"completion": "checksum"}})
        spool.ctl("reload")
        spool.wait_state("a.csv", "done")
        self.wait_explained(spool, "b.csv", "checksum is missing")
        spool.configure({"spool": {"completion": "auto"}})
        spool.ctl("reload")
        spool.wait_state("b.csv", "done")

    def test_once(self):
        """--mode once waits for what is being checked, not for what lacks a checksum."""
        spool = self.checked(start=False)
        spool.init()
        self.pair(spool, "big.bin", os.urandom(20_000_000))
        spool.drop("alice", "lacks.csv")
        result = spool.spoold("--mode", "once")
        self.assertEqual(result.code, 0, result)
        self.assertEqual(spool.files("alice", "done"), ["big.bin", "big.bin.sha256"])
        self.assertIn("lacks.csv", spool.files("alice", "incoming"))

    def test_submit_brings_its_checksum(self):
        spool = self.checked()
        path = os.path.join(spool.base, "staging", "report.csv")
        with open(path, "wb") as file:
            file.write(b"content")
        spool.expect("alice", "report.csv", b"content")
        spool.expect("alice", "report.csv.sha256", line(b"content", "report.csv"))
        spool.ctl("submit", path, "--user", "alice", "--wait")
        self.assertEqual(spool.files("alice", "done"), ["report.csv", "report.csv.sha256"])


class Wrong(ChecksumTest):
    def test_mismatch(self):
        """Section 5: a mismatch goes to failed with the reason in words, and its
        handler never ran."""
        spool = self.checked()
        spool.drop("alice", "bad.csv", b"half of it")
        spool.drop("alice", "bad.csv.sha256", line(b"half of it, and more", "bad.csv"))
        job = spool.wait_state("bad.csv", "failed")
        spool.wait_file("bad.csv.log", "failed")
        with open(spool.path("alice", "failed", "bad.csv.log")) as file:
            told = file.read()
        for word in (sha256(b"half of it"), sha256(b"half of it, and more"), "bad.csv.sha256"):
            self.assertIn(word, told)
            self.assertIn(word, spool.show(job["job"])["error"])
        self.assertSays("expected.*found", told)
        self.assertEqual(spool.files("alice", "failed"),
                         ["bad.csv", "bad.csv.log", "bad.csv.sha256"])
        self.assertEqual(spool.files("alice", "incoming"), [])
        self.assertEqual(spool.journal.starts("alice"), [])
        self.assertEqual(job["attempt"], 0)
        self.pair(spool, "bad.csv", b"half of it, and more")
        spool.wait_state("bad.csv", "done")

    def test_mismatch_is_never_taken_back_by_a_crash(self):
        """kill -9 between the decision and the rename: redone by the next start."""
        spool = self.checked()
        os.chmod(spool.path("alice", "failed"), 0o750)
        spool.drop("alice", "bad.csv", b"bad")
        # A file in the place of the directory keeps the move from happening.
        os.rename(spool.path("alice", "failed"), spool.path("alice", "elsewhere"))
        with open(spool.path("alice", "failed"), "w"):
            pass
        spool.drop("alice", "bad.csv.sha256", line(b"good", "bad.csv"))
        spool.wait_state("bad.csv", "failed")
        spool.kill9()
        os.unlink(spool.path("alice", "failed"))
        os.rename(spool.path("alice", "elsewhere"), spool.path("alice", "failed"))
        spool.restart()
        spool.wait_file("bad.csv", "failed")
        self.assertEqual(len(spool.jobs("alice")), 1)

    def test_on_final_failure_hold(self):
        spool = self.checked({"job_processing": {"on_final_failure": "hold"}})
        spool.drop("alice", "bad.csv", b"bad")
        spool.drop("alice", "bad.csv.sha256", line(b"good", "bad.csv"))
        spool.wait_state("bad.csv", "failed")
        self.assertTrue(spool.user("alice")["held"])

    def test_operators_retry_runs_it(self):
        spool = self.checked()
        spool.drop("alice", "bad.csv", b"bad")
        spool.drop("alice", "bad.csv.sha256", line(b"good", "bad.csv"))
        job = spool.wait_state("bad.csv", "failed")["job"]
        spool.wait_file("bad.csv.sha256", "failed")
        spool.ctl("retry", str(job))
        spool.wait_state("bad.csv", "done")
        spool.wait_file("bad.csv.sha256", "done")
        self.assertEqual(spool.files("alice", "failed"), [])

    def test_malformed(self):
        """A clear message, once in the log; and a better one helps."""
        spool = self.checked()
        spool.drop("alice", "a.csv", b"a")
        path = spool.drop("alice", "a.csv.sha256", b"no checksum at all\n")
        self.wait_explained(spool, "a.csv", r"a\.csv\.sha256.*line 1")
        spool.ctl("rescan")
        spool.drop("alice", "b.csv", b"b")
        spool.drop("alice", "b.csv.sha256", line(b"c", "c.csv"))
        self.wait_explained(spool, "b.csv", r"b\.csv\.sha256 is about other files")
        self.assertEqual(len(re.findall(r"a\.csv\.sha256.*line 1", spool.log())), 1)
        spool.forget("alice", "a.csv.sha256")
        with open(path, "wb") as file:
            file.write(line(b"a", "a.csv"))
        spool.expect("alice", "a.csv.sha256", line(b"a", "a.csv"))
        spool.wait_state("a.csv", "done")

    def test_malformed_list(self):
        spool = self.checked()
        spool.drop("alice", "a.csv", b"a")
        spool.drop("alice", "batch.sha256", line(b"a", "a.csv") + b"nonsense\n")
        self.wait_explained(spool, "a.csv", r"batch\.sha256.*line 2")
        spool.wait_log(r"batch\.sha256.*line 2")

    def test_never_outside(self):
        """A list cannot speak for, or make anybody read, what is elsewhere."""
        spool = self.checked(users=("alice", "bob"))
        spool.drop("bob", "a.csv", b"a")
        for n, name in enumerate(("../../bob/incoming/a.csv", "/etc/passwd", "x/../../y.csv")):
            spool.drop("alice", f"list{n}.sha256", line(b"a", name) + line(b"v", "victim.csv"))
        spool.drop("alice", "victim.csv", b"v")
        self.wait_explained(spool, "victim.csv", "outside of its directory")
        self.wait_explained(spool, "a.csv", "missing", "bob")

    def test_half_an_upload_with_its_checksum_first(self):
        """A writer that is still at work is waited for, whatever it has closed
        between."""
        spool = self.checked()
        spool.drop("alice", "slow.csv.sha256", line(b"one, two", "slow.csv"))
        with open(spool.path("alice", "incoming", "slow.csv"), "wb", buffering=0) as file:
            file.write(b"one, ")
            self.wait_explained(spool, "slow.csv", "open for writing")
            file.write(b"two")
        spool.expect("alice", "slow.csv", b"one, two")
        spool.wait_state("slow.csv", "done")

    @limit(200)
    def test_progress_and_a_change_meanwhile(self):
        """A large file: status and explain say how far; a change abandons the
        check, and the new content is judged."""
        spool = self.checked()
        path = spool.path("alice", "incoming", "big.bin")
        with open(path, "wb") as file:
            file.truncate(60_000_000_000)
        digest = "0" * 64
        spool.drop("alice", "big.bin.sha256", f"{digest}  big.bin\n".encode())
        self.wait_explained(spool, "big.bin", "checksum is being compared.*[0-9]+ %")
        said = spool.ctl("status").out
        self.assertSays(r"checking big\.bin, \d+ %", said)
        # Others are not kept waiting by it.
        spool.add_user("bob")
        spool.wait_for(lambda: spool.user("bob"), what="bob to be met")
        self.pair(spool, "small.csv", user="bob")
        spool.wait_state("small.csv", "done", "bob")
        self.assertSays("compared", spool.explain_file("big.bin")["because"])
        spool.forget("alice", "big.bin.sha256")
        with open(path, "wb") as file:
            file.write(b"small now")
        spool.expect("alice", "big.bin", b"small now")
        with open(path + b".sha256", "wb") as file:
            file.write(line(b"small now", "big.bin"))
        spool.expect("alice", "big.bin.sha256", line(b"small now", "big.bin"))
        spool.wait_state("big.bin", "done", limit=30)

    def test_withdrawn_while_checked(self):
        spool = self.checked()
        path = spool.path("alice", "incoming", "big.bin")
        with open(path, "wb") as file:
            file.truncate(60_000_000_000)
        spool.drop("alice", "big.bin.sha256", f"{'0' * 64}  big.bin\n".encode())
        self.wait_explained(spool, "big.bin", "being compared")
        os.unlink(path)
        spool.wait_for(lambda: spool.user("alice")["arriving"] == 0, what="nothing to arrive")
        self.pair(spool, "next.csv")
        spool.wait_state("next.csv", "done")


class Again(ChecksumTest):
    """The same name over and over: no old voucher speaks for a new upload."""

    def check_repeats(self, spool, voucher):
        """While the first waits, while it runs, and after it is done."""
        spool.drop("alice", "first.csv", b"first")
        voucher("first.csv", b"first")
        spool.wait_started("first.csv")
        spool.drop("alice", "x.csv", b"one")
        voucher("x.csv", b"one")
        old = spool.wait_state("x.csv", "pending")["job"]
        # A client that sets the mode last makes no new voucher of it.
        for name in os.listdir(spool.path("alice")):
            if name != "x.csv":
                os.chmod(spool.path("alice", "incoming", name), 0o640)
        # Replaced while it waits; its voucher is not there yet.
        spool.drop("alice", "x.csv", b"two, longer", replace=True)
        spool.wait_for(lambda: spool.show(old)["state"] == "canceled", what="the old to be gone")
        self.wait_explained(spool, "x.csv", "earlier upload")
        self.assertEqual([j["job"] for j in spool.jobs("alice", "--state", "pending")], [])
        self.assertEqual([j["job"] for j in spool.jobs("alice", "--state", "failed")], [])
        voucher("x.csv", b"two, longer", replace=True)
        spool.wait_state("x.csv", "pending")
        spool.open_gate("first.csv")
        spool.wait_started("x.csv")
        # Once more while it runs.
        spool.drop("alice", "x.csv", b"three")
        voucher("x.csv", b"three")
        spool.wait_state("x.csv", "pending")
        spool.open_gate()
        spool.wait_for(lambda: len(spool.journal.starts("alice", "x.csv")) == 2,
                       what="both to have run")
        spool.wait_for(lambda: spool.files("alice", "incoming") == [] and
                       spool.files("alice", "processing") == [], what="all to be done")
        self.assertEqual(len(spool.files("alice", "done")), 6)

    def test_checksum(self):
        spool = self.checked(handler=GATE)

        def voucher(name, data, replace=False):
            spool.drop("alice", name + ".sha256", line(data, name), replace=replace)
        self.check_repeats(spool, voucher)

    def test_marker(self):
        spool = self.spool({"spool": {"completion": "marker"}}, handler=GATE)

        def voucher(name, _data, replace=False):
            spool.drop("alice", name + ".done", b"", replace=replace)
        self.check_repeats(spool, voucher)

    def test_list_left_over(self):
        """A list stays; a new upload of a name in it waits for a newer one."""
        spool = self.checked()
        spool.drop("alice", "l.sha256", line(b"one", "x.csv") + line(b"y", "y.csv"))
        spool.drop("alice", "x.csv", b"one")
        spool.wait_state("x.csv", "done")
        spool.drop("alice", "x.csv", b"two")
        self.wait_explained(spool, "x.csv", "earlier upload")
        spool.drop("alice", "m.sha256", line(b"two", "x.csv"))
        spool.wait_for(lambda: len(spool.journal.starts("alice", "x.csv")) == 2, what="a run")


class AlongWithTheirJob(ChecksumTest):
    def test_to_failed(self):
        spool = self.checked({"scheduler_settings": {"retry_failed_jobs": False}},
                             handler="exit 1\n")
        self.pair(spool, "a.csv")
        spool.wait_state("a.csv", "failed")
        spool.wait_file("a.csv.sha256", "failed")

    def test_cancel_before_its_turn(self):
        spool = self.checked(handler=GATE)
        self.pair(spool, "first.csv")
        spool.wait_started("first.csv")
        self.pair(spool, "second.csv")
        spool.wait_state("second.csv", "pending")
        self.assertIn("second.csv.sha256", spool.files("alice", "incoming"))
        spool.ctl("cancel", str(spool.job("second.csv")["job"]))
        spool.wait_file("second.csv.sha256", "failed")
        spool.open_gate()
        spool.wait_file("first.csv.sha256", "done")

    def test_in_directories_and_with_taken_names(self):
        """Its name follows that of the file, whatever that got."""
        spool = self.checked()
        for data in (b"one", b"two"):
            self.pair(spool, "a/b.csv", data)
            spool.wait_for(lambda: spool.files("alice", "incoming") == [] and
                           spool.files("alice", "processing") == [], what="it to be done")
        job = spool.job("a/b.csv")["job"]
        self.assertEqual(spool.files("alice", "done"),
                         sorted(["a/b.csv", "a/b.csv.sha256", f"a/b.{job}.csv",
                                 f"a/b.{job}.csv.sha256"]))

    def test_kill_everywhere(self):
        """kill -9 while it waits and while it runs: nothing is lost, the name is
        free in the end."""
        spool = self.checked(handler=GATE)
        self.pair(spool, "a.csv")
        spool.wait_started("a.csv")
        self.pair(spool, "b.csv")
        spool.wait_state("b.csv", "pending")
        self.assertEqual(spool.files("alice", "incoming"), ["b.csv", "b.csv.sha256"])
        spool.kill9()
        spool.restart()
        spool.open_gate()
        for name in ("a.csv", "b.csv"):
            spool.wait_state(name, "done")
            spool.wait_file(name + ".sha256")
        self.assertEqual(spool.files("alice", "incoming"), [])

    def test_retention(self):
        """They are removed with their file, and nobody else's are."""
        spool = self.checked({"scheduler_settings": {"cleanup_completed_jobs_days": 0.00003}})
        other = spool.path("alice", "done", "other.csv.sha256")
        with open(other, "wb") as file:
            file.write(b"of somebody else")
        spool.expect("alice", "other.csv.sha256", b"of somebody else")
        self.pair(spool, "a.csv", b"a")
        spool.wait_started("a.csv")
        spool.wait_for(lambda: spool.job("a.csv") is None, what="the job to be removed")
        self.assertEqual(spool.files("alice", "done"), ["other.csv.sha256"])
        spool.forget("alice", "a.csv")
        spool.forget("alice", "a.csv.sha256")

    def test_file_gone_under_its_handler(self):
        """The handler removes its file: the checksum is kept all the same."""
        spool = self.checked(handler='rm "$1"\nexit 0\n')
        self.pair(spool, "a.csv")
        spool.wait_state("a.csv", "done")
        spool.forget("alice", "a.csv")
        spool.wait_for(lambda: any(n.endswith(".sha256") for n in spool.files("alice", "done")),
                       what="its checksum in done")
        spool.forget("alice", "a.csv.sha256")
        spool.check_contents = False

    def test_directory_with_a_marker_does_not_spin(self):
        """A directory and the marker of its name make no endless rescan."""
        spool = self.spool({"spool": {"completion": "marker"}})
        os.mkdir(spool.path("alice", "incoming", "x"))
        with open(spool.path("alice", "incoming", "x.done"), "wb"):
            pass
        spool.drop("alice", "a.csv")
        spool.drop("alice", "a.csv.done", b"")
        spool.wait_state("a.csv", "done")
        spool.ctl("rescan")

        def cpu_ticks():
            with open(f"/proc/{spool.daemon.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])
        time.sleep(0.5)
        before = cpu_ticks()
        time.sleep(1)
        self.assertLess(cpu_ticks() - before, 40, "it must be idle")
