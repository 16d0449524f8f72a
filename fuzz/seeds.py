# SPDX-License-Identifier: Apache-2.0
"""Where the generators of seeds beside this file write: CORPUS/TARGET/NAME. CORPUS is the command's
argument, by default corpus/ beside this file."""
import os
import sys


def write(target, seeds):
    """seeds: pairs of a name and bytes; target: without its "fuzz_"."""
    corpus = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
    os.makedirs(os.path.join(corpus, target), exist_ok=True)
    for name, seed in seeds:
        with open(os.path.join(corpus, target, name), "wb") as f:
            f.write(seed)
