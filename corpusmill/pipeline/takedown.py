"""`corpusmill takedown`: documents leave a run, by redaction, by a mask or by a new order; what is left still verifies.

    redact     tokens, salts, texts and URLs are destroyed; order, roots and chain stay as they are
    mask       a revision of the order in which the documents are no labels from a step on
    rederive   a revision of the order without the documents

The record is written before anything changes. A takedown that was killed is finished by the next call.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corpusmill.core import storage
from corpusmill.core.artifacts import FileEntry, StageFolder
from corpusmill.core.errors import InputError, InternalError, UserError
from corpusmill.pipeline import erasure, takedown_records, takedown_request
from corpusmill.pipeline.erasure import Passages
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.stand_ins import stand_ins
from corpusmill.pipeline.status import open_run
from corpusmill.pipeline.takedown_records import Mode, TakedownRecord, TakenDocument, Touched
from corpusmill.pipeline.takedown_request import Kind
from corpusmill.pipeline.token_folders import token_folders
from corpusmill.tokenize import revisions
from corpusmill.tokenize.derivation import Derivation, Use
from corpusmill.tokenize.erase import redact_tokens
from corpusmill.tokenize.packing import MASKED
from corpusmill.tokenize.reader import load_order
from corpusmill.tokenize.redaction import RedactedFiles
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.store import DocumentIndex
from corpusmill.tokenize.takedown import load_takedown

_ORDER, _WHOLE = "order", "all"  # stage name and shard name of the order among the run's products


@dataclass(frozen=True)
class Request:
    """What a takedown asks for.

    redact: also destroy the documents' texts (always so for mode redact). first_step: of a mask; None: the first step
    that was not fed. reason: a class, not a text.
    """

    kind: Kind
    path: str
    mode: Mode
    redact: bool = False
    with_copies: bool = False
    reason: str = "request"
    first_step: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a request. record: of the takedown, also when it is only planned.

    state: planned (dry run), done, or nothing (all of it was taken down before). left: files of the run that this or an
    earlier takedown found quoting its documents, and that are there still. outside: what may hold the texts and is not
    touched. finished: numbers of earlier takedowns that had been killed and are done now.
    """

    state: str
    record: TakedownRecord
    not_found: list[str]
    left: list[str]
    outside: list[str]
    finished: list[int]


def take_down(run: str, request: Request, *, dry_run: bool = False, allow_missing: bool = False) -> Outcome:
    """Takes documents down from a local run.

    allow_missing: go on where some of the documents are not in the run; otherwise nothing is done if one is missing.

    Raises:
        InputError: the list is empty or of another kind; there is no order; the mask's step is not in it.
        UserError: the mode does not fit what was trained.
        VerificationFailed: a file that would be changed is damaged.
    """
    run = storage.absolute(run)
    if not storage.is_local(run):
        raise InputError("a takedown needs the run on a file system", where=run, remedy="copy the run to a local path")
    values = takedown_request.read_request(request.kind, request.path)
    finished = _finish_pending(run, dry_run)
    load_order(run)  # refuses a run without an order
    planned, not_found = _plan(run, request, values)
    done = not dry_run and (allow_missing or not not_found)
    if _is_nothing(run, planned):
        state = "nothing"
    elif done and planned.documents:
        erasure.check_manifests(run, planned.files)
        planned = _execute(run, planned)
        state = "done"
    else:
        state = "planned"
    named = {name for record in (*takedown_records.load_records(run), planned) for name in record.left}
    left = [name for name in sorted(named) if storage.exists(storage.join(run, name))]
    return Outcome(state, planned, not_found, left, _outside(run), finished)


def _finish_pending(run: str, dry_run: bool) -> list[int]:
    pending = [record for record in takedown_records.load_records(run) if record.state == "pending"]
    if pending and dry_run:
        raise UserError(
            f"takedown {pending[0].number} of this run was stopped halfway",
            where=run,
            remedy="run a takedown without --dry-run: it goes on where that one stopped",
        )
    for record in pending:
        _execute(run, record)
    return [record.number for record in pending]


def _plan(run: str, request: Request, values: Sequence[str]) -> tuple[TakedownRecord, list[str]]:
    """The record of what would be done, and the lines that name no document of the run."""
    records = takedown_records.load_records(run)
    found = takedown_request.find(run, request.kind, values, records)
    documents = {**found.documents, **(_copies(run, found.documents) if request.with_copies else {})}
    summary, rule = load_order(run)
    index = DocumentIndex.load(storage.join(run, "tokens"), rule.shards)
    derivation = Derivation(rule, index, load_takedown(storage.join(run, "order"), rule))
    uses = {doc_id: _uses(derivation, document.doc_ordinal) for doc_id, document in documents.items()}
    fed = first_step_not_fed(run, rule)
    every = [use for each in uses.values() for use in each]
    record = TakedownRecord(
        number=len(records),
        state="pending",
        mode=request.mode,
        redact=request.redact or request.mode == "redact",
        reason=request.reason,
        first_step=_first_step(request, rule, fed, run),
        order_root=summary.order_root,
        documents=tuple(
            document.model_copy(update={"touched": _touched(uses[doc_id])})
            for doc_id, document in sorted(documents.items())
        ),
        records=tuple(sorted(found.records)),
        touched=_touched(every),
        steps_total=rule.steps,
        steps_fed=len({use.step for use in every if use.step < fed}),
    )
    _check_mode(run, record, fed, every)
    return (_with_places(run, record) if record.redact else record), found.not_found


def _uses(derivation: Derivation, doc_ordinal: int | None) -> list[Use]:
    return [] if doc_ordinal is None else derivation.uses(doc_ordinal)


def _touched(uses: Sequence[Use]) -> Touched:
    steps = {use.step for use in uses}
    if not steps:
        return Touched()
    return Touched(steps=len(steps), first=min(steps), last=max(steps), tokens=sum(use.num_tokens for use in uses))


def _copies(run: str, documents: dict[str, TakenDocument]) -> dict[str, TakenDocument]:
    """Near-duplicates of the documents: kept ones that stand for them, and all that went for these."""
    _, chain = open_run(run)
    found = stand_ins(chain, documents)
    of = {row["doc_id"]: row["copy_of"] for row in found.kept.to_pylist()}
    for copy in found.removed:
        of.setdefault(copy.doc_id, of.get(copy.twin, copy.twin))
    wanted = [doc_id for doc_id in of if doc_id not in documents]
    return {
        doc_id: document.model_copy(update={"copy_of": of[doc_id]})
        for doc_id, document in takedown_request.describe(run, wanted).items()
    }


def first_step_not_fed(run: str, rule: Rule) -> int:
    """The step after the last one that any attempt was fed, by train/fed.parquet and the lines it is merged from; or 0.

    Raises InputError when a step was fed that is not in the order.
    """
    train = storage.join(run, "train")
    steps = [-1]
    merged = storage.join(train, "fed.parquet")
    if storage.exists(merged):
        steps += storage.read_parquet(merged, ["step"]).column("step").to_pylist()
    for path in storage.list_files(storage.join(train, "fed"), ".jsonl"):
        whole, _, _ = storage.read_text(path).rpartition("\n")
        steps += [json.loads(line)["step"] for line in whole.splitlines()]
    if max(steps) >= rule.steps:
        raise InputError(
            f"a step was fed that the order does not have: it has {rule.steps}",
            where=train,
            value=max(steps),
            remedy="bring order/ and train/ of the same run together",
        )
    return max(steps) + 1


def _first_step(request: Request, rule: Rule, fed: int, run: str) -> int | None:
    if request.mode != "mask":
        if request.first_step is not None:
            raise UserError("--from-step is for --mode mask", value=request.mode, remedy="leave it out")
        return None
    if request.redact:
        raise UserError(
            "what is masked is still fed, so its tokens must stay until training is done",
            remedy="mask now, and redact when training is done; or use --mode rederive --redact before training",
        )
    first = fed if request.first_step is None else request.first_step
    if not 0 <= first < rule.steps:
        raise InputError(
            f"no step to mask: the order has the steps 0..{rule.steps - 1}"
            + (f", and {fed} of them were fed" if fed else ""),
            where=run,
            value=first,
            remedy="after training use --mode redact, before it --mode rederive",
        )
    return first


def _check_mode(run: str, record: TakedownRecord, fed: int, uses: Sequence[Use]) -> None:
    redacted = set(RedactedFiles.load(storage.join(run, "tokens")).documents)
    if record.mode == "rederive" and fed and record.touched.steps:
        raise UserError(
            f"{fed} steps of this order were fed, and a new order is not the one that they are of",
            where=storage.join(run, "train"),
            remedy="--mode mask goes on with training without the documents, --mode redact destroys them after it; to"
            " train from the beginning, move train/ away",
        )
    gone = sorted(redacted.intersection(record.doc_ordinals))
    if record.mode == "mask" and gone:
        first = record.first_step or 0
        unmasked = any(use.step >= first and not use.flags & MASKED for use in uses)
        if unmasked:
            raise UserError(
                "a document whose tokens were redacted cannot be masked: the roots of the new steps need its tokens",
                where=f"document {gone[0]}",
                remedy="--mode rederive, before training",
            )


def _with_places(run: str, record: TakedownRecord) -> TakedownRecord:
    """The record with the files that quote the documents."""
    passages = Passages()
    folders = token_folders(run, record.doc_ids)
    derived = {*erasure.DERIVED, *(f"stages/{folder.parent.name}/exchange/" for folder in _exchanges(run))}
    for folder in folders:
        folder.add_tokens(passages)
        if folder.new:  # its names of documents would be of another documents.parquet
            derived.add(f"{folder.name}/index/")
    skip = [name for folder in folders for name in folder.own_files()]
    places = erasure.find_places(run, record.doc_ids, passages, skip, derived)
    return record.model_copy(
        update={"files": tuple(places.tables), "deleted": tuple(places.derived), "left": tuple(places.others)}
    )


def _exchanges(run: str) -> list[Path]:
    """Folders of what steps exchange while they run; a finished step has none."""
    return sorted(storage.local_path(storage.join(run, "stages")).glob("*/exchange"))


def _is_nothing(run: str, record: TakedownRecord) -> bool:
    """Whether the run is as the record would make it."""
    if not record.documents:
        return False
    if record.redact and (record.files or any(folder.new for folder in token_folders(run, record.doc_ids))):
        return False
    if record.mode == "redact":
        return True
    _, rule = load_order(run)
    now = load_takedown(storage.join(run, "order"), rule)
    if record.mode == "rederive":
        return set(now.excluded.tolist()).issuperset(record.doc_ordinals)
    masked = dict(zip(now.masked.tolist(), now.masked_from.tolist(), strict=True))
    first = record.first_step or 0
    return all(masked.get(ordinal, first + 1) <= first for ordinal in record.doc_ordinals)


def _execute(run: str, record: TakedownRecord) -> TakedownRecord:
    """Does what the record says; may be called again after it was killed."""
    takedown_records.save_record(run, record)
    takedown_records.write_removals(run)
    if record.mode != "redact":
        record = _revise(run, record)
    if record.redact:
        _erase(run, record)
    summary, _ = load_order(run)
    record = record.model_copy(update={"state": "done", "order_root_after": summary.order_root})
    takedown_records.save_record(run, record)
    events = EventLog(run)
    fields = {"mode": record.mode, "number": record.number, "documents": len(record.documents)}
    events.write("takedown", **fields)
    events.close()
    return record


def _revise(run: str, record: TakedownRecord) -> TakedownRecord:
    tokens, order = storage.join(run, "tokens"), storage.join(run, "order")
    revisions.finish_revision(order)
    _, rule = load_order(run)
    now = load_takedown(order, rule)
    ordinals = np.array(record.doc_ordinals, np.int64)
    if record.mode == "mask":
        if record.first_step is None:
            raise InternalError("a mask without its first step", where=run)
        wanted = revisions.with_masked(now, ordinals, record.first_step)
    else:
        # Documents that were redacted before read as padding: a new order is without them, too.
        redacted = np.array(RedactedFiles.load(tokens).documents, np.int64)
        wanted = revisions.with_excluded(now, np.union1d(ordinals, redacted))
    revisions.revise(tokens, order, wanted)
    _commit_order(run)
    parent = revisions.revision_folder(order, record.order_root)
    if not storage.exists(storage.join(parent, "order.json")):
        return record  # none of the documents has tokens: there is no new revision
    changed = revisions.changes(parent, order)
    return record.model_copy(update={"steps_changed": changed.steps, "sequences_changed": changed.sequences})


def _commit_order(run: str) -> None:
    """Names the files of the new revision in the manifest of the product `order`, so that `run` finds it up to date."""
    folder = StageFolder(run, _ORDER)
    manifest = folder.manifest(_WHOLE)
    if manifest is None:
        return  # an order that no `run` made
    summary, _ = load_order(run)
    prefix = f"../../{_ORDER}/"
    order = storage.join(run, _ORDER)
    names = ["order.json", "rule.json", *(storage.file_name(p) for p in storage.list_files(order, ".parquet"))]
    files = {kind: entry for kind, entry in manifest.files.items() if not entry.path.startswith(prefix)}
    for name in names:
        full = storage.join(order, name)
        files[name] = FileEntry(
            path=prefix + name,
            bytes=storage.size_bytes(full),
            sha256=storage.sha256_file(full),
            rows=manifest.counts.into.documents,
        )
    changed = manifest.model_copy(
        update={"files": dict(sorted(files.items())), "facts": {**manifest.facts, "order_root": summary.order_root}}
    )
    storage.write_text(folder.manifest_path(_WHOLE), changed.model_dump_json(indent=1) + "\n")
    if storage.exists(storage.join(folder.root, "manifest.json")):
        body = json.loads(storage.read_bytes(storage.join(folder.root, "manifest.json")))
        folder.finish(body["fingerprint"], body["config"], body["shards"])


def _erase(run: str, record: TakedownRecord) -> None:
    order = storage.join(run, "order")
    for name in record.deleted:
        storage.remove(storage.join(run, name))
    for exchange in _exchanges(run):
        storage.remove_folder(str(exchange))
    for name in record.files:
        erasure.blank_rows(run, name, record.doc_ids)
    changed = list(record.files)
    for folder in token_folders(run, record.doc_ids):
        if folder.ordinals:
            redact_tokens(folder.path, order if folder.name == "tokens" else None, folder.ordinals)
            changed += folder.own_files()
    erasure.refresh_manifests(run, changed)
    _commit_order(run)
    storage.remove_leftovers(run)


def _outside(run: str) -> list[str]:
    """What may hold the texts still, and that no takedown reaches."""
    named = ["the crawl: WARC files that the run read"]
    if storage.exists(storage.join(run, "input")):
        named[0] += f" (here {run}/input)"
    if storage.exists(storage.join(run, "train")):
        named.append("weights of models trained on the run: checkpoints in train/ and wherever they were copied")
    named.append("exports, bundles and other copies made from the run before")
    return named
