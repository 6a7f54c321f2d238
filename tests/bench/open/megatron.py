# SPDX-License-Identifier: MIT
"""Writes dense and holes .bin/.idx pairs of N sequences of one to four tokens.

usage: megatron.py FOLDER N
"""
import array
import random
import struct
import sys

folder, n = sys.argv[1], int(sys.argv[2])
random.seed(1)
lengths = array.array("i", random.choices((1, 2, 3, 4), k=n))
for name, hole in (("dense", 0), ("holes", 2)):
    at, pointers = 0, array.array("q")
    for i, length in enumerate(lengths):
        pointers.append(at)
        at += 2 * length + (hole if i == n // 2 else 0)
    with open(f"{folder}/{name}.idx", "wb") as f:
        f.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, n, 2))
        lengths.tofile(f)
        pointers.tofile(f)
        f.write(struct.pack("<qq", 0, n))
    with open(f"{folder}/{name}.bin", "wb") as f:
        f.truncate(at)
