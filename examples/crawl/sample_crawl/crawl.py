"""From captures to files: which WARC each goes into, in which order, and the truth file beside them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .articles import load_articles
from .chance import rank, shuffled
from .plan import plan_captures
from .records import Capture, WarcFile, save

NUM_WARC_FILES = 4
FILE_WITH_DAMAGE = 1
FILE_CUT_SHORT = 2
TRUTH_COLUMNS = (
    *("warc_file", "offset", "length", "url", "record_type", "kind", "language", "source"),
    *("original_url", "variant", "passage", "expected"),
)


@dataclass(frozen=True)
class Summary:
    """What was built. `kinds` counts records by kind; `num_bytes` is the size of the WARC files."""

    warc_files: tuple[Path, ...]
    truth_file: Path
    num_records: int
    num_responses: int
    num_bytes: int
    kinds: dict[str, int]


def build(out_dir: Path) -> Summary:
    """Write `out_dir`/CC-MAIN-*.warc.gz and `out_dir`/truth.jsonl.

    The same sources give the same bytes. Offsets and lengths in the truth file are bytes of the compressed file;
    a record cut short has the length of what is left of it.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    files = []
    for index, captures in enumerate(_deal(plan_captures(load_articles()))):
        warc = WarcFile(f"CC-MAIN-20260901000000-20260901030000-{index:05d}.warc.gz")
        for capture in captures:
            warc.add(capture, with_metadata=rank(f"metadata/{capture.url}") % 3 == 0)
        files.append(warc)
    entries = [{column: entry.get(column) for column in TRUTH_COLUMNS} for warc in files for entry in warc.truth]
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries]
    truth_file = out_dir / "truth.jsonl"
    save(truth_file, "".join(lines).encode())
    return Summary(
        warc_files=tuple(warc.save(out_dir) for warc in files),
        truth_file=truth_file,
        num_records=len(entries),
        num_responses=sum(entry["record_type"] == "response" for entry in entries),
        num_bytes=sum(len(warc.data) for warc in files),
        kinds=dict(sorted(Counter(str(entry["kind"]) for entry in entries).items())),
    )


def _deal(captures: list[Capture]) -> list[list[Capture]]:
    """Spread the captures over the files; the damaged one stands in the middle of its file, the cut one last."""
    whole = [capture for capture in captures if capture.harm not in ("flip", "cut")]
    mixed = shuffled(whole, "deal", lambda capture: f"{capture.url} {capture.kind}")
    files = [mixed[index::NUM_WARC_FILES] for index in range(NUM_WARC_FILES)]
    for capture in captures:
        if capture.harm == "flip":
            files[FILE_WITH_DAMAGE].insert(len(files[FILE_WITH_DAMAGE]) // 2, capture)
        elif capture.harm == "cut":
            files[FILE_CUT_SHORT].append(capture)
    return files
