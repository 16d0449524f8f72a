#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_weir_image_answer: answers of weir-image, good ones and one thing wrong in each.

usage: gen_weir_image_answer.py [CORPUS]    default corpus/, beside this file
"""
import json

import seeds

BOOT, FOLDER, ARCHIVE, FILE, VOLUME = range(5)
KERNEL = {"kernel": "/x/kernel/a", "initrd": "/x/boot/a", "source": "/boot/vmlinuz", "release": "6.1.0", "pvh": True}
CONFIG = {"env": ["PATH=/bin", "A=1"], "entrypoint": ["/bin/sh"], "cmd": ["-c", "true"], "working_dir": "/srv",
          "user": "nobody:nogroup", "stop_signal": "SIGTERM"}
ROOT = {"path": "/x/root/a", "fs": "ext4", "size": 1024, "reused": False, "notes": ["left out: a socket"],
        "config": CONFIG}


def answer(ask, body, said=b"", status=0):
    """status: 0 well; 1, 2, 3 in the order of the driver's list of ends."""
    first = ask if not status else next(n for n in range(200, 256) if n % 5 == ask and n // 5 % 4 == status)
    return bytes([first]) + said + b"\0" + (body if isinstance(body, bytes) else json.dumps(body).encode())


SEEDS = {
    "boot": answer(BOOT, KERNEL),
    "boot-warning": answer(BOOT, KERNEL, b"weir-image: this kernel has no Landlock\n"),
    "folder": answer(FOLDER, ROOT),
    "archive": answer(ARCHIVE, ROOT),
    "file": answer(FILE, {**ROOT, "fs": "squashfs"}),
    "volume": answer(VOLUME, {"fs": "erofs"}),
    "no-landlock": answer(ARCHIVE, b"", b"weir-image: this kernel has no Landlock, and an archive\n", 1),
    "failed": answer(FOLDER, b"", b"weir-image: no such image\n", 1),
    "failed-inside": answer(FOLDER, b"", b"weir-image: prctl is not on the list\n", 2),
    "killed": answer(BOOT, b"", b"", 3),
    "silent": answer(BOOT, b"", b"\n\n", 1),
    "controls": answer(FOLDER, b"", b"weir-image: \x1b[2J\xc2\x9b\xe2\x80\xae\xff\xf4\x90\x80\x80x\n", 1),
    "link": answer(BOOT, {**KERNEL, "kernel": "/x/link"}),
    "second-name": answer(BOOT, {**KERNEL, "kernel": "/x/second"}),
    "writable": answer(BOOT, {**KERNEL, "kernel": "/x/writable"}),
    "folder-in-it": answer(BOOT, {**KERNEL, "kernel": "/x/folder"}),
    "up": answer(BOOT, {**KERNEL, "kernel": "/x/.."}),
    "no-slash": answer(BOOT, {**KERNEL, "kernel": "a"}),
    "other-fs": answer(FOLDER, {**ROOT, "fs": "squashfs"}),
    "env": answer(FOLDER, {**ROOT, "config": {**CONFIG, "env": ["=x"]}}),
    "relative": answer(FOLDER, {**ROOT, "config": {**CONFIG, "working_dir": "srv"}}),
    "notes": answer(FOLDER, {**ROOT, "notes": ["\x1b[1m\u202e", ""] * 8}),
    "too-many-notes": answer(FOLDER, {**ROOT, "notes": [""] * 17}),
    "twice": answer(VOLUME, b'{"fs":"ext4","fs":"erofs"}'),
    "no-object": answer(VOLUME, b"[]"),
}


seeds.write("weir_image_answer", SEEDS.items())
