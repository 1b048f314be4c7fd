"""Memory of a worker on a large WARC, and whether it slows down on the way.

    python bench/memory.py [--recipe recipes/fineweb.yaml] [--bytes 1073741824]

Makes a WARC of --bytes bytes (compressed, a gzip member a record, the size that Common Crawl's files have) out of the
pages of --data: all of them again and again, each time under URLs and record ids of their own. Then `corpusmill run`
with one worker takes it through the document stages of --recipe, in ten slices (of 102 MiB where the WARC has 1 GiB;
the default is 64 MiB, so memory is no less than usual). Every half second the resident memory of the Ray worker and of
the sandboxes that it started is read from /proc.

Printed: the peak of worker and sandboxes together (memory that they share counts twice), of each alone, and for each
slice pages per second, of the time that its stages took and by the clock (the first one with Ray's start). Targets:
below 1.5 GiB, and a last tenth that is as fast as the first. Exit code 1 when it took more memory.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import shutil
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kill_run import descendants
from side_by_side import CACHE, DATA, machine, table
from warcio.archiveiterator import ArchiveIterator

from corpusmill.core.artifacts import StageFolder
from corpusmill.pipeline import recipe
from corpusmill.pipeline.registry import DOCUMENT_STAGES

REPOSITORY = Path(__file__).resolve().parent.parent
TENTHS = 10
LIMIT_BYTES = 3 << 29  # 1.5 GiB
SAMPLE_SECONDS = 0.5
GZIP_LEVEL = 6
_TASK = "ray::run_document_job"
_SPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # of URLs, RFC 4122


def records(data: Path) -> list[tuple[str, str, bytes]]:
    """Target URI, date and HTTP block of every response record."""
    found = []
    for path in sorted((data / "warc").glob("*.warc.gz")):
        with path.open("rb") as file:
            for record in ArchiveIterator(file, no_record_parse=True):
                if record.rec_type == "response":
                    headers = record.rec_headers
                    uri, date = headers.get_header("WARC-Target-URI"), headers.get_header("WARC-Date")
                    found.append((uri, date, record.raw_stream.read()))
    return found


def renamed(uri: str, copy: int) -> str:
    """A URL of its own for each copy."""
    return f"{uri}{'&' if '?' in uri else '?'}copy={copy}"


def build(data: Path, path: Path, size_bytes: int) -> int:
    """Writes the WARC unless it is there; number of its records."""
    count_path = path.with_suffix(".records")
    if path.exists() and count_path.exists():
        return int(count_path.read_text())
    pages = records(data)
    written = 0
    with path.open("wb") as out:
        while out.tell() < size_bytes:
            uri, date, block = pages[written % len(pages)]
            uri = renamed(uri, written // len(pages))
            head = (
                "WARC/1.0\r\nWARC-Type: response\r\n"
                f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(_SPACE, uri)}>\r\nWARC-Target-URI: {uri}\r\n"
                f"WARC-Date: {date}\r\nContent-Type: application/http; msgtype=response\r\n"
                f"Content-Length: {len(block)}\r\n\r\n"
            )
            out.write(gzip.compress(head.encode() + block + b"\r\n\r\n", GZIP_LEVEL, mtime=0))
            written += 1
    count_path.write_text(str(written))
    return written


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (FileNotFoundError, ProcessLookupError):
        return 0


def samples(command: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    """Runs the command; every half second the bytes of its worker and of each process below that one."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        for worker in descendants(process.pid):
            if worker.command.startswith(_TASK):
                yield resident_bytes(worker.pid), [resident_bytes(p.pid) for p in descendants(worker.pid)]
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        sys.exit(f"error: the run failed with exit code {process.returncode}")


@dataclass(frozen=True)
class Tenth:
    """One slice: pages read, documents kept at the end, seconds of its stages, seconds since the slice before it."""

    pages: int
    kept: int
    stage_seconds: float
    wall_seconds: float


def tenths(run: Path) -> list[Tenth]:
    """The slices in the order in which they were done."""
    seconds: dict[str, float] = defaultdict(float)
    done_at: dict[str, datetime] = {}
    with (run / "events.jsonl").open(encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    for event in events:
        if event["event"] == "task":
            seconds[event["task"]] += event["seconds"]
            done_at[event["task"]] = datetime.fromisoformat(event["time"])
    stages = recipe.load(str(run / "resolved.yaml")).stages
    last = [name for name in stages if name in DOCUMENT_STAGES][-1]
    before = datetime.fromisoformat(events[0]["time"])
    found = []
    for shard in sorted(done_at, key=lambda shard: done_at[shard]):
        read, kept = (StageFolder(str(run), name).manifest(shard) for name in ("warc", last))
        assert read is not None
        assert kept is not None
        wall = (done_at[shard] - before).total_seconds()
        found.append(Tenth(read.counts.kept.documents, kept.counts.kept.documents, seconds[shard], wall))
        before = done_at[shard]
    return found


def mebibytes(size: int) -> str:
    """`size` bytes in MiB."""
    return f"{size / (1 << 20):,.0f} MiB"


def main() -> int:
    """Builds the WARC, runs the chain, prints memory and speed; exit code 1 above the memory target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=1 << 30, help="size of the WARC, compressed; default: 1 GiB")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=CACHE / "memory", help="the WARC stays there for the next call")
    parser.add_argument("--recipe", default=str(REPOSITORY / "recipes" / "fineweb.yaml"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.work / f"repeated-{arguments.bytes}.warc.gz"
    number = build(arguments.data, path, arguments.bytes)
    size = path.stat().st_size

    stages = recipe.load(arguments.recipe, arguments.overrides).stages
    last = [name for name in stages if name in DOCUMENT_STAGES][-1]
    run = arguments.work / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "corpusmill", "run", arguments.recipe, "--input", str(path), "--out", str(run)]
    command += ["--workers", "1", "--until", last, "--quiet"]
    for override in (*arguments.overrides, f"stages.warc.slice_bytes={size // TENTHS}"):
        command += ["--set", override]
    print(f"{machine()}; a WARC of {mebibytes(size)} (gzip) with {number:,} pages\n")
    peak = peak_worker = peak_sandboxes = 0
    for worker, sandboxes in samples(command):
        peak = max(peak, worker + sum(sandboxes))
        peak_worker = max(peak_worker, worker)
        peak_sandboxes = max(peak_sandboxes, sum(sandboxes))

    slices = tenths(run)
    rows = [
        [
            str(i),
            f"{tenth.pages:,}",
            f"{tenth.kept:,}",
            f"{tenth.pages / tenth.stage_seconds:.1f}",
            f"{tenth.pages / tenth.wall_seconds:.1f}",
        ]
        for i, tenth in enumerate(slices, 1)
    ]
    print(table(["tenth", "pages", "kept", "pages/s in the stages", "pages/s by the clock"], rows, text_columns=0))
    print(f"\npeak of the worker with its sandboxes: {mebibytes(peak)} (target: below {mebibytes(LIMIT_BYTES)})")
    print(f"peak of the worker {mebibytes(peak_worker)}, of its sandboxes {mebibytes(peak_sandboxes)}")
    return int(peak >= LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
