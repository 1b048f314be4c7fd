"""Checks of a whole run: files against their hashes, conservation, the chain of counts, and the training order."""

from __future__ import annotations

from collections.abc import Iterator

from corpusmill.core import storage
from corpusmill.core.artifacts import Counts, ShardManifest
from corpusmill.core.errors import ConservationError
from corpusmill.dedup import history
from corpusmill.pipeline import history_tasks
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.recipe import Recipe
from corpusmill.pipeline.scores import scored_stages
from corpusmill.pipeline.split_checks import split_checks
from corpusmill.pipeline.takedown_records import takedown_checks
from corpusmill.tokenize.verify import Check, Mode, verify_order


def verify_run(run: str, recipe: Recipe, chain: Chain, mode: Mode, sample: int) -> list[Check]:
    """All checks of `run`.

    mode: quick (sizes and counts), sample (also `sample` steps of the order and every file's hash), full (everything).
    """
    hashes = mode != "quick"
    checks = [*_stage_checks(chain, hashes=hashes), _flow_check(chain), *_history_checks(chain, hashes=hashes)]
    if recipe.held_out is not None:
        checks += split_checks(recipe, recipe.held_out, chain, hashes=hashes)
    if recipe.order is not None and storage.exists(storage.join(run, "order", "order.json")):
        checks += verify_order(run, mode, sample=sample)
    elif recipe.order is not None:
        checks.append(Check("order", False, "not built yet; run `corpusmill run` to the end"))
    return [*checks, *takedown_checks(run)]


def _stage_checks(chain: Chain, *, hashes: bool) -> Iterator[Check]:
    for index, step in enumerate(chain.steps):
        problems = []
        files = 0
        total = Counts()
        for shard in chain.shards:
            manifest = chain.committed(index, shard)
            if manifest is None:
                problems.append(f"shard {shard.name} is missing, stale or has a file of another size")
                continue
            total += manifest.counts
            try:
                manifest.counts.check(f"{step.name}/{shard.name}")
            except ConservationError as error:
                problems.append(str(error))
            problems += _score_problems(chain, index, manifest)
            files += len(manifest.files)
            if hashes:
                problems += _hash_problems(chain, index, manifest)
        detail = (
            "; ".join(problems[:5]) + f"; remedy: corpusmill run RECIPE --out {chain.run} --from {step.name}"
            if problems
            else f"{total.into.documents} in = {total.kept.documents} kept"
            f" + {sum(t.documents for t in total.removed.values())} removed"
            f" + {sum(t.documents for t in total.quarantined.values())} quarantined; {files} files"
        )
        yield Check(f"stage {step.name}", not problems, detail)


def _score_problems(chain: Chain, index: int, manifest: ShardManifest) -> list[str]:
    """Every document that entered a stage that judges by scores must have a row of scores."""
    entry = manifest.files.get("scores")
    rows = entry.rows if entry is not None else 0 if chain.names[index] in scored_stages(chain) else None
    into = manifest.counts.into.documents
    return [] if rows in (None, into) else [f"{manifest.shard}: {into} documents in, but scores of {rows}"]


def _hash_problems(chain: Chain, index: int, manifest: ShardManifest) -> list[str]:
    folder = chain.folder(index)
    problems = []
    for kind, entry in manifest.files.items():
        path = storage.join(folder.root, entry.path)
        if storage.sha256_file(path) != entry.sha256:
            problems.append(f"{path} does not match its sha256")
        elif folder.read(kind, manifest.shard, ["doc_id"]).num_rows != entry.rows:
            problems.append(f"{path} does not have {entry.rows} rows")
    return problems


def _history_checks(chain: Chain, *, hashes: bool) -> Iterator[Check]:
    """The history of every step that has one is that of the step as it is now, and its files are whole."""
    for index, step in enumerate(chain.steps):
        if not step.remembers:
            continue
        root = history_tasks.folder(chain, index)
        manifest = history.read_manifest(root)
        if manifest is None or manifest.made_by != step.fingerprint:
            problems = [f"{root} is missing or stale"]
        else:
            problems = history.problems(root, manifest, hashes=hashes)
        rows = sum(e.rows for entries in manifest.tables.values() for e in entries) if manifest is not None else 0
        remedy = f"; remedy: delete {root} and run the same command again"
        detail = "; ".join(problems[:5]) + remedy if problems else f"{rows} rows"
        yield Check(f"history {step.name}", not problems, detail)


def _flow_check(chain: Chain) -> Check:
    """What leaves a stage must enter the next one, shard by shard, in documents and characters."""
    problems = []
    for index in range(1, len(chain.steps)):
        for shard in chain.shards:
            before = chain.folder(index - 1).manifest(shard.name)
            after = chain.folder(index).manifest(shard.name)
            if before is None or after is None:
                continue
            if before.counts.kept != after.counts.into:
                problems.append(
                    f"{shard.name}: {chain.names[index - 1]} kept {before.counts.kept.documents} documents, "
                    f"{chain.names[index]} took {after.counts.into.documents}"
                )
    return Check(
        "flow between stages", not problems, "; ".join(problems[:5]) or "every kept document enters the next stage"
    )
