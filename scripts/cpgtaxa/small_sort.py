"""Sorting inside compiled functions: the library's sort takes longer to compile than all around it."""

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


@numba.njit(nogil=True, fastmath=False)
def heap_sort(values) -> None:
    """Sort in place, in n log n steps whatever the order. values: (n,) of any number type."""
    n = values.size
    start = n // 2
    stop = n
    while stop > 1:
        if start > 0:  # first each value is made the largest of those below it
            start -= 1
            value = values[start]
        else:  # then the largest of all goes to the end, again and again
            stop -= 1
            value = values[stop]
            values[stop] = values[0]
        parent = start
        child = 2 * start + 1
        while child < stop:
            if child + 1 < stop and values[child + 1] > values[child]:
                child += 1
            if values[child] <= value:
                break
            values[parent] = values[child]
            parent = child
            child = 2 * parent + 1
        values[parent] = value
