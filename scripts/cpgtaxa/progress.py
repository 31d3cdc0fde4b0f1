"""How far a long step is, and how long it may take yet: logged now and then, and only what there is evidence for."""

import logging
import math
import time
from collections.abc import Iterable, Iterator

FIRST = 5.0
"""Seconds before the first line: what ends sooner says nothing."""
OFTEN, SELDOM = 10.0, 300.0
"""Seconds between lines, at first and at last."""
GROWTH = 8
"""Lines come at least an eighth of the time so far apart: some sixty in four hours."""
EVIDENCE = 3.0
"""Seconds of work after the first step before anything is said of what is left."""
FEW = 5
"""Steps up to which the first one counts too: it may have been slow to begin, or all that is typical."""
ALIKE = 1.5
"""Bounds no further apart than this factor are given as one number."""
KEPT = 512
"""Points of time and work remembered; beyond that every second one is forgotten."""


def in_words(seconds: float) -> str:
    """A time as people say it, rounded: `40 s`, `3 min`, `1.5 h`, `2 days`."""
    number, unit = _rounded(seconds)
    return f"{number:g} {unit}"


def _rounded(seconds: float) -> tuple[float, str]:
    if seconds < 55:
        return max(10.0 * round(seconds / 10), 10.0), "s"
    minutes = seconds / 60
    if minutes < 57.5:
        step = 1 if minutes < 17.5 else 5
        return float(max(step * round(minutes / step), 1)), "min"
    hours = minutes / 60
    if hours < 47.5:
        return (round(2 * hours) / 2 if hours < 9.75 else float(round(hours))), "h"
    return float(round(hours / 24)), "days"


def left_in_words(low: float, high: float, at_most: bool = False) -> str:
    """What is left, in words; low and high: seconds between which it lies. at_most: it may well be less."""
    if high < 8:
        return "a few seconds left"
    if at_most:
        return f"at most about {in_words(high)} left"
    if high <= ALIKE * low:
        return f"about {in_words(math.sqrt(low * high))} left"
    (least, small), (most, large) = _rounded(low), _rounded(high)
    if (least, small) == (most, large):
        return f"about {least:g} {small} left"
    return f"about {least:g}{'' if small == large else f' {small}'} to {most:g} {large} left"


def so_far(seconds: float) -> str:
    """A time that has passed: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """Logs how much of a step is done, since when, and, once there is evidence, how long it takes yet.

    total: all work, in what `step` counts, or None where nobody knows. what: what is counted, in the plural, as in
    `CpGs`. items: how many of `what` there are, where the work is something else (genes by their CpGs): then `step` is
    given both. size: the work is in bytes, of a file that is read (compressed or not). at_most: work may end sooner
    (early stopping). before: work that was done in an earlier run. rate: log also how much is done in a second.
    clock: seconds that only grow; tests have their own.

    The estimate: seconds per work of the last fifth of the time, and of the last two thirds. Where both are alike, one
    number is given; where the pace changes, a range that goes on in the direction of the change. The first step is left
    out, since it compiles, opens and warms up, unless there are but a few steps. Before the second step is done, and
    before EVIDENCE seconds and a quarter of what the first step took have passed since, nothing is logged.
    """

    def __init__(
        self,
        total: float | None,
        what: str,
        *,
        items: int | None = None,
        size: bool = False,
        at_most: bool = False,
        before: float = 0.0,
        rate: bool = False,
        clock=time.monotonic,
    ):
        self.total, self.what, self.items = total, what, items
        self.size, self.at_most, self.rate, self.clock = size, at_most, rate, clock
        self.done, self.counted, self.steps = before, 0, 0
        self.begin = self.logged = clock()
        self.points = [(self.begin, self.done)]

    def step(self, work: float = 1, items: int = 1) -> None:
        """So much more is done; `items`: how many of what is counted, where that is not the work."""
        self.add(work, items)
        if self.due():
            self.log()

    def at(self, done: float) -> None:
        """So much is done in all."""
        self.step(done - self.done)

    def at_share(self, share: float, text: str) -> None:
        """This share, 0 to 1, of a total of 1 is done; text: what to say is done, where a line is due."""
        self.add(share - self.done)
        if self.due():
            self.log(f"{text} ({math.floor(100 * min(self.done, 0.99))} %)")

    def over(self, found: Iterable, work=None) -> Iterator:
        """Each of what is found, and a step after each; work: a function that gives its work, 1 where None."""
        for one in found:
            yield one
            self.step(work(one) if work else 1)

    def add(self, work: float, items: int = 1) -> None:
        """As `step`, without a word."""
        self.done += work
        self.counted += items
        self.steps += 1
        self.points.append((self.clock(), self.done))
        if len(self.points) > KEPT:  # begin and first step stay, and the last
            self.points = [*self.points[:2], *self.points[3:-1:2], self.points[-1]]

    def spent(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self.begin

    def due(self) -> bool:
        """Whether enough time has passed for another line, and there is something left to do."""
        now = self.points[-1][0]
        if self.total is not None and self.done >= self.total:
            return False
        spent = now - self.begin
        if self.logged == self.begin:
            return spent >= FIRST
        return now - self.logged >= min(max(OFTEN, spent / GROWTH), SELDOM)

    def log(self, text: str | None = None) -> None:
        """Log a line now; text: instead of how much is done."""
        self.logged = self.points[-1][0]
        text = f"{text};" if text else f"{self.share()},"
        logging.info(f"{text} {so_far(self.logged - self.begin)} so far{self.left()}")

    def left(self) -> str:
        """`, about 3 min left`; empty where there is no evidence."""
        bounds = self.bounds() if self.total is not None and self.done < 0.999999 * self.total else None
        return f", {left_in_words(*bounds, self.at_most)}" if bounds else ""

    def share(self) -> str:
        """How much is done, of how much."""
        if self.size:
            done, total = (None if one is None else one / 1e9 for one in (self.done, self.total))
            unit = "GB"
            if (self.done if total is None else self.total) < 1e9:
                done, total, unit = done * 1e3, None if total is None else total * 1e3, "MB"
            text = f"{done:,.1f}{'' if total is None else f' of {total:,.1f}'} {unit} of {self.what}"
        else:
            done = self.done if self.items is None else self.counted
            total = self.total if self.items is None else self.items
            text = f"{done:,.0f}{'' if total is None else f' of {total:,.0f}'} {self.what}"
        if self.total:
            text += f" ({math.floor(100 * min(self.done / self.total, 0.99))} %)"
        return text + self._pace()

    def _pace(self) -> str:
        (began, before), (now, done) = self.points[0], self.points[-1]
        if not self.rate or now - began <= 0:
            return ""
        pace = (done - before if self.items is None else self.counted) / (now - began)
        if self.size:
            return f", {pace / 1e6:,.1f} MB a second"
        return f", {pace:,.0f} a second" if pace >= 10 else f", {pace:.2g} a second"

    def bounds(self) -> tuple[float, float] | None:
        """Seconds left, at least and at most, by the pace so far; None where it shows nothing yet."""
        if self.total is None or len(self.points) < 3:
            return None
        (begin, before), (warm, _), (now, done) = self.points[0], self.points[1], self.points[-1]
        if now - warm < max(EVIDENCE, (warm - begin) / 4):
            return None
        paces = []
        for span in (2 / 3, 1 / 5):
            since = now - max(span * (now - begin), 0.0)
            # The last point before that time; the first step and the last are never within.
            old = max((point for point in self.points[1:-1] if point[0] <= since), default=self.points[1])
            if done > old[1] and now > old[0]:
                paces.append((now - old[0]) / (done - old[1]))
        if not paces:
            return None
        mean, recent = paces[0], paces[-1]
        low, high = sorted((mean, recent))
        if recent > 1.1 * mean:  # slowing: it may slow further
            high = recent * recent / mean
        elif mean > 1.1 * recent:
            low = recent * recent / mean
        if self.steps <= FEW:
            whole = (now - begin) / (done - before)
            low, high = min(low, whole), max(high, whole)
        rest = max(self.total - done, 0.0)
        return low * rest, high * rest
