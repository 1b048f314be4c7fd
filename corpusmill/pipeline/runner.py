"""The commands `run` and `stage`: what is to be done, in which order, up to where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpusmill.core import storage
from corpusmill.core.errors import InputError, UserError
from corpusmill.pipeline import histories, inputs, recipe, sources
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.events import EventLog, write_environment
from corpusmill.pipeline.products import Products, product_names
from corpusmill.pipeline.progress import Reporter
from corpusmill.pipeline.recipe import BUILT_IN_SAMPLE, Recipe
from corpusmill.pipeline.refine import Refinery
from corpusmill.pipeline.status import open_run, status
from corpusmill.pipeline.takedown_records import refuse_to_bring_back


@dataclass(frozen=True)
class Selection:
    """Which stages to run: from `first` to `last` (None = the recipe's), even if up to date when `force`."""

    first: str | None = None
    last: str | None = None
    force: bool = False


def run_recipe(
    resolved: Recipe,
    run: str,
    patterns: Sequence[str],
    selection: Selection,
    *,
    workers: int | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> None:
    """Runs `resolved` in the folder `run`, or goes on where an earlier call stopped.

    Args:
        patterns: WARC files or globs; empty = the recipe's `input`.
        workers, address: see Engine.
    """
    run = storage.absolute(run)
    _check_folder(run)
    names = _stage_names(resolved)
    for name in (selection.first, selection.last):
        if name is not None and name not in names:
            raise UserError("no such stage in this recipe", value=name, remedy=f"one of: {', '.join(names)}")
    reporter = Reporter(quiet=quiet)
    given = [p if p == BUILT_IN_SAMPLE else storage.absolute(p) for p in patterns or resolved.input]
    resolved = resolved.model_copy(update={"input": given})
    paths = inputs.expand(resolved.input, run)
    shards = inputs.plan_shards(paths, resolved.crawl, int(resolved.stages["warc"]["slice_bytes"]))
    total_bytes = sum(storage.size_bytes(path) for path in paths)
    reporter.say(f"{resolved.name}: {len(paths)} WARC files, {total_bytes / 1e6:.1f} MB, {len(shards)} shards")
    extra = {name: [storage.absolute(p) for p in given] for name, given in resolved.sources.extra.items()}
    absolute = {
        "history": [storage.absolute(path) for path in resolved.history],
        "sources": resolved.sources.model_copy(update={"extra": extra}),
    }
    resolved = resolved.model_copy(update=absolute)
    chain = _chain(run, resolved, shards)
    products = Products(resolved, chain, sources.find(resolved.sources, chain.shards))
    _check_takedowns(resolved, chain, products, selection)
    _write_run_files(resolved, chain, products)
    _execute(resolved, chain, products, selection, workers=workers, address=address, reporter=reporter)


def rerun_stage(
    run: str,
    name: str,
    overrides: Sequence[str],
    *,
    workers: int | None = None,
    address: str | None = None,
    force: bool = False,
    quiet: bool = False,
) -> list[str]:
    """Reruns the stage `name` of `run` with `overrides`, on its committed input; returns the stages now stale."""
    run = storage.absolute(run)
    open_run(run)  # refuses what is not a run folder
    resolved = recipe.load(storage.join(run, "resolved.yaml"), overrides)
    names = _stage_names(resolved)
    if name not in names:
        raise UserError("no such stage in this run", value=name, remedy=f"one of: {', '.join(names)}")
    shards = inputs.load(run)
    chain = _chain(run, resolved, shards)
    products = Products(resolved, chain, sources.find(resolved.sources, chain.shards))
    _check_before(resolved, chain, products, name)
    selection = Selection(name, name, force)
    _check_takedowns(resolved, chain, products, selection)
    _write_run_files(resolved, chain, products)
    _execute(resolved, chain, products, selection, workers=workers, address=address, reporter=Reporter(quiet=quiet))
    return [s.name for s in status(run).stages if s.state == "stale"]


def _execute(
    resolved: Recipe,
    chain: Chain,
    products: Products,
    selection: Selection,
    *,
    workers: int | None,
    address: str | None,
    reporter: Reporter,
) -> None:
    names = _stage_names(resolved)
    first = names.index(selection.first) if selection.first else 0
    end = names.index(selection.last) + 1 if selection.last else len(names)
    if selection.first:
        _check_before(resolved, chain, products, selection.first)
    events = EventLog(chain.run)
    events.write("start", recipe=resolved.name, stages=names[first:end], workers=workers)
    steps = len(chain.steps)
    try:
        with Engine(reporter, workers, address) as engine:
            if first < steps:
                refinery = Refinery(chain, engine, events, resolved.error_budget, resolved.expected)
                refinery.run(first, min(end, steps), force=selection.force)
            if end >= steps:
                _point_to_documents(chain)
            for name in names[max(first, steps) : end]:
                if name != "train":
                    products.make(name, engine, events, force=selection.force)
        # Ray's workers are gone by now: the trainer has the cores to itself.
        if "train" in names[max(first, steps) : end]:
            products.train(reporter, force=selection.force)
        storage.remove_leftovers(chain.run)
        events.write("end")
    except BaseException as error:
        events.write("failed", error=type(error).__name__, message=str(error))
        raise
    finally:
        events.close()


def _check_takedowns(resolved: Recipe, chain: Chain, products: Products, selection: Selection) -> None:
    names = _stage_names(resolved)
    first = names.index(selection.first) if selection.first else 0
    last = names.index(selection.last) if selection.last else len(names) - 1
    refuse_to_bring_back(products, chain, names[first : last + 1], force=selection.force)


def _stage_names(resolved: Recipe) -> list[str]:
    return [*resolved.stages, *product_names(resolved), *(["train"] if resolved.train is not None else [])]


def _check_before(resolved: Recipe, chain: Chain, products: Products, name: str) -> None:
    """Refuses to start at `name` when a stage before it is not up to date under this recipe."""
    done = {step: sum(chain.committed(i, s) is not None for s in chain.shards) for i, step in enumerate(chain.names)}
    shards = dict.fromkeys(chain.names, len(chain.shards))
    for product, wanted, current, _ in products.states():
        done[product], shards[product] = len(current), wanted
    names = _stage_names(resolved)
    for before in names[: names.index(name)]:
        if done[before] < shards[before]:
            raise UserError(
                f"`{name}` cannot start: `{before}` before it is missing or stale"
                f" in {shards[before] - done[before]} of {shards[before]} shards",
                where=chain.run,
                remedy=f"run without --from, or with --from {before}",
            )


def _check_folder(run: str) -> None:
    if storage.is_local(run):
        folder = Path(storage.local_path(run))
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "inputs.json").exists():
            known = {"input", "recipe.yaml", "resolved.yaml", "environment.json", "events.jsonl"}
            if {p.name for p in folder.iterdir()} - known:
                raise InputError(
                    "the run folder is not empty and is not a run", where=run, remedy="name a new folder with --out"
                )
        folder.mkdir(parents=True, exist_ok=True)


def _chain(run: str, resolved: Recipe, shards: Sequence[inputs.Shard]) -> Chain:
    """The chain, with the histories as they are now."""
    return Chain.of(run, resolved, shards, histories.find(resolved, run))


def _write_run_files(resolved: Recipe, chain: Chain, products: Products) -> None:
    storage.write_text(storage.join(chain.run, "resolved.yaml"), resolved.to_yaml())
    inputs.save(chain.run, chain.shards)
    histories.save(chain.run, {step.name: step.past for step in chain.steps if step.past})
    sources.save(chain.run, products.extra)
    write_environment(chain.run)


def _point_to_documents(chain: Chain) -> None:
    """RUN/documents leads to the refined corpus, whatever the last stage is called."""
    target = f"stages/{chain.names[-1]}/out"
    path = storage.join(chain.run, "documents")
    if storage.is_local(path):
        link = Path(storage.local_path(path))
        if link.is_symlink():
            link.unlink()
        link.symlink_to(target)
    else:
        storage.write_text(path + ".txt", target + "\n")
