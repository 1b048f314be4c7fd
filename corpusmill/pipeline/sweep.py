"""`tune --sweep`: how many documents are kept for every value of one threshold, and the curve of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from html import escape
from typing import Any, Final

import pyarrow.compute as pc

from corpusmill.core.artifacts import Tally
from corpusmill.core.errors import UserError
from corpusmill.pipeline.shift import ShardNow, StageShift, shift
from corpusmill.pipeline.trial import open_scored, trial

_MOST_VALUES: Final = 200


@dataclass(frozen=True)
class Point:
    """What is kept with one value of the threshold, by its stage and at the end of the document stages.

    is_now: whether it is the value of the run.
    """

    value: Any
    is_now: bool
    stage: Tally
    end: Tally


@dataclass(frozen=True)
class Sweep:
    """The curve of one threshold: `key` is of `stage`; `last` is the last document stage."""

    key: str
    stage: str
    last: str
    documents_in: int
    points: list[Point]

    def to_json(self) -> dict[str, Any]:
        """The object of `tune --sweep --json`."""
        points = [
            {"value": p.value, "is_now": p.is_now, "stage": p.stage.model_dump(), "end": p.end.model_dump()}
            for p in self.points
        ]
        return {**asdict(self), "points": points}


def parse(text: str) -> tuple[str, list[int | float]]:
    """Key and values of `key=start:stop:step` (stop included) or `key=a,b,c`. Raises UserError if it is neither."""
    key, separator, values = text.partition("=")
    try:
        if ":" in values:
            start, stop, step = (Decimal(part) for part in values.split(":"))
            if step <= 0 or stop < start or (stop - start) / step >= _MOST_VALUES:
                raise ValueError
            numbers = [start + i * step for i in range(int((stop - start) / step) + 1)]
        else:
            numbers = [Decimal(part) for part in values.split(",")]
        if not key or not separator or not all(number.is_finite() for number in numbers):
            raise ValueError
    except (ValueError, InvalidOperation):
        raise UserError(
            f"a sweep is not of the form key=start:stop:step or key=a,b,c, with at most {_MOST_VALUES} values",
            value=text,
            remedy="--sweep stages.quality.min_words=20:100:10",
        ) from None
    return key, [int(number) if number == number.to_integral_value() else float(number) for number in numbers]


def sweep(run: str, key: str, values: Sequence[int | float], overrides: Sequence[str] = ()) -> Sweep:
    """What is kept with every value of the threshold `key`, beside the other thresholds `overrides`.

    Raises UserError or InputError, see `trial.trial`.
    """
    resolved, chain = open_scored(run)
    tried = [trial(resolved, chain, [*overrides, f"{key}={value}"]) for value in values]
    name, last = key.split(".")[1], chain.names[chain.documents_end - 1]
    counts = {n: [Tally() for _ in values] for n in (name, last)}
    into = 0
    for shard in chain.shards:
        now = ShardNow(chain, shard)
        manifests = {n: chain.folder(chain.index(n)).manifest(shard.name) for n in counts}
        into += sum(m.counts.into.documents for n, m in manifests.items() if m is not None and n == name)
        for at, one in enumerate(tried):
            shifted = {stage.stage: stage for stage in shift(now, one)[0]}
            for n, manifest in manifests.items():
                assert manifest is not None, "checked by open_scored"
                counts[n][at] += _kept(manifest.counts.kept, shifted.get(n))
    now_value: Any = resolved.model_dump(mode="json")
    for part in key.split("."):
        now_value = now_value.get(part) if isinstance(now_value, dict) else None
    rows = zip(values, counts[name], counts[last], strict=True)
    return Sweep(key, name, last, into, [Point(value, value == now_value, *kept) for value, *kept in rows])


def _kept(before: Tally, shifted: StageShift | None) -> Tally:
    if shifted is None:
        return before
    characters = [int(pc.sum(t.column("characters")).as_py() or 0) for t in (shifted.more, shifted.fewer)]
    return Tally(
        documents=before.documents + shifted.more.num_rows - shifted.fewer.num_rows,
        characters=before.characters + characters[0] - characters[1],
    )


_LEFT, _TOP, _WIDTH, _HEIGHT = 70, 50, 560, 260  # pixels: of the field with the curves


def figure(curve: Sweep) -> str:
    """An SVG: documents kept over the values of the threshold, by its stage and at the end of the document stages."""
    values = [float(point.value) for point in curve.points]
    low, width = min(values), (max(values) - min(values)) or 1.0
    xs = [_LEFT + (value - low) / width * _WIDTH for value in values]
    most = max(1, *(point.stage.documents for point in curve.points))
    lines = [(f"kept by {curve.stage}", "#37618e", [p.stage.documents for p in curve.points])]
    if curve.last != curve.stage:
        lines.append(
            (
                f"kept by {curve.last}, the last of the document stages",
                "#c0632b",
                [p.end.documents for p in curve.points],
            )
        )
    bottom = _TOP + _HEIGHT
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - share * _HEIGHT
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{round(share * most):,}</text>'
        )
    every = -(-len(xs) // 12)  # at most a dozen numbers under the axis
    for x, point in list(zip(xs, curve.points, strict=True))[::every]:
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{point.value:g}</text>')
    for x, point in zip(xs, curve.points, strict=True):
        if point.is_now:
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" stroke="#888888" stroke-dasharray="4"/>'
                f'<text x="{x + 4:.1f}" y="{bottom - 6}" fill="#555555">now</text>'
            )
    for number, (label, colour, kept) in enumerate(lines):
        dots = [(x, bottom - documents / most * _HEIGHT) for x, documents in zip(xs, kept, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
        parts.append(f'<text x="{_LEFT}" y="{bottom + 44 + 16 * number}" fill="{colour}">{escape(label)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 40}" height="{bottom + 76}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="24" font-weight="bold">Documents kept of {curve.documents_in:,}, by {escape(curve.key)}'
        f"</text>{''.join(parts)}</svg>\n"
    )
