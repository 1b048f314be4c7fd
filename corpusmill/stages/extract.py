"""From response records to documents: the main text of every page, in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from corpusmill.core import documents
from corpusmill.core.hashing import content_hash
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages import main_text
from corpusmill.stages.base import DocumentStage, StageConfig
from corpusmill.stages.sandbox import Failure, Limits, Sandbox

Backend = Literal["trafilatura", "resiliparse"]
_TARGETS: dict[Backend, str] = {
    "trafilatura": "corpusmill.stages.with_trafilatura:extract_page",
    "resiliparse": "corpusmill.stages.with_resiliparse:extract_page",
}


class ExtractConfig(StageConfig):
    """How the main text is found, and what one page may cost."""

    backend: Backend = "trafilatura"
    """trafilatura, as in RefinedWeb, or resiliparse, which is much faster and keeps more boilerplate."""
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

    @model_validator(mode="after")
    def _of_the_backend(self) -> Self:
        for name in ("focus", "include_formatting", "fast"):
            if self.backend != "trafilatura" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` is an option of trafilatura alone")
        return self

    def options(self) -> dict[str, Any]:
        """The keywords of the back end's `extract_page`."""
        options: dict[str, Any] = {
            "tables": self.include_tables,
            "comments": self.include_comments,
            "remove_urls": self.remove_urls,
        }
        if self.backend == "trafilatura":
            options |= {"focus": self.focus, "fast": self.fast, "formatting": self.include_formatting}
        return options


class ExtractStage(DocumentStage[ExtractConfig]):
    """RECORD rows in, DOCUMENT rows out.

    Removes, under `no_text`, pages in which the extractor finds nothing. Quarantines pages that the extractor could not
    deal with, under the reasons of sandbox.Failure. The text is left as it was extracted: valid UTF-8 without control
    characters, not normalised.
    """

    name = "extract"
    version = 2
    packages = ("trafilatura", "lxml", "jusText", "Resiliparse")
    Config = ExtractConfig
    output_schema = documents.DOCUMENT
    expected_share: ClassVar[Mapping[str, float]] = {"no_text": 0.3}

    def __init__(self, config: ExtractConfig) -> None:
        super().__init__(config)
        self._sandbox = Sandbox(
            _TARGETS[config.backend],
            Limits(
                cpu_seconds=config.cpu_seconds,
                memory_bytes=config.memory_bytes,
                request_bytes=config.max_html_bytes,
            ),
            config.options(),
        )

    def process(self, table: pa.Table) -> StageResult:
        """Extracts every page of a RECORD table; see the class for what is removed and quarantined."""
        verdicts = Verdicts(self.name, table)
        charsets: list[str] = []
        texts: list[str] = []
        for row, (payload, label) in enumerate(zip(table["payload"], table["http_charset"], strict=True)):
            reply = self._sandbox.call(main_text.pack({"charset": label.as_py()}, memoryview(payload.as_buffer())))
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
