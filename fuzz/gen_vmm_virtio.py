#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_vmm_virtio_*: for each device exchanges that work, and the ways in which
other monitors were once broken. Usage: gen_vmm_virtio.py [CORPUS], default corpus/"""
import struct

import seeds

# The fuzzer, and the form of the device.
RNG, BLOCK, BLOCK_RO, BLOCK_LAYER = ("rng", 0), ("block", 0), ("block", 1), ("block", 2)
CONSOLE, CONSOLE_ALONE, BALLOON, NET = ("console", 0), ("console", 1), ("balloon", 0), ("net", 0)
LOW, HIGH, HIGH_END, LOW_END, WINDOW, ANY = 0, 2, 3, 4, 5, 6
NEXT, WRITE, INDIRECT = 1, 2, 4


def gpa(where, off):
    return struct.pack("<BH", where, off) + (struct.pack("<Q", off) if where == ANY else b"")


def chain(queue, *pieces):
    """pieces: (where, offset, length, written by the device)"""
    flags = sum(1 << i for i, p in enumerate(pieces) if p[3])
    body = b"".join(gpa(p[0], p[1]) + struct.pack("<H", p[2]) for p in pieces)
    return struct.pack("<BBBB", 0, queue, len(pieces) - 1, flags) + body


def poke(where, off, data):
    return struct.pack("<BB", 1, len(data)) + data + gpa(where, off)


def reg(offset, value):
    return struct.pack("<BBI", 2, offset // 4, value)


def desc(queue, i, where, off, length, flags, nxt=0):
    return struct.pack("<BBB", 5, queue, i) + gpa(where, off) + struct.pack("<HBB", length, flags, nxt)


def offer(queue, head):
    return struct.pack("<BBB", 6, queue, head)


def says(n):
    return bytes([7, n])


def wants(n):
    return struct.pack("<BQ", 7, n)


def moved(*spoilt):
    return struct.pack("<BB", 12, len(spoilt)) + b"".join(struct.pack("<HB", *s) for s in spoilt)


def hears(n):
    return struct.pack("<BH", 8, n)


def again(features=0xffffffffffffffff):
    return struct.pack("<BQ", 9, features)


REST = b"\x0b"
GONE = b"\x0a"
DATA = 0x4000


def request(kind, sector, length, to_guest):
    head = struct.pack("<IIQ", kind, 0, sector)
    return poke(LOW, 0x2000, head) + chain(0, (LOW, 0x2000, 16, False), (LOW, DATA, length, to_guest),
                                           (LOW, 0x2100, 1, True)) + REST


def control(ident, event, value):
    return poke(LOW, 0x3000, struct.pack("<IHH", ident, event, value)) + \
        chain(3, (LOW, 0x3000, 8, False)) + REST


PORT_UP = chain(2, (LOW, 0x3100, 64, True)) + control(0, 0, 1) + control(1, 3, 1) + control(1, 6, 1)
SEEDS = {
    "rng": (RNG, chain(0, (LOW, DATA, 64, True), (HIGH, 0, 100, True)) + REST),
    "rng_huge": (RNG, chain(0, (HIGH, 0, 0xff01, True)) + REST),
    "circle": (RNG, desc(0, 0, LOW, DATA, 8, WRITE | NEXT, 0) + offer(0, 0) + REST),
    "indirect": (RNG, poke(LOW, DATA, struct.pack("<QIHHQIHH", DATA + 64, 8, 3, 1, 2 * DATA, 9, 2, 0)) +
                 desc(0, 0, LOW, DATA, 32, INDIRECT) + offer(0, 0) + REST),
    "indirect_65537": (RNG, desc(0, 0, LOW, 0, 0xff10, INDIRECT) + offer(0, 0) + REST),
    "size_after_start": (RNG, reg(0x30, 0) + reg(0x38, 0x8000) + reg(0x44, 0) +
                         chain(0, (LOW, DATA, 64, True)) + REST),
    "idx_far": (RNG, poke(LOW, 0x102, b"\xff\xff") + reg(0x50, 0) + REST),
    "memory_end": (RNG, chain(0, (LOW_END, 4, 8, True)) + REST + again() +
                   chain(0, (HIGH_END, 8, 8, True)) + REST),
    "rng_moved": (RNG, chain(0, (LOW, DATA, 64, True)) + moved() + REST + moved((8, 0x41), (80, 0xff)) + REST),
    "window": (RNG, chain(0, (WINDOW, 0x70, 4, True)) + REST),
    "block_read": (BLOCK, request(0, 3, 4096, True) + request(8, 0, 20, True) + request(4, 0, 0, False)),
    "block_write": (BLOCK, request(1, 3, 4096, False) + request(0, 130, 4096, True)),
    "block_ro_write": (BLOCK_RO, request(1, 0, 512, False) + request(0, 0, 512, True)),
    "block_layer": (BLOCK_LAYER, request(1, 3, 1024, False) + request(0, 0, 8192, True) +
                    request(4, 0, 0, False) + again(1 << 29) + request(1, 130, 3584, False)),
    "block_moved": (BLOCK_LAYER, request(1, 3, 1024, False) + moved() + request(0, 3, 1024, True)),
    "block_sector": (BLOCK, request(0, 0xffffffffffffffff, 512, True) + request(1, 1 << 55, 1024, False)),
    "console": (CONSOLE, PORT_UP + chain(4, (LOW, DATA, 100, True)) + says(40) + REST +
                chain(5, (HIGH, 0, 5000, False)) + REST + hears(3000) + REST + chain(1, (LOW, 0, 99, False)) +
                REST),
    "console_full": (CONSOLE, PORT_UP + chain(5, *[(HIGH, 0, 0xfe00, False)] * 8) * 2 + REST + hears(60000) +
                     REST + again() + REST),
    "console_moved": (CONSOLE, PORT_UP + chain(5, *[(HIGH, 0, 0xfe00, False)] * 8) + REST + moved() + hears(60000) +
                      REST + hears(60000) + moved() + REST),
    "console_gone": (CONSOLE, PORT_UP + says(50) + GONE + REST + chain(4, (LOW, DATA, 10, True)) + REST +
                     chain(4, (LOW, DATA, 100, True)) + chain(5, (LOW, DATA, 9, False)) + REST),
    "console_alone": (CONSOLE_ALONE, chain(2, (LOW, 0x3100, 64, True)) + control(0, 0, 1) + control(0, 3, 1) +
                      chain(1, (LOW, 0, 99, False)) + REST),
    "balloon": (BALLOON, chain(2, (HIGH, 0, 0x8000, True), (LOW, 0x8001, 0x3000, True)) + REST +
                poke(LOW, DATA, struct.pack("<4I", 0x100000, 0x100001, 9, 0xffffffff)) +
                chain(0, (LOW, DATA, 16, False)) + chain(1, (LOW, DATA, 16, False)) + REST),
    "balloon_target": (BALLOON, wants(8 << 20) + REST + wants(0) + REST + reg(0x64, 2) + wants(1 << 63) + REST),
    "net": (NET, bytes([0, 0, 0, 16, 0]) + REST + again()),
    "net_refused": (NET, bytes([0, 0, 0, 3, 0]) + reg(0x50, 1) + REST),
    "net_an_error": (NET, bytes([0, 0, 0, 16, 0xff ^ 5]) + reg(0x50, 1) + REST),
}


for seed, ((device, form), steps) in SEEDS.items():
    seeds.write(f"vmm_virtio_{device}", [(seed, bytes([form, 1]) + steps)])
