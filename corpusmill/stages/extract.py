"""From response records to documents: the main text of every page, in a sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal

import pyarrow as pa
from pydantic import Field

from corpusmill.core import documents
from corpusmill.core.hashing import content_hash
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages import main_text
from corpusmill.stages.base import DocumentStage, StageConfig
from corpusmill.stages.sandbox import Failure, Limits, Sandbox

_LIBRARIES = ("trafilatura", "lxml", "justext")
_TARGET = "corpusmill.stages.main_text:extract_page"


class ExtractConfig(StageConfig):
    """How the main text is found, and what one page may cost."""

    focus: Literal["balance", "precision", "recall"] = "balance"
    """Trafilatura's trade: `precision` less text but cleaner, `recall` more when unsure."""
    include_tables: bool = True
    include_comments: bool = False
    """Readers' comments below an article."""
    include_formatting: bool = False
    """Markdown for headings, lists and emphasis."""
    fast: bool = False
    """Trafilatura's own rules alone, without a second extractor to compare with."""
    remove_urls: bool = True
    """RefinedWeb's rule; see main_text.py for what a URL is."""
    max_html_bytes: int = Field(default=20 << 20, gt=0)
    """Larger bodies (with some 30 bytes for their charset) are quarantined unseen (`size_limit`)."""
    cpu_seconds: float = Field(default=30.0, gt=0)
    """CPU time of one page (`cpu_limit`)."""
    memory_bytes: int = Field(default=4 << 30, ge=512 << 20)
    """Address space of the extracting process (`memory_limit`)."""


class ExtractStage(DocumentStage[ExtractConfig]):
    """RECORD rows in, DOCUMENT rows out.

    Removes, under `no_text`, pages in which trafilatura finds nothing. Quarantines pages that the extractor could not
    deal with, under the reasons of sandbox.Failure. The text is left as it was extracted: valid UTF-8 without control
    characters, not normalised.
    """

    name = "extract"
    version = 1
    packages = ("trafilatura", "lxml", "jusText")
    Config = ExtractConfig
    output_schema = documents.DOCUMENT

    def __init__(self, config: ExtractConfig) -> None:
        super().__init__(config)
        self._sandbox = Sandbox(
            _TARGET,
            Limits(
                cpu_seconds=config.cpu_seconds,
                memory_bytes=config.memory_bytes,
                request_bytes=config.max_html_bytes,
            ),
            {
                "focus": config.focus,
                "tables": config.include_tables,
                "comments": config.include_comments,
                "fast": config.fast,
                "formatting": config.include_formatting,
                "remove_urls": config.remove_urls,
            },
        )

    def resource_files(self) -> Sequence[str]:
        """The files in which the extracting libraries state their versions, as these decide what the text is."""
        return [origin for name in _LIBRARIES if (spec := find_spec(name)) and (origin := spec.origin)]

    def process(self, table: pa.Table) -> StageResult:
        """Extracts every page of a RECORD table; see the class for what is removed and quarantined."""
        verdicts = Verdicts(self.name, table)
        charsets: list[str] = []
        texts: list[str] = []
        for row, (payload, label) in enumerate(zip(table["payload"], table["http_charset"], strict=True)):
            reply = self._sandbox.call(main_text.pack({"charset": label.as_py()}, payload.as_py()))
            if isinstance(reply, Failure):
                verdicts.quarantine(row, reply.reason, reply.detail)
                continue
            header, body = main_text.unpack(reply)
            if not body:
                verdicts.remove(row, "no_text")
                continue
            charsets.append(str(header["charset"]))
            texts.append(body.decode())
        origin = table.select(documents.ORIGIN.names).take(pa.array(verdicts.surviving, pa.int64()))
        kept = pa.table(
            [
                *origin.columns,
                pa.array(charsets, pa.string()),
                pa.array(texts, pa.large_string()),
                pa.array([content_hash(text) for text in texts], pa.binary(16)),
            ],
            schema=documents.DOCUMENT,
        )
        return verdicts.result(kept)

    def close(self) -> None:
        """Ends the sandbox."""
        self._sandbox.close()
