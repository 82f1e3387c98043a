"""Uploads that somebody made to hurt, and names that hurt by accident."""

import os
import socket
import stat

from harness import SystemTest, escape

NAMES = [
    b"new\nline.csv", b"\x1b[31mred\x1b[0m.csv", b"bad\xff\xfe.csv", b"a" * 251 + b".csv",
    b"-rf.csv", b"two  spaces .csv", b"quote'\".csv", b"$(touch pwned).csv", b"`id`;|&.csv",
    b"back\\slash.csv", b"\\x41.csv", b"{file}.csv", b"%s%n.csv", "umlaut-ä-日本.csv".encode(),
    "left\u202egpj.exe.csv".encode(), b"*.csv", b"tab\there.csv", b"\x7f.csv",
    b"\xc2\x9b31m.csv",
]


class Names(SystemTest):
    def test_any_name_is_processed(self):
        """Section 5: names are bytes, handed to handlers as they are."""
        spool = self.spool(handler='[ -f "$SPOOL_FILE" ] && [ "$1" = "$SPOOL_FILE" ]\nexit $?\n')
        for name in NAMES:
            spool.drop("alice", name)
        spool.wait_for(lambda: spool.user("alice")["done"] == len(NAMES), what="all to be done")
        self.assertEqual(sorted(os.listdir(os.fsencode(spool.path("alice", "done")))),
                         sorted(NAMES))
        self.assertEqual(sorted(j["name"] for j in spool.jobs("alice")),
                         sorted(escape(n) for n in NAMES))
        self.assertFalse([d for d, _, names in os.walk(spool.base) if "pwned" in names])

    def test_any_name_can_fail(self):
        """Section 3: with a log beside it, also for a name of 255 bytes."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler="echo broken\nexit 1\n")
        for name in NAMES:
            spool.drop("alice", name)
        spool.wait_for(lambda: spool.user("alice")["failed"] == len(NAMES), what="all to fail")
        there = set(os.listdir(os.fsencode(spool.path("alice", "failed"))))
        self.assertEqual(there & set(NAMES), set(NAMES))
        self.assertEqual(len(there), 2 * len(NAMES), "a log for each")

    def test_output_is_escaped_everywhere(self):
        """Section 5: no name writes to a terminal, a log or JSON as it likes."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        for name in NAMES:
            spool.drop("alice", name)
        spool.wait_for(lambda: spool.user("alice")["pending"] == len(NAMES), what="all pending")
        answers = [spool.ctl("list", "--limit", "1000"), spool.ctl("status"),
                   spool.ctl("list", "--limit", "1000", json=True)]
        for name in NAMES:
            answers.append(spool.ctl("explain", spool.path("alice", "incoming", name)))
            job = spool.job(name)["job"]
            answers += [spool.ctl("show", str(job)), spool.ctl("explain", str(job))]
        for answer in answers:
            self.assertHarmless(answer.raw)
        with open(spool.stderr_path, "rb") as file:
            self.assertHarmless(file.read())
        self.assertIn(escape(b"\x1b[31mred\x1b[0m.csv"), answers[0].out)
        self.assertEqual(len([line for line in answers[0].out.splitlines() if ".csv" in line]),
                         len(NAMES), "one line each")

    def assertHarmless(self, raw):
        text = raw.decode()  # UTF-8 throughout, or an error here
        bad = [c for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7f <= ord(c) < 0xa0
               or c in "\u202e\u2066"]
        self.assertEqual(bad, [], text[:2000])

    def test_explain_takes_raw_and_relative_names(self):
        """Promise 7: for every file, by whatever path its owner knows it."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        for name in (b"-rf.csv", b"bad\xff.csv", b"new\nline.csv"):
            spool.drop("alice", name)
            spool.wait_state(name, "pending")
            self.assertEqual(spool.explain(spool.path("alice", "incoming", name))["job"],
                             spool.job(name)["job"])
            relative = b"./" + name
            answer = spool.ctl("explain", relative, cwd=spool.path("alice"), json=True)
            self.assertEqual(answer.data["job"], spool.job(name)["job"])


class NotFiles(SystemTest):
    def test_left_alone_with_a_reason(self):
        """Section 5: only regular files with one link are jobs; the rest is
        refused with a reason and left where it is (CVE-2017-18925)."""
        spool = self.spool(users=("alice", "bob"))
        incoming = spool.path("alice")
        secret = os.path.join(spool.base, "secret")
        with open(secret, "w") as file:
            file.write("secret")
        os.symlink(secret, os.path.join(incoming, "symlink.csv"))
        os.symlink("/etc", os.path.join(incoming, "symlink.d"))
        os.symlink("nowhere", os.path.join(incoming, "dangling.csv"))
        os.mkfifo(os.path.join(incoming, "fifo.csv"))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(incoming, "socket.csv"))
        self.addCleanup(listener.close)
        os.link(secret, os.path.join(incoming, "hardlink.csv"))
        before = {n: os.lstat(os.path.join(incoming, n)).st_ino for n in os.listdir(incoming)}
        spool.drop("alice", "plain.csv")
        spool.drop("bob", "plain.csv")
        spool.wait_state("plain.csv", "done")
        spool.wait_state("plain.csv", "done", "bob")
        spool.ctl("rescan")
        spool.drop("alice", "later.csv")
        spool.wait_state("later.csv", "done")
        reasons = {"symlink.csv": "symbolic link", "symlink.d": "symbolic link",
                   "dangling.csv": "symbolic link", "fifo.csv": "fifo|pipe|special|regular",
                   "socket.csv": "socket|special|regular", "hardlink.csv": "link|name"}
        for name, pattern in reasons.items():
            with self.subTest(name):
                why = spool.explain_file(name, check=None)
                self.assertIsNone(why["job"])
                self.assertSays(pattern, why["because"])
        self.assertEqual({n: os.lstat(os.path.join(incoming, n)).st_ino
                          for n in os.listdir(incoming)}, before)
        self.assertEqual(sorted(j["name"] for j in spool.jobs("alice")),
                         ["later.csv", "plain.csv"])

    def test_replaced_by_a_symlink_while_pending(self):
        """Section 5: a claimed file is the same inode that was accepted."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}},
                           handler='cat "$SPOOL_FILE"\nexit 0\n')
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "pending")
        spool.withdraw("alice", "a.csv")
        os.symlink("/etc/passwd", spool.path("alice", "incoming", "a.csv"))
        spool.ctl("start")
        spool.drop("alice", "b.csv")
        spool.wait_state("b.csv", "done")
        spool.wait_state("a.csv", "canceled")
        self.assertTrue(os.path.islink(spool.path("alice", "incoming", "a.csv")))
        self.assertEqual(spool.journal.starts("alice", "a.csv"), [])

    def test_symlink_in_the_way_in_done(self):
        """Promise 1: nothing is overwritten, and no link is followed."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "a.csv")
        job = spool.wait_state("a.csv", "pending")["job"]
        victim = os.path.join(spool.base, "victim")
        with open(victim, "w") as file:
            file.write("victim")
        os.symlink(victim, spool.path("alice", "done", "a.csv"))
        spool.ctl("start")
        spool.wait_state("a.csv", "done")
        self.assertEqual(spool.files("alice", "done"), [f"a.{job}.csv"])
        with open(victim) as file:
            self.assertEqual(file.read(), "victim")

    def test_deep_and_wide_directories(self):
        """Section 5: subdirectories are followed, in bounded depth and memory:
        whatever is too deep is explained, the rest goes on."""
        spool = self.spool()
        deep = "/".join(["d"] * 60) + "/deep.csv"
        spool.drop("alice", deep)
        for n in range(40):
            spool.drop("alice", f"wide{n}/a.csv")
        spool.wait_for(lambda: spool.user("alice")["done"] >= 40, what="the wide ones to be done")
        spool.wait_for(lambda: spool.job(deep) or spool.explain_file(deep, check=None),
                       what="the deep one to be known or explained")

    def test_permissions_of_private_places(self):
        """Section 3: processing is no business of the user's: no listing, no
        way into a job's directory."""
        spool = self.spool(handler="gate\n")
        spool.drop("alice", "a.csv")
        spool.wait_started("a.csv")
        processing = spool.path("alice", "processing")
        mode = stat.S_IMODE(os.stat(processing).st_mode)
        self.assertEqual(mode & 0o006, 0, oct(mode))
        private = os.path.join(processing, os.listdir(processing)[0])
        mode = stat.S_IMODE(os.stat(private).st_mode)
        self.assertEqual(mode & 0o007, 0, oct(mode))
