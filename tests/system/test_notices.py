"""What an uploader without a shell reads in incoming about what is not taken."""

import os
import pwd
import stat
import subprocess

from harness import GATE, SystemTest, root_only

NOTICE = "SPOOLD-NOTICE.txt"


def soon(**spool):
    return {"spool": {"notice_after_seconds": 0.3, **spool}}


class Notices(SystemTest):
    def text(self, spool, user="alice"):
        try:
            with open(spool.path(user, "incoming", NOTICE)) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def wait_says(self, spool, *words, user="alice"):
        spool.wait_for(lambda: all(w in self.text(spool, user) for w in words),
                       what=f"the notice to say {words}")
        return self.text(spool, user)

    def wait_gone(self, spool, user="alice"):
        path = spool.path(user, "incoming", NOTICE)
        spool.wait_for(lambda: not os.path.lexists(path), what="the notice to go")

    def assertNoJob(self, spool):
        self.assertEqual([j["name"] for j in spool.jobs() if "NOTICE" in j["name"]], [])

    def test_says_what_is_refused_and_goes(self):
        """A link, a hard link and a socket: each with its reason; gone with
        them; and never a job."""
        spool = self.spool(soon())
        incoming = spool.path("alice", "incoming")
        os.symlink("/etc/passwd", os.path.join(incoming, "link.csv"))
        os.mkfifo(os.path.join(incoming, "pipe"))
        for name in ("hard1", "hard2"):
            if name == "hard1":
                with open(os.path.join(incoming, name), "w") as file:
                    file.write("two names")
            else:
                os.link(os.path.join(incoming, "hard1"), os.path.join(incoming, name))
        text = self.wait_says(spool, "\nlink.csv\n", "\npipe\n", "\nhard1\n", "\nhard2\n")
        self.assertSays("symbolic link", text)
        self.assertNotIn("why:  \n", text)
        spool.ctl("rescan")
        spool.drop("alice", "good.csv")
        spool.wait_state("good.csv", "done")
        self.assertEqual(spool.user("alice")["refused"], 4)
        self.assertNoJob(spool)
        self.assertSays("spoold wrote it", spool.explain_file(NOTICE)["because"])
        for name in ("link.csv", "pipe", "hard1", "hard2"):
            os.unlink(os.path.join(incoming, name))
        self.wait_gone(spool)
        self.assertEqual(os.listdir(incoming), [])

    def test_over_a_limit(self):
        spool = self.spool(soon(max_upload_mib=0.01))
        spool.drop("alice", "large.csv", b"x" * 20000)
        self.wait_says(spool, "large.csv", "max_upload_mib: 10.2 KiB")
        spool.drop("alice", "large.csv", b"small", replace=True)
        spool.wait_state("large.csv", "done")
        self.wait_gone(spool)

    def test_waits_for_room(self):
        spool = self.spool(soon(max_pending_files=1), handler=GATE)
        spool.drop("alice", "running.csv")
        spool.wait_started("running.csv")
        for name in ("pending.csv", "waiting.csv"):
            spool.drop("alice", name, how="mv")
            spool.next_tick()
        text = self.wait_says(spool, "waiting.csv", "max_pending_files: 1")
        self.assertNotIn("pending.csv", text)
        spool.open_gate()
        spool.wait_state("waiting.csv", "done")
        self.wait_gone(spool)

    def test_missing_marker_and_rename(self):
        spool = self.spool({"spool": {"notice_after_seconds": 0.3}, "users": {
            "alice": {"completion": "marker"}, "bob": {"completion": "rename"}}},
            users=("alice", "bob"))
        spool.drop("alice", "a.csv")
        spool.drop("bob", "b.csv")
        self.wait_says(spool, "a.csv", ".done")
        self.wait_says(spool, "b.csv", "rename", user="bob")
        spool.drop("alice", "a.csv.done", b"")
        os.rename(spool.path("bob", "incoming", "b.csv"), spool.path("bob", "incoming", "c.csv"))
        spool.forget("bob", "b.csv")
        spool.expect("bob", "c.csv", b"bob b.csv\n")
        spool.wait_state("a.csv", "done")
        spool.wait_state("c.csv", "done", "bob")
        self.wait_gone(spool)
        self.wait_gone(spool, "bob")

    def test_a_writer_that_never_ends(self):
        spool = self.spool(soon())
        with open(spool.path("alice", "incoming", "slow.csv"), "wb") as file:
            file.write(b"half")
            file.flush()
            self.wait_says(spool, "slow.csv", "open for writing")
            file.write(b" and whole")
        spool.expect("alice", "slow.csv", b"half and whole")
        spool.wait_state("slow.csv", "done")
        self.wait_gone(spool)

    def test_names_that_are_never_taken_and_deep_directories(self):
        spool = self.spool(soon())
        deep = spool.path("alice", "incoming", "/".join(["d"] * 40))
        os.makedirs(deep)
        with open(os.path.join(deep, b"deep.csv"), "w") as file:
            file.write("too deep")
        for name in ("left.part", ".hidden"):
            with open(spool.path("alice", "incoming", name), "w") as file:
                file.write("temporary")
        spool.wait_for(lambda: spool.ctl("rescan") and "left.part" in self.text(spool),
                       what="the notice to speak of left.part")
        text = self.wait_says(spool, "left.part", "nested too deep")
        self.assertNotIn(".hidden", text)
        where = os.fsdecode(os.path.join(deep, b"deep.csv"))
        self.assertSays("nested too deep", spool.explain(where)["because"])
        self.assertEqual(spool.jobs(), [])
        os.rename(spool.path("alice", "incoming", "left.part"),
                  spool.path("alice", "incoming", "left.csv"))
        spool.expect("alice", "left.csv", b"temporary")
        spool.wait_state("left.csv", "done")
        os.rename(os.path.join(deep, b"deep.csv"), spool.path("alice", "incoming", "up.csv"))
        spool.expect("alice", "up.csv", b"too deep")
        spool.wait_state("up.csv", "done")
        subprocess.run(["rm", "-r", spool.path("alice", "incoming", "d")], check=True)
        self.wait_gone(spool)

    def test_only_written_when_it_says_something_else(self):
        spool = self.spool(soon())
        os.symlink("x", spool.path("alice", "incoming", "one"))
        self.wait_says(spool, "\none\n")
        path = spool.path("alice", "incoming", NOTICE)
        inode = os.stat(path).st_ino
        spool.ctl("rescan")
        spool.ctl("reload")
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")
        self.assertEqual(os.stat(path).st_ino, inode)
        os.symlink("x", spool.path("alice", "incoming", "two"))
        self.wait_says(spool, "\none\n", "\ntwo\n")
        self.assertNotEqual(os.stat(path).st_ino, inode)

    def test_an_upload_of_that_name(self):
        """Never overwritten, and a job like any other."""
        spool = self.spool({**soon(), "job_processing": {"auto_start_processing": False}})
        spool.drop("alice", NOTICE, b"mine")
        spool.wait_state(NOTICE, "pending")
        os.symlink("x", spool.path("alice", "incoming", "one"))
        spool.wait_log("notice .* in its way")
        spool.ctl("start")
        spool.wait_state(NOTICE, "done")
        self.assertEqual(len(spool.jobs()), 1)

    def test_switched_off_and_on(self):
        spool = self.spool({"spool": {"notice_after_seconds": 0.3, "notices": False}, "users": {
            "bob": {"notices": True}}}, users=("alice", "bob"))
        for user in ("alice", "bob"):
            os.symlink("x", spool.path(user, "incoming", "one"))
        self.wait_says(spool, "one", user="bob")
        self.assertEqual(os.listdir(spool.path("alice", "incoming")), ["one"])
        spool.configure({"spool": {"notices": True}, "users": {"bob": {"notices": False}}})
        spool.ctl("reload")
        self.wait_says(spool, "one")
        self.wait_gone(spool, "bob")

    def test_after_a_restart(self):
        """What was said before is not lost, and not said for ever."""
        spool = self.spool(soon())
        os.symlink("x", spool.path("alice", "incoming", "one"))
        self.wait_says(spool, "\none\n")
        spool.kill9()
        spool.restart()
        os.symlink("x", spool.path("alice", "incoming", "two"))
        self.wait_says(spool, "\none\n", "\ntwo\n")
        spool.stop()
        for name in ("one", "two"):
            os.unlink(spool.path("alice", "incoming", name))
        spool.restart()
        self.wait_gone(spool)
        self.assertNoJob(spool)

    def test_polled(self):
        """Without events what is gone is found gone, too."""
        spool = self.spool(soon(watch="poll", poll_seconds=0.3))
        link = spool.path("alice", "incoming", "one")
        os.symlink("x", link)
        self.wait_says(spool, "\none\n")
        os.unlink(link)
        spool.wait_for(lambda: spool.user("alice")["refused"] == 0, what="refused: 0")
        self.wait_gone(spool)
        self.assertNoJob(spool)

    @root_only
    def test_its_user_reads_it_and_cannot_use_it(self):
        """Owned so that the uploader can read it, not write through it."""
        spool = self.spool(soon(), users=())
        account = pwd.getpwnam("nobody")
        spool.ctl("user", "add", "nobody")
        spool.wait_for(lambda: spool.user("nobody"), what="the user")
        incoming = spool.path("nobody", "incoming")
        os.symlink("x", os.path.join(incoming, "one"))
        self.wait_says(spool, "\none\n", user="nobody")
        notice = os.path.join(incoming, NOTICE)
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        read = subprocess.run(["cat", notice], stdout=subprocess.PIPE, check=True, **as_user)
        self.assertIn(b"\none\n", read.stdout)
        self.assertNotEqual(subprocess.run(["bash", "-c", f"echo x >>'{notice}'"],
                                           stderr=subprocess.DEVNULL, **as_user).returncode, 0)
        # A link in its place leads nowhere, and what it leads to stays.
        victim = os.path.join(spool.base, "victim")
        with open(victim, "w") as file:
            file.write("victim")
        subprocess.run(["rm", "-f", notice], check=True, **as_user)
        subprocess.run(["ln", "-s", victim, notice], check=True, **as_user)
        subprocess.run(["ln", "-s", "x", os.path.join(incoming, "two")], check=True, **as_user)
        spool.wait_log("notice .* in its way")
        self.assertTrue(stat.S_ISLNK(os.lstat(notice).st_mode))
        with open(victim) as file:
            self.assertEqual(file.read(), "victim")
