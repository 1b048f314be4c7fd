"""What was taken down from a run, and what keeps it down.

RUN/audit/takedowns/<number>.json   TakedownRecord; written as `pending` before anything is destroyed, then as `done`
RUN/order/removals.jsonl            one line a document: content hash, reason class, mode, number; never text or URL
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from corpusmill.core import storage
from corpusmill.core.errors import UserError
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.products import Products
from corpusmill.tokenize.shards import load_model
from corpusmill.tokenize.verify import Check

Mode = Literal["redact", "mask", "rederive"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Touched(_Frozen):
    """Steps of an order that read something. first, last: None when there are none; tokens: read in all of them."""

    steps: int = 0
    first: int | None = None
    last: int | None = None
    tokens: int = 0


class TakenDocument(_Frozen):
    """A document that was taken down, without its text and URL.

    doc_ordinal: row of tokens/documents.parquet; None where it never became tokens.
    content_hash: 32 hexadecimal digits of its last text in the run; None where it had none.
    url_sha256: of its normalised URL: finds it again when the URL is gone.
    copy_of: which asked document it is a copy of, or a copy in between; None: it was asked for itself.
    """

    doc_id: str
    doc_ordinal: int | None
    content_hash: str | None
    url_sha256: str | None
    copy_of: str | None = None
    touched: Touched = Touched()


class TakedownRecord(_Frozen):
    """One takedown. Paths are relative to the run folder.

    first_step: of a mask. records: doc_ids of request and metadata records about the documents' URLs.
    order_root: before it; order_root_after: None while it is pending. steps_fed: of `touched`, those fed already.
    files: tables whose rows were blanked. deleted: files that quoted the texts and can be made again. left: files that
    still quote them, and that corpusmill does not know.
    """

    number: int
    state: Literal["pending", "done"]
    mode: Mode
    redact: bool
    reason: str
    first_step: int | None = None
    order_root: str
    order_root_after: str | None = None
    documents: tuple[TakenDocument, ...]
    records: tuple[str, ...] = ()
    touched: Touched = Touched()
    steps_total: int
    steps_fed: int = 0
    steps_changed: int = 0
    sequences_changed: int = 0
    files: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def doc_ids(self) -> list[str]:
        """Documents and records, sorted."""
        return sorted({*(d.doc_id for d in self.documents), *self.records})

    @property
    def doc_ordinals(self) -> list[int]:
        """Of the documents that became tokens, ascending."""
        return sorted(d.doc_ordinal for d in self.documents if d.doc_ordinal is not None)


def load_records(run: str) -> list[TakedownRecord]:
    """All takedowns of a run, by number."""
    return [load_model(TakedownRecord, path) for path in storage.list_files(_folder(run), ".json")]


def save_record(run: str, record: TakedownRecord) -> None:
    """Writes the record."""
    path = storage.join(_folder(run), f"{record.number:05d}.json")
    storage.write_text(path, record.model_dump_json(indent=1) + "\n")


def write_removals(run: str) -> None:
    """Writes order/removals.jsonl from the records, each document once a mode."""
    lines: dict[tuple[str, str], str] = {}
    for record in load_records(run):
        for document in sorted(record.documents, key=lambda d: d.content_hash or ""):
            if document.content_hash is not None:
                line = {
                    "content_hash": document.content_hash,
                    "reason": record.reason,
                    "mode": record.mode,
                    "takedown": record.number,
                }
                lines.setdefault((document.content_hash, record.mode), json.dumps(line))
    storage.write_text(storage.join(run, "order", "removals.jsonl"), "".join(f"{line}\n" for line in lines.values()))


def refuse_to_bring_back(products: Products, chain: Chain, names: Sequence[str], *, force: bool) -> None:
    """Raises UserError when making the stages `names` would make anew what documents were taken down from.

    Stages that are up to date are not made, so a finished run goes on to be trained.
    """
    records = load_records(chain.run)
    if not records:
        return
    pending = [record.number for record in records if record.state == "pending"]
    if pending:
        raise UserError(
            f"takedown {pending[0]} of this run was stopped halfway",
            where=chain.run,
            remedy="run the same `corpusmill takedown` command again: it goes on where it stopped",
        )
    made = [
        name
        for index, name in enumerate(chain.names)
        if name in names and (force or any(chain.committed(index, shard) is None for shard in chain.shards))
    ]
    made += [n for n, wanted, current, _ in products.states() if n in names and (force or len(current) < wanted)]
    if made:
        documents = {d.doc_id for record in records for d in record.documents}
        raise UserError(
            f"{len(documents)} documents were taken down from this run, and making `{made[0]}` again would bring them"
            " back",
            where=chain.run,
            value=", ".join(made),
            remedy="restore recipe, input and version that the run was made with; for others run in a new folder, then"
            f" corpusmill takedown NEW --content-hashes {chain.run}/order/removals.jsonl --mode rederive",
        )


def takedown_checks(run: str) -> list[Check]:
    """The check that no takedown stopped halfway; none where nothing was taken down."""
    records = load_records(run)
    if not records:
        return []
    pending = [str(record.number) for record in records if record.state == "pending"]
    documents = {d.doc_id for record in records for d in record.documents}
    detail = f"{len(records)} takedowns of {len(documents)} documents"
    if pending:
        detail = f"takedown {', '.join(pending)} stopped halfway; remedy: run the same `corpusmill takedown` again"
    return [Check("takedowns", not pending, detail)]


def _folder(run: str) -> str:
    return storage.join(run, "audit", "takedowns")
