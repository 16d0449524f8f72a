#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_weir_supervisor: what people ask and how the helpers answer, one thing each.

usage: gen_weir_supervisor.py [CORPUS]    default corpus/, beside this file
"""
import struct

import seeds

# Steps of fuzz_weir_supervisor.c: enum op.
(GATEWAY, PROXY, GATEWAY_ANSWERS, PROXY_ANSWERS, ASK, ASK_RAW, READ, HANG_UP, LOADED, PROXY_CLOSES, PROXY_REAPED,
 TIME) = range(12)
# Places in its list of requests.
(STATUS, SET, SHOW, COUNTERS, PUBLISH, PUBLISH_RANGE, UNPUBLISH, PORTS, RATE, CA, VALUE, NEW, REMOVE, HOSTS, LIST, ATTACH,
 STOP, SIGNAL) = range(18)
# enum msg_type
READY, FAILED, EVENT, TERMINATE, POLICY_READY, POLICY_REFUSED, POLICY_DONE, LINK_LOST = 1, 2, 3, 9, 21, 22, 25, 40


def ask(what, how=0, who=0):
    return bytes([ASK, who, what, how])


def say(op, kind, body=b"", value=0):
    return bytes([op, kind, value & 255, len(body)]) + body


def policy(generation):
    return struct.pack("<QQ", generation, 0)


DONE = bytes([READ, 0])
WITH = 1
ANSWERED = bytes([GATEWAY_ANSWERS, 0]) + DONE
BOTH = bytes([GATEWAY_ANSWERS, 0, PROXY_ANSWERS, 0])
KEY = b'{"kind":"secret","secret":"KEY","event":"used","place":"header"}'

SEEDS = {
    "status": ask(STATUS) + ANSWERED,
    "status-late": ask(STATUS) + bytes([TIME, 10, 10]) + DONE,
    "policy": ask(SET, WITH) + bytes([LOADED]) + BOTH + BOTH + DONE + ask(SHOW) + DONE,
    "policy-bad": ask(SET, WITH | 2) + bytes([LOADED]) + DONE,
    "policy-missing": ask(SET) + DONE,
    "policy-refused": ask(SET, WITH) + bytes([LOADED]) + say(PROXY, POLICY_REFUSED, b"no\x1b[1m") + DONE,
    "policy-refused-unasked": ask(SET, WITH) + say(PROXY, POLICY_REFUSED, b"no") + bytes([LOADED]) + DONE,
    "policy-proxy-dies": ask(SET, WITH) + bytes([LOADED, GATEWAY_ANSWERS, 0, PROXY_CLOSES, PROXY_REAPED, 9]) + DONE,
    "policy-too-early": say(PROXY, POLICY_READY, policy(2)) + ask(SET, WITH) + say(PROXY, POLICY_READY, policy(2))
    + bytes([LOADED]) + say(PROXY, POLICY_READY, policy(2)) * 2 + DONE,
    "policy-late": ask(SET, WITH) + bytes([LOADED, TIME, 60, 60]) + DONE,
    "policy-leaves": ask(SET, WITH) + bytes([HANG_UP, 0, LOADED]) + BOTH + BOTH,
    "publish": ask(PUBLISH) + ANSWERED + ask(PORTS) + ANSWERED + ask(UNPUBLISH) + ANSWERED,
    "publish-refused": ask(PUBLISH) + bytes([GATEWAY_ANSWERS, 1]) + DONE,
    "publish-range": ask(PUBLISH_RANGE) + ANSWERED * 4,
    "rate": ask(RATE) + ANSWERED,
    "shown": ask(COUNTERS) + DONE + ask(CA) + DONE + ask(LIST) + DONE,
    "value": ask(VALUE, WITH) + bytes([PROXY_ANSWERS, 0]) + DONE,
    "secret": ask(NEW, WITH) + bytes([PROXY_ANSWERS, 0]) + DONE + ask(REMOVE) + bytes([PROXY_ANSWERS, 0]) + DONE,
    "secret-refused": ask(HOSTS) + bytes([PROXY_ANSWERS, 1]) + DONE,
    "secret-proxy-dies": ask(REMOVE) + bytes([PROXY_REAPED, 11, PROXY_CLOSES]) + DONE,
    "used": say(PROXY, EVENT, KEY) + ask(LIST) + DONE,
    "events": say(GATEWAY, EVENT, b'{"kind":"flow","event":"end"}\nnonsense\n\n{}') + say(PROXY, EVENT, b"\xff\0{"),
    "successor": bytes([PROXY_CLOSES, PROXY_REAPED, 9]) + say(PROXY, READY) + ask(STATUS) + ANSWERED,
    "dies-often": bytes([PROXY_CLOSES, PROXY_REAPED, 9]) * 7,
    "terminate": say(PROXY, TERMINATE, b"KEY") + ask(STATUS) + DONE,
    "failed": say(GATEWAY, FAILED, b"because") + ask(SET, WITH) + DONE,
    "link-lost": say(GATEWAY, LINK_LOST),
    "descriptors": say(GATEWAY, EVENT, KEY, 7) + say(PROXY, READY, b"", 7),
    "attach": ask(ATTACH) + DONE,
    "stop": ask(STOP) + DONE + bytes([TIME, 40, 40]),
    "signal": ask(SIGNAL) + DONE,
    "crowd": b"".join(ask(PORTS, 0, n) for n in range(12)) + ANSWERED * 3 + bytes([TIME, 20, 20]),
    "raw": bytes([ASK_RAW, 0, 2]) + b"{}" + DONE + bytes([ASK_RAW, 1, 5]) + b"\xff[1,2",
}


seeds.write("weir_supervisor", SEEDS.items())
