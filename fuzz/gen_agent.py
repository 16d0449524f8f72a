#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_agent_client, _codec, _hub and _relay: conversations of one thing each.

usage: gen_agent.py [CORPUS]    default corpus/, beside this file
"""
import struct

import seeds


def frame(ident, kind, body=b"", flags=0):
    return struct.pack("<IIHH", len(body), ident, kind, flags) + body


def field(tag, value):
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("<I", value)
    return struct.pack("<HI", tag, len(value)) + value


def u64(value):
    return struct.pack("<Q", value)


HELLO = frame(0, 1, field(1, 1) + field(2, "0.1") + field(3, "6.1") + field(4, "id") + field(5, u64(7)))
READY = frame(0, 3)
# The ids that a host gives out first, in the order of fuzz_agent_client.c.
EXEC, GET, LIST, PUT, METRICS, CONNECT = ((n + 1) << 8 | n for n in range(6))
STARTED, DONE = field(1, 42), b""
FAILED = field(1, 20) + field(2, 2) + field(3, "no such file")
EXITED = field(1, 3) + field(4, u64(10)) + field(6, u64(4096))
ENTRY = field(1, "name") + field(2, 0o100644) + field(5, u64(5)) + field(9, "target")
SAMPLE = field(1, u64(1)) + field(2, 2) + field(5, u64(1 << 28))

CLIENT = {
    "hello": HELLO,
    "init-failed": HELLO + frame(0, 81, FAILED),
    "exec": HELLO + READY + frame(EXEC, 64, STARTED) + frame(EXEC, 65, b"out") + frame(EXEC, 66, b"err!")
    + frame(EXEC, 56, field(1, 5)) + frame(EXEC, 82, EXITED),
    "exec-failed": HELLO + READY + frame(EXEC, 81, FAILED),
    "get": HELLO + READY + frame(GET, 67, ENTRY) + frame(GET, 65, b"x" * 999) + frame(GET, 80),
    "list": HELLO + READY + frame(LIST, 67, ENTRY) * 3 + frame(LIST, 80),
    "put": HELLO + READY + frame(PUT, 80),
    "metrics": HELLO + READY + frame(METRICS, 68, SAMPLE) + frame(METRICS, 80),
    "connect": HELLO + READY + frame(CONNECT, 64) + frame(CONNECT, 65, b"hi") + frame(CONNECT, 80),
    "log": HELLO + frame(0, 4, field(1, 1) + field(2, "text")),
    "unknown-id": HELLO + READY + frame(99, 80),
    "bad-name": HELLO + READY + frame(LIST, 67, field(1, "../x")),
}

MOUNT = field(1, "/dev/vdb") + field(2, "/data") + field(3, "ext4") + field(5, 1)
INIT = (field(1, field(1, "/dev/vda") + field(3, "ext4")) + field(4, MOUNT) * 2 + field(5, "box") + field(7, 1500)
        + field(8, "10.0.0.2/24") + field(8, "fd00::2/64") + field(9, "10.0.0.1") + field(14, "A=1")
        + field(14, "B=2") + field(19, b"entropy") + field(20, u64(1 << 60)) + field(21, 1))
RUN = field(1, "sh") + field(1, "-c") + field(1, "true") + field(2, "A=1") + field(6, 3) + field(9, u64(1000))
FILE = field(1, "/a/b") + field(2, "/c") + field(3, 32) + field(4, 0o644) + field(8, u64(1))

CODEC = {
    "init": frame(0, 2, INIT),
    "init-in-parts": frame(0, 2, INIT[:50], 1) + frame(0, 2, INIT[50:90], 1) + frame(0, 2, INIT[90:]),
    "exec": frame(5, 16, RUN) + frame(5, 48, b"input") + frame(5, 49) + frame(5, 50, field(1, 24) + field(2, 80))
    + frame(5, 51, field(1, 15)) + frame(5, 56, field(1, 9)) + frame(5, 52),
    "answers": frame(5, 16, RUN) + frame(5, 64, STARTED) + frame(5, 65, b"x") + frame(5, 56, field(1, 3))
    + frame(5, 82, EXITED),
    "file": b"".join(frame(n, n, FILE) for n in range(17, 27)),
    "others": frame(1, 32, field(1, 100)) + frame(2, 33) + frame(3, 34, field(1, u64(5))) + frame(4, 35, field(1, 1))
    + frame(5, 36, field(1, 80)),
    "entry": frame(1, 19, FILE) + frame(1, 67, ENTRY) + frame(1, 80),
    "unknown-field": frame(1, 51, field(1, 9) + field(777, "later")),
    "twice": frame(1, 51, field(1, 9) + field(1, 9)),
    "cut-field": frame(1, 51, field(1, 9)[:-1]),
    "no-nul": frame(0, 4, struct.pack("<HI", 2, 3) + b"abc"),
    "mixed-parts": frame(0, 2, b"", 1) + frame(1, 16, RUN),
}

# Steps of fuzz_agent_hub.c: enum op, then what each takes.
COME, SAY, SAY_RAW, READ, LEAVE, OUTPUT, TAKE, TIME, END = range(9)


def say(who, kind, body=b"", ident=1):
    return bytes([SAY, who, kind, ident, len(body)]) + body


def attach(who, flags=0, ident=1):
    return bytes([COME, who]) + say(who, 37, field(1, flags) + field(2, 24) + field(3, 80), ident)


def output(portions, kind=1):
    return bytes([OUTPUT, kind, portions])


HUB = {
    "watch": attach(0) + output(1) + bytes([READ, 0]) + output(3, 0) + bytes([READ, 0, END, READ, 0]),
    "type": attach(0, 1) + say(0, 48, b"input") + bytes([TAKE, 1]) + say(0, 48, b"more" * 50) + bytes([TAKE, 9, READ, 0]),
    "credit": attach(0) + output(255) * 4 + bytes([READ, 0]) + say(0, 56, field(1, 1 << 16)) + bytes([READ, 0]),
    "slow": attach(0) + attach(1) + output(255) * 12 + bytes([READ, 1, TIME, 50, TIME, 50, READ, 0]),
    "resize": attach(0) + say(0, 50, field(1, 10) + field(2, 20)) + say(0, 51, field(1, 15)) + bytes([READ, 0]),
    "leaves": attach(0) + say(0, 52) + attach(1) + bytes([LEAVE, 1]) + output(9) + bytes([END]),
    "twice": attach(0) + say(0, 37, field(1, 1), 2) + say(0, 37, b"", 1) + bytes([READ, 0]),
    "silent": bytes([COME, 0, TIME, 60, READ, 0]),
    "crowd": b"".join(attach(n) for n in range(20)) + output(5) + bytes([END]),
    "raw": bytes([COME, 0, SAY_RAW, 0, 5]) + b"\1\0\0\0\1" + bytes([READ, 0]),
    "late": attach(0) + output(255) * 6 + bytes([END, READ, 0]) + say(0, 56, field(1, 1 << 18)) + bytes([READ, 0]),
}

# Steps of fuzz_agent_relay.c: enum op, then what each takes; messages by their place in said[] and answers[].
(R_COME, R_SAY, R_MANY, R_RAW, R_READ, R_LEAVE, R_SHUT, R_ANSWER, R_ANSWER_RAW, R_GUEST, R_CROWD, R_LOSE) = range(12)
SAID = {kind: n for n, kind in enumerate((16, 17, 18, 19, 20, 21, 32, 33, 34, 36, 37, 48, 49, 50, 51, 52, 56, 65, 2, 80, 35))}
ANSWERS = {kind: n for n, kind in enumerate((64, 65, 66, 67, 68, 56, 80, 81, 82, 4, 16))}
POLITE, HOSTILE, SMALL, IN_EVENT = 0, 1, 2, 4


def ask(who, kind, ident=1, value=0, length=0, kept=0):
    return bytes([R_SAY, who, SAID[kind], ident, value, length, kept])


def reply(kind, which=0, value=0, length=0, more=0):
    return bytes([R_ANSWER, which, ANSWERS[kind], value, length, more])


def ops(*numbers):
    return bytes(numbers)


TWO = ops(R_COME, 0, R_COME, 1) + ask(0, 16, 1, 2) + ask(1, 16, 1, 2)
STREAMS = ops(R_COME, 0, R_MANY, 0, SAID[17], 9)
# More than waits for the guest: 1 MiB in one request, and as much again that is not read.
FULL = ops(R_GUEST, 0, R_COME, 0) + ask(0, 16, 1, 2, 250) + ask(0, 33, 2, 0, 250)
RELAY = {
    "exec": (POLITE, ops(R_COME, 0) + ask(0, 16, 1, 2) + reply(64) + reply(65, 0, 0, 9) + ask(0, 48, 1) + ask(0, 49, 1)
             + reply(66) + ops(R_READ, 0) + reply(82) + ops(R_READ, 0)),
    "side-by-side": (POLITE, TWO + reply(64) + reply(64, 1) + reply(65, 1, 0, 5, 3) + reply(65, 0, 0, 5, 3)
                     + ops(R_READ, 0, R_READ, 1) + reply(82, 1) + reply(82, 0) + ops(R_READ, 0, R_READ, 1)),
    "credit": (POLITE, ops(R_COME, 0) + ask(0, 16, 1, 2) + reply(64) + reply(65, 0, 0, 250, 9) + ops(R_READ, 0)
               + ask(0, 56) + reply(65, 0, 0, 250, 2) + ask(0, 48, 1, 0, 60) + reply(56) + ops(R_READ, 0) + ask(0, 52)),
    "files": (POLITE, ops(R_COME, 0) + b"".join(ask(0, kind, kind - 16) for kind in (17, 18, 19, 20, 21))
              + ask(0, 48, 1) + ask(0, 49, 1) + reply(67, 1) + reply(65, 1, 0, 3) + reply(67, 2, 0, 0, 5) + reply(67, 3)
              + reply(80, 4) + reply(80, 3) + reply(80, 2) + reply(80, 1) + reply(80) + ops(R_READ, 0)),
    "metrics": (POLITE, ops(R_COME, 2) + ask(2, 32, 3, 1) + ask(2, 32, 4) + ask(2, 33, 5) + ask(2, 34, 6) + reply(68, 0, 1, 0, 4)
                + reply(68, 1) + reply(80, 1) + ops(R_READ, 2) + ask(2, 52, 3) + reply(80) + ops(R_READ, 2)),
    "connect": (POLITE, ops(R_COME, 1) + ask(1, 36, 7, 80) + reply(64) + ask(1, 48, 7) + reply(65) + reply(80) + ops(R_READ, 1)),
    "in-pieces": (POLITE, ops(R_COME, 0) + ask(0, 16, 1, 2, 90, 200) + ops(R_COME, 1) + ask(1, 33, 1, 0, 0, 9)
                  + ask(0, 48, 1, 0, 0, 20) + ask(1, 33, 2) + ops(R_LEAVE, 0)),
    "refused": (POLITE, ops(R_COME, 0) + ask(0, 35, 1) + ask(0, 33, 0) + ops(R_READ, 0, R_COME, 1) + ask(1, 2, 0)
                + ops(R_COME, 2) + ask(2, 48, 1) + ask(2, 16, 1) + ask(2, 16, 1) + ops(R_READ, 1, R_READ, 2)),
    "too-many": (POLITE, ops(R_COME, 0, R_MANY, 0, SAID[33], 70) + reply(80, 3) + ops(R_MANY, 0, SAID[33], 9, R_READ, 0)),
    "no-place": (POLITE, b"".join(ops(R_COME, n, R_MANY, n, SAID[33], 64, R_LEAVE, n) for n in (0, 1, 2, 0))
                 + ops(R_COME, 1, R_MANY, 1, SAID[33], 9, R_READ, 1) + reply(80, 200) + ask(1, 33, 2) + ops(R_READ, 1)),
    "leaves": (POLITE, TWO + reply(64) + reply(65) + ops(R_LEAVE, 0) + reply(65) + reply(64, 1) + reply(65, 1)
               + reply(82) + ops(R_COME, 0) + ask(0, 16, 1) + ops(R_READ, 1, R_READ, 0)),
    "half-closed": (POLITE, TWO + reply(64) + ops(R_SHUT, 0) + reply(65) + ops(R_READ, 0)),
    "does-not-read": (POLITE | SMALL, TWO + reply(64) + reply(64, 1) + reply(65, 0, 0, 250, 9) + reply(65, 1)
                      + ops(R_READ, 1, R_READ, 0)),
    "refused-unread": (POLITE | SMALL, ops(R_COME, 0) + ops(R_MANY, 0, SAID[35], 255) * 9 + ops(R_READ, 0)),
    "two-of-one": (POLITE, ops(R_COME, 0) + ask(0, 16, 1, 2) + ask(0, 36, 2, 80) + ask(0, 48, 2) + ask(0, 48, 1) + reply(64, 1)
                   + reply(64) + reply(65, 1) + reply(65) + ops(R_READ, 0) + ask(0, 56, 2) + ask(0, 51, 1) + ask(0, 49, 2)
                   + reply(80, 1) + reply(82) + ops(R_READ, 0)),
    "much": (POLITE, ops(R_GUEST, 0, R_COME, 0, R_COME, 1) + b"".join(ask(n % 2, 16, n, 2, 250) for n in range(1, 9))
             + ops(R_GUEST, 1) + reply(64) + ops(R_READ, 0)),
    "full": (POLITE, FULL + ops(R_COME, 1) + ask(1, 33) + ops(R_GUEST, 1, R_READ, 1) + reply(64) + reply(82)),
    "full-and-gone": (POLITE, FULL + ops(R_LEAVE, 0, R_COME, 1) + ask(1, 33) + ops(R_GUEST, 1) + reply(81)),
    "broken": (POLITE, ops(R_COME, 0, R_COME, 1) + ask(1, 16) + ops(R_RAW, 0, 12) + b"\xff" * 12 + reply(64)
               + ops(R_READ, 0, R_READ, 1)),
    "raw-request": (POLITE, ops(R_COME, 0, R_RAW, 0, 12) + frame(9, 33) + reply(80) + ops(R_READ, 0)),
    "crowd": (POLITE, ops(R_CROWD, R_COME, 0, R_CROWD, R_COME, 0) + ask(0, 33) + reply(80) + ops(R_READ, 0)),
    "breach": (HOSTILE, TWO + reply(65) + ops(R_READ, 0, R_READ, 1)),
    "breach-in-event": (HOSTILE | IN_EVENT, TWO + reply(64) + reply(64) + ops(R_READ, 0)),
    "over-credit": (HOSTILE, TWO + reply(64) + reply(65, 0, 0, 255, 9) + ops(R_READ, 0)),
    "foreign-id": (HOSTILE, TWO + ops(R_ANSWER_RAW, 12) + frame(0x777, 80) + ops(R_READ, 0)),
    "raw-answer": (HOSTILE, TWO + ops(R_ANSWER_RAW, 12) + frame(0x100, 64) + ops(R_READ, 0)),
    "lost": (POLITE, TWO + reply(64) + reply(65) + ops(R_LOSE)),
    "lost-in-event": (POLITE | IN_EVENT, STREAMS + ops(R_LOSE)),
}


for folder, conversations, first in (("agent_client", CLIENT, b"\x20"), ("agent_codec", CODEC, b""),
                                      ("agent_hub", HUB, b"\0")):
    seeds.write(folder, ((name, first + steps) for name, steps in conversations.items()))
seeds.write("agent_relay", ((name, bytes([how]) + steps) for name, (how, steps) in RELAY.items()))
