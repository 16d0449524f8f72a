# SPDX-License-Identifier: Apache-2.0
"""Big bodies without a disk: the same bytes on both ends, whatever the size.

A block of a prime number of random bytes repeats, each time with its number at
the front, so that a lost, doubled or exchanged piece of any length shows in the
digest.
"""

import hashlib
import random
import struct

BLOCK = 1048583


def blocks(size):
    """The first `size` bytes of the stream, as memoryviews that are valid until the next step."""
    block = bytearray(random.Random(20).randbytes(BLOCK))
    view = memoryview(block)
    number = 0
    while size > 0:
        struct.pack_into(">Q", block, 0, number)
        take = min(size, BLOCK)
        yield view[:take]
        size -= take
        number += 1


def sha256(size):
    h = hashlib.sha256()
    for b in blocks(size):
        h.update(b)
    return h.hexdigest()
