"""Promise 7 for what is no job yet: list --state arriving names each upload and why it
waits, in the words of explain."""

import os
import re

from harness import SystemTest, limit, root_only
from test_checksum import line

MANY = 1200


class Arriving(SystemTest):
    def arriving(self, spool, *args, **options):
        return spool.ctl("list", "--state", "arriving", *args, json=True, **options).data

    def wait_listed(self, spool, count, *args):
        spool.wait_for(lambda: len(self.arriving(spool, *args)["uploads"]) == count,
                       what=f"{count} uploads to be listed")
        return self.arriving(spool, *args)["uploads"]

    def wait_said(self, spool, name, state, pattern, user="alice"):
        def said():
            rows = [u for u in self.arriving(spool, user)["uploads"] if u["name"] == name]
            return rows and rows[0]["state"] == state and \
                re.search(pattern, rows[0]["because"]) and rows[0]
        spool.wait_for(said, what=f"{name} to be {state}: /{pattern}/")
        return said()

    def agrees(self, spool, row, path=None):
        """The words, and the state, that explain has."""
        why = spool.explain_file(path or row["name"], row["user"], check=None)
        self.assertEqual((row["state"], row["because"], row["next"]),
                         (why["state"], why["because"], why["next"]))

    def test_settling(self):
        spool = self.spool({"spool": {"settle_seconds": 3600}})
        spool.drop("alice", "new.csv", b"12345")
        row = self.wait_said(spool, "new.csv", "arriving", "changed a moment ago")
        self.agrees(spool, row)
        self.assertEqual((row["size"], row["directory"], row["progress"]), (5, False, None))
        for key in ("noticed_at", "changed_at"):
            self.assertSays(r"^\d{4}-\d\d-\d\dT[\d:.]+Z$", row[key])
        told = spool.ctl("list", "alice", "--state", "arriving").out
        self.assertSays(r"AGE +SIZE +NAME", told)
        self.assertSays(r"s +5 B +new\.csv +it changed a moment ago", told)
        self.assertNotIn("more", told)

    def test_open_for_writing(self):
        spool = self.spool()
        with open(spool.path("alice", name="open.csv"), "wb") as file:
            file.write(b"half")
            file.flush()
            self.agrees(spool, self.wait_said(spool, "open.csv", "arriving", "open for writing"))
        spool.expect("alice", "open.csv", b"half")
        spool.wait_state("open.csv", "done")
        self.assertEqual(self.arriving(spool), {"uploads": [], "more": 0, "unseen": False})
        self.assertEqual(spool.ctl("list", "--state", "arriving").out, "nothing is arriving\n")

    def test_marker(self):
        spool = self.spool({"spool": {"completion": "marker"}})
        spool.drop("alice", "a.csv")
        self.agrees(spool, self.wait_said(spool, "a.csv", "arriving", "marker is missing"))

    def test_rename(self):
        spool = self.spool({"spool": {"completion": "rename"}})
        spool.drop("alice", "a.csv")
        self.agrees(spool, self.wait_said(spool, "a.csv", "arriving", "did not arrive by a rename"))

    @limit(300)
    def test_checksum(self):
        """Missing, and while it is compared how much was read."""
        spool = self.spool({"spool": {"completion": "checksum"}})
        spool.drop("alice", "a.csv")
        self.agrees(spool, self.wait_said(spool, "a.csv", "arriving", "checksum is missing"))
        path = spool.path("alice", name="big.bin")
        with open(path, "wb") as file:
            file.truncate(1 << 40)
        spool.drop("alice", "big.bin.sha256", line(b"other", "big.bin"))
        row = self.wait_said(spool, "big.bin", "arriving", r"compared .* \(\d+ % read\)")
        self.assertEqual(row["size"], 1 << 40)
        self.assertTrue(0 <= row["progress"] <= 1, row)
        os.unlink(path)
        spool.wait_for(lambda: "big.bin" not in str(self.arriving(spool)), what="it to be gone")

    def test_over_a_limit(self):
        spool = self.spool({"spool": {"max_pending_files": 1, "settle_seconds": 0.05},
                            "job_processing": {"auto_start_processing": False}})
        spool.drop("alice", "a.csv", how="mv")
        spool.wait_state("a.csv", "pending")
        spool.drop("alice", "b.csv", how="mv")
        self.agrees(spool, self.wait_said(spool, "b.csv", "over_limit", "max_pending_files: 1"))
        self.assertSays("over limit", spool.ctl("list", "--state", "arriving").out)

    def test_refused(self):
        spool = self.spool()
        os.symlink("/etc/passwd", spool.path("alice", name="link"))
        os.mkfifo(spool.path("alice", name="fifo"))
        for name, word in (("link", "symbolic link"), ("fifo", "FIFO")):
            row = self.wait_said(spool, name, "refused", word)
            self.agrees(spool, row)
            self.assertIsNone(row["size"])
            os.unlink(spool.path("alice", name=name))

    def test_directory_as_one_job(self):
        spool = self.spool({"spool": {"directories": "job", "directory_settle_seconds": 0.5}})
        os.mkdir(spool.path("alice", name="set"))
        self.agrees(spool, self.wait_said(spool, "set", "arriving", "no file is in it"))
        self.assertSays("set/ ", spool.ctl("list", "--state", "arriving").out)
        os.rmdir(spool.path("alice", name="set"))

    def test_names_of_any_bytes(self):
        spool = self.spool({"spool": {"completion": "marker"}})
        for name in (b"\xff\x1b[31m.csv", b"two\nlines", "\u00e9 \u4e16".encode(), b"back\\slash"):
            spool.drop("alice", name)
        rows = self.wait_listed(spool, 4)
        told = spool.ctl("list", "--state", "arriving").out
        for name in (r"\xff\x1b[31m.csv", r"two\x0alines", r"back\\slash", "\u00e9 \u4e16"):
            self.assertIn(name, [r["name"] for r in rows])
            self.assertIn(name, told)
        self.assertNotIn("\x1b", told)

    def test_many_users_in_order(self):
        """User by user, each one's in the order in which they came; --limit tells
        how many are left out, and 0 gives all, over several pages."""
        users = [f"u{i}" for i in range(12)]
        spool = self.spool({"spool": {"completion": "marker"}}, users=users)
        for number in range(3):
            for user in users:
                spool.drop(user, f"{9 - number}.csv")
            self.wait_listed(spool, (number + 1) * len(users), "--limit", "0")
        rows = [(r["user"], r["name"]) for r in self.arriving(spool, "--limit", "0")["uploads"]]
        self.assertEqual(rows, [(u, n) for u in sorted(users)
                                for n in ("9.csv", "8.csv", "7.csv")])
        some = self.arriving(spool, "--limit", "5")
        self.assertEqual([(r["user"], r["name"]) for r in some["uploads"]], rows[:5])
        self.assertEqual(some["more"], len(rows) - 5)
        told = spool.ctl("list", "--state", "arriving", "-n", "5").out
        self.assertSays("^USER", told)
        self.assertSays("and 31 more; --limit 0 shows all", told)
        one = spool.ctl("list", "u3", "--state", "arriving").out
        self.assertEqual([len(one.splitlines()), "USER" in one], [4, False])
        # Pages as small as one, asked for by hand.
        seen, after = [], {}
        while after is not None:
            page = spool.request({"command": "list", "state": "arriving", "limit": 1, **after})
            seen += [(r["user"], r["name"]) for r in page["uploads"]]
            after = page["next"] and {"after": page["next"]}
        self.assertEqual(seen, rows)
        for after in ("nonsense", "", "7", 7, "1 bad\\q"):
            answer = spool.request({"command": "list", "state": "arriving", "after": after})
            self.assertEqual((answer["ok"], answer["exit"]), (False, 2), answer)

    @limit(300)
    def test_more_than_a_page(self):
        spool = self.spool({"spool": {"completion": "marker"}})
        for number in range(MANY):
            with open(spool.path("alice", name=f"{number}.csv"), "wb"):
                pass
            spool.expect("alice", f"{number}.csv", b"")
        rows = self.wait_listed(spool, MANY, "--limit", "0")
        self.assertEqual(len({r["name"] for r in rows}), MANY)
        some = self.arriving(spool)
        self.assertEqual((len(some["uploads"]), some["more"]), (50, MANY - 50))
        some = self.arriving(spool, "--limit", "700")
        self.assertEqual((len(some["uploads"]), some["more"]), (700, MANY - 700))

    @root_only
    def test_a_user_sees_its_own(self):
        spool = self.spool({"spool": {"completion": "marker"}}, users=("alice", "nobody"))
        os.chmod(self.directory, 0o755)
        spool.drop("alice", "secret.csv")
        spool.drop("nobody", "own.csv")
        self.wait_listed(spool, 2)
        nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        told = spool.ctl("list", "--state", "arriving", **nobody)
        self.assertIn("own.csv", told.out)
        self.assertNotIn("secret", told.out + told.err)
        told = spool.ctl("list", "alice", "--state", "arriving", check=1, **nobody)
        self.assertSays("not yours to see", told.err)
        self.assertNotIn("secret", told.out + told.err)

    def test_without_daemon_and_unknown_states(self):
        spool = self.spool({"spool": {"completion": "marker"}})
        spool.drop("alice", "a.csv")
        self.wait_listed(spool, 1)
        result = spool.ctl("list", "--state", "arriving", "--state", "nonsense", check=2)
        self.assertSays('arriving, pending, .* canceled, not "nonsense"', result.err)
        answer = spool.request({"command": "list", "state": "nonsense"})
        self.assertSays("arriving, pending, held", answer["error"])
        spool.stop()
        result = spool.ctl("list", "--state", "arriving", check=3)
        self.assertSays("spoold is not running on .* knows what is arriving", result.err)
        self.assertEqual(result.out, "")
        result = spool.ctl("list", "--state", "arriving", json=True, check=3)
        self.assertSays("only a running spoold", result.data["error"])
