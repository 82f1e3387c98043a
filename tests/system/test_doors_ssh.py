"""Through sshd: sftp and scp as people use them."""

import os

from doors import FIRST_UID, RATE, RULES, Client, Sshd, example, may_unshare, with_accounts
from harness import BAD_FAILS, SystemTest, root_only
from matrix import ALL, BEGUN, TREE, Matrix, Resumed, content, packed

LIMIT = ["-l", str(RATE * 8 // 1000)]  # Kbit/s


class Sftp(Matrix, SystemTest):
    """sftp put"""

    test_broken_off_over_a_waiting_one = Matrix.broken_off_over_a_waiting_one

    def open(self, spool):
        return Sshd(self, spool)

    def put(self, door, user, path, name, slow=False):
        return door.sftp([f"put {path} {door.spool.path(user)}/{name}"],
                         *(LIMIT if slow else []))


class SftpReput(Resumed, Sftp):
    """reput, when put broke off"""

    def resume(self, door, user, path, name):
        return door.sftp([f"reput {path} {door.spool.path(user)}/{name}"])


class SftpTree(Sftp):
    """put -r"""

    below = TREE

    def put(self, door, user, path, name, slow=False):
        return door.sftp([f"cd {door.spool.path(user)}",
                          f"put -r {packed(door.spool, path, name)}"], *(LIMIT if slow else []))

    if not ALL:
        test_one_upload_one_job = test_broken_off_by_the_client = None
        test_broken_off_over_a_waiting_one = None


class Scp(Matrix):
    flags = ()

    def open(self, spool):
        return Sshd(self, spool)

    def put(self, door, user, path, name, slow=False):
        return door.scp(*self.flags, *(LIMIT if slow else []), path,
                        f"{door.host()}:{door.spool.path(user)}/{name}")


class OldScp(Scp, SystemTest):
    """scp -O: the protocol of before"""

    flags = ("-O",)


class NewScp(Scp, SystemTest):
    """scp, over sftp underneath"""

    if not ALL:
        test_one_upload_one_job = None


class ScpP(NewScp):
    """-p: the times are those of the original"""

    flags = ("-p",)

    if not ALL:
        test_broken_off_by_the_client = test_broken_off_by_the_server = None


class OldScpP(NewScp):
    """It sets the times of a file after it closed it. A marker that spoke in between is
    another one then, and stays: so those come without -p."""

    flags = ("-O",)

    def put(self, door, user, path, name, slow=False):
        more = [] if name.endswith((".done", ".sha256")) else ["-p"]
        return door.scp(*self.flags, *more, *(LIMIT if slow else []), path,
                        f"{door.host()}:{door.spool.path(user)}/{name}")

    if not ALL:
        test_broken_off_by_the_client = test_broken_off_by_the_server = None


class ScpTree(NewScp):
    """-r: a directory"""

    below = TREE

    def put(self, door, user, path, name, slow=False):
        return door.scp("-r", *self.flags, *(LIMIT if slow else []), packed(door.spool, path, name),
                        f"{door.host()}:{door.spool.path(user)}")

    if not ALL:
        test_broken_off_by_the_client = None


class OldScpTree(ScpTree):
    flags = ("-O",)

    if not ALL:
        test_broken_off_by_the_server = None


class Variants(SystemTest):
    def tree(self, spool):
        top = os.path.join(spool.base, "staging", "tree")
        files = {"a.csv": b"a", "deep/b.csv": b"b" * 100_000, "deep/er/c.csv": b"c"}
        for name, data in files.items():
            os.makedirs(os.path.dirname(os.path.join(top, name)), exist_ok=True)
            with open(os.path.join(top, name), "wb") as file:
                file.write(data)
            spool.expect("alice", "tree/" + name, data)
        return top, ["tree/" + name for name in files]

    def check_tree(self, spool, names):
        for name in names:
            spool.wait_state(name, "done")
        self.assertEqual(sorted(j["name"] for j in spool.jobs("alice")), sorted(names))

    def broken_off(self, client_of):
        """Its last file is half there: that one is taken as it is (completion "auto"), the
        others whole, and the next try brings all of it."""
        spool = self.spool()
        door = Sshd(self, spool)
        top = os.path.join(spool.base, "staging", "tree")
        whole = content("alice", "big.csv")
        os.makedirs(os.path.join(top, "deep"))
        for name, data in (("a.csv", b"a"), ("deep/big.csv", whole)):
            with open(os.path.join(top, name), "wb") as file:
                file.write(data)
        big = spool.path("alice", "incoming", "tree/deep/big.csv")
        client = client_of(door, top, spool.path("alice"), LIMIT)
        spool.wait_for(lambda: os.path.exists(big) and os.path.getsize(big) > BEGUN,
                       what="half of the last to arrive")
        client.kill()
        self.assertIsNotNone(spool.wait_state("tree/deep/big.csv", "done"))
        spool.wait_state("tree/a.csv", "done")
        with open(spool.path("alice", "done", "tree/deep/big.csv"), "rb") as file:
            half = file.read()
        self.assertLess(len(half), len(whole))
        self.assertTrue(whole.startswith(half.rstrip(b"\0")))
        client_of(door, top, spool.path("alice"), []).wait()
        spool.wait_for(lambda: sorted((j["name"], j["state"]) for j in spool.jobs("alice")) ==
                       [("tree/a.csv", "done")] * 2 + [("tree/deep/big.csv", "done")] * 2,
                       what="all of it, once more")
        found = []
        with os.scandir(spool.path("alice", "done", "tree/deep")) as entries:
            for entry in entries:
                with open(entry.path, "rb") as file:
                    found.append(file.read())
        self.assertEqual(sorted(found, key=len), [half, whole])

    def test_scp_r_broken_off(self):
        self.broken_off(lambda door, top, to, limit:
                        door.scp("-r", *limit, top, f"{door.host()}:{to}"))

    def test_sftp_put_r(self):
        spool = self.spool()
        top, names = self.tree(spool)
        Sshd(self, spool).sftp([f"cd {spool.path('alice')}", f"put -r {top}"]).wait()
        self.check_tree(spool, names)

    def test_scp_r_and_p(self):
        spool = self.spool()
        top, names = self.tree(spool)
        door = Sshd(self, spool)
        door.scp("-r", "-p", top, f"{door.host()}:{spool.path('alice')}/").wait()
        self.check_tree(spool, names)

    def test_scp_p_keeps_its_times_and_its_place(self):
        """-p sets times after the data: still one job."""
        spool = self.spool()
        path = os.path.join(spool.base, "staging", "old.csv")
        with open(path, "wb") as file:
            file.write(b"old")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        spool.expect("alice", "old.csv", b"old")
        door = Sshd(self, spool)
        door.scp("-p", path, f"{door.host()}:{spool.path('alice')}/").wait()
        spool.wait_state("old.csv", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)
        self.assertEqual(os.stat(spool.path("alice", "done", "old.csv")).st_mtime, 1_000_000_000)

    def test_ssh_cat(self):
        spool = self.spool()
        door = Sshd(self, spool)
        data = content("alice", "cat.csv", 300_000)
        spool.expect("alice", "cat.csv", data)
        Client(self, [*door.shell().split(), door.host(), f"cat > {spool.path('alice')}/cat.csv"],
               data=data).wait()
        spool.wait_state("cat.csv", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)


@root_only
class Chroot(Matrix, SystemTest):
    """internal-sftp with packaging/examples/sshd_config as it is: accounts locked into
    the directories that spoolctl user add makes."""

    def door_spool(self, handler=None, **over):
        users = {user: {"completion": rule} for user, rule in RULES.items()}
        spool = self.spool({"users": users, "scheduler_settings": {"max_concurrent_jobs": 4}, **over},
                           users=(), **({} if handler is None else {"handler": handler}))
        for number, user in enumerate(RULES):
            account = str(FIRST_UID + number)
            spool.ctl("user", "add", "--uid", account, "--gid", account, user)
            spool.wait_for(lambda: spool.user(user), what=f"{user} to be known")
        return spool

    def open(self, spool):
        if not may_unshare():
            self.skipTest("needs a mount namespace, for accounts of its own")
        # sshd asks that all that leads to a chroot is root's alone.
        parent = spool.base
        while parent != "/":
            if os.stat(parent).st_mode & 0o022 and not os.stat(parent).st_mode & 0o1000:
                self.skipTest(f"{parent} may be written by others")
            parent = os.path.dirname(parent)
        root = self.chroot_root()
        return Sshd(self, spool, example("sshd_config", spool).replace(spool.root, root),
                    before=[*with_accounts(spool, tuple(RULES)), "sh", "-c",
                            f"mount --bind {spool.root} {root}; exec \"$@\"", "sh"])

    def chroot_root(self):
        """A path of root's alone: /tmp is everybody's, and sshd refuses that."""
        root = f"/mnt/spoold-{os.getpid()}"
        os.makedirs(root, exist_ok=True)
        self.addCleanup(os.rmdir, root)
        return root

    def put(self, door, user, path, name, slow=False):
        return door.sftp([f"put {path} {name}"], *(LIMIT if slow else []), user=user)

    if not ALL:
        test_one_upload_one_job = None
        test_broken_off_by_the_client = test_broken_off_by_the_server = None

    def test_each_account_in_its_own_spool(self):
        spool = self.door_spool()
        door = self.open(spool)
        path = os.path.join(spool.base, "staging", "x.csv")
        data = content("alice", "x.csv", 500_000)
        with open(path, "wb") as file:
            file.write(data)
        spool.expect("alice", "x.csv", data)
        said = door.sftp(["pwd", f"put {path}", "ls -l /", "ls -l"], user="alice").wait()
        self.assertRegex(said, "/incoming")
        spool.wait_state("x.csv", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)
        st = os.stat(spool.path("alice", "done", "x.csv"))
        self.assertEqual((st.st_uid, st.st_mode & 0o777), (FIRST_UID, 0o640))
        # It finds its result there, and cannot reach anything else.
        door.sftp([f"get /done/x.csv {spool.base}/staging/back.csv"], user="alice").wait()
        with open(os.path.join(spool.base, "staging", "back.csv"), "rb") as file:
            self.assertEqual(file.read(), data)
        for command in (f"put {path} /x.csv", f"put {path} /processing/x.csv",
                        f"put {path} /done/y.csv", "rm /done/x.csv", "ls /processing"):
            refused = door.sftp([command], user="alice")
            refused.wait(check=False)
            self.assertNotEqual(refused.process.returncode, 0, command)

    def test_who_has_no_shell_reads_what_became_of_a_file(self):
        """The log of what failed, and the notice of what is not taken: by sftp."""
        spool = self.door_spool(handler=BAD_FAILS, spool={"notice_after_seconds": 0.3},
                                scheduler_settings={"max_retries": 0})
        door = self.open(spool)
        path = self.source(spool, "alice", "bad.csv", b"bad")
        spool.expect("alice", "bad.csv", b"bad")
        door.sftp([f"put {path} bad.csv", "ln -s /etc/passwd link.csv"], user="alice").wait()
        spool.wait_state("bad.csv", "failed")
        spool.wait_file("bad.csv.log", "failed")
        spool.wait_file("SPOOLD-NOTICE.txt", "incoming")
        back = os.path.join(spool.base, "staging")
        door.sftp([f"get /failed/bad.csv.log {back}/log",
                   f"get /incoming/SPOOLD-NOTICE.txt {back}/notice"], user="alice").wait()
        for name, words in (("log", "cannot digest bad.csv"), ("notice", "link.csv")):
            with open(os.path.join(back, name)) as file:
                self.assertIn(words, file.read())
        # It may not be written to, and goes when what it speaks of is gone.
        refused = door.sftp([f"put {path} SPOOLD-NOTICE.txt"], user="alice")
        refused.wait(check=False)
        self.assertNotEqual(refused.process.returncode, 0)
        door.sftp(["rm link.csv"], user="alice").wait()
        notice = spool.path("alice", "incoming", "SPOOLD-NOTICE.txt")
        spool.wait_for(lambda: not os.path.exists(notice), what="the notice to go")
