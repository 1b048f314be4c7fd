"""Checks of the held-out split: nothing lost, nothing in two parts, no copy that was overlooked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from corpusmill.core import storage
from corpusmill.core.artifacts import Counts, ShardManifest, StageFolder
from corpusmill.core.errors import CorpusmillError
from corpusmill.pipeline import held_out
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.products import Products
from corpusmill.pipeline.recipe import Recipe
from corpusmill.tokenize.held_out import HeldOutConfig
from corpusmill.tokenize.shards import TokensManifest, shard_documents_path
from corpusmill.tokenize.verify import Check

_REMEDY = "; remedy: corpusmill run RECIPE --out {run} --from held_out --force"


def split_checks(recipe: Recipe, config: HeldOutConfig, chain: Chain, *, hashes: bool) -> list[Check]:
    """kept = trained on + held out + copies, in documents and characters, by the counts and, where `hashes`, by the
    doc_ids of all token shards; the copies derived again from the removals; the files against their hashes.
    """
    manifests = Products(recipe, chain).committed(held_out.NAME)
    if manifests is None:
        detail = f"missing, stale or a file has another size{_REMEDY.format(run=chain.run)}"
        return [Check("held-out split", False, detail)]
    checks = [_check("held-out split", chain, lambda: _conservation(chain, manifests))]
    if hashes:
        checks.append(_check("held-out files", chain, lambda: _files(chain, manifests)))
        checks.append(_check("held-out copies", chain, lambda: _derived_again(chain, config)))
        checks.append(_check("held-out documents", chain, lambda: _documents(chain, config)))
    return checks


def _check(name: str, chain: Chain, check: Callable[[], tuple[list[str], str]]) -> Check:
    try:
        problems, found = check()
    except CorpusmillError as error:
        return Check(name, False, str(error))
    detail = "; ".join(problems[:5]) + _REMEDY.format(run=chain.run) if problems else found
    return Check(name, not problems, detail)


def _conservation(chain: Chain, manifests: Sequence[ShardManifest]) -> tuple[list[str], str]:
    last = chain.folder(len(chain.steps) - 1)
    tokens = StageFolder(chain.run, "tokens")
    problems = []
    for manifest in manifests:
        counts = manifest.counts
        out = list(counts.removed.values())
        for what in ("documents", "characters"):
            parts = getattr(counts.kept, what) + sum(getattr(tally, what) for tally in out)
            if getattr(counts.into, what) != parts:
                problems.append(f"{manifest.shard}: {getattr(counts.into, what)} {what} kept, {parts} in the parts")
        if manifest.shard not in {shard.name for shard in chain.shards}:
            continue
        before, after = last.manifest(manifest.shard), tokens.manifest(manifest.shard)
        if before is None or before.counts.kept != counts.into:
            problems.append(f"{manifest.shard}: the last step kept other documents than were split")
        if after is None or after.counts.into != counts.kept:
            problems.append(f"{manifest.shard}: other documents were tokenised than the split leaves for training")
    total = sum((m.counts for m in manifests), Counts())
    chosen = total.removed[held_out.NAME].documents if held_out.NAME in total.removed else 0
    copies = sum(tally.documents for rule, tally in total.removed.items() if rule != held_out.NAME)
    for part, number in ((held_out.CHOSEN, chosen), (held_out.COPIES, copies)):
        listed = TokensManifest.load(held_out.folders(chain.run)[part]).documents
        if listed != number:
            problems.append(f"{held_out.folders(chain.run)[part]}: {listed} documents, {number} were counted")
    kept, trained = total.into.documents, total.kept.documents
    return problems, f"{kept} kept = {trained} trained on + {chosen} held out + {copies} copies of held-out ones"


def _files(chain: Chain, manifests: Sequence[ShardManifest]) -> tuple[list[str], str]:
    root = StageFolder(chain.run, held_out.NAME).root
    entries = [(storage.join(root, e.path), e.sha256) for m in manifests for e in m.files.values()]
    wrong = [path for path, expected in entries if storage.sha256_file(path) != expected]
    return [f"{path} does not match its sha256" for path in wrong], f"{len(entries)} files"


def _derived_again(chain: Chain, config: HeldOutConfig) -> tuple[list[str], str]:
    def looks(jobs: Sequence[held_out.LookJob]) -> Iterator[pa.Table]:
        return map(held_out.look_at_removals, jobs)

    derived, _ = held_out.derive(chain, config, looks)
    stored = held_out.read_copies(chain.run)
    if not derived.equals(stored):
        return [f"{held_out.copies_path(chain.run)} does not say what the removals say"], ""
    return [], f"{stored.num_rows} pairs derived again from the removals"


def _documents(chain: Chain, config: HeldOutConfig) -> tuple[list[str], str]:
    """Every token shard has the documents that the rule gives it, and every kept document is in one."""
    problems = []
    documents = 0
    for shard in chain.shards:
        ids = storage.read_parquet(held_out.documents_file(chain, shard), ["doc_id"]).column("doc_id").to_pylist()
        parts = held_out.split(chain.run, config, pa.array(ids, pa.string()))
        chosen, copies = set(parts.chosen.to_pylist()), set(parts.copies.column("doc_id").to_pylist())
        expected = {
            "tokens": sorted(set(ids) - chosen - copies),
            held_out.CHOSEN: sorted(chosen),
            held_out.COPIES: sorted(copies - chosen),
        }
        for part, found in _tokenised(chain, shard).items():
            documents += len(found)
            if sorted(found) != expected[part]:
                first = min(set(found) ^ set(expected[part]), default="one twice")
                problems.append(f"{shard.name}: {part} does not have the documents it should have, e.g. {first}")
    return problems, f"{documents} documents, each in the part that its doc_id and the removals give"


def _tokenised(chain: Chain, shard: Shard) -> dict[str, list[str]]:
    """doc_ids in the token shards of `shard`: of the training tokens and of both parts of the split."""
    places = {"tokens": ("tokens", "token_shards", storage.join(chain.run, "tokens"))}
    places |= {part: (held_out.NAME, part, root) for part, root in held_out.folders(chain.run).items()}
    found: dict[str, list[str]] = {}
    for part, (product, key, root) in places.items():
        manifest = StageFolder(chain.run, product).manifest(shard.name)
        made = [] if manifest is None else manifest.facts[key]
        paths = [shard_documents_path(root, each["name"]) for each in made]
        found[part] = [i for p in paths for i in storage.read_parquet(p, ["doc_id"]).column("doc_id").to_pylist()]
    return found
