"""Sorting a few values inside compiled functions: the library's sort takes longer to compile than all around it."""

import numba


@numba.njit(nogil=True, forceinline=True, fastmath=False)
def insertion_sort(values) -> None:
    """Sort in place: quick for few values and for those that are nearly in order. values: (n,) of any number type."""
    for i in range(1, values.size):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
