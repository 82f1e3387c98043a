"""Section 8: output is for people on a terminal, also on a narrow one."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import harness
from harness import FAILED, GATE, SystemTest

LONG = "a-report-of-the-third-quarter-with-a-long-name.csv"


def on_terminal(spool, columns, *args, until=None):
    """The lines that spoolctl writes to a terminal of so many columns, without colours: to its
    end, or up to the line that has `until`."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [os.path.join(harness.BUILD, "spoolctl"), "--config", spool.config_path, *args],
        stdin=follower, stdout=follower, stderr=follower,
        env={**spool.environment(), "TERM": "xterm", "LC_ALL": "C.UTF-8"})
    os.close(follower)
    data = b""
    while until is None or until.encode() not in data:
        try:
            data += os.read(leader, 65536)
        except OSError:  # EIO: the other side is closed
            break
    if until is not None:
        child.terminate()
    os.close(leader)
    child.wait()
    text = data.decode().replace("\r", "")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()


def unfold(lines, indent):
    """Lines that begin in so many spaces belong to the one before."""
    text = ""
    for line in lines:
        goes_on = text and line.startswith(" " * indent) and line[indent:indent + 1].strip()
        text += ("" if text.endswith("/") else " ") + line[indent:] if goes_on else "\n" + line
    return text


class Narrow(SystemTest):
    def fits(self, columns, lines):
        self.assertTrue(lines)
        for line in lines:
            self.assertLessEqual(len(line), columns, "\n".join(lines))

    def failed(self):
        """A spool with a job of a long name that failed with a long reason."""
        spool = self.spool({"scheduler_settings": {"max_retries": 0}},
                           handler="echo the server of the importer refused it >&2; exit 3\n")
        spool.drop("alice", LONG)
        return spool, spool.wait_state(LONG, "failed")["job"]

    def test_one_job(self):
        """All of each value, folded beside its label; "explain" the same."""
        spool, job = self.failed()
        path = os.path.join(spool.root, spool.show(job)["path"])
        for columns in (40, 60):
            for command in ("show", "explain"):
                lines = on_terminal(spool, columns, command, str(job))
                if command == "explain":
                    self.fits(columns, lines)
                text = unfold(lines, 11)
                said = re.search(r"(?m)^file +(.*)$", text)[1]
                self.assertEqual(said.replace(" ", ""), path, text)
                self.assertRegex(text, "(error|because) .*: the server of the importer refused it")

    def test_lists(self):
        """What has no room in its row is below it, and columns that have none are named."""
        spool, job = self.failed()
        os.symlink("/etc/passwd", spool.path("alice", "incoming", "link"))
        spool.wait_for(lambda: spool.user()["refused"], what="the link to be noticed")
        because = spool.explain_file("link")["because"]
        for columns in (40, 60):
            lines = on_terminal(spool, columns, "list")
            self.fits(columns, lines)
            self.assertRegex(lines[1], rf"^ *{job} .*failed .*\.csv$")
            self.assertIn("exit code 3: the server of the importer refused it",
                          unfold(lines, 4).replace("\n   ", ""))
            lines = on_terminal(spool, columns, "list", "--state", "arriving")
            self.fits(columns, lines)
            self.assertRegex(lines[1], r"^alice +refused .*link$")
            self.assertIn(because, unfold(lines, 4))
            lines = on_terminal(spool, columns, "show", str(job))
            self.fits(columns, lines)
            self.assertIn("refused it", unfold(lines, 4))
            shown = re.search(r"(?m)^ATTEMPT.*$", "\n".join(lines))[0].split()
            left_out = re.findall(r"[A-Z]{2,}", unfold(lines, 0).split("no room for")[-1])
            self.assertEqual({"ATTEMPT", "STARTED", "RAN", "OUTCOME", "EXIT", "RECORDS"},
                             set(shown) | set(left_out))
        self.assertNotIn("no room", "\n".join(on_terminal(spool, 120, "list")))
        self.assertNotIn("no room", spool.ctl("list").out)

    def test_status(self):
        """What it says of users and jobs is there to its end."""
        spool = self.spool({"users": {"bob": {"max_upload_mib": 0.001}}}, users=("alice", "bob"),
                           handler="report message='record one hundred and twenty of two hundred'\n"
                                   + GATE)
        spool.drop("alice", LONG)
        spool.wait_for(lambda: [r for r in (spool.user() or {}).get("running", [])
                                if r["message"]], what="the message")
        spool.drop("bob", "large.csv", b"x" * 4096)
        spool.wait_for(lambda: spool.user("bob")["over_limit"], what="it to be over its limit")
        because = spool.user("bob")["over_limit_because"]
        for columns in (40, 60):
            lines = on_terminal(spool, columns, "status")
            self.fits(columns, lines)
            text = " ".join("\n".join(lines).split())
            self.assertIn("record one hundred and twenty of two hundred", text)
            self.assertIn(because, text)
            self.assertIn(spool.root, text.replace("/ ", "/"))
            self.assertRegex(text, r"USER .*WATCH")
        self.assertNotIn("no room", "\n".join(on_terminal(spool, 120, "status")))

    def test_watch_fits_into_its_rows(self):
        """Lines that were folded count as what they take."""
        users = [f"user-{n}" for n in range(20)]
        spool = self.spool(users=users)
        for user in users:
            os.symlink("/etc/passwd", spool.path(user, "incoming", "a-link-of-a-long-name"))
        spool.wait_for(lambda: all(u["refused"] for u in spool.status()["users"]),
                       what="the links to be noticed")
        lines = on_terminal(spool, 40, "status", "--watch", until="more users")
        self.fits(40, lines)
        self.assertLess(len(lines), 24, "\n".join(lines))
        self.assertIn("no room for", "\n".join(lines))

    def test_findings(self):
        """What is wrong and what to do, each beside its label or below it."""
        spool = self.spool({"handler": {"command": ["sh", "-c", "true"]}})
        told = spool.ctl("doctor", json=True, check=None).data["findings"]
        os.symlink("/nowhere", spool.path("alice", "elsewhere"))
        for columns in (40, 60):
            lines = on_terminal(spool, columns, "doctor")
            self.fits(columns, lines)
            text = unfold(lines, 9).replace(" ", "")
            for finding in told:
                if "free for" not in finding["what"]:
                    self.assertIn(finding["level"] + finding["what"].replace(" ", ""), text)
        lines = on_terminal(spool, 120, "doctor")
        self.assertIn(f"ok       the spool {spool.root} is there, with its marker", lines)

    def test_errors(self):
        """What it says on stderr, too."""
        spool = self.spool()
        for args in (("list", "stranger"), ("show", "999"), ("explain", "/etc/passwd")):
            lines = on_terminal(spool, 40, *args)
            self.fits(40, lines)
            self.assertTrue(lines[0].startswith("spoolctl: "))
            said = spool.ctl(*args, check=FAILED).err.strip()
            self.assertEqual(" ".join(" ".join(lines).split()).replace("/ ", "/"), said)
