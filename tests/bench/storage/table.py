# SPDX-License-Identifier: MIT
"""Prints fio.json of `sluice bench storage --json` as a table with its bars."""
import json
import sys

top = json.load(open(sys.argv[1]))
GIB = 2.0**30
print(f"{'work':32} {'sluice':>20} {'peer':>12} {'of peer':>8} {'bar':>5} {'CPU':>6} {'bar':>5}")
for w in top["works"]:
    ours, peer = w["sluice"], w.get("peer")
    line = f"{w['what']:32} {ours['bytes_per_second'] / 1e9:6.2f} GB/s {ours['cpu_seconds_per_gib']:6.3f}/GiB"
    if peer:
        met = w["fraction_of_limit"] >= w["bar"] and (
            w["cpu_bar"] is None or w["cpu_ratio"] <= w["cpu_bar"])
        line += (f" {peer['bytes_per_second'] / 1e9:7.2f} GB/s {w['fraction_of_limit']:8.3f} {w['bar']:5.2f}"
                 f" {w['cpu_ratio']:5.2f}x {w['cpu_bar'] or '':>5} {'met' if met else 'MISSED'} ({w['peer_name']})")
    print(line)
