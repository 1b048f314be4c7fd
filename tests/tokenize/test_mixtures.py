"""Several sources, phases, lengths and batches: equal to the oracle, and extended without a change to the past."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from order_checks import assert_equals_the_oracle, roots_of, table_of
from synthetic import lengths_of, write_tokens

from corpusmill.core.errors import ConfigError
from corpusmill.tokenize.order import OrderSummary, build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.packing import PAD
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.verify import verify_order

SIZES = {"en": lengths_of(1, 60, 90), "ja": lengths_of(2, 45, 70), "code": lengths_of(3, 20, 200)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_tokens(tmp_path, SIZES)
    return tmp_path


def config_of(*phases: dict[str, Any], **changes: object) -> OrderConfig:
    body = {"key": "k", "sequence_length": 16, "batch_size": 6, "block_sequences": 12, "phases": list(phases)}
    return OrderConfig.model_validate(body | changes)


def build(run: Path, config: OrderConfig, name: str = "order") -> OrderSummary:
    return build_order(str(run / "tokens"), str(run / name), config)


def rule_of(run: Path, name: str = "order") -> Rule:
    return Rule.model_validate_json((run / name / "rule.json").read_bytes())


def sequences_by_source(table: pa.Table) -> Counter[str]:
    rows = table.select(["source", "segment"]).to_pylist()
    return Counter(r["source"] for r in rows if r["segment"] == 0)


@pytest.mark.parametrize("shuffle", [{}, {"shuffle": "window", "chunk_sequences": 5, "window_chunks": 3}])
@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_phases_equal_the_oracle(run: Path, packing: str, shuffle: dict[str, Any]) -> None:
    """Two blends, a new source, another length in the middle of an epoch, another batch, back again, several epochs."""
    summary = build(
        run,
        config_of(
            {"steps": 9, "sources": {"en": 1, "ja": 1}},
            {"steps": 4, "sources": {"en": "9/10", "ja": 0.1}, "batch_size": 10},
            {"steps": 7, "sources": {"ja": 2, "en": 1, "code": 1}, "sequence_length": 40, "batch_size": 4},
            {"steps": 30, "sources": {"code": 1, "en": 3}, "sequence_length": 24},
            {"steps": 20, "sources": {"en": 1, "ja": 3}},
            packing=packing,
            **shuffle,
        ),
    )
    assert_equals_the_oracle(run, summary)
    checks = verify_order(str(run), "full")
    assert all(c.ok for c in checks), [c for c in checks if not c.ok]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "steps": st.integers(1, 12),
                "batch_size": st.integers(1, 9),
                "sequence_length": st.sampled_from([8, 16, 33]),
                "sources": st.dictionaries(st.sampled_from(sorted(SIZES)), st.integers(1, 5), min_size=1),
            }
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["concatenate", "best_fit"]),
)
def test_any_phases_equal_the_oracle(run: Path, phases: list[dict[str, Any]], packing: str) -> None:
    assert_equals_the_oracle(run, build(run, config_of(*phases, packing=packing)))


@pytest.mark.parametrize(("weights", "shares"), [((1, 1), (0.5, 0.5)), ((90, 10), (0.9, 0.1))])
def test_shares_of_a_phase(run: Path, weights: tuple[int, int], shares: tuple[float, float]) -> None:
    build(run, config_of({"steps": 50, "sources": dict(zip(("ja", "en"), weights, strict=True))}))
    rows = [r for r in table_of(run).to_pylist() if r["segment"] == 0]
    counts = np.zeros(2)
    for number, row in enumerate(rows, start=1):
        counts[("ja", "en").index(row["source"])] += 1
        assert np.all(np.abs(counts - number * np.array(shares)) < 1)


def test_every_token_is_a_label_once_an_epoch_whatever_the_phases(run: Path) -> None:
    """The length changes twice within the first epoch; the last step of the order is the first epoch's last."""
    phases = [
        {"steps": 12, "sources": {"en": 1}, "batch_size": 1},
        {"steps": 3, "sources": {"en": 1}, "batch_size": 1, "sequence_length": 40},
        {"steps": None, "sources": {"en": 1}, "batch_size": 1, "sequence_length": 9},
    ]
    for packing in ("concatenate", "best_fit"):
        build(run, config_of(*phases, packing=packing))
        assert {p.sources[0].first_epoch for p in rule_of(run).phases} == {0}
        seen: Counter[tuple[int, int]] = Counter()
        for row in table_of(run).to_pylist():
            if not row["flags"] & PAD:
                start = row["doc_token_start"]
                seen.update((row["doc_ordinal"], t) for t in range(start + 1, start + row["num_tokens"]))
        expected = {(d, t) for d, length in enumerate(SIZES["en"]) for t in range(1, length)}
        assert set(seen) == expected
        assert set(seen.values()) == {1}


def test_a_phase_of_the_same_length_goes_on_where_the_last_one_ended(run: Path) -> None:
    build(run, config_of({"steps": 7, "sources": {"en": 1}}, {"steps": 6, "sources": {"en": 1}}), "two")
    build(run, config_of({"steps": 13, "sources": {"en": 1}}), "one")
    assert roots_of(run, "two") == roots_of(run, "one")


def test_an_interrupted_source_goes_on(run: Path) -> None:
    phases = [
        {"steps": 3, "sources": {"en": 1}},
        {"steps": 5, "sources": {"ja": 1}},
        {"steps": 4, "sources": {"en": 1}},
    ]
    build(run, config_of(*phases), "parted")
    build(run, config_of({"steps": 7, "sources": {"en": 1}}), "whole")
    parted, whole = roots_of(run, "parted"), roots_of(run, "whole")
    assert parted[:3] + parted[8:] == whole


FIRST = {"steps": 9, "sources": {"en": 3, "ja": 1}}


@pytest.mark.parametrize(
    "extended",
    [
        [FIRST | {"steps": 40}],
        [FIRST, {"steps": 5, "sources": {"ja": 1}, "sequence_length": 32, "batch_size": 2}],
        [FIRST, {"steps": 60, "sources": {"en": 1, "ja": 1}}],
    ],
    ids=["steps", "phase", "epochs"],
)
def test_extending_leaves_the_past(run: Path, extended: list[dict[str, Any]]) -> None:
    before = build(run, config_of(FIRST), "before")
    after = build(run, config_of(*extended), "after")
    assert roots_of(run, "after")[:9] == roots_of(run, "before")
    assert before.order_root != after.order_root
    assert table_of(run, "after").slice(0, before.rows).equals(table_of(run, "before"))


def test_a_source_that_is_added_leaves_the_past(tmp_path: Path) -> None:
    more = {**SIZES, "books": lengths_of(9, 30, 300)}
    for name, sizes, phases in (
        ("before", SIZES, [FIRST]),
        ("after", more, [FIRST, {"steps": 8, "sources": {"books": 1, "en": 1}}]),
    ):
        write_tokens(tmp_path / name, sizes)
        build(tmp_path / name, config_of(*phases))
    before, after = (roots_of(tmp_path / name, "order") for name in ("before", "after"))
    assert after[:9] == before
    assert set(table_of(tmp_path / "after").column("source").to_pylist()) == {"en", "ja", "books"}


def test_without_sources_all_are_read_in_proportion(run: Path) -> None:
    build(run, config_of({}))
    sizes = {use.name: use.epoch_sequences for use in rule_of(run).phases[0].sources}
    taken = sequences_by_source(table_of(run))
    total = sum(sizes.values())
    steps = rule_of(run).steps
    assert steps == total // 6  # nothing but the tail is left over
    for name, size in sizes.items():
        assert abs(taken[name] - steps * 6 * size / total) < 1


def test_steps_are_as_many_as_the_epochs_allow(run: Path) -> None:
    phases = [{"steps": 5, "sources": {"ja": 1}}, {"sources": {"ja": 1, "en": 1}, "epochs": 2}]
    summary = build(run, config_of(*phases))
    use = next(u for u in rule_of(run).phases[1].sources if u.name == "ja")
    taken = sequences_by_source(table_of(run))["ja"]
    assert taken <= 2 * use.epoch_sequences < taken + 2 * 6
    assert set(table_of(run).column("epoch").to_pylist()) == {0, 1}
    more = [phases[0], phases[1] | {"steps": summary.steps - 5 + 1}]
    with pytest.raises(ConfigError, match=r"'ja' has \d+ sequences left") as caught:
        build(run, config_of(*more))
    assert f"at most {summary.steps - 5}" in caught.value.remedy


def test_a_source_without_a_sequence_is_refused(tmp_path: Path) -> None:
    write_tokens(tmp_path, {"en": [50] * 30, "tiny": [1]})
    with pytest.raises(ConfigError, match="'tiny' has 1 documents and makes no sequence"):
        build(tmp_path, config_of({"steps": 2, "sources": {"en": 1, "tiny": 1}}))


@pytest.mark.parametrize("weight", [0, -1, "x", "1/0"])
def test_weights_are_above_nought(weight: object) -> None:
    with pytest.raises(ValueError, match="a weight is a number above 0"):
        config_of({"steps": 2, "sources": {"en": weight}})


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_uses_of_a_document_are_its_rows_of_the_table(run: Path, packing: str) -> None:
    phases = [
        {"steps": 12, "sources": {"en": 1, "ja": 2}},
        {"steps": 12, "sources": {"ja": 1, "code": 1}, "sequence_length": 50, "batch_size": 5},
        {"steps": 20, "sources": {"ja": 1, "en": 1}},
    ]
    build(run, config_of(*phases, packing=packing))
    derivation = Order.open(str(run)).derivation()
    rows: dict[int, list[tuple[int, ...]]] = {}
    keys = ("step", "slot", "phase", "epoch", "doc_token_start", "num_tokens", "flags")
    for row in table_of(run).to_pylist():
        rows.setdefault(row["doc_ordinal"], []).append(tuple(row[k] for k in keys))
    for ordinal in range(sum(map(len, SIZES.values()))):
        assert derivation.uses(ordinal) == rows.get(ordinal, [])
