"""Seeds of parts of a run."""

import hashlib


def unit_seed(seed: int, *names) -> int:
    """What the random numbers of one model of one unit start from, below 2³¹: no other model changes them."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, (seed, *names))).encode()).digest()[:4], "big") >> 1
