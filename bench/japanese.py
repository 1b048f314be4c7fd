"""The Japanese rules side by side, on the same documents: what each removes, how far Swallow and FineWeb-2 agree.

    python bench/japanese.py RUN                      documents of a run that left `language`, all stages on all of them
    python bench/japanese.py --texts news.jsonl.gz    texts known to be good: JSON lines with `text`
    python bench/japanese.py --texts gold/ --pages pages.jsonl --repository apache/httpd

Markdown on stdout. Settings are those of recipes/japanese.yaml, edits aside.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from corpusmill.core import documents, storage
from corpusmill.pipeline import recipe
from corpusmill.pipeline.chain import document_stage
from corpusmill.pipeline.status import open_run
from corpusmill.stages.scored import ScoredStage

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "japanese.yaml"
FINEWEB_2 = ("repetition", "quality", "fineweb")
STAGES = (*FINEWEB_2, "swallow")
NO_EDITS = ("stages.swallow.footer=keep", "stages.swallow.punctuation=keep")


def documents_of_run(run: str) -> list[str]:
    """Texts of the Japanese documents that left the stage `language`."""
    chain = open_run(run)[1]
    folder = chain.folder(chain.index("language"))
    tables = [folder.read("out", shard.name, ["text", "language"]) for shard in chain.shards]
    table = pa.concat_tables(tables)
    return [row["text"] for row in table.to_pylist() if row["language"] == "ja"]


def texts_of(path: Path, pages: Path | None, repository: str) -> list[str]:
    """Texts of a JSONL file, or of a folder of main texts: those of Japanese pages of a repository."""
    if pages is None:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in lines]
    with pages.open(encoding="utf-8") as lines:
        listed = {page["id"]: page for page in map(json.loads, lines)}
    return [
        file.read_text(encoding="utf-8")
        for file in sorted(path.glob("*.txt"))
        if (page := listed.get(file.stem)) and page["lang"] == "ja" and page["repo"] == repository
    ]


def table_of(texts: Sequence[str]) -> pa.Table:
    """What the stages ask of a table of documents."""
    return pa.table(
        {
            "doc_id": pa.array([documents.doc_id("bench", i) for i in range(len(texts))], pa.string()),
            "url": pa.array([""] * len(texts), pa.string()),
            "text": pa.array(texts, pa.large_string()),
            "language": pa.array(["ja"] * len(texts), pa.string()),
        }
    )


def percent(part: int, whole: int) -> str:
    """`part` of `whole` with its share."""
    return f"{part:,} ({100 * part / max(1, whole):.1f} %)"


def main() -> None:
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--pages", type=Path)
    parser.add_argument("--repository", default="")
    arguments = parser.parse_args()
    if (arguments.run is None) == (arguments.texts is None):
        parser.error("give a run, or --texts")
    if arguments.run is not None:
        texts = documents_of_run(storage.absolute(arguments.run))
    else:
        texts = texts_of(arguments.texts, arguments.pages, arguments.repository)
    settings = recipe.load(str(RECIPE), NO_EDITS)
    table = table_of(texts)
    gone: dict[str, set[str]] = {}
    print(f"{len(texts):,} documents\n\n| stage | rule | breaks it | reported | breaks no other of the stage |")
    print("|---|---|---:|---:|---:|")
    for name in STAGES:
        stage = document_stage(name, settings.stages[name])
        assert isinstance(stage, ScoredStage)
        result = stage.process(table)
        assert result.scores is not None
        gone[name] = set(result.removed.column("doc_id").to_pylist())
        reported = result.removed.column("rule").to_pylist()
        bounds = stage.bounds("ja")
        broken = np.array([bound.broken_by(result.scores.column(bound.score).to_numpy()) for bound in bounds])
        alone = broken & (broken.sum(axis=0) == 1)
        print(f"| **{name}** | | {percent(len(gone[name]), len(texts))} | | |")
        for bound, breaks, only in zip(bounds, broken.sum(axis=1), alone.sum(axis=1), strict=True):
            if breaks:
                print(
                    f"| | `{bound.rule}` | {percent(int(breaks), len(texts))} | {reported.count(bound.rule)} | {only} |"
                )
    fineweb, swallow = set().union(*(gone[name] for name in FINEWEB_2)), gone["swallow"]
    print("\n| | Swallow removes | Swallow keeps |\n|---|---:|---:|")
    print(f"| FineWeb-2 removes | {len(fineweb & swallow):,} | {len(fineweb - swallow):,} |")
    print(f"| FineWeb-2 keeps | {len(swallow - fineweb):,} | {len(texts) - len(fineweb | swallow):,} |")


if __name__ == "__main__":
    main()
