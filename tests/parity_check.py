#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PARITY.md and the tests say the same: each row's tests exist and name the row.

usage: parity_check.py [FOLDER]     the tests' folder, default where this file is

A row is `| id | what | weir | file::test ... |`. A test names an id in its own
name, docstring or body, or in the comment right above it; a scenario, which is
one file, anywhere in it. n04, N04 and p1.4-3, p1_4_3 are the same id.
"""
import os
import re
import sys

# Complete by count: none of these may be missing from the table.
WANTED = {f"n{n:02}" for n in (*range(1, 33), 34)} | {f"d{n:02}" for n in range(1, 15)} | {
    f"t{n:02}" for n in range(1, 12)} | {f"s{n:02}" for n in range(1, 14)} | {
    f"lesson-{n:02}" for n in range(1, 42)} | {f"weak-{n}" for n in (*range(1, 22), 24, 25, 27, 28, 29)} | {
    f"p1.4-{n}" for n in range(1, 8)} | {f"p9.4-{n}" for n in (22, 23, 26)} | {"p9.3-18"}
SECTIONS = [f"p1.{n}-" for n in range(1, 10)] + [f"d3.{n}-" for n in range(1, 7)]


def plain(text):
    """One spelling of ids: lower case, one kind of separator."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())


def names(text, row):
    """Is the id in the text, and not as a part of another?"""
    return re.search(r"(?<![a-z0-9])%s(?![a-z0-9])" % re.escape(plain(row)), plain(text))


def rows(path):
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if line.startswith("| `") and len(cells) != 4:
                sys.exit(f"{path}:{number}: {len(cells)} columns instead of 4")
            if line.startswith("| `"):
                yield number, cells[0].strip("`"), cells[1:3], re.findall(r"`([^`]+)`", cells[3])


def text_of(source, name):
    """A test with the comment above it, or None."""
    pattern = r"^(?:static void|def|async def) %s\(" % re.escape(name)
    lines = source.split("\n")
    start = next((i for i, line in enumerate(lines) if re.match(pattern, line)), None)
    if start is None:
        return None
    first, end = start, start + 1
    while first and lines[first - 1].strip() and lines[first - 1] != "}":
        first -= 1
    # To the next thing at the margin; a C body may have its brace and directives there.
    more = r"[^\s{#]" if lines[start].startswith("static") else r"\S"
    while end < len(lines) and not re.match(more, lines[end]):
        end += 1
    return "\n".join(lines[first:end])


def check(folder):
    table, seen, n_tests, wrong = os.path.join(folder, "PARITY.md"), set(), 0, []
    for number, row, words, tests in rows(table):
        at = f"{table}:{number}: {row}"
        if row in seen:
            wrong.append(f"{at}: twice")
        seen.add(row)
        if not all(words) or not tests:
            wrong.append(f"{at}: an empty column")
        for test in tests:
            n_tests += 1
            file, _, name = test.partition("::")
            try:
                with open(os.path.join(folder, file), encoding="utf-8") as f:
                    text = f.read()
            except OSError as e:
                wrong.append(f"{at}: {file}: {e.strerror}")
                continue
            if not name and not file.startswith("scenario/"):
                wrong.append(f"{at}: {file}: which test of it?")
                continue
            text = text_of(text, name) if name else text
            if text is None:
                wrong.append(f"{at}: {file} has no test {name}")
            elif not names(text, row):
                wrong.append(f"{at}: {test} does not name it")
    wrong += [f"{table}: no row {w}" for w in sorted(WANTED - seen)]
    wrong += [f"{table}: no row {s}*" for s in SECTIONS if not any(r.startswith(s) for r in seen)]
    return len(seen), n_tests, wrong


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    n_rows, n_tests, wrong = check(folder)
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    print(f"parity: {n_rows} rows, {n_tests} references, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
