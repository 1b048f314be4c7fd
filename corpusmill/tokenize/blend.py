"""Which source each sequence of a phase is taken from.

Weights are integers a_1, ..., a_k with sum D. Of the first t sequences, source i should have a_i * t / D. Sequence t
(0-based) is taken from the source whose next sequence is due first, among those that are not ahead of their target:

    eligible:  c_i * D < a_i * (t + 1)          c_i = sequences taken from source i so far
    due:       ceil((c_i + 1) * D / a_i)         smallest wins; among equals the source that is listed first

So |c_i - a_i * t / D| < 1 for every source at every t, and after D sequences all targets are met exactly: the sequence
of sources has the period D, and a prefix never depends on how long the phase is.

This is earliest deadline first for tasks with the windows of Pfair scheduling (Baruah, Cohen, Plaxton, Varvel,
"Proportionate progress", 1996). [DEVIATION] from taking the source with the largest deficit, as other trainers blend:
that lets a source fall more than one sequence behind where there are more than a few sources (docs/decisions/0033).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numba
import numpy as np

from corpusmill.core.errors import ConfigError
from corpusmill.core.hashing import Int64Array

MAX_PERIOD = 1 << 20  # sequences; a table of so many source numbers is held in memory


class Blend:
    """The sources of sequences 0, 1, 2, ... of a phase, as indices into the k weights.

    Raises ConfigError where a weight is not positive or the period is more than MAX_PERIOD.
    """

    def __init__(self, weights: Sequence[Fraction]) -> None:
        self.amounts = integer_weights(weights)
        self.period = int(self.amounts.sum())
        self._schedule = _schedule(self.amounts)
        places = np.argsort(self._schedule, kind="stable")
        self._places = np.split(places, np.cumsum(self.amounts)[:-1])  # of each source, ascending, within a period

    def sources(self, first: int, stop: int) -> Int64Array:
        """Source index of the sequences [first, stop), int64 (stop - first,)."""
        return self._schedule[np.arange(first, stop) % self.period]

    def taken(self, position: int) -> Int64Array:
        """How many of the sequences before `position` are of each source, int64 (k,)."""
        periods, rest = divmod(position, self.period)
        return periods * self.amounts + np.bincount(self._schedule[:rest], minlength=len(self.amounts))

    def positions(self, source: int, numbers: Int64Array) -> Int64Array:
        """Where the source's sequences with these 0-based numbers stand in the phase, int64."""
        own = self._places[source]
        return numbers // len(own) * self.period + own[numbers % len(own)]


def integer_weights(weights: Sequence[Fraction]) -> Int64Array:
    """The smallest integers in the proportion of `weights`, int64 (k,)."""
    for weight in weights:
        if weight <= 0:
            raise ConfigError(
                "the weight of a source is not positive",
                value=str(weight),
                remedy="leave the source out of the phase, or give it a weight above 0",
            )
    denominator = lcm(*(w.denominator for w in weights))
    amounts = [int(w * denominator) for w in weights]
    divisor = int(np.gcd.reduce(np.array(amounts, dtype=object)))
    period = sum(amounts) // divisor
    if period > MAX_PERIOD:
        raise ConfigError(
            f"the weights of a phase repeat after {period} sequences only; at most {MAX_PERIOD} are possible",
            value=", ".join(str(w) for w in weights),
            remedy="round the weights, e.g. to thousandths",
        )
    return np.array([a // divisor for a in amounts], dtype=np.int64)


@numba.njit(cache=True, nogil=True)
def _schedule(amounts: Int64Array) -> Int64Array:
    period = amounts.sum()
    taken = np.zeros(len(amounts), np.int64)
    out = np.empty(period, np.int64)
    for t in range(period):
        chosen, earliest = -1, 0
        for i in range(len(amounts)):
            if taken[i] * period < amounts[i] * (t + 1):
                due = ((taken[i] + 1) * period + amounts[i] - 1) // amounts[i]
                if chosen < 0 or due < earliest:
                    chosen, earliest = i, due
        out[t] = chosen
        taken[chosen] += 1
    return out
