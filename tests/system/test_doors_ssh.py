"""Through sshd: sftp and scp as people use them."""

import os

from doors import ALL, BEGUN, BYTES, RATE, Client, Matrix, Sshd, content, example, may_unshare, \
    with_accounts
from harness import SystemTest, root_only

LIMIT = ["-l", str(RATE * 8 // 1000)]  # Kbit/s


class Sftp(Matrix, SystemTest):
    """sftp put"""

    def open(self, spool):
        return Sshd(self, spool)

    def put(self, door, user, path, name, slow=False):
        return door.sftp([f"put {path} {door.spool.path(user)}/{name}"],
                         *(LIMIT if slow else []))


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


class OldScpP(NewScp):
    flags = ("-O", "-p")


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

    def test_sftp_put_r_broken_off(self):
        self.broken_off(lambda door, top, to, limit: door.sftp([f"cd {to}", f"put -r {top}"], *limit))

    def test_scp_r_broken_off(self):
        self.broken_off(lambda door, top, to, limit:
                        door.scp("-r", *limit, top, f"{door.host()}:{to}"))

    def test_old_scp_r_broken_off(self):
        self.broken_off(lambda door, top, to, limit:
                        door.scp("-O", "-r", *limit, top, f"{door.host()}:{to}"))

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

    def test_reput_goes_on_where_it_broke_off(self):
        """Under "marker": the half waits, reput completes it, the marker ends it."""
        spool = self.spool({"spool": {"completion": "marker"}})
        data = content("alice", "big.csv")
        path = os.path.join(spool.base, "staging", "big.csv")
        with open(path, "wb") as file:
            file.write(data)
        spool.expect("alice", "big.csv", data)
        door = Sshd(self, spool)
        remote = f"{spool.path('alice')}/big.csv"
        half = door.sftp([f"put {path} {remote}"], *LIMIT)
        spool.wait_for(lambda: os.path.exists(remote) and os.path.getsize(remote) > 100_000,
                       what="bytes to arrive")
        half.kill()
        self.assertLess(os.path.getsize(remote), BYTES)
        door.sftp([f"reput {path} {remote}"]).wait()
        self.assertEqual(spool.jobs("alice"), [])
        spool.drop("alice", "big.csv.done", b"")
        spool.wait_state("big.csv", "done")
        self.assertEqual(len(spool.jobs("alice")), 1)

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
class Chroot(SystemTest):
    """packaging/examples/sshd_config as it is: accounts locked into their spool
    directories."""

    def test_each_account_in_its_own_spool(self):
        if not may_unshare():
            self.skipTest("needs a mount namespace, for an account of its own")
        spool = self.spool(users=())
        made = spool.path("alice", ".")
        os.makedirs(made)
        for place, mode in (("incoming", 0o770), ("processing", 0o700), ("done", 0o750),
                            ("failed", 0o750)):
            os.makedirs(spool.path("alice", place), exist_ok=True)
            os.chmod(spool.path("alice", place), mode)
            if place != "processing":
                os.chown(spool.path("alice", place), 47011 if place == "incoming" else 0, 47011)
        # sshd asks that all that leads to a chroot is root's alone.
        parent = spool.base
        while parent != "/":
            if os.stat(parent).st_mode & 0o022 and not os.stat(parent).st_mode & 0o1000:
                self.skipTest(f"{parent} may be written by others")
            parent = os.path.dirname(parent)
        root = self.chroot_root(spool)
        door = Sshd(self, spool, example("sshd_config", spool).replace(spool.root, root),
                    before=[*with_accounts(spool, ("alice",)), "sh", "-c",
                            f"mount --bind {spool.root} {root}; exec \"$@\"", "sh"])
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
        self.assertEqual((st.st_uid, st.st_mode & 0o777), (47011, 0o640))
        # It finds its result there, and cannot reach anything else.
        door.sftp([f"get /done/x.csv {spool.base}/staging/back.csv"], user="alice").wait()
        with open(os.path.join(spool.base, "staging", "back.csv"), "rb") as file:
            self.assertEqual(file.read(), data)
        for command in (f"put {path} /x.csv", f"put {path} /processing/x.csv",
                        f"put {path} /done/y.csv", "rm /done/x.csv", "ls /processing"):
            refused = door.sftp([command], user="alice")
            refused.wait(check=False)
            self.assertNotEqual(refused.process.returncode, 0, command)

    def chroot_root(self, spool):
        """A path of root's alone: /tmp is everybody's, and sshd refuses that."""
        root = f"/mnt/spoold-{os.getpid()}"
        os.makedirs(root, exist_ok=True)
        self.addCleanup(os.rmdir, root)
        return root
