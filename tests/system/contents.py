"""What lies in a spool, and whether everything that was dropped is there."""

from collections import Counter
import os
import re
import stat

PLACES = ("incoming", "processing", "done", "failed")


def escape(name):
    """The spelling of names in output (base/escape.h)."""
    raw = os.fsencode(name)
    out, i = "", 0
    while i < len(raw):
        for length in (1, 2, 3, 4):
            try:
                char = raw[i:i + length].decode()
                break
            except UnicodeDecodeError:
                char = None
        code = ord(char) if char else 0
        plain = (char and code >= 0x20 and not 0x7f <= code < 0xa0
                 and not 0x2028 <= code <= 0x202e and not 0x2066 <= code <= 0x2069
                 and code not in (0x200e, 0x200f, 0x061c))
        size = len(char.encode()) if char else 1
        if char == "\\":
            out += "\\\\"
        elif plain:
            out += char
        else:
            out += "".join(f"\\x{byte:02x}" for byte in raw[i:i + size])
        i += size
    return out


def files(top):
    """Paths (str, relative) of the regular files below a directory."""
    found = []
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            try:
                if stat.S_ISREG(os.lstat(path).st_mode):
                    found.append(os.path.relpath(path, top))
            except FileNotFoundError:
                pass  # it was moved meanwhile
    return sorted(found)


def inventory(root):
    """Every regular file in the four directories: (user, place, path in it)."""
    found = []
    for user in os.listdir(root):
        if user.startswith(".") or not os.path.isdir(os.path.join(root, user)):
            continue
        for place in PLACES:
            found += [(user, place, os.fsencode(path))
                      for path in files(os.path.join(root, user, place))]
    return found


def _dropped_name(place, path, names):
    """Which of the dropped names a path in the spool stands for, or None."""
    if place == "processing":
        # <id>/<base name>: the file has lost its directories there.
        # A directory that is one job keeps them.
        inside = path.split(b"/", 1)[-1]
        return inside if inside in names else \
            next((n for n in names if os.path.basename(n) == inside), None)
    if path in names:
        return path
    # So does that of a directory that is one job.
    top, slash, rest = path.partition(b"/")
    whole = re.sub(rb"\.\d+$", b"", top) + slash + rest
    if slash and whole in names:
        return whole
    directory, base = os.path.split(path)
    # The id stands before the extension; a marker or checksum has one more.
    for rest in (rb"(\.[^.]*)?$", rb"(\.[^.]*\.[^.]*)$"):
        path = os.path.join(directory, re.sub(rb"\.\d+" + rest, rb"\1", base, count=1))
        if path in names:
            return path
    return None


def _is_ours(place, path):
    if place == "incoming":
        return True  # ignored files, markers: the test's own business
    if place == "processing":
        inside = path.split(b"/", 1)[-1]
        return (inside.startswith((b".spoold-", b"output/")) or
                inside in (b"log", b"log.spoold", b"output.spoold"))
    return path.endswith(b".log") or b".output/" in path


def lost(root, dropped):
    """What is wrong with the dropped files: a list of sentences. `dropped`
    counts (user, name, content)."""
    names = {}
    for user, name, _ in dropped:
        names.setdefault(user, set()).add(name)
    problems, found = [], Counter()
    for user, place, path in inventory(root):
        if user not in names:
            continue
        name = _dropped_name(place, path, names[user])
        if name is None:
            if not _is_ours(place, path):
                problems.append(f"{user}/{place}/{escape(path)} is a file nobody dropped")
            continue
        with open(os.path.join(os.fsencode(root), os.fsencode(user), os.fsencode(place), path),
                  "rb") as file:
            found[user, name, file.read()] += 1
    for key in dropped.keys() | found.keys():
        if dropped[key] != found[key]:
            user, name, data = key
            problems.append(f"{user}/{escape(name)} with content {data[:40]!r}: dropped "
                            f"{dropped[key]} times, there {found[key]} times")
    return problems
