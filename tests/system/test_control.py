"""The control socket: whoever talks nonsense disturbs nobody."""

import json
import os
import socket
import subprocess
import sys

import procs
from harness import SystemTest, limit, root_only


class Garbage(SystemTest):
    def still_answers(self, spool):
        self.assertEqual(spool.ctl("status", json=True).code, 0)
        self.assertTrue(procs.alive(spool.daemon.pid))

    def test_questions_of_the_protocol(self):
        """src/io/control.h: ok and error, with spoolctl's exit code."""
        spool = self.spool()
        self.assertTrue(spool.request({"command": "status"})["ok"])
        for body in ({"command": "nonsense"}, {}, {"command": 7}, {"command": "show"},
                     {"command": "show", "job": "seven"}, {"command": "show", "job": -1},
                     {"command": "show", "job": 999999}, {"command": "list", "limit": "many"},
                     {"command": "explain", "path": "bad\\q"}, {"command": "cancel", "job": 1.5},
                     {"command": "hold"}, {"command": "hold", "user": "nobody-here"},
                     {"command": "list", "state": "no-such-state"}, {"command": None}):
            answer = spool.request(body)
            self.assertFalse(answer["ok"], body)
            self.assertTrue(answer["error"], body)
            self.assertIn(answer["exit"], (1, 2), body)
        self.still_answers(spool)

    def test_long_names_are_answered(self):
        """Each request gets its answer, however long the name it speaks of."""
        spool = self.spool()
        for name in ("\u00e9" * 2000, "x" + "\u00e9" * 2000, "\U0001f600" * 5000):
            for body in ({"command": "status", "user": name},
                         {"command": "explain", "path": f"alice/incoming/{name}"},
                         {"command": "explain", "path": name}):
                answer = spool.request(body)
                self.assertFalse(answer["ok"], body["command"])
                self.assertTrue(answer["error"].isprintable(), answer)
        self.still_answers(spool)

    def test_several_questions_in_order(self):
        """src/io/control.h: requests of one client are answered in order."""
        spool = self.spool()
        with spool.connect() as peer:
            lines = [json.dumps({"command": c}) for c in ("status", "nonsense", "list", "status")]
            peer.sendall("".join(line + "\n" for line in lines).encode())
            answers = peer.makefile("rb")
            told = [json.loads(answers.readline()) for _ in lines]
        self.assertEqual([a["ok"] for a in told], [True, False, True, True])
        self.assertIn("jobs", told[2])

    def test_garbage(self):
        """What is no JSON object is answered with an error or dropped."""
        spool = self.spool()
        for data in (b"\n", b"nonsense\n", b"{\n", b"[]\n", b"\0\0\0\n", os.urandom(5000) + b"\n",
                     b"\xff\xfe\n",
                     b'{"command": "' + b"\\u0000" * 20 + b'"}\n', b"[" * 50000 + b"\n"):
            with self.subTest(data[:20]), spool.connect() as peer:
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
                try:
                    line = peer.makefile("rb").readline()
                except ConnectionResetError:
                    continue
                if line:
                    self.assertFalse(json.loads(line)["ok"])
        self.still_answers(spool)
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    def test_half_a_line(self):
        """A client that never ends its line holds up nobody."""
        spool = self.spool()
        peers = [spool.connect() for _ in range(20)]
        for peer in peers:
            peer.sendall(b'{"command": "sta')
        self.still_answers(spool)
        peers[0].sendall(b'tus"}\n')
        self.assertTrue(json.loads(peers[0].makefile("rb").readline())["ok"])
        for peer in peers:
            peer.close()
        self.still_answers(spool)

    def test_a_line_of_100_megabytes(self):
        """Bounded memory: told or dropped after 64 KiB."""
        spool = self.spool()
        before = memory_kib(spool.daemon.pid)
        with spool.connect() as peer:
            sent = 0
            try:
                while sent < 100_000_000:
                    sent += peer.send(b"x" * 100_000)
            except (BrokenPipeError, ConnectionResetError):
                pass
        self.still_answers(spool)
        self.assertLess(memory_kib(spool.daemon.pid) - before, 20_000)

    def test_answers_that_nobody_reads(self):
        """A client that asks and never reads is dropped in the end."""
        spool = self.spool()
        with spool.connect(limit=10) as peer:
            question = b'{"command": "status"}\n' * 1000
            try:
                for _ in range(300):
                    peer.sendall(question)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                pass
            self.still_answers(spool)
        self.assertLess(memory_kib(spool.daemon.pid), 400_000)

    @limit(180)
    def test_1000_connections(self):
        """More clients than places: they are told, and status answers once
        there is a place; afterwards everything is as before."""
        spool = self.spool()
        peers = []
        try:
            for _ in range(1000):
                peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                peer.setblocking(False)
                if peer.connect_ex(spool.socket_path()) == 0:
                    peers.append(peer)
                else:
                    peer.close()  # the backlog is full: wait for the next turn
            told = spool.run("spoolctl", "--config", spool.config_path, "status")
            self.assertIn(told.code, (0, 1, 3))
            if told.code != 0:
                self.assertSays("many|busy", told.err)
        finally:
            for peer in peers:
                peer.close()
        spool.wait_for(spool.answers, what="status to answer again")
        spool.drop("alice", "a.csv")
        spool.wait_state("a.csv", "done")

    def test_client_gone_before_its_answer(self):
        """Whoever hangs up is forgotten."""
        spool = self.spool()
        for _ in range(50):
            with spool.connect() as peer:
                peer.sendall(b'{"command": "list"}\n')
        self.still_answers(spool)


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


@root_only
class Rights(SystemTest):
    def as_nobody(self, spool, body):
        code = ("import json,socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
                "s.sendall(sys.argv[2].encode()+b'\\n')\nprint(s.makefile().readline())")
        done = subprocess.run([sys.executable, "-c", code, spool.socket_path(), json.dumps(body)],
                              user="nobody", group="nogroup", extra_groups=[], cwd="/",
                              stdout=subprocess.PIPE, timeout=60, check=True)
        return json.loads(done.stdout)

    def test_a_stranger_may_do_nothing(self):
        """Section 8: a user only sees and steers its own jobs."""
        spool = self.spool({"job_processing": {"auto_start_processing": False}},
                           users=("alice", "nobody"))
        for user in ("alice", "nobody"):
            spool.drop(user, "a.csv")
            spool.wait_state("a.csv", "pending", user)
        theirs, own = spool.job("a.csv", "alice")["job"], spool.job("a.csv", "nobody")["job"]
        for body in ({"command": "stop"}, {"command": "start"}, {"command": "reload"},
                     {"command": "cancel", "job": theirs}, {"command": "show", "job": theirs},
                     {"command": "hold", "user": "alice"}, {"command": "list", "user": "alice"},
                     {"command": "log", "job": theirs, "offset": 0},
                     {"command": "retry", "failed": True, "user": "alice"}):
            self.assertFalse(self.as_nobody(spool, body)["ok"], body)
        self.assertNotIn("alice", [u["user"] for u in
                                   self.as_nobody(spool, {"command": "status"}).get("users", [])])
        self.assertEqual({j["user"] for j in self.as_nobody(spool, {"command": "list"})["jobs"]},
                         {"nobody"})
        self.assertTrue(self.as_nobody(spool, {"command": "show", "job": own})["ok"])
        self.assertTrue(self.as_nobody(spool, {"command": "cancel", "job": own})["ok"])
        self.assertEqual(spool.show(own)["state"], "canceled")
        self.assertEqual(spool.show(theirs)["state"], "pending")
