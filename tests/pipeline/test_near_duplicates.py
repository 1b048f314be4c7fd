"""The report of `minhash`: its largest buckets and clusters, the sources that lost most, and what is warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dedup_tables import doc_id, document
from step_runs import InProcess, Killed, refine, run_of

from corpusmill.core import storage
from corpusmill.core.artifacts import Counts, Tally
from corpusmill.pipeline import near_duplicates
from corpusmill.pipeline.alarms import Alarm, alarms
from corpusmill.pipeline.chain import Chain


def own(number: int) -> str:
    return " ".join(f"w{number}x{i}" for i in range(20))


def crawl() -> list[dict[str, Any]]:
    """210 documents of `copies.example`, all but two of them copies; 250 of `fair.example`, of which 10 are copies."""
    texts = [own(0)] * 150 + [own(1)] * 59 + [own(2)]
    rows = [document(n, text) | {"domain": "copies.example"} for n, text in enumerate(texts)]
    texts = [own(3)] * 10 + [own(n) for n in range(10, 250)]
    return rows + [document(300 + n, text) | {"domain": "fair.example"} for n, text in enumerate(texts)]


def report(chain: Chain) -> list[dict[str, Any]]:
    table = near_duplicates.read_report(chain, 1)
    assert table is not None
    assert table.schema.remove_metadata() == near_duplicates.REPORT
    return table.to_pylist()  # type: ignore[no-any-return]


def warnings(chain: Chain, **config: Any) -> list[Alarm]:
    step = chain.steps[1]
    changed = type(step)(step.name, True, {**step.config, **config}, step.fingerprint, True)
    counts = Counts(into=Tally(documents=460), kept=Tally(documents=460))
    return alarms(Chain(chain.run, (chain.steps[0], changed), chain.shards), 1, counts, {})


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = run_of(tmp_path_factory.mktemp("run"), "minhash", 3, 4, crawl(), bands=4)
    refine(chain, InProcess())
    return chain


def test_the_largest_are_named(chain: Chain) -> None:
    rows = report(chain)
    buckets = [row for row in rows if row["kind"] == "bucket"]
    assert [row["documents"] for row in buckets] == [150] * 4 + [59] * 4 + [10] * 4
    assert len({row["name"] for row in buckets}) == 12
    assert {len(row["name"]) for row in buckets} == {32}
    # The first in the order of the shards: every third document is in the first of three.
    assert {tuple(row["examples"]) for row in buckets[:4]} == {(doc_id(0), doc_id(3), doc_id(6))}
    clusters = [(row["name"], row["documents"], row["removed"]) for row in rows if row["kind"] == "cluster"]
    assert clusters == [(doc_id(0), 150, 149), (doc_id(150), 59, 58), (doc_id(300), 10, 9)]
    sources = [(row["name"], row["documents"], row["removed"]) for row in rows if row["kind"] == "source"]
    assert sources == [("copies.example", 210, 207), ("fair.example", 250, 9)]


def test_the_report_does_not_depend_on_partitions_or_kills(chain: Chain, tmp_path: Path) -> None:
    path = "stages/minhash/report.parquet"
    expected = storage.read_bytes(f"{chain.run}/{path}")
    other = run_of(tmp_path / "other", "minhash", 3, 1, crawl(), bands=4, max_edges=0)
    whole = InProcess()
    refine(other, whole)
    assert (tmp_path / "other" / path).read_bytes() == expected
    for last in (len(whole.ran) - 1, len(whole.ran) - 3):  # in the report, and before its first task
        run = run_of(tmp_path / str(last), "minhash", 3, 1, crawl(), bands=4, max_edges=0)
        with pytest.raises(Killed):
            refine(run, InProcess(last))
        assert near_duplicates.read_report(run, 1) is None
        refine(run, InProcess())
        assert (tmp_path / str(last) / path).read_bytes() == expected


def test_a_report_of_other_settings_is_none(chain: Chain) -> None:
    step = chain.steps[1]
    other = type(step)(step.name, True, step.config, "another", True)
    assert near_duplicates.read_report(Chain(chain.run, (chain.steps[0], other), chain.shards), 1) is None


def test_a_source_that_loses_much_is_a_warning_that_names_the_setting(chain: Chain) -> None:
    (alarm,) = warnings(chain)
    assert (alarm.rule, alarm.documents_in, alarm.removed, alarm.expected) == ("source", 210, 207, 0.8)
    assert "minhash removed 98.6 % of the 210 documents of copies.example; expected are at most 80 %" in alarm.message
    assert "Domains above it: 1" in alarm.message
    assert alarm.setting == "stages.minhash.max_source_loss"
    assert alarm.setting in alarm.message
    assert warnings(chain, max_source_loss=0.99) == []


def test_large_buckets_and_clusters_are_warnings(chain: Chain) -> None:
    bucket, cluster = warnings(chain, max_source_loss=1.0, large_bucket=58, large_cluster=149)
    assert (bucket.rule, bucket.removed, bucket.setting) == ("bucket", 150, "stages.minhash.large_bucket")
    assert f"a bucket of 150 documents: {report(chain)[0]['name']} ({doc_id(0)}, " in bucket.message
    assert "Buckets of more than 58: 8" in bucket.message
    assert (cluster.rule, cluster.documents_in, cluster.setting) == ("cluster", 460, "stages.minhash.large_cluster")
    assert f"a cluster of 150 documents: {doc_id(0)}. Clusters of more than 149: 1" in cluster.message
