# SPDX-License-Identifier: MIT
"""Opens by `sluice stream --limit 1`: seconds, and bytes of index a sample.

usage: measure.py SLUICE FOLDER SAMPLES RUNS OUT.json
"""
import json
import os
import statistics
import subprocess
import sys
import time


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def read_whole(path):
    begin = time.monotonic()
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass
    return time.monotonic() - begin


def opened(sluice, path):
    out = subprocess.run([sluice, "stream", path, "--shuffle", "full", "--limit", "1", "--no-limit-probe", "--json"],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)


sluice, folder, samples, runs, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
rows = []
print(f"{samples} samples; seconds to open, of the limit (reading the .idx once), index bytes a sample")
for name in ("dense", "holes"):
    files = [f"{folder}/{f}" for f in os.listdir(folder) if f.startswith(name + ".")]
    for source in (f"{name}.bin", f"{name}.slc.json"):
        for cold in (True, False):
            seconds, limits = [], []
            for _ in range(runs):
                for side in (0, 1):
                    if cold:
                        for f in files:
                            drop(f)
                    if side:
                        r = opened(sluice, f"{folder}/{source}")
                        seconds.append(r["open_seconds"])
                    else:
                        limits.append(read_whole(f"{folder}/{name}.idx"))
            row = {"source": source, "cold": cold, "seconds": statistics.median(seconds), "runs_seconds": seconds,
                   "limit_seconds": statistics.median(limits),
                   "fraction_of_limit": statistics.median(l / s for l, s in zip(limits, seconds)),
                   "index_bytes_per_sample": r["index_bytes"] / samples}
            rows.append(row)
            print(f"{source:16} {'cold' if cold else 'hot':5} {row['seconds']:6.3f} s {row['fraction_of_limit']:5.2f}"
                  f" {row['index_bytes_per_sample']:6.2f} (bars: 1 s, 16 bytes:"
                  f" {'met' if row['seconds'] < 1 and row['index_bytes_per_sample'] < 16 else 'MISSED'})")
json.dump({"samples": samples, "rows": rows}, open(out, "w"), indent=1)
