"""Exports an order: chooses the format, guards the folder, streams the steps, writes export.json last."""

from __future__ import annotations

from collections.abc import Callable

from corpusmill.core import storage
from corpusmill.core.errors import InputError, UserError
from corpusmill.tokenize.exports.base import Counts, Export, ExportFile, Facts, PartWriter, parts_of, steps_of
from corpusmill.tokenize.exports.mds import MdsWriter
from corpusmill.tokenize.exports.megatron import MegatronWriter
from corpusmill.tokenize.exports.nanoset import NanosetWriter
from corpusmill.tokenize.exports.olmo import OlmoWriter
from corpusmill.tokenize.reader import Order

FORMATS: dict[str, type[PartWriter]] = {w.name: w for w in (MegatronWriter, OlmoWriter, MdsWriter, NanosetWriter)}
_SUMMARY = "export.json"


def export_order(
    order: Order,
    format_name: str,
    out: str,
    *,
    masks: bool = True,
    overwrite: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Export:
    """Writes the order in another trainer's format. The same order and arguments give the same bytes
    (tokens.csv.gz of `olmo`: with one version of zlib).

    Holds one step in memory; `mds` up to 64 MiB more.

    Args:
        order: opened for reading.
        format_name: one of FORMATS.
        out: local folder; must be empty or not be there, unless `overwrite`.
        masks: also write loss masks and segments, where the format can carry them.
        overwrite: delete an earlier export in `out` first, whole or broken off.
        advance: called after every step.

    Raises:
        UserError: no such format.
        InputError: the folder is not empty, or not local.
        ConfigError: the format cannot hold this order.
        VerificationFailed: the order's files are damaged.
    """
    check_target(format_name, out, overwrite=overwrite)
    writer_class = FORMATS[format_name]
    facts = Facts.of(order, masks=masks)
    parts = parts_of(order)
    writer_class.refuse(parts, facts)
    _clear(out)
    counts = Counts()
    files: list[ExportFile] = []
    for part in parts:
        with writer_class(out, part, facts) as writer:
            for rows in steps_of(order, part, facts):
                writer.write(rows)
                counts += Counts.of(rows, facts.eos_id)
                advance()
        files += writer.entries()
    export = Export(
        format=format_name,
        order=facts,
        grade=writer_class.grade,
        carried=tuple(writer_class.carried(facts)),
        lost=tuple(writer_class.lost(counts, facts)),
        setup=tuple(writer_class.setup(parts, facts)),
        parts=tuple(parts),
        counts=counts,
        files=tuple(sorted(files, key=lambda f: f.path)),
    )
    storage.write_text(storage.join(out, _SUMMARY), export.model_dump_json(indent=1) + "\n")
    return export


def check_target(format_name: str, out: str, *, overwrite: bool) -> None:
    """Raises what `export_order` raises for a format or folder that will not do, before any work is done."""
    if format_name not in FORMATS:
        raise UserError(
            "no such export format", value=format_name, remedy=f"choose one of {', '.join(FORMATS)} with --to"
        )
    if not storage.is_local(out):
        raise InputError("exports are written to a local folder", where=out, remedy="export locally, then copy")
    folder = storage.local_path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError("the export's folder is a file", where=out, remedy="name another folder with --out")
    names = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
    foreign = [n for n in names if not _is_ours(n)]
    if foreign:
        raise InputError(
            "the export's folder is not empty, and holds files that no export wrote",
            where=out,
            value=foreign[:5],
            remedy="name another folder with --out",
        )
    if names and not overwrite:
        raise InputError(
            "the export's folder is not empty",
            where=out,
            value=names[:5],
            remedy="name another folder with --out, or give --overwrite to replace an earlier export",
        )


def _clear(out: str) -> None:
    """Deletes what an earlier export wrote."""
    storage.remove(storage.join(out, _SUMMARY))
    folder = storage.local_path(out)
    for name in sorted(p.name for p in folder.iterdir() if _is_ours(p.name)) if folder.exists() else []:
        storage.remove_folder(storage.join(out, name))


def _is_ours(name: str) -> bool:
    return name == _SUMMARY or name.startswith("part-")
