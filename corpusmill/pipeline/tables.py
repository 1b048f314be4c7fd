"""Rows of a stage's output for people: `inspect` and `removed`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from corpusmill.core import storage
from corpusmill.core.artifacts import KINDS
from corpusmill.core.errors import InputError, UserError
from corpusmill.pipeline.chain import Chain


def rows(
    chain: Chain, stage: str, kind: str, *, limit: int, where: str = "", order_by: str = ""
) -> list[dict[str, Any]]:
    """At most `limit` rows of table `kind` of `stage`, filtered by the SQL condition `where` (DuckDB's dialect).

    Raises InputError when the stage or table does not exist, UserError when the condition is not valid.
    """
    check_stage(chain, stage)
    if kind == "out":
        return _kept_rows(chain, stage, limit=limit, where=where)
    return query([_files(chain, stage, kind)], limit=limit, where=where, order_by=order_by)


def removals(
    chain: Chain, stages: Sequence[str], *, rule: str = "", near_threshold: bool = False, limit: int = 5
) -> list[dict[str, Any]]:
    """Removals of `stages`, of one `rule` if given.

    near_threshold: those nearest to their threshold first, relative to it: the ones a small change would bring back.
    """
    for stage in stages:
        check_stage(chain, stage)
    where = f"rule = '{rule.replace(chr(39), chr(39) * 2)}'" if rule else ""
    order_by = ""
    if near_threshold:
        where = " AND ".join(filter(None, [where, "value IS NOT NULL AND threshold IS NOT NULL"]))
        order_by = "abs(value - threshold) / greatest(abs(threshold), 1e-9), doc_id"
    files = [_files(chain, stage, "removed") for stage in stages]
    return query([f for f in files if f], limit=limit, where=where, order_by=order_by)


def query(files: list[list[str]], *, limit: int, where: str = "", order_by: str = "") -> list[dict[str, Any]]:
    """Rows of Parquet files by an SQL condition."""
    paths = [path for group in files for path in group]
    if not paths:
        return []
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        # A condition is the user's own, but it must only read the run's tables: no other files, no extensions.
        connection.execute("SET allowed_paths = $paths", {"paths": paths})
        connection.execute("SET enable_external_access = false")
        sql = "SELECT * FROM read_parquet($paths, union_by_name = true)"
        if where:
            sql += f" WHERE ({where})"
        if order_by:
            sql += f" ORDER BY {order_by}"
        try:
            result = connection.execute(f"{sql} LIMIT {int(limit)}", {"paths": paths})
            names = [column[0] for column in result.description or []]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        except duckdb.Error as error:
            raise UserError(
                "the condition is not valid SQL for these rows",
                value=str(error),
                remedy="--where \"rule = 'stop_words'\"",
            ) from error


def check_stage(chain: Chain, stage: str) -> None:
    """Raises InputError unless the run has a stage of this name that has been run."""
    if stage not in chain.names:
        raise InputError("no such stage in this run", value=stage, remedy=f"one of: {', '.join(chain.names)}")
    if not storage.list_files(storage.join(chain.folder(chain.index(stage)).root, "shards"), ".json"):
        raise InputError("this stage has not been run yet", value=stage, remedy=f"corpusmill run ... --until {stage}")


def _files(chain: Chain, stage: str, kind: str) -> list[str]:
    if kind not in KINDS:
        raise InputError("no such table", value=kind, remedy=f"one of: {', '.join(KINDS)}")
    return storage.list_files(storage.join(chain.folder(chain.index(stage)).root, kind), ".parquet")


def _kept_rows(chain: Chain, stage: str, *, limit: int, where: str) -> list[dict[str, Any]]:
    """Kept documents; a stage that only filters stores none, so they come from the stored stage before it."""
    index = chain.index(stage)
    source = chain.stored_at(index)
    if source is None:
        raise InputError(
            f"`{stage}` keeps raw records, which are not stored",
            value=stage,
            remedy=f"corpusmill inspect RUN {stage} --table removed, or inspect a later stage",
        )
    found: list[dict[str, Any]] = []
    for shard in chain.shards:
        if len(found) >= limit:
            break
        path = chain.folder(source).path("out", shard.name)
        if not Path(storage.local_path(path)).exists() and not storage.exists(path):
            continue
        gone = set(chain.dropped(source + 1, index + 1, shard.name).to_pylist())
        candidates = query([[path]], limit=limit - len(found) + len(gone), where=where)
        found += [row for row in candidates if row["doc_id"] not in gone][: limit - len(found)]
    return found
