# SPDX-License-Identifier: MIT
"""What trainers do today, on cold data, beside `sluice stream`.

numpy.memmap and a Python loop over a shuffled Megatron file; Python's tarfile
over WebDataset shards. Alternating, medians. The page cache is dropped before
each run (posix_fadvise, which needs no privilege). Our time counts from before
the dataset is opened, indexing included. A manifest made by `sluice pack` holds
the index of a tar; its row says so, and what packing took.

usage: trainers.py SLUICE FOLDER RUNS OUT.json
"""
import glob
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tarfile
import time

import numpy as np

SECONDS = 8.0  # a run of the loop stops after this: its rate is steady


def cold(paths):
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def megatron_loop(prefix, seed):
    """Each sequence copied out of a memmap in a shuffled order."""
    idx = np.memmap(prefix + ".idx", mode="r")
    head = bytes(idx[:34])
    assert head[:9] == b"MMIDIDX\0\0"
    size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}[head[17]]
    (n,) = struct.unpack_from("<Q", head, 18)
    lengths = np.frombuffer(bytes(idx[34:34 + 4 * n]), dtype=np.int32)
    pointers = np.frombuffer(bytes(idx[34 + 4 * n:34 + 12 * n]), dtype=np.int64)
    data = np.memmap(prefix + ".bin", mode="r")
    order = list(range(n))
    random.Random(seed).shuffle(order)
    begin, done, total = time.monotonic(), 0, 0
    for i in order:
        sample = np.array(data[pointers[i]:pointers[i] + int(lengths[i]) * size])
        total += sample.nbytes
        done += 1
        if done % 256 == 0 and time.monotonic() - begin > SECONDS:
            break
    return done, total, time.monotonic() - begin


def tar_loop(paths, seed):
    """Each sample (members with one key) read by tarfile, shard by shard."""
    order = sorted(paths)
    random.Random(seed).shuffle(order)
    begin, done, total = time.monotonic(), 0, 0
    for path in order:
        key = None
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                if member.name.split(".", 1)[0] != key:
                    key = member.name.split(".", 1)[0]
                    done += 1
                total += len(tar.extractfile(member).read())
        if time.monotonic() - begin > SECONDS:
            break
    return done, total, time.monotonic() - begin


def ours(sluice, path, shuffle, seed):
    out = subprocess.run(
        [sluice, "stream", path, "--shuffle", shuffle, "--seed", str(seed), "--json", "--no-limit-probe"],
        check=True, capture_output=True, text=True).stdout
    r = json.loads(out)
    return r["samples"], r["bytes"], r["seconds"] + r["open_seconds"], r["routes"]


def compare(name, what, files, loop, stream, runs):
    loop_rates, our_rates, ratios, routes = [], [], [], None
    for run in range(runs):
        for side in ((0, 1) if run % 2 else (1, 0)):
            cold(files)
            if side:
                n, _, seconds, routes = stream(run)
                our_rates.append(n / seconds)
            else:
                n, _, seconds = loop(run)
                loop_rates.append(n / seconds)
        ratios.append(our_rates[-1] / loop_rates[-1])
    ratio = statistics.median(ratios)
    print(f"{what:48} {statistics.median(our_rates):10.0f} samples/s, {statistics.median(loop_rates):9.0f} today: "
          f"{ratio:5.1f}x (bar 3x: {'met' if ratio >= 3 else 'MISSED'})")
    return {"work": name, "what": what, "sluice_samples_per_second": our_rates,
            "today_samples_per_second": loop_rates, "ratio": ratio, "bar": 3.0, "routes": routes}


def main():
    sluice, folder, runs, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    (bin_,) = glob.glob(folder + "/**/*.bin", recursive=True)[:1]
    prefix = bin_[:-4]
    tars = glob.glob(folder + "/**/*.tar", recursive=True)
    tar_folder = os.path.dirname(tars[0])
    manifest = os.path.join(folder, "tars.slc.json")
    begin = time.monotonic()
    subprocess.run([sluice, "pack", tar_folder, "-o", manifest], check=True, capture_output=True)
    packing = time.monotonic() - begin
    rows = [
        compare("megatron-memmap", "Megatron, full shuffle, against numpy.memmap", [prefix + ".bin", prefix + ".idx"],
                lambda s: megatron_loop(prefix, s), lambda s: ours(sluice, prefix + ".bin", "full", s), runs),
        compare("webdataset-tarfile", "WebDataset, shards shuffled, against tarfile", tars,
                lambda s: tar_loop(tars, s), lambda s: ours(sluice, tar_folder, "shard", s), runs),
        compare("webdataset-packed", f"the same, packed once before ({packing:.1f} s)", tars,
                lambda s: tar_loop(tars, s), lambda s: ours(sluice, manifest, "shard", s), runs),
    ]
    json.dump(rows, open(out, "w"), indent=1)


main()
