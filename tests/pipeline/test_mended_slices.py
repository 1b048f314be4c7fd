"""Slices that begin at a false record start are read again, and stay mended in whatever is run later."""

from __future__ import annotations

from pathlib import Path

import pytest
import sample_runs

from corpusmill.core import storage
from corpusmill.pipeline.runner import Selection, rerun_stage, run_recipe
from corpusmill.pipeline.status import status

SLICE_BYTES = 65_536
UNTIL = Selection(last="extract")


def _record(url: str, html: bytes) -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + html
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: 2026-09-01T00:00:00Z\r\n"
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"WARC-Target-URI: {url}\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http + b"\r\n\r\n"


def _page(word: str) -> bytes:
    sentence = f"The {word} of the garden is that the river brings it water in all the weeks of the summer. "
    return f"<html><body><article><p>{sentence * 12}</p></article></body></html>".encode()


@pytest.fixture
def warc(tmp_path: Path) -> Path:
    """Four true records; one is a page that quotes 250 whole records."""
    quoted = b"".join(_record(f"https://quoted.example/{i}", _page("quotation")) for i in range(250))
    assert len(quoted) > 3 * SLICE_BYTES
    pages = [(f"https://true.example/{i}", _page(f"story{i}")) for i in range(3)]
    records = [
        _record(*pages[0]),
        _record(*pages[1]),
        _record("https://true.example/archive", quoted),
        _record(*pages[2]),
    ]
    path = tmp_path / "quoting.warc"
    path.write_bytes(b"".join(records))
    return path


def _extracted(run: Path) -> list[str]:
    return sorted(row["url"] for row in sample_runs.rows(run, "extract", "out"))


def _manifests(run: Path) -> dict[str, bytes]:
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in run.glob("stages/*/*/*") if p.is_file()}


@pytest.mark.usefixtures("ray_session")
def test_quoted_records_are_no_documents(tmp_path: Path, warc: Path) -> None:
    run = tmp_path / "run"
    recipe = sample_runs.load(f"stages.warc.slice_bytes={SLICE_BYTES}")
    run_recipe(recipe, str(run), [str(warc)], UNTIL, workers=2, quiet=True)
    chain = sample_runs.chain(run)
    assert len(chain.shards) > 3
    assert status(str(run)).stages[0].counts.into.documents == 4
    assert [u for u in _extracted(run) if "quoted" in u] == []
    assert {f"https://true.example/{i}" for i in range(3)} <= set(_extracted(run))
    mended = _manifests(run)

    # A stage that reads the WARC again must begin where the mended slice did.
    rerun_stage(str(run), "url_filter", [], force=True, quiet=True)
    rerun_stage(str(run), "extract", [], force=True, quiet=True)
    assert _manifests(run) == mended

    # A run that was stopped before the slices were mended is mended when it goes on.
    from corpusmill.pipeline.document_tasks import DocumentJob, run_document_job

    for shard in chain.shards:
        run_document_job(DocumentJob(chain, shard, 0, 3))
    assert _manifests(run) != mended, "the quoted records look like records"
    run_recipe(recipe, str(run), [str(warc)], UNTIL, workers=2, quiet=True)
    assert _manifests(run) == mended
    assert storage.exists(str(run / "stages" / "extract" / "manifest.json"))
