"""What is made of the refined corpus: tokenizer, token shards, training order, and a training run on it.

Each is committed like a stage (RUN/stages/<name>/shards/*.json), but its files lie where their readers look for them:
RUN/tokenizer, RUN/tokens, RUN/order, RUN/train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from corpusmill.core import artifacts, storage
from corpusmill.core.artifacts import Counts, FileEntry, ShardManifest, StageFolder, Tally
from corpusmill.core.errors import CorpusmillError, DataError, InfrastructureError, InternalError, UserError
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.progress import Reporter
from corpusmill.pipeline.recipe import Recipe, TokenizerSection
from corpusmill.tokenize.order import build_order
from corpusmill.tokenize.shards import TokenShard, encode_shard, merge_documents, shard_documents_path, shard_path
from corpusmill.tokenize.tokenizer import Tokenizer, with_eos
from corpusmill.tokenize.training import train_tokenizer
from corpusmill.training_hook.config import TrainConfig

_VERSION = 1  # raised when the same documents and settings would give other tokens or another order
_WHOLE = "all"  # shard name of products that are made in one piece


@dataclass(frozen=True)
class _TokenizerJob:
    files: tuple[str, ...]
    config: TokenizerSection
    out: str


@dataclass(frozen=True)
class _EncodeJob:
    file: str
    shard: str
    model: str
    out: str
    num_threads: int


@dataclass(frozen=True)
class _OrderJob:
    tokens: str
    out: str
    recipe: Recipe
    model: str
    shards: tuple[TokenShard, ...]


def _make_tokenizer(job: _TokenizerJob) -> None:
    if job.config.model is not None:
        model = storage.read_bytes(job.config.model)
        if job.config.eos_token is not None:
            model = with_eos(model, job.config.eos_token, job.config.model)  # readers have only the file
        tokenizer = Tokenizer(model, job.config.model)  # refuses what is none
        if not job.config.allow_lossy:
            tokenizer.require_exact()
        storage.write_bytes(job.out, model)
    else:
        train_tokenizer(job.files, job.config.training(), job.out)


def _encode(job: _EncodeJob) -> TokenShard:
    return encode_shard(job.file, job.shard, job.model, job.out, num_threads=job.num_threads)


def _make_order(job: _OrderJob) -> dict[str, Any]:
    assert job.recipe.order is not None
    config = job.recipe.order
    merge_documents(job.tokens, job.shards, job.model, salt_key=job.recipe.salt_key or config.key)
    return build_order(job.tokens, job.out, config).model_dump(mode="json")


class Products:
    """The products of one run under one recipe."""

    def __init__(self, recipe: Recipe, chain: Chain) -> None:
        self._recipe = recipe
        self._chain = chain
        self._run = chain.run
        self._model = storage.join(chain.run, "tokenizer", "tokenizer.model")

    @cached_property
    def _tokenizer_fingerprint(self) -> str:
        section = self._recipe.tokenizer
        assert section is not None
        given = storage.sha256_file(section.model) if section.model is not None else None
        last = len(self._chain.steps) - 1
        corpus = [] if given else [self._chain.fingerprint(last, s) for s in self._chain.shards]
        config: Any = section.model_dump(mode="json")
        if given:  # whether a loss is accepted changes no byte
            config = None if section.eos_token is None else {"eos_token": section.eos_token}
        return artifacts.fingerprint(product="tokenizer", version=_VERSION, given=given, config=config, corpus=corpus)

    def _fingerprints(self, name: str) -> dict[str, str]:
        """Expected fingerprint of every shard of the product `name`."""
        if name == "tokenizer":
            return {_WHOLE: self._tokenizer_fingerprint}
        last = len(self._chain.steps) - 1
        tokens = {
            s.name: artifacts.fingerprint(
                product="tokens",
                version=_VERSION,
                tokenizer=self._tokenizer_fingerprint,
                shard=self._chain.fingerprint(last, s),
            )
            for s in self._chain.shards
        }
        if name == "tokens":
            return tokens
        assert self._recipe.order is not None
        order = artifacts.fingerprint(
            product="order",
            version=_VERSION,
            tokens=tokens,
            config=self._recipe.order.model_dump(mode="json"),
            salt_key=self._recipe.salt_key,
        )
        return {_WHOLE: order}

    def _names(self) -> list[str]:
        names = ["tokenizer", "tokens"] if self._recipe.tokenizer is not None else []
        return [*names, "order"] if self._recipe.order is not None else names

    def states(self) -> list[tuple[str, int, list[ShardManifest], bool]]:
        """(name, shards, manifests that are up to date, whether anything was ever made) of every product."""
        states = []
        for name in self._names():
            folder = StageFolder(self._run, name)
            expected = self._fingerprints(name)
            current = [m for s, f in expected.items() if (m := folder.committed(s, f)) is not None]
            made = any(folder.manifest(s) is not None for s in expected)
            states.append((name, len(expected), current, made))
        return states

    def make(self, name: str, engine: Engine, events: EventLog, *, force: bool = False) -> None:
        """Makes the product `name` (tokenizer, tokens or order) where it is not up to date."""
        folder = StageFolder(self._run, name)
        expected = self._fingerprints(name)
        missing = [s for s, f in expected.items() if force or folder.committed(s, f) is None]
        if missing:
            for shard in missing:  # while files of two fingerprints may lie side by side, the shard does not exist
                storage.remove(folder.manifest_path(shard))
            getattr(self, f"_make_{name}")(missing, expected, engine, events)
        folder.finish(artifacts.fingerprint(all=expected), {}, list(expected))

    def _documents(self) -> dict[str, str]:
        """Files of the refined corpus by shard."""
        folder = self._chain.folder(len(self._chain.steps) - 1)
        return {s.name: folder.path("out", s.name) for s in self._chain.shards}

    def _make_tokenizer(
        self, missing: Sequence[str], expected: Mapping[str, str], engine: Engine, events: EventLog
    ) -> None:
        assert self._recipe.tokenizer is not None
        job = _TokenizerJob(tuple(self._documents().values()), self._recipe.tokenizer, self._model)
        for _ in engine.map("tokenizer", _make_tokenizer, [job], lambda _: "training"):
            self._commit("tokenizer", _WHOLE, expected, [self._model], self._corpus_counts())
            events.write("task", stage="tokenizer", task=_WHOLE, seconds=0.0)

    def _make_tokens(
        self, missing: Sequence[str], expected: Mapping[str, str], engine: Engine, events: EventLog
    ) -> None:
        files = self._documents()
        out = storage.join(self._run, "tokens")
        threads = -(-engine.cpus // len(missing))  # fewer shards than cores: each takes several
        jobs = [_EncodeJob(files[shard], shard, self._model, out, threads) for shard in missing]
        counts = {s.name: self._kept_counts(s.name) for s in self._chain.shards}
        for job, made in engine.map("tokens", _encode, jobs, lambda job: job.shard):
            paths = [shard_path(out, job.shard), shard_documents_path(out, job.shard)]
            self._commit("tokens", job.shard, expected, paths, counts[job.shard], made.model_dump(mode="json"))

    def _make_order(
        self, missing: Sequence[str], expected: Mapping[str, str], engine: Engine, events: EventLog
    ) -> None:
        folder = StageFolder(self._run, "tokens")
        manifests = [folder.manifest(s.name) for s in self._chain.shards]
        shards = tuple(TokenShard.model_validate(m.facts) for m in manifests if m is not None)
        tokens, out = storage.join(self._run, "tokens"), storage.join(self._run, "order")
        job = _OrderJob(tokens, out, self._recipe, self._model, shards)
        for _, summary in engine.map("order", _make_order, [job], lambda _: "packing and roots"):
            names = ["rule.json", "roots.parquet", "order.json"]
            paths = [storage.join(out, n) for n in names] + storage.list_files(out, ".parquet")
            paths += [storage.join(tokens, n) for n in ("documents.parquet", "tokenizer.model", "manifest.json")]
            facts = {"order_root": summary["order_root"]}
            self._commit("order", _WHOLE, expected, sorted(set(paths)), self._corpus_counts(), facts)

    def _commit(
        self,
        name: str,
        shard: str,
        expected: Mapping[str, str],
        paths: Sequence[str],
        counts: Counts,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        folder = StageFolder(self._run, name)
        files = {
            storage.file_name(path): FileEntry(
                path="../../" + path.removeprefix(self._run.rstrip("/") + "/"),
                bytes=storage.size_bytes(path),
                sha256=storage.sha256_file(path),
                rows=counts.into.documents,
            )
            for path in paths
        }
        manifest = ShardManifest(
            stage=name, shard=shard, fingerprint=expected[shard], files=files, counts=counts, facts=dict(facts or {})
        )
        storage.write_text(folder.manifest_path(shard), manifest.model_dump_json(indent=1) + "\n")

    def _kept_counts(self, shard: str) -> Counts:
        manifest = self._chain.folder(len(self._chain.steps) - 1).manifest(shard)
        if manifest is None:
            raise InternalError("the refined corpus lacks a shard", where=shard)
        return Counts(into=manifest.counts.kept, kept=manifest.counts.kept)

    def _corpus_counts(self) -> Counts:
        total = sum((self._kept_counts(s.name).kept for s in self._chain.shards), Tally())
        return Counts(into=total, kept=total)

    def train(self, reporter: Reporter, *, force: bool) -> None:
        """Trains on the order with the recipe's `train` section; goes on from the newest checkpoint unless `force`."""
        assert self._recipe.train is not None
        reporter.say(f"train: {self._recipe.train_processes} processes")
        train_run(self._run, self._recipe.train, self._recipe.train_processes, resume=not force)


# What the trainer's exit codes mean to those who called it.
_TRAINER_ERRORS: dict[int, tuple[type[CorpusmillError], str]] = {
    1: (DataError, "the data do not match their hashes, or the loss is not finite"),
    2: (UserError, "the training configuration or checkpoint does not fit this order"),
    3: (InfrastructureError, "training was stopped before its last step"),
}


def train_run(run: str, config: TrainConfig, nproc: int, *, resume: bool) -> None:
    """Trains on the order of `run` in `nproc` processes; returns when the last step is done.

    Imports torch only now: everything else runs without it.
    Raises DataError, UserError, InfrastructureError or InternalError by the trainer's exit code.
    """
    try:
        from corpusmill.training_hook.launch import launch
    except ModuleNotFoundError as error:
        raise UserError(
            "training needs a package that is not installed", value=error.name, remedy="pip install 'corpusmill[train]'"
        ) from error
    code = launch(run, config, nproc, resume)
    if code != 0:
        kind, what = _TRAINER_ERRORS.get(code, (InternalError, f"the trainer left with code {code}"))
        raise kind(
            what, where=run, remedy=f"see the lines above; corpusmill train {run} --nproc {nproc} --resume goes on"
        )
