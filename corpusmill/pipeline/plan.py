"""What a recipe would do, without doing it: its stages with their settings, and which pairs `minhash` would find."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Final

from corpusmill.dedup.minhash import MinHash, MinHashConfig
from corpusmill.dedup.s_curve import SCurve, s_curve
from corpusmill.dedup.signatures import lsh_probability
from corpusmill.pipeline.recipe import Recipe, config_class
from corpusmill.pipeline.registry import CORPUS_STEPS, PRODUCTS


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a recipe.

    kind: document stage, corpus step or product. changed: settings that are not the defaults.
    """

    name: str
    kind: str
    changed: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """stages: in running order. curve: of `minhash`, None without it."""

    recipe: Recipe
    stages: tuple[PlannedStage, ...]
    curve: SCurve | None

    def to_json(self) -> dict[str, Any]:
        """The object of `plan --json`."""
        stages = [{"name": s.name, "kind": s.kind, "changed": s.changed} for s in self.stages]
        curve = None if self.curve is None else self.curve.to_json()
        return {"recipe": self.recipe.model_dump(mode="json"), "stages": stages, "s_curve": curve}


def plan(recipe: Recipe) -> Plan:
    """The plan of a resolved recipe; reads no input and no model."""
    stages = []
    for name, config in recipe.stages.items():
        defaults = {key: field.get_default(call_default_factory=True) for key, field in _fields(name).items()}
        given = recipe.stage_config(name)
        changed = {key: config[key] for key, default in defaults.items() if getattr(given, key) != default}
        stages.append(PlannedStage(name, "corpus step" if name in CORPUS_STEPS else "document stage", changed))
    for name in PRODUCTS:
        if (section := _section(recipe, name)) is not None:
            stages.append(PlannedStage(name, "product", section))
    curve = None
    if MinHash.name in recipe.stages:
        found = recipe.stage_config(MinHash.name)
        assert isinstance(found, MinHashConfig)
        curve = s_curve(found.bands, found.rows, found.min_similarity)
    return Plan(recipe, tuple(stages), curve)


def _fields(stage: str) -> dict[str, Any]:
    return dict(config_class(stage).model_fields)


def _section(recipe: Recipe, name: str) -> dict[str, Any] | None:
    """The settings of a product that the recipe gives; None if it makes none; of `tokens`: `sources`."""
    sections = {"tokens": None if recipe.tokenizer is None else recipe.sources}
    section = sections[name] if name in sections else getattr(recipe, name)
    if section is None:
        return None
    changed: dict[str, Any] = section.model_dump(mode="json", exclude_defaults=True)
    return changed


_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 50, 560, 260  # pixels: of the field with the curve
_POINTS: Final = 200


def figure(curve: SCurve) -> str:
    """An SVG: the probability that a pair is found, over its similarity."""
    bottom = _TOP + _HEIGHT
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y, x = bottom - share * _HEIGHT, _LEFT + share * _WIDTH
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * share:g} %</text>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{share:g}</text>'
        )
    marks = {"half are found": curve.half, "threshold": curve.threshold}
    for number, (label, similarity) in enumerate(marks.items()):
        x = _LEFT + similarity * _WIDTH
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" stroke="#888888" stroke-dasharray="4"/>'
            f'<text x="{x - 4:.1f}" y="{_TOP + 16 + 16 * number}" fill="#555555" text-anchor="end">'
            f"{escape(label)}: {similarity:.3f}</text>"
        )
    at = [i / _POINTS for i in range(_POINTS + 1)]
    path = " ".join(
        f"{_LEFT + s * _WIDTH:.1f},{bottom - lsh_probability(s, curve.bands, curve.rows) * _HEIGHT:.1f}" for s in at
    )
    parts.append(f'<polyline points="{path}" fill="none" stroke="#37618e" stroke-width="2"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 40}" height="{bottom + 60}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="24" font-weight="bold">Pairs that {curve.bands} bands of {curve.rows} rows find, by '
        f"Jaccard similarity</text>{''.join(parts)}</svg>\n"
    )
