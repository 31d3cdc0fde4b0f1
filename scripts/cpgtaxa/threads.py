"""Compiled functions over parts of arrays, in threads of our own.

numba's parallel loops would compile everything they call several times over, half a minute on a fresh machine.
"""

import concurrent.futures
import contextlib
import fcntl
import gc
import itertools
import pathlib

import numba
import numpy as np

PARTS = 8
"""Parts for each thread, so that none waits long for another,"""
FEWEST = 64
"""but no more than leave so many to each: a part begins by making its working memory."""


def compile_once(function, *arguments) -> None:
    """Compile function(low, high, *arguments) in one of the processes that are about to; the others wait, and load it.

    function: of numba, its compilation kept on disk. Where it is not kept each process compiles its own, when it calls.
    """
    place = function.stats.cache_path
    if function.signatures or place is None:
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a disk without locks, or one that was full or read-only in the meantime
            lock = stack.enter_context(open(pathlib.Path(place) / f"{function.__name__}.lock", "a"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        # To look 1,400 times for cycles among a million objects that numba makes is a tenth of what compiling costs.
        collected = gc.isenabled()
        gc.disable()
        try:
            function(0, 0, *arguments)
        finally:
            if collected:
                gc.enable()


def in_threads(function, n: int, *arguments) -> None:
    """Call function(low, high, *arguments) for parts of range(n), in as many threads as numba is given.

    The function must release the interpreter's lock (nogil) and write to its own part only.
    """
    compile_once(function, *arguments)
    threads = min(numba.get_num_threads(), n)
    if threads <= 1:
        if n:
            function(0, n, *arguments)
        return
    parts = max(min(PARTS * threads, n // FEWEST), threads)
    cuts = np.linspace(0, n, parts + 1).astype(int).tolist()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(function, low, high, *arguments) for low, high in itertools.pairwise(cuts)]
        for part in parts:
            part.result()
