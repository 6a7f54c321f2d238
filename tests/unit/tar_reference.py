# SPDX-License-Identifier: MIT
"""What Python's tarfile and the WebDataset rules make of tar archives.

usage: tar_reference.py DIR

Writes archives of its own to DIR and then, for each *.tar there, a *.want:
one line a sample, the key and then NAME:BYTES:CRC32 of each member, texts in
hex ("-" when empty), or "refused".
"""
import io
import os
import random
import re
import sys
import tarfile
import zlib

KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # FORMATS.md 1.3
META = re.compile(r"__[^/]*__($|/)")


def text(s):
    return s.encode("utf-8", "surrogateescape").hex() or "-"


def samples(path):
    """Yields (key, {name: content}) by the rules of the format."""
    key, members = None, None
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            name = info.name
            if not info.isreg():
                continue
            if "/" not in name and name[:2] == "__" and name[-2:] == "__":
                continue
            if META.match(name):
                continue
            parts = KEY.match(name)
            if parts is None:
                continue
            ext = parts[2].lower()
            if parts[1] != key:
                if key is not None:
                    yield key, members
                key, members = parts[1], {}
            if ext in members:
                raise ValueError(f"{ext} twice in {key}")
            members[ext] = archive.extractfile(info).read()
    if key is not None:
        yield key, members


def describe(path):
    lines = []
    try:
        for key, members in samples(path):
            cells = [text(key)]
            for ext, content in members.items():
                cells.append(f"{text(ext)}:{len(content)}:{zlib.crc32(content):08x}")
            lines.append(" ".join(cells))
    except (ValueError, tarfile.TarError):
        return "refused\n"
    return "".join(line + "\n" for line in lines)


def write(path, format, entries):
    """entries: (name, content or a tarfile type byte)."""
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in entries:
            if format == tarfile.USTAR_FORMAT and len(name) > 100 and "/" not in name:
                continue  # it has no way to store that
            info = tarfile.TarInfo(name)
            if isinstance(content, int):
                info.type = bytes([content])
                info.linkname = "elsewhere"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def make(folder):
    rng = random.Random(2)
    long = "folder-with-a-long-name/" * 4
    plain = [
        ("a/000.jpg", b"j" * 511), ("a/000.Cls", b"7"), ("a", ord("5")),
        ("a/000.json", b"{}" * 256), ("a/001.jpg", b""), ("b/001.jpg", b"x"),
        ("link.txt", ord("2")), ("hard.txt", ord("1")), ("noext", b"skip"),
        (".hidden", b"skip"), ("__meta__", b"skip"), ("__m__/x.txt", b"skip"),
        ("d.1/x.y.z", b"1"), ("d.1/.z", b"skip"), ("d/.z", b"kept"),
        ("end.", b"no extension"), ("pipe.x", ord("6")), ("end.txt", b"2"),
        (long + "file.txt", b"long"), (long + "file.png", b"name"),
        ("z" * 90 + ".txt", b"9"), ("z" * 99 + ".txt", b"10"),
        ("u/\u00e9\u4e2d.txt", b"utf-8"), ("u/\u00e9\u4e2d.bin", b"8"),
    ]
    formats = [("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT),
               ("pax", tarfile.PAX_FORMAT)]
    for name, format in formats:
        write(f"{folder}/plain-{name}.tar", format, plain)
        write(f"{folder}/twice-{name}.tar", format,
              plain + [("q.txt", b"1"), ("q.TXT", b"2")])
        # Names out of few letters: every corner of the two patterns.
        for i in range(12):
            names = ["".join(rng.choice("/._._/aB\n") for _ in
                             range(rng.randrange(1, 12))) for _ in range(60)]
            names = [n for n in names if n.strip("/")]
            if format == tarfile.GNU_FORMAT:
                names = [n + "/" + "k" * 120 * (len(n) & 1) + ".q" + n[:2]
                         for n in names]
            write(f"{folder}/names-{name}-{i}.tar", format,
                  [(f"{n}", b"%d" % k) for k, n in enumerate(names)])
        for i in range(40):
            n = "".join(rng.choice("__//..aB\n") for _ in
                        range(rng.randrange(1, 9)))
            if n.strip("/"):
                write(f"{folder}/one-{name}-{i}.tar", format, [(n, b"1")])


def main():
    folder = sys.argv[1]
    make(folder)
    for entry in sorted(os.listdir(folder)):
        if entry.endswith(".tar"):
            want = describe(f"{folder}/{entry}")
            with open(f"{folder}/{entry[:-4]}.want", "w") as out:
                out.write(want)


main()
