from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.tokenize import sample
from corpusmill.tokenize.sample import documents, rank, take

Row = tuple[str, str, str]  # doc_id, language, text


def write(folder: Path, *files: Sequence[Row]) -> list[str]:
    paths = []
    for number, rows in enumerate(files):
        paths.append(str(folder / f"{number}.parquet"))
        columns = {name: [row[i] for row in rows] for i, name in enumerate(("doc_id", "language", "text"))}
        types = {"doc_id": pa.string(), "language": pa.string(), "text": pa.large_string()}
        storage.write_parquet(paths[-1], pa.table({n: pa.array(v, types[n]) for n, v in columns.items()}))
    return paths


def smallest(rows: Sequence[Row], budget: int) -> list[str]:
    """doc_ids by definition: in order of rank until the bytes are reached."""
    chosen, total = [], 0
    for doc_id, _, text in sorted((row for row in rows if row[2]), key=lambda row: (rank(row[0]), row[0])):
        if total >= budget:
            break
        chosen.append(doc_id)
        total += len(text.encode())
    return chosen


ROWS = [(f"d{i}", "ja" if i % 3 == 0 else "en", "é" * (i * 7 % 13)) for i in range(60)]


@given(
    rows=st.lists(st.tuples(st.sampled_from(["en", "ja", "de"]), st.text(max_size=9)), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    budget=st.integers(1, 300),
    shuffled=st.randoms(use_true_random=False),
)
def test_the_sample_is_that_of_the_definition_however_files_are_cut(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    cuts: list[int],
    budget: int,
    shuffled: object,
) -> None:
    named = [(f"d{i}", language, text) for i, (language, text) in enumerate(rows)]
    mixed = list(named)
    shuffled.shuffle(mixed)  # type: ignore[attr-defined]
    ends = sorted({0, len(mixed), *(min(cut, len(mixed)) for cut in cuts)})
    files = write(tmp_path_factory.mktemp("s"), *(mixed[a:b] for a, b in pairwise(ends)))
    taken = take(files, budget)
    assert [document.doc_id for document in taken.documents] == smallest(named, budget)
    texts = {doc_id: (doc_id, language, text) for doc_id, language, text in named}
    assert all(tuple(document) == texts[document.doc_id] for document in taken.documents)


def test_every_language_has_its_share(tmp_path: Path) -> None:
    files = write(tmp_path, ROWS[:20], ROWS[20:])
    taken = take(files, 120, {"ja": Fraction(1, 3), "en": Fraction(2, 3)})
    for language, budget in (("ja", 40), ("en", 80)):
        own = [row for row in ROWS if row[1] == language]
        found = [document.doc_id for document in taken.documents if document.language == language]
        assert found == smallest(own, budget)
        assert budget <= taken.bytes[language] < budget + 24
    ranks = [rank(document.doc_id) for document in taken.documents]
    assert ranks == sorted(ranks)
    assert taken.scarce is None


def test_shares_hold_where_a_language_has_too_little(tmp_path: Path) -> None:
    rows = [("j", "ja", "日" * 10), *((f"e{i}", "en", "abcde") for i in range(100))]
    taken = take(write(tmp_path, rows), 10_000, {"ja": Fraction(1, 4), "en": Fraction(3, 4)})
    assert taken.scarce == "ja"
    assert taken.bytes == {"ja": 30, "en": 90}
    assert taken.seen_bytes == {"ja": 30, "en": 500}


def test_reading_is_bounded_by_the_sample_and_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path, [(f"d{i}", "en", "x" * 100) for i in range(4000)])
    held = []
    add = sample._Smallest.add

    def counting(self: sample._Smallest, *arguments: object) -> None:
        add(self, *arguments)  # type: ignore[arg-type]
        held.append(sum(entry.size for entry in self.entries))

    monkeypatch.setattr(sample._Smallest, "add", counting)
    assert len(take(files, 1000).documents) == 10
    assert max(held) <= 1000
    assert len(held) < 200  # texts that are not taken are not even decoded


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    storage.write_parquet(path, pa.table({"doc_id": ["a"], "text": ["b"]}))
    assert [document.language for document in take([path], 9).documents] == [""]
    with pytest.raises(InputError, match="lacks a column") as caught:
        take([path], 9, {"ja": Fraction(1)})
    assert caught.value.value == "language"


def test_documents_are_all_or_a_sample(tmp_path: Path) -> None:
    files = write(tmp_path, ROWS[:20], ROWS[20:])
    everything = [document for batch in documents(files, 0) for document in batch]
    assert [tuple(document) for document in everything] == [row for row in ROWS if row[2]]
    some = [document.doc_id for batch in documents(files, 99) for document in batch]
    assert some == smallest(ROWS, 99)
