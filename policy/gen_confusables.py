#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Characters of host names that pass for ASCII ones -> confusables_table.h.

usage: gen_confusables.py Scripts.txt > confusables_table.h
Skeletons (UTS #39) are asked of ICU (libicui18n), scripts read from Debian's
unicode-data. Kept is what an IDN can hold (letters, marks and digits that are
their own NFKC case folding) and what has an ASCII skeleton. The table is checked
in: building needs neither.
"""
import ctypes
import glob
import re
import sys
import unicodedata

SCRIPTS = ["Latin", "Cyrillic", "Greek", "Armenian"]


class Icu:
    def __init__(self):
        names = glob.glob("/usr/lib/*/libicui18n.so.*[0-9]")
        path = min(names, key=len)
        version = path.rsplit(".", 1)[1]
        lib = ctypes.CDLL(path)
        opener = getattr(lib, f"uspoof_open_{version}")
        opener.restype = ctypes.c_void_p
        error = ctypes.c_int(0)
        self.checker = opener(ctypes.byref(error))
        self.call = getattr(lib, f"uspoof_getSkeletonUTF8_{version}")
        self.call.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_int32,
                              ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int)]
        if error.value > 0:
            sys.exit("ICU's spoof checker does not open")

    def skeleton(self, text):
        out = ctypes.create_string_buffer(256)
        error = ctypes.c_int(0)
        data = text.encode()
        n = self.call(self.checker, 0, data, len(data), out, len(out), ctypes.byref(error))
        return out.raw[:n].decode() if error.value <= 0 else text


def in_names(c):
    return (unicodedata.category(c)[0] in "LNM"
            and unicodedata.normalize("NFKC", c).casefold() == c)


def scripts(path):
    for line in open(path, encoding="utf-8"):
        m = re.match(r"([0-9A-F]+)(?:\.\.([0-9A-F]+))?\s*;\s*(\w+)", line)
        if m and m[3] in SCRIPTS:
            first = int(m[1], 16)
            yield first, int(m[2], 16) if m[2] else first, SCRIPTS.index(m[3])


def main():
    icu = Icu()
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by gen_confusables.py: do not edit. */")
    print("/* clang-format off */")
    print("static const struct confusable confusables[] = {")
    for code in [*range(0x80, 0xd800), *range(0xe000, 0x20000)]:
        skeleton = icu.skeleton(chr(code)).lower()
        if in_names(chr(code)) and skeleton.isascii() and skeleton.isalnum():
            print(f'\t{{ 0x{code:04x}, "{skeleton}" }},')
    print("};")
    runs = []
    for first, last, script in sorted(scripts(sys.argv[1])):
        if runs and runs[-1][1] + 1 == first and runs[-1][2] == script:
            runs[-1][1] = last
        else:
            runs.append([first, last, script])
    print("static const char *const script_names[] = {")
    print("\t" + ", ".join(f'"{s}"' for s in SCRIPTS))
    print("};")
    print("static const struct script_run script_runs[] = {")
    for first, last, script in runs:
        print(f"\t{{ 0x{first:04x}, 0x{last:04x}, {script} }},")
    print("};")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main()
