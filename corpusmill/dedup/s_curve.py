"""Which pairs the bands of MinHash find: the S-curve of bands and rows, and how far it is from a step.

Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4. The areas are those by which datasketch
chooses bands and rows (lsh.py, `_false_positive_probability` and `_false_negative_probability`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from corpusmill.dedup.signatures import lsh_probability

SHOWN: Final = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)  # similarities of the table
_STEPS: Final = 10_000  # of the integrals


@dataclass(frozen=True)
class SCurve:
    """The S-curve of `bands` bands of `rows` rows.

    half: the similarity of which half of the pairs are found. threshold: the similarity at which pairs should begin to
    be found. false_positives: area under the curve below the threshold; false_negatives: area above the curve above
    it; 0..1, of pairs whose similarity is uniform. points: (similarity, probability) of the table.
    """

    bands: int
    rows: int
    half: float
    threshold: float
    false_positives: float
    false_negatives: float
    points: tuple[tuple[float, float], ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `plan --json`."""
        points = [{"similarity": s, "probability": p} for s, p in self.points]
        return {**asdict(self), "points": points}


def similarity_at(probability: float, bands: int, rows: int) -> float:
    """The Jaccard similarity of which pairs are found with `probability`, 0 < probability < 1."""
    share: float = (1 - (1 - probability) ** (1 / bands)) ** (1 / rows)
    return share


def s_curve(bands: int, rows: int, threshold: float | None) -> SCurve:
    """The curve; threshold None: that of half of the pairs."""
    half = similarity_at(0.5, bands, rows)
    at = half if threshold is None else threshold
    return SCurve(
        bands,
        rows,
        half,
        at,
        _area(0.0, at, bands, rows),
        1.0 - at - _area(at, 1.0, bands, rows),
        tuple((s, lsh_probability(s, bands, rows)) for s in SHOWN),
    )


def _area(start: float, end: float, bands: int, rows: int) -> float:
    """Area under the curve between two similarities."""
    at = np.linspace(start, end, _STEPS + 1)
    return float(np.trapezoid([lsh_probability(float(s), bands, rows) for s in at], at))
