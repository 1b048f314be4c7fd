"""What is made of the refined corpus: tokenizer, held-out split, token shards, training order, and a run of training.

Each is committed like a stage (RUN/stages/<name>/shards/*.json), but its files lie where their readers look for them:
RUN/tokenizer, RUN/held_out, RUN/tokens, RUN/order, RUN/train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from corpusmill.core import artifacts, documents, storage
from corpusmill.core.artifacts import Counts, FileEntry, ShardManifest, StageFolder, Tally
from corpusmill.core.errors import ConfigError, InternalError
from corpusmill.pipeline import held_out, sources
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.progress import Reporter
from corpusmill.pipeline.recipe import Recipe, TokenizerSection
from corpusmill.pipeline.sources import ExtraFile
from corpusmill.pipeline.token_tasks import (
    EncodeJob,
    ExtraJob,
    HeldOutJob,
    IdsJob,
    check_source_ids,
    drop_clusters,
    encode_extra,
    encode_held_out,
    encode_training,
    write_clusters,
)
from corpusmill.pipeline.training import train_run
from corpusmill.tokenize import lookup
from corpusmill.tokenize.columns import OFFSETS, SALTS
from corpusmill.tokenize.order import Part, PartResult, begin_order, finish_order, parts_of, write_part
from corpusmill.tokenize.shards import SHARD_DOCUMENT, TokenShard, merge_documents, shard_documents_path, shard_path
from corpusmill.tokenize.tokenizer import Tokenizer, with_eos
from corpusmill.tokenize.training import train_tokenizer

_VERSION = 2  # raised when the same documents and settings would give another tokenizer or another order
_TOKENS_VERSION = 2  # or other tokens
_WHOLE = "all"  # shard name of products that are made in one piece, and of what is made when all shards are there


@dataclass(frozen=True)
class _TokenizerJob:
    files: tuple[str, ...]
    config: TokenizerSection
    out: str


@dataclass(frozen=True)
class _MergeJob:
    folder: str
    shards: tuple[TokenShard, ...]
    model: str
    salt_key: str


@dataclass(frozen=True)
class _OrderJob:
    tokens: str
    out: str
    recipe: Recipe
    model: str
    shards: tuple[TokenShard, ...]


@dataclass(frozen=True)
class _PartJob:
    tokens: str
    out: str
    part: Part


@dataclass(frozen=True)
class _FinishJob:
    tokens: str
    out: str
    results: tuple[PartResult, ...]


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


def _merge(job: _MergeJob) -> None:
    merge_documents(job.folder, job.shards, job.model, salt_key=job.salt_key)


def _plan_order(job: _OrderJob) -> list[Part]:
    assert job.recipe.order is not None
    config = job.recipe.order
    salt_key, extra = job.recipe.salt_key or config.key, tuple(job.recipe.sources.extra)
    merge_documents(job.tokens, job.shards, job.model, salt_key=salt_key, extra=extra)
    return parts_of(begin_order(job.tokens, job.out, config), config.file_sequences)


def _write_part(job: _PartJob) -> PartResult:
    return write_part(job.tokens, job.out, job.part)


def _finish_order(job: _FinishJob) -> dict[str, Any]:
    lookup.build(job.tokens)  # `order find` need not wait for it
    return finish_order(job.tokens, job.out, job.results).model_dump(mode="json")


class Products:
    """The products of one run under one recipe.

    extra: files of the extra sources; None: those that the run was started with.
    """

    def __init__(self, recipe: Recipe, chain: Chain, extra: Sequence[ExtraFile] | None = None) -> None:
        self._recipe = recipe
        self._chain = chain
        self._run = chain.run
        self._model = storage.join(chain.run, "tokenizer", "tokenizer.model")
        self._tokens = storage.join(chain.run, "tokens")
        found = sources.load(chain.run) if extra is None else extra
        self._extra = {file.name: file for file in found if file.source in recipe.sources.extra}

    @property
    def extra(self) -> list[ExtraFile]:
        """The files of the extra sources."""
        return list(self._extra.values())

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

    @cached_property
    def _split_fingerprint(self) -> str | None:
        config = self._recipe.held_out
        return None if config is None else held_out.fingerprint(self._chain, config)

    def _fingerprints(self, name: str) -> dict[str, str]:
        """Expected fingerprint of every shard of the product `name`."""
        return {
            "tokenizer": self._whole_fingerprint,
            held_out.NAME: self._held_out_fingerprints,
            "tokens": self._tokens_fingerprints,
            "order": self._order_fingerprint,
        }[name]()

    def _whole_fingerprint(self) -> dict[str, str]:
        return {_WHOLE: self._tokenizer_fingerprint}

    def _shard_fingerprints(self, product: str) -> dict[str, str]:
        """Of the shards of the refined corpus, as they become token shards."""
        last = len(self._chain.steps) - 1
        return {
            s.name: artifacts.fingerprint(
                product=product,
                version=_TOKENS_VERSION,
                tokenizer=self._tokenizer_fingerprint,
                shard=self._chain.fingerprint(last, s),
                by=self._recipe.sources.by,
                split=self._split_fingerprint,
            )
            for s in self._chain.shards
        }

    def _tokens_fingerprints(self) -> dict[str, str]:
        extra = {
            name: artifacts.fingerprint(
                product="tokens",
                version=_TOKENS_VERSION,
                tokenizer=self._tokenizer_fingerprint,
                source=file.source,
                identity=file.identity,
            )
            for name, file in self._extra.items()
        }
        return {**self._shard_fingerprints("tokens"), **extra}

    def _held_out_fingerprints(self) -> dict[str, str]:
        shards = self._shard_fingerprints(held_out.NAME)
        whole = artifacts.fingerprint(product=held_out.NAME, shards=shards, salt_key=self._held_out_salt_key())
        return {**shards, _WHOLE: whole}

    def _held_out_salt_key(self) -> str:
        assert self._recipe.held_out is not None
        order = self._recipe.order
        return self._recipe.salt_key or (self._recipe.held_out.key if order is None else order.key)

    def _order_fingerprint(self) -> dict[str, str]:
        assert self._recipe.order is not None
        order = artifacts.fingerprint(
            product="order",
            version=_VERSION,
            tokens=self._tokens_fingerprints(),
            extra=list(self._recipe.sources.extra),
            config=self._recipe.order.model_dump(mode="json"),
            salt_key=self._recipe.salt_key,
        )
        return {_WHOLE: order}

    def states(self) -> list[tuple[str, int, list[ShardManifest], bool]]:
        """(name, shards, manifests that are up to date, whether anything was ever made) of every product."""
        states = []
        for name in product_names(self._recipe):
            folder = StageFolder(self._run, name)
            expected = self._fingerprints(name)
            current = [m for s, f in expected.items() if (m := folder.committed(s, f)) is not None]
            made = any(folder.manifest(s) is not None for s in expected)
            states.append((name, len(expected), current, made))
        return states

    def committed(self, name: str) -> list[ShardManifest] | None:
        """The manifests of the product `name` if all are up to date."""
        folder = StageFolder(self._run, name)
        found = [folder.committed(s, f) for s, f in self._fingerprints(name).items()]
        return [m for m in found if m is not None] if None not in found else None

    def tokenised(self, shard: str) -> pa.Table:
        """SHARD_DOCUMENT rows of all documents of a shard of the refined corpus, those held out too."""
        roots = [("tokens", "token_shards", self._tokens)]
        if self._recipe.held_out is not None:
            roots += [(held_out.NAME, part, root) for part, root in held_out.folders(self._run).items()]
        tables = []
        for product, part, root in roots:
            manifest = StageFolder(self._run, product).manifest(shard)
            made = () if manifest is None else _token_shards([manifest], part)
            tables += [storage.read_parquet(shard_documents_path(root, each.name)) for each in made]
        return documents.concat(tables, SHARD_DOCUMENT)

    def split_facts(self) -> dict[str, Any] | None:
        """What is reported of the held-out split; None where there is none that is up to date."""
        if self._recipe.held_out is None:
            return None
        whole = StageFolder(self._run, held_out.NAME).committed(_WHOLE, self._held_out_fingerprints()[_WHOLE])
        return None if whole is None else dict(whole.facts)

    def make(self, name: str, engine: Engine, events: EventLog, *, force: bool = False) -> None:
        """Makes the product `name` (tokenizer, held_out, tokens or order) where it is not up to date."""
        folder = StageFolder(self._run, name)
        expected = self._fingerprints(name)
        for shard in self._made(folder) - set(expected):  # of sources and inputs that are gone
            self._forget(folder, shard)
        missing = [s for s, f in expected.items() if force or folder.committed(s, f) is None]
        if missing:
            for shard in missing:  # while files of two fingerprints may lie side by side, the shard does not exist
                self._forget(folder, shard)
            getattr(self, f"_make_{name}")(missing, expected, engine, events)
        folder.finish(artifacts.fingerprint(all=expected), {}, list(expected))

    def _made(self, folder: StageFolder) -> set[str]:
        """Names of the shards of a product that have a manifest."""
        paths = storage.list_files(storage.join(folder.root, "shards"), ".json")
        return {storage.file_name(path).removesuffix(".json") for path in paths}

    def _forget(self, folder: StageFolder, shard: str) -> None:
        """Deletes a shard; its files first, as under another recipe their names may be others."""
        manifest = folder.manifest(shard)
        if manifest is not None and folder.name in (held_out.NAME, "tokens"):
            for entry in manifest.files.values():
                storage.remove(storage.join(folder.root, entry.path))
        storage.remove(folder.manifest_path(shard))

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

    def _make_held_out(
        self, missing: Sequence[str], expected: Mapping[str, str], engine: Engine, events: EventLog
    ) -> None:
        config = self._recipe.held_out
        assert config is not None
        for out in held_out.folders(self._run).values():
            storage.remove(storage.join(out, "manifest.json"))  # no evaluation reads what is half made
        held_out.write_copies(self._chain, config, engine)
        jobs = [
            HeldOutJob(self._chain, shard, self._model, self._recipe.sources.by, config)
            for shard in self._chain.shards
            if shard.name in missing
        ]
        if jobs:
            write_clusters(self._chain, engine)
        for job, made in engine.map(held_out.NAME, encode_held_out, jobs, lambda job: job.shard.name):
            facts = {part: [s.model_dump(mode="json") for s in shards] for part, shards in made.parts.items()}
            paths = [p for part, root in held_out.folders(self._run).items() for p in _files_of(root, made.parts[part])]
            self._commit(held_out.NAME, job.shard.name, expected, paths, made.counts, facts)
        drop_clusters(self._chain)
        self._merge_held_out(expected, engine)

    def _merge_held_out(self, expected: Mapping[str, str], engine: Engine) -> None:
        folder = StageFolder(self._run, held_out.NAME)
        manifests = [m for s in self._chain.shards if (m := folder.manifest(s.name)) is not None]
        roots = held_out.folders(self._run)
        jobs = [_MergeJob(roots[p], _token_shards(manifests, p), self._model, self._held_out_salt_key()) for p in roots]
        for _ in engine.map(f"{held_out.NAME}: documents", _merge, jobs, lambda job: job.folder):
            pass
        names = ("documents.parquet", "tokenizer.model", "manifest.json")
        paths = [storage.join(root, name) for root in roots.values() for name in names]
        total = sum((m.counts for m in manifests), Counts())
        facts = held_out.facts(total, held_out.read_gone(self._run))
        # The shards have the counts: those of what is made of all of them would double them.
        self._commit(held_out.NAME, _WHOLE, expected, [*paths, held_out.copies_path(self._run)], Counts(), facts)

    def _make_tokens(
        self, missing: Sequence[str], expected: Mapping[str, str], engine: Engine, events: EventLog
    ) -> None:
        config = self._recipe.held_out
        if config is None:  # what an earlier recipe held out is trained on from now on
            storage.remove_folder(held_out.folder(self._run))
            storage.remove_folder(StageFolder(self._run, held_out.NAME).root)
        wanted = set(missing)
        self._make_extra([file for name, file in self._extra.items() if name in wanted], expected, engine)
        shards = [shard for shard in self._chain.shards if shard.name in wanted]
        threads = -(-engine.cpus // max(1, len(shards)))  # fewer shards than cores: each takes several
        jobs = [
            EncodeJob(self._chain, shard, self._model, self._recipe.sources.by, config, threads) for shard in shards
        ]
        if jobs:
            write_clusters(self._chain, engine)
        for job, made in engine.map("tokens", encode_training, jobs, lambda job: job.shard.name):
            self._refuse_clash(made)
            self._commit_tokens(job.shard.name, expected, self._training_counts(job.shard.name), made)
        drop_clusters(self._chain)

    def _make_extra(self, files: Sequence[ExtraFile], expected: Mapping[str, str], engine: Engine) -> None:
        """Checks the ids of every source of which a file is to be made, then encodes these files."""
        warc_files = frozenset(shard.slice.warc_file for shard in self._chain.shards)
        of_source = {
            source: tuple(file.path for file in self._extra.values() if file.source == source)
            for source in dict.fromkeys(file.source for file in files)
        }
        checks = [IdsJob(source, paths, warc_files) for source, paths in of_source.items()]
        if checks:
            for _ in engine.map("tokens: ids", check_source_ids, checks, lambda job: job.source):
                pass
        jobs = [ExtraJob(file, self._model, self._tokens) for file in files]
        for job, (made, tally) in engine.map("tokens: sources", encode_extra, jobs, lambda job: job.file.name):
            self._commit_tokens(job.file.name, expected, Counts(into=tally, kept=tally), made)

    def _refuse_clash(self, made: Sequence[TokenShard]) -> None:
        for shard in made:
            if shard.source in self._recipe.sources.extra:
                raise ConfigError(
                    f"`sources.by: {self._recipe.sources.by}` gives crawled documents the name of an extra source",
                    value=shard.source,
                    remedy="name the source in `sources.extra` otherwise",
                )

    def _commit_tokens(
        self, shard: str, expected: Mapping[str, str], counts: Counts, made: Sequence[TokenShard]
    ) -> None:
        facts = {"token_shards": [each.model_dump(mode="json") for each in made]}
        self._commit("tokens", shard, expected, _files_of(self._tokens, made), counts, facts)

    def _training_counts(self, shard: str) -> Counts:
        """What is trained on of a shard of the refined corpus."""
        if self._recipe.held_out is None:
            return self._kept_counts(shard)
        manifest = StageFolder(self._run, held_out.NAME).manifest(shard)
        if manifest is None:
            raise InternalError("the held-out split lacks a shard", where=shard)
        return Counts(into=manifest.counts.kept, kept=manifest.counts.kept)

    def _make_order(
        self, missing: Sequence[str], expected: Mapping[str, str], engine: Engine, events: EventLog
    ) -> None:
        folder = StageFolder(self._run, "tokens")
        manifests = [m for s in self._tokens_fingerprints() if (m := folder.manifest(s)) is not None]
        shards = _token_shards(manifests, "token_shards")
        tokens, out = self._tokens, storage.join(self._run, "order")
        job = _OrderJob(tokens, out, self._recipe, self._model, shards)
        parts = [p for _, planned in engine.map("order", _plan_order, [job], lambda _: "rule") for p in planned]
        part_jobs = [_PartJob(tokens, out, part) for part in parts]
        results = [r for _, r in engine.map("order", _write_part, part_jobs, lambda job: job.part.path)]
        finish = _FinishJob(tokens, out, tuple(results))
        total = sum((m.counts.kept for m in manifests), Tally())
        for _, summary in engine.map("order", _finish_order, [finish], lambda _: "roots"):
            names = ["rule.json", "roots.parquet", "order.json"]
            paths = [storage.join(out, n) for n in names] + storage.list_files(out, ".parquet")
            names = ["documents.parquet", "tokenizer.model", "manifest.json", OFFSETS, SALTS]
            paths += [storage.join(tokens, n) for n in names]
            facts = {"order_root": summary["order_root"]}
            self._commit("order", _WHOLE, expected, sorted(set(paths)), Counts(into=total, kept=total), facts)

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
        inside = {path: path.removeprefix(self._run.rstrip("/") + "/") for path in paths}
        several = len({storage.file_name(path) for path in paths}) < len(paths)
        files = {
            inside[path] if several else storage.file_name(path): FileEntry(
                path=f"../../{inside[path]}",
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


def product_names(recipe: Recipe) -> list[str]:
    """The products that the recipe asks for, without the training run, in running order."""
    names = [] if recipe.tokenizer is None else ["tokenizer", "tokens"]
    if recipe.held_out is not None:
        names.insert(1, held_out.NAME)
    return [*names, "order"] if recipe.order is not None else names


def _token_shards(manifests: Sequence[ShardManifest], part: str) -> tuple[TokenShard, ...]:
    """The token shards that the manifests list under `part`."""
    return tuple(TokenShard.model_validate(each) for m in manifests for each in m.facts[part])


def _files_of(folder: str, shards: Sequence[TokenShard]) -> list[str]:
    return [path(folder, shard.name) for shard in shards for path in (shard_path, shard_documents_path)]
