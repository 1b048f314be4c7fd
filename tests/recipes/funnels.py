"""The golden funnels: what every recipe makes of the built-in sample crawl, stage by stage.

    python tests/recipes/funnels.py [NAME ...]

writes them anew, after a change that is meant to change them. Look at the difference before you commit it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from corpusmill.core.artifacts import Counts
from corpusmill.dedup.local import run_step
from corpusmill.pipeline import inputs, recipe
from corpusmill.pipeline.chain import Chain, corpus_step
from corpusmill.pipeline.document_tasks import DocumentJob, run_document_job, tally

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent.parent / "recipes"
NAMES = tuple(path.stem for path in sorted(HERE.glob("*.json")))

Funnel = dict[str, dict[str, Any]]


def funnel(name: str, folder: Path) -> Funnel:
    """Runs `recipes/<name>.yaml` on the sample crawl, in this process, down to the refined corpus.

    Returns:
        By stage: documents in and kept, removed by rule, quarantined by reason.
    """
    resolved = recipe.load(str(RECIPES / f"{name}.yaml"), ["tokenizer=null", "order=null", "train=null"])
    paths = inputs.build_sample(str(folder))
    shards = inputs.plan_shards(paths, resolved.crawl, int(resolved.stages["warc"]["slice_bytes"]))
    chain = Chain.of(str(folder / name), resolved, shards)
    counted: dict[str, Counts] = {}
    for shard in shards:
        for done in run_document_job(DocumentJob(chain, shard, 0, chain.documents_end)):
            counted[done.stage] = counted.get(done.stage, Counts()) + done.counts
    tables = [chain.kept(chain.documents_end - 1, shard.name) for shard in shards]
    for step in chain.steps[chain.documents_end :]:
        results = run_step(corpus_step(step.name, step.config), tables)
        counts = (
            Counts.of(table.num_rows, 0, tally(result.kept), result.removed, result.quarantined)
            for table, result in zip(tables, results, strict=True)
        )
        counted[step.name] = sum(counts, start=Counts())
        tables = [result.kept for result in results]
    return {stage: _documents(counts) for stage, counts in counted.items()}


def golden(name: str) -> Funnel:
    """The funnel as it was last looked at."""
    stored: Funnel = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return stored


def _documents(counts: Counts) -> dict[str, Any]:
    return {
        "in": counts.into.documents,
        "kept": counts.kept.documents,
        "removed": {rule: tally.documents for rule, tally in sorted(counts.removed.items())},
        "quarantined": {reason: tally.documents for reason, tally in sorted(counts.quarantined.items())},
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for one in sys.argv[1:] or NAMES:
            text = json.dumps(funnel(one, Path(scratch)), indent=1)
            (HERE / f"{one}.json").write_text(text + "\n", encoding="utf-8")
