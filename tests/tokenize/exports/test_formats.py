"""Every token, mask and border of each format, read by a small reader of its own, against the order."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from export_readers import csv_gz, indexed_dataset, mds
from hypothesis import given, settings
from hypothesis import strategies as st
from made_orders import made_order, starts_of

from corpusmill.core.errors import ConfigError
from corpusmill.tokenize.exports import mds as mds_module
from corpusmill.tokenize.exports.base import Export, Part
from corpusmill.tokenize.exports.export import export_order
from corpusmill.tokenize.reader import Order, StepRows

SMALL, LARGE = 500, 70_000
SHAPES = [(5, 4, 16), (3, 6, 9), (1, 2, 300)]


@pytest.fixture(params=[SMALL, LARGE], ids=["two-byte ids", "four-byte ids"])
def order(request: pytest.FixtureRequest) -> Order:
    return made_order(*SHAPES, vocab_size=request.param)


def width_of(order: Order, two: str, four: str) -> str:
    return two if order.vocab_size == SMALL else four


def rows_of(order: Order, part: Part) -> Iterator[tuple[StepRows, int]]:
    for step in range(part.first_step, part.first_step + part.steps):
        rows = order.step(step)
        for row in range(part.batch_size):
            yield rows, row


def export(order: Order, name: str, out: Path, *, masks: bool = True) -> Export:
    written = export_order(order, name, str(out), masks=masks)
    assert [p.rows for p in written.parts] == [20, 18, 2]
    return written


# Megatron


def test_megatron(order: Order, tmp_path: Path) -> None:
    for part in export(order, "megatron", tmp_path).parts:
        folder = tmp_path / part.folder
        tokens = indexed_dataset(folder / "tokens")
        assert {t.dtype.str for t in tokens} == {width_of(order, "<u2", "<i4")}
        masks, segments = indexed_dataset(folder / "loss_mask"), indexed_dataset(folder / "segments")
        expected = list(rows_of(order, part))
        assert len(tokens) == len(masks) == len(segments) == len(expected)
        for (rows, row), t, m, s in zip(expected, tokens, masks, segments, strict=True):
            assert t.tolist() == rows.tokens[row].tolist()
            assert m.tolist() == rows.loss_mask[row].astype(int).tolist()
            assert np.cumsum(np.abs(s)).tolist() == [*starts_of(rows, row)[1:], part.sequence_length + 1]
            assert [int(n) for n in -s[s < 0]] == [n for n in [int((rows.segment_ids[row] < 0).sum())] if n]


def test_megatron_index_of_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is written in chunks; here many of them."""
    monkeypatch.setattr("corpusmill.tokenize.exports.megatron._CHUNK", 7)
    order = made_order((11, 5, 6))
    export_order(order, "megatron", str(tmp_path))
    tokens = indexed_dataset(tmp_path / "part-0000/tokens")
    assert np.array_equal(np.stack(tokens), np.concatenate([order.step(s).tokens for s in range(11)]))
    assert sum(len(s) for s in indexed_dataset(tmp_path / "part-0000/segments")) > 55


def test_megatron_holds_every_id_of_sixteen_bits(tmp_path: Path) -> None:
    order = made_order((40, 8, 600), vocab_size=1 << 16)
    export_order(order, "megatron", str(tmp_path), masks=False)
    tokens = np.stack(indexed_dataset(tmp_path / "part-0000/tokens"))
    assert tokens.dtype == np.dtype("<u2")
    assert tokens.max() > 65_500  # above these Megatron's own tool takes int32
    assert np.array_equal(tokens, np.concatenate([order.step(s).tokens for s in range(40)]))


def test_megatron_refuses_ids_of_more_than_31_bits(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no token type"):
        export_order(made_order((1, 1, 4), vocab_size=(1 << 31) + 1), "megatron", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# OLMo


def test_olmo(order: Order, tmp_path: Path) -> None:
    for part in export(order, "olmo", tmp_path).parts:
        folder = tmp_path / part.folder
        width = part.sequence_length + 1
        tokens = np.fromfile(folder / "tokens.npy", width_of(order, "<u2", "<u4")).reshape(-1, width)
        mask = np.fromfile(folder / "label_mask.npy", np.uint8).reshape(-1, width)
        metadata = csv_gz(folder / "tokens.csv.gz")
        for number, (rows, row) in enumerate(rows_of(order, part)):
            assert tokens[number].tolist() == rows.tokens[row].tolist()
            assert mask[number].tolist() == [0, *rows.loss_mask[row].astype(int).tolist()]
            begin = number * width
            found = [(a - begin, line) for a, _, _, _, line in metadata if begin <= a < begin + width]
            real = rows.segments[row].doc_ordinals >= 0
            starts = np.array(starts_of(rows, row))[real].tolist()
            assert found == list(zip(starts, rows.segments[row].doc_ordinals[real].tolist(), strict=True))
        assert len(tokens) == len(mask) == part.rows
        assert all(name == str(line) and source == "tokens/documents.parquet" for *_, name, source, line in metadata)
        (indices,) = (folder / "work").iterdir()
        assert indices.name == f"global_indices_dataset_size{part.rows}_epoch1_seed0_v1.npy"
        assert np.fromfile(indices, "<u4").tolist() == list(range(part.rows))


def test_olmo_refuses_more_rows_than_it_can_count(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="32 bits"):
        export_order(made_order((1, (1 << 32) - 1, 4)), "olmo", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# MDS


def test_mds(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mds_module, "SHARD_BYTES", 1000)  # several shards
    for part in export(order, "mds", tmp_path).parts:
        folder = tmp_path / part.folder
        expected = list(rows_of(order, part))
        samples = mds(folder)
        assert len(samples) == len(expected)
        for (rows, row), sample in zip(expected, samples, strict=True):
            assert set(sample) == {"tokens", "loss_mask", "segment_lengths", "step", "slot"}
            assert (sample["step"], sample["slot"]) == (rows.step, rows.slots[row])
            assert sample["tokens"].dtype.str == width_of(order, "<u2", "<u4")
            assert sample["tokens"].tolist() == rows.tokens[row].tolist()
            assert sample["loss_mask"].tolist() == rows.loss_mask[row].astype(int).tolist()
            ends = np.cumsum(np.abs(sample["segment_lengths"])).tolist()
            assert ends == [*starts_of(rows, row)[1:], part.sequence_length + 1]
        shards = json.loads((folder / "index.json").read_bytes())["shards"]
        assert len(shards) > 1
        assert all(s["raw_data"]["bytes"] <= 1000 or s["samples"] == 1 for s in shards)
        for a, b in pairwise(shards):  # none is smaller than it must be
            assert a["raw_data"]["bytes"] + b["raw_data"]["bytes"] // b["samples"] > 850


def test_mds_of_a_row_with_very_many_segments(tmp_path: Path) -> None:
    """More than 255 of them: their number takes two bytes."""
    order = made_order((1, 1, 3000))
    export_order(order, "mds", str(tmp_path))
    (sample,) = mds(tmp_path / "part-0000")
    rows = order.step(0)
    assert len(sample["segment_lengths"]) == len(starts_of(rows, 0)) > 255


# nanoset


def test_nanoset(order: Order, tmp_path: Path) -> None:
    for part in export(order, "nanoset", tmp_path).parts:
        path = tmp_path / part.folder / "00000_rows.ds"
        width = part.sequence_length + 1
        tokens = np.fromfile(path, width_of(order, "<u2", "<u4")).reshape(-1, width)
        ends = np.fromfile(f"{path}.index", "<u8").tolist()
        expected_ends: list[int] = []
        for number, (rows, row) in enumerate(rows_of(order, part)):
            assert tokens[number].tolist() == rows.tokens[row].tolist()
            expected_ends += [number * width + s for s in [*starts_of(rows, row)[1:], width]]
        assert ends == expected_ends
        assert len(tokens) == part.rows
        first, second, third = (Path(f"{path}.metadata")).read_text().split("\n")
        assert first.split("|") == [f"sha256:{order.tokenizer_sha256}", width_of(order, "2", "4")]
        assert int(second) == part.rows * width
        assert third.endswith("T")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("megatron", {"tokens.bin", "tokens.idx"}),
        ("nanoset", {"00000_rows.ds", "00000_rows.ds.metadata"}),
        ("olmo", {"tokens.npy", "tokens.csv.gz", "global_indices_dataset_size20_epoch1_seed0_v1.npy"}),
        ("mds", {"index.json", "shard.00000.mds"}),
    ],
)
def test_without_masks_the_tokens_alone(name: str, files: set[str], order: Order, tmp_path: Path) -> None:
    export(order, name, tmp_path, masks=False)
    assert {p.name for p in (tmp_path / "part-0000").rglob("*") if p.is_file()} == files
    if name == "mds":
        samples = mds(tmp_path / "part-0000")
        assert set(samples[0]) == {"tokens", "step", "slot"}
        assert np.array_equal([s["tokens"] for s in samples[:4]], order.step(0).tokens)


def tokens_in(out: Path, name: str, part: Part, dtype: str) -> np.ndarray:
    """(N, L+1) tokens of a part, by the readers above."""
    folder = out / part.folder
    if name == "megatron":
        return np.stack(indexed_dataset(folder / "tokens"))
    if name == "mds":
        return np.stack([s["tokens"] for s in mds(folder)])
    path = folder / {"olmo": "tokens.npy", "nanoset": "00000_rows.ds"}[name]
    return np.fromfile(path, dtype).reshape(-1, part.sequence_length + 1)


@settings(max_examples=20)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 20)), min_size=1, max_size=4),
    vocab_size=st.sampled_from([4, 1 << 16, (1 << 16) + 1, 1 << 31]),
    name=st.sampled_from(["megatron", "olmo", "mds", "nanoset"]),
    seed=st.integers(0, 1 << 31),
)
def test_any_order(shapes: list[tuple[int, int, int]], vocab_size: int, name: str, seed: int) -> None:
    """Sequences of one label, batches of one row, shapes that come back, ids of any size."""
    order = made_order(*shapes, vocab_size=vocab_size, seed=seed)
    with tempfile.TemporaryDirectory() as out:
        export = export_order(order, name, out)
        for part in export.parts:
            expected = np.stack([rows.tokens[row] for rows, row in rows_of(order, part)])
            dtype = "<u2" if vocab_size <= 1 << 16 else "<u4"
            assert np.array_equal(tokens_in(Path(out), name, part, dtype), expected)


def test_a_built_order(token_run: Path, tmp_path: Path) -> None:
    """Documents of real text, packed and shuffled: the same rows in every format."""
    order = Order.open(str(token_run))
    for name in ("megatron", "olmo", "mds", "nanoset"):
        counts = export_order(order, name, str(tmp_path / name)).counts
        assert (
            counts.pad_tokens
            + sum(
                int(s.num_tokens[s.doc_ordinals >= 0].sum()) for n in range(order.steps) for s in order.step(n).segments
            )
            == counts.tokens
        )
    expected = np.concatenate([order.step(n).tokens for n in range(order.steps)])
    width = expected.shape[1]
    assert np.array_equal(np.stack(indexed_dataset(tmp_path / "megatron/part-0000/tokens")), expected)
    assert np.array_equal([s["tokens"] for s in mds(tmp_path / "mds/part-0000")], expected)
    for path in ("olmo/part-0000/tokens.npy", "nanoset/part-0000/00000_rows.ds"):
        assert np.array_equal(np.fromfile(tmp_path / path, "<u2").reshape(-1, width), expected)
