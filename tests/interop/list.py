#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sluice stream --list against readers made of Python's own modules.

KTAP on stdout; exit 0, 1 or 4. SLUICE and MKDATA name the programs.
"""
import ctypes
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile

SLUICE = os.environ.get("SLUICE", "build/sluice")
MKDATA = os.environ.get("MKDATA", "build/mkdata")
LIBRARY = os.path.join(os.path.dirname(SLUICE), "libsluice.so.0")
BYTES = "12M"


class Skip(Exception):
    """This cannot run here, and why."""


# ---- CRC32C: by definition, and by the library once it agrees ----

def make_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = make_table()


def crc_slow(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def load_crc():
    try:
        lib = ctypes.CDLL(os.path.abspath(LIBRARY))
    except OSError:
        return crc_slow
    lib.slc_crc32c.restype = ctypes.c_uint32
    lib.slc_crc32c.argtypes = [ctypes.c_uint32, ctypes.c_char_p, ctypes.c_uint64]
    for data in (b"", b"123456789", bytes(range(256)) * 33):
        assert lib.slc_crc32c(0, data, len(data)) == crc_slow(data)
    return lambda data: lib.slc_crc32c(0, bytes(data), len(data))


crc32c = load_crc()


def escape(key):
    """As `sluice stream --help` says: a backslash doubled, a control byte \\xNN."""
    return re.sub(r"[\x00-\x1f\x7f\\]",
                  lambda m: "\\\\" if m[0] == "\\" else "\\x%02x" % ord(m[0]), str(key))


def unescape(text):
    """The key back from a list, by the same rule alone."""
    return re.sub(r"\\(\\|x([0-9a-f]{2}))",
                  lambda m: chr(int(m[2], 16)) if m[2] else "\\", text)


def line(key, payload):
    return "%s\t%d\t%08x" % (escape(key), len(payload), crc32c(payload))


# ---- the readers: lists of lines, in the order of the shards ----

def read(path):
    with open(path, "rb") as f:
        return f.read()


def below(folder, ending):
    found = []
    for root, _, names in os.walk(folder):
        found += [os.path.join(root, n) for n in names if n.endswith(ending)]
    return sorted(found, key=os.fsencode)


def megatron(folder):
    out = []
    for path in below(folder, ".idx"):
        idx, data = read(path), read(path[:-4] + ".bin")
        assert idx[:9] == b"MMIDIDX\0\0"
        version, code, count, docs = struct.unpack_from("<QBQQ", idx, 9)
        assert version == 1
        size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}[code]
        lengths = struct.unpack_from("<%di" % count, idx, 34)
        starts = struct.unpack_from("<%dq" % count, idx, 34 + 4 * count)
        for i in range(count):
            out.append(line(i, data[starts[i]:starts[i] + lengths[i] * size]))
    return out


def webdataset(folder):
    out = []
    for path in below(folder, ".tar") + below(folder, ".tar.gz"):
        last, parts = None, []
        with tarfile.open(path) as tar:
            for member in tar:
                m = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", member.name)
                if not member.isfile() or not m:
                    continue
                if re.match(r"__[^/]*__($|/)", member.name):
                    continue
                if m.group(1) != last and parts:
                    out.append(line(last, b"".join(parts)))
                    parts = []
                last = m.group(1)
                parts.append(tar.extractfile(member).read())
        if parts:
            out.append(line(last, b"".join(parts)))
    return out


def inflate_zstd(path):
    if not shutil.which("zstd"):
        raise Skip("no zstd command to inflate with")
    return subprocess.run(["zstd", "-dcq", path], check=True,
                          stdout=subprocess.PIPE).stdout


def mds(folder):
    out = []
    with open(os.path.join(folder, "index.json")) as f:
        index = json.load(f)
    for shard in index["shards"]:
        if shard["zip_data"]:
            raw = inflate_zstd(os.path.join(folder, shard["zip_data"]["basename"]))
        else:
            raw = read(os.path.join(folder, shard["raw_data"]["basename"]))
        count, = struct.unpack_from("<I", raw)
        bounds = struct.unpack_from("<%dI" % (count + 1), raw, 4)
        for i in range(count):
            out.append(line(len(out), raw[bounds[i]:bounds[i + 1]]))
    return out


def safetensors(folder):
    out = []
    for path in below(folder, ".safetensors"):
        raw = read(path)
        size, = struct.unpack_from("<Q", raw)
        header = json.loads(raw[8:8 + size])
        header.pop("__metadata__", None)
        for name, t in sorted(header.items(), key=lambda x: x[1]["data_offsets"]):
            begin, end = t["data_offsets"]
            out.append(line(name, raw[8 + size + begin:8 + size + end]))
    return out


def npy(folder):
    out = []
    for path in below(folder, ".npy"):
        raw = read(path)
        assert raw[:6] == b"\x93NUMPY"
        wide = raw[6] > 1
        size, = struct.unpack_from("<I" if wide else "<H", raw, 8)
        base = (12 if wide else 10) + size
        header = eval(raw[base - size:base], {"__builtins__": {}})
        item = int(re.sub(r"[^0-9]", "", header["descr"]))
        shape = header["shape"]
        row = item
        for d in shape[1:]:
            row *= d
        assert not header["fortran_order"]
        for i in range(shape[0]):
            out.append(line(i, raw[base + i * row:base + (i + 1) * row]))
    return out


def raw_records(path, record):
    data = read(path)
    return [line(i, data[i * record:(i + 1) * record])
            for i in range(len(data) // record)]


# ---- the command ----

def listed(*args):
    p = subprocess.run([SLUICE, "stream", *args, "--list"], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=120)
    if p.returncode:
        raise AssertionError("exit %d: %s" % (p.returncode, p.stderr.decode()))
    return p.stdout.decode().split("\n")[:-1]


def same(got, want, what):
    if got == want:
        return
    for i, (g, w) in enumerate(zip(got, want)):
        if g != w:
            raise AssertionError("%s: line %d is %r, Python says %r" % (what, i, g, w))
    raise AssertionError("%s: %d lines, Python has %d" % (what, len(got), len(want)))


FORMATS = {
    "megatron": megatron,
    "webdataset": webdataset,
    "webdataset-gz": webdataset,
    "mds": mds,
    "mds-zstd": mds,
    "safetensors": safetensors,
    "npy": npy,
}

TESTS = []


def test(f):
    TESTS.append((f.__name__, f))
    return f


def in_order(name, reader):
    def run(data):
        want = reader(os.path.join(data, name))
        assert want, "Python finds no samples"
        same(listed(os.path.join(data, name), "--shuffle", "none"), want, name)
    TESTS.append(("%s_in_order_is_what_python_reads" % name.replace("-", "_"), run))


def shuffled(name, reader):
    def run(data):
        path = os.path.join(data, name)
        want = reader(path)
        # Compressed shards are only read forward: a full shuffle is refused.
        packed = name.endswith(("-gz", "-zstd"))
        how = ("--shuffle", "shard" if packed else "full", "--seed", "7")
        one = listed(path, *how)
        same(sorted(one), sorted(want), "shuffled, every sample once")
        same(listed(path, *how), one, "the same seed")
        if len(want) > 4 and not packed:
            assert one != want, "a full shuffle left the order as it was"
            other = listed(path, *how, "--epoch", "1")
            assert other != one, "another epoch gave the same order"
    TESTS.append(("%s_shuffled_is_complete_and_repeatable" % name.replace("-", "_"), run))


COMPRESSED = ("webdataset-gz", "mds-zstd")

for format_name, format_reader in FORMATS.items():
    in_order(format_name, format_reader)
    if format_name not in COMPRESSED:
        shuffled(format_name, format_reader)


@test
def compressed_shards_shuffle_by_shard_and_refuse_to_be_read_in_any_order(data):
    for name in COMPRESSED:
        path = os.path.join(data, name)
        same(sorted(listed(path, "--shuffle", "shard")), sorted(FORMATS[name](path)), name)
        p = subprocess.run([SLUICE, "stream", path, "--shuffle", "full", "--list"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           timeout=120)
        assert p.returncode in (1, 2) and not p.stdout, p
        assert "is compressed" in p.stderr and "use shuffle shard" in p.stderr, p.stderr


@test
def ranks_share_the_order_of_one(data):
    path = os.path.join(data, "webdataset")
    whole = listed(path, "--shuffle", "full", "--seed", "3")
    for world in (2, 3, 7):
        for rank in range(world):
            part = listed(path, "--shuffle", "full", "--seed", "3",
                          "--rank", str(rank), "--world", str(world))
            same(part, whole[rank::world], "rank %d of %d" % (rank, world))


def write_npy(path, rows, seed):
    header = "{'descr': '<u4', 'fortran_order': False, 'shape': (%d, 25), }" % rows
    header += " " * (117 - len(header)) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header.encode())
        f.write(struct.pack("<%dI" % (rows * 25),
                            *((i * 2654435761 + seed) & 0xFFFFFFFF for i in range(rows * 25))))


@test
def shard_shuffle_permutes_shards_and_keeps_each_in_order(data):
    path = os.path.join(data, "many")
    os.makedirs(path, exist_ok=True)
    for i in range(9):
        write_npy(os.path.join(path, "part%d.npy" % i), 3 + 2 * i, i)
    want = npy(path)
    same(listed(path, "--shuffle", "none"), want, "no shuffle")
    got = listed(path, "--shuffle", "shard", "--seed", "5")
    same(sorted(got), sorted(want), "every sample once")
    assert got != want, "the shards stayed in order"
    shards, left = [], got
    while left:
        end = 1 + next((i for i, l in enumerate(left[1:]) if l.startswith("0\t")),
                       len(left) - 1)
        shards.append(left[:end])
        left = left[end:]
    same(sorted(shards, key=len), [want[i * (i + 2):(i + 1) * (i + 3)] for i in range(9)],
         "each shard whole and in order")
    same(sorted(listed(path, "--shuffle", "full")), sorted(want), "full")


def write_safetensors(path, names):
    header, body = {}, b""
    for i, name in enumerate(names):
        header[name] = {"dtype": "U8", "shape": [i + 1],
                        "data_offsets": [len(body), len(body) + i + 1]}
        body += bytes((i + k) & 255 for k in range(i + 1))
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


def write_tar(path, names):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for i, name in enumerate(names):
            member = tarfile.TarInfo(name + ".bin")
            member.size = i
            tar.addfile(member, io.BytesIO(bytes(i)))


# Pairs that look alike when a backslash is not escaped, and long ones.
ODD_KEYS = ["tab\there", "tab\\x09here", "tab\\\\x09here", "end\nof line", "back\\slash\\",
            "\x7f\x01", "\u00e9\u20ac\u2028", "k" * 4095, "k" * 4096, "k" * 100000,
            "\\" * 70000]


@test
def odd_and_long_keys_come_whole_and_can_be_had_back(data):
    for ending, write, reader in ((".safetensors", write_safetensors, safetensors),
                                  (".tar", write_tar, webdataset)):
        path = os.path.join(data, "odd" + ending[1:])
        os.makedirs(path, exist_ok=True)
        write(os.path.join(path, "odd" + ending), ODD_KEYS)
        got = listed(path)
        same(got, reader(path), ending)
        keys = [l.split("\t")[0] for l in got]
        assert all(len(l.split("\t")) == 3 for l in got), "a tab that is not the list's"
        assert [unescape(k) for k in keys] == ODD_KEYS, "a key that does not come back"


@test
def raw_records_are_cut_by_size(data):
    path = below(os.path.join(data, "megatron"), ".bin")[0]
    copy = os.path.join(data, "records.dat")
    with open(copy, "wb") as f:
        f.write(read(path)[:1000 * 300])
    same(listed(copy, "--format", "raw", "--record", "300"),
         raw_records(copy, 300), "raw")
    same(sorted(listed(copy, "--format", "raw", "--record", "300", "--shuffle", "full")),
         sorted(raw_records(copy, 300)), "raw, shuffled")


@test
def sync_engine_and_small_memory_give_the_same_list(data):
    path = os.path.join(data, "npy")
    want = listed(path, "--shuffle", "full")
    os.environ["SLC_ENGINE"] = "sync"
    try:
        same(listed(path, "--shuffle", "full"), want, "SLC_ENGINE=sync")
    finally:
        del os.environ["SLC_ENGINE"]
    same(listed(path, "--shuffle", "full", "--memory", "8M"), want, "--memory 8M")
    same(listed(path, "--shuffle", "full", "--depth", "1"), want, "--depth 1")


@test
def a_manifest_gives_the_same_list_and_json_counts(data):
    path = os.path.join(data, "webdataset")
    manifest = os.path.join(data, "web.slc.json")
    subprocess.run([SLUICE, "pack", path, "-o", manifest], check=True, timeout=120,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    want = listed(path, "--shuffle", "full")
    same(listed(manifest, "--shuffle", "full"), want, "manifest")
    p = subprocess.run([SLUICE, "stream", manifest, "--verify", "--json"], check=True,
                       timeout=120, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    d = json.loads(p.stdout)
    for key in ("bytes", "samples", "seconds", "bytes_per_second",
                "limit_bytes_per_second", "fraction_of_limit", "crc_errors",
                "max_pinned_bytes", "resume", "routes"):
        assert key in d, "no %r in the JSON" % key
    assert d["samples"] == len(want)
    assert d["bytes"] == sum(int(l.split("\t")[1]) for l in want)
    assert d["crc_errors"] == 0
    assert 0 < d["max_pinned_bytes"] <= 256 << 20
    assert sum(r["bytes"] for r in d["routes"]) >= d["bytes"]
    for r in d["routes"]:
        assert set(r) >= {"route", "bytes", "reason"}, r


@test
def ranks_of_any_world_give_each_sample_once(data):
    for name in ("webdataset", "megatron", "mds-zstd", "webdataset-gz"):
        path = os.path.join(data, name)
        want = sorted(listed(path))
        for world, shuffle in ((2, "shard"), (3, "none")):
            got = []
            for rank in range(world):
                got += listed(path, "--shuffle", shuffle, "--seed", "9",
                              "--rank", str(rank), "--world", str(world))
            same(sorted(got), want, "%s, %s over %d ranks" % (name, shuffle, world))


@test
def a_token_goes_on_where_the_stream_stopped_on_another_world_too(data):
    path = os.path.join(data, "npy")
    args = ["--shuffle", "full", "--seed", "5"]
    want = listed(path, *args)
    first = listed(path, *args, "--limit", "7")
    p = subprocess.run([SLUICE, "stream", path, *args, "--limit", "7", "--json"],
                       check=True, timeout=120, stdout=subprocess.PIPE)
    token = json.loads(p.stdout)["resume"]
    assert len(token) < 256 and " " not in token, token
    same(first + listed(path, "--resume", token), want, "resumed")
    rest = []
    for rank in range(3):
        rest += listed(path, "--resume", token, "--rank", str(rank), "--world", "3")
    same(sorted(first + rest), sorted(want), "resumed by 3 ranks")


@test
def every_format_is_verified_through_its_manifest(data):
    for name in sorted(os.listdir(data)):
        path = os.path.join(data, name)
        if not os.path.isdir(path) or name.startswith("."):
            continue
        manifest = os.path.join(data, name + ".check.slc.json")
        subprocess.run([SLUICE, "pack", path, "-o", manifest], check=True, timeout=120,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        same(listed(manifest, "--verify"), listed(path), name)


def flip(path, offset):
    """Turns one bit over and puts the times back."""
    st = os.stat(path)
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 4]))
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


@test
def a_flipped_bit_is_exit_1_naming_the_file_and_never_delivered(data):
    copy = os.path.join(data, "flip")
    shutil.copytree(os.path.join(data, "megatron"), copy)
    manifest = os.path.join(data, "flip.slc.json")
    subprocess.run([SLUICE, "pack", copy, "-o", manifest], check=True, timeout=120,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    good = set(listed(manifest))
    (bin_,) = [f for f in os.listdir(copy) if f.endswith(".bin")]
    flip(os.path.join(copy, bin_), 54321)
    for shuffle in ("none", "full"):
        p = subprocess.run([SLUICE, "stream", manifest, "--list", "--shuffle", shuffle],
                           timeout=120, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True)
        assert p.returncode == 1, (p.returncode, p.stderr)
        assert bin_ in p.stderr and "checksum" in p.stderr, p.stderr
        lines = p.stdout.splitlines()
        assert set(lines) < good, "a line that was not packed"
    shutil.rmtree(copy)


def main():
    wanted = sys.argv[1:]
    tests = [t for t in TESTS if not wanted or any(w in t[0] for w in wanted)]
    print("KTAP version 1\n1..%d" % len(tests), flush=True)
    failed = passed = 0
    with tempfile.TemporaryDirectory(prefix="slc-list-") as data:
        why = None
        if not os.access(MKDATA, os.X_OK):
            why = "no %s: make data" % MKDATA
        elif "stream " not in subprocess.run([SLUICE, "--help"], text=True,
                                             stdout=subprocess.PIPE).stdout:
            why = "%s has no command stream" % SLUICE
        else:
            subprocess.run([MKDATA, data, "--bytes", BYTES], check=True,
                           stdout=subprocess.DEVNULL)
        for n, (name, run) in enumerate(tests, 1):
            try:
                if why:
                    raise Skip(why)
                run(data)
            except Skip as e:
                print("ok %d %s # SKIP %s" % (n, name, e), flush=True)
                continue
            except (AssertionError, subprocess.SubprocessError, OSError) as e:
                failed += 1
                for text in str(e).splitlines() or [repr(e)]:
                    print("# " + text)
                print("not ok %d %s" % (n, name), flush=True)
                continue
            passed += 1
            print("ok %d %s" % (n, name), flush=True)
    return 1 if failed else 0 if passed else 4


if __name__ == "__main__":
    sys.exit(main())
