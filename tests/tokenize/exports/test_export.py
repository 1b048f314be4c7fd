"""What all formats share: the folder, export.json, counts, parts, refusals, the same bytes again."""

from __future__ import annotations

import gc
import hashlib
import json
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_orders import EOS, made_order, starts_of

from corpusmill.core.errors import InputError, UserError, VerificationFailed
from corpusmill.tokenize.exports.base import Counts, PartWriter, Segments, parts_of
from corpusmill.tokenize.exports.export import FORMATS, export_order
from corpusmill.tokenize.reader import Order

SHAPES = [(3, 4, 16), (2, 6, 9), (2, 6, 9), (1, 2, 40)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=8))
def test_parts_cover_the_order_and_change_with_the_shape(shapes: list[tuple[int, int, int]]) -> None:
    order = made_order(*shapes)
    parts = parts_of(order)
    steps = [(p.batch_size, p.sequence_length) for p in parts for _ in range(p.steps)]
    assert steps == [(b, length) for n, b, length in shapes for _ in range(n)]
    assert [p.first_step for p in parts] == [sum(q.steps for q in parts[:i]) for i in range(len(parts))]
    neighbours = pairwise(parts)
    assert all((a.batch_size, a.sequence_length) != (b.batch_size, b.sequence_length) for a, b in neighbours)
    assert len({p.folder for p in parts}) == len(parts)


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 40))
def test_segment_lengths_are_those_of_the_rows(seed: int, batch: int, length: int) -> None:
    rows = made_order((1, batch, length), seed=seed).step(0)
    segments = Segments.of(rows)
    assert segments.lengths.dtype == segments.of_row.dtype == np.int32
    assert sum(map(len, segments.by_row())) == len(segments.lengths)
    for row, lengths in enumerate(segments.by_row()):
        starts = starts_of(rows, row)
        assert np.abs(lengths).tolist() == np.diff([*starts, length + 1]).tolist()
        assert (lengths < 0).tolist() == [rows.segment_ids[row, s] < 0 for s in starts]


def test_counts_against_loops() -> None:
    rows = made_order((1, 30, 25)).step(0)
    borders = [(r, s) for r in range(30) for s in starts_of(rows, r)[1:]]
    hidden = [(r, s) for r, s in borders if rows.tokens[r, s - 1] != EOS]
    assert Counts.of(rows, EOS) == Counts(
        rows=30,
        tokens=30 * 26,
        labels=30 * 25,
        counted_labels=sum(bool(x) for x in rows.loss_mask.ravel()),
        pad_tokens=sum(x == -1 for x in rows.segment_ids.ravel().tolist()),
        borders=len(borders),
        borders_without_eos=len(hidden),
    )
    assert 0 < len(hidden) < len(borders)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("masks", [True, False])
def test_export_json_says_what_was_written(name: str, masks: bool, tmp_path: Path) -> None:
    order = made_order(*SHAPES)
    done: list[None] = []
    export = export_order(order, name, str(tmp_path / "out"), masks=masks, advance=lambda: done.append(None))
    written = files_of(tmp_path / "out")
    body = json.loads(written.pop("export.json"))
    assert body == json.loads(export.model_dump_json())
    assert (body["order"]["order_root"], body["order"]["masks"]) == (order.root, masks)
    assert [(p["first_step"], p["steps"], p["batch_size"], p["sequence_length"]) for p in body["parts"]] == [
        (0, 3, 4, 16),
        (3, 4, 6, 9),
        (7, 1, 2, 40),
    ]
    assert {f["path"]: (f["bytes"], f["sha256"]) for f in body["files"]} == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in written.items()
    }
    assert len(done) == order.steps
    assert export.counts.rows == 3 * 4 + 4 * 6 + 2
    assert all(p.folder in "\n".join(export.setup) for p in export.parts)
    left_out = export.counts.labels - export.counts.counted_labels
    assert any(f"{left_out:,} of" in line for line in export.lost) == (not masks or name == "nanoset")


@pytest.mark.parametrize("name", FORMATS)
def test_borders_without_eos_are_told(name: str, tmp_path: Path) -> None:
    """Where borders are not carried. OLMo-core looks for EOS, so it loses nothing when all documents end with it."""
    order = made_order(*SHAPES)
    hidden = export_order(order, name, str(tmp_path / "cut"), masks=name == "olmo")
    line = next(line for line in hidden.lost if line.startswith("segment borders"))
    assert f"of {hidden.counts.borders:,} follow" in line
    assert f" {hidden.counts.borders_without_eos:,} are not" in line
    whole = export_order(made_order(*SHAPES, cut=False), name, str(tmp_path / "whole"), masks=name == "olmo")
    assert whole.counts.borders_without_eos == 0 < whole.counts.borders
    assert any(line.startswith("segment borders") for line in whole.lost) == (name != "olmo")


@pytest.mark.parametrize("name", FORMATS)
def test_same_bytes_again(name: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        export_order(made_order(*SHAPES), name, str(tmp_path / folder))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not empty"):
            export_order(made_order(*SHAPES), "nanoset", str(tmp_path), overwrite=overwrite)
    assert files_of(tmp_path) == {"notes.txt": b"mine"}
    with pytest.raises(InputError, match="is a file"):
        export_order(made_order(*SHAPES), "nanoset", str(tmp_path / "notes.txt"))
    with pytest.raises(InputError, match="local folder"):
        export_order(made_order(*SHAPES), "nanoset", "s3://bucket/out")


def test_overwrite_replaces_an_earlier_export_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_order(made_order(*SHAPES), "megatron", str(out))
    with pytest.raises(InputError, match="not empty"):
        export_order(made_order((1, 1, 4)), "nanoset", str(out))
    export_order(made_order((1, 1, 4)), "nanoset", str(out), overwrite=True)
    export_order(made_order((1, 1, 4)), "nanoset", str(tmp_path / "fresh"))
    assert files_of(out) == files_of(tmp_path / "fresh")


def test_an_empty_folder_is_fine(tmp_path: Path) -> None:
    assert export_order(made_order((1, 1, 4)), "mds", str(tmp_path)).counts.rows == 1


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose one of megatron, olmo, mds, nanoset"):
        export_order(made_order((1, 1, 4)), "webdataset", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


class BrokenOrder:
    """An order whose step 5 is damaged in one way."""

    def __init__(self, order: Order, damage: str) -> None:
        self._order = order
        self._damage = damage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._order, name)

    def step(self, step: int) -> Any:
        rows = self._order.step(step)
        if step == 5 and self._damage == "id":
            rows.tokens[0, 3] = self._order.vocab_size
        if step == 5 and self._damage == "negative":
            rows.tokens[0, 3] = -1
        if step == 5 and self._damage == "slot":
            object.__setattr__(rows, "tokens", rows.tokens[1:])
        return rows


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("damage", ["id", "negative", "slot"])
def test_what_does_not_fit_the_order_ends_the_export(name: str, damage: str, tmp_path: Path) -> None:
    order: Any = BrokenOrder(made_order(*SHAPES), damage)
    with pytest.raises(VerificationFailed, match="step 5 should be 6 rows of 10 token ids below 500"):
        export_order(order, name, str(tmp_path / "out"))
    left = files_of(tmp_path / "out")
    assert "export.json" not in left
    assert all(not path.startswith("part-0001") or path.endswith(".mds") for path in left)
    export_order(made_order(*SHAPES), name, str(tmp_path / "out"), overwrite=True)
    export_order(made_order(*SHAPES), name, str(tmp_path / "fresh"))
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")


def test_memory_does_not_grow_with_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No writer keeps a step: each is gone when the one after the next is asked for."""
    order = made_order((12, 2, 30))
    kept: list[weakref.ref[Any]] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(order, name)

        def step(self, step: int) -> Any:
            gc.collect()
            assert sum(ref() is not None for ref in kept) <= 1
            rows = order.step(step)
            kept.append(weakref.ref(rows.tokens))
            return rows

    for name in FORMATS:
        kept.clear()
        watched: Any = Watched()
        export_order(watched, name, str(tmp_path / name))
        assert len(kept) == 12


def test_every_format_says_how_it_is_read() -> None:
    for name, writer in FORMATS.items():
        assert issubclass(writer, PartWriter)
        assert writer.name == name
        assert writer.grade in ("exact order", "exact rows", "same tokens")
