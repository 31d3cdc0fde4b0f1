"""Imported before NumPy: the benchmark computes in one thread. Also puts the library on the path."""

import os

import benchmarking  # noqa: F401

for library in ("OMP", "NUMBA"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
