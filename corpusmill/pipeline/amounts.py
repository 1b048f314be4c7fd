"""How much text moves: documents, characters and tokens of the documents that other thresholds gain or lose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core.artifacts import Tally
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.products import Products
from corpusmill.pipeline.recipe import Recipe

_RATIO_DOCUMENTS: Final = 5_000  # so many documents tell how many characters a token has


@dataclass(frozen=True)
class Amount:
    """Documents and what they hold. tokens: counted where `exact`, else estimated from characters; None if unknown."""

    documents: int = 0
    characters: int = 0
    tokens: int | None = None
    exact: bool = False


class TokenCounts:
    """What the token shards of a run say: tokens of its documents, and characters a token, for all others.

    ratios: characters per token by language, of all under ""; empty when the run has no token shards or stale ones.
    """

    def __init__(self, recipe: Recipe, chain: Chain) -> None:
        self._chain = chain
        self._products = Products(recipe, chain)
        done = {name: len(current) == shards for name, shards, current, _ in self._products.states()}
        self.ratios: dict[str, float] = self._characters_per_token() if done.get("tokens") else {}

    def _table(self, shard: str) -> pa.Table:
        return self._products.tokenised(shard).select(["doc_id", "language", "num_tokens"])

    def _characters_per_token(self) -> dict[str, float]:
        """From the first documents of the corpus: characters and tokens of each language."""
        characters: dict[str, int] = {}
        tokens: dict[str, int] = {}
        documents = 0
        for shard in self._chain.shards:
            texts = self._chain.kept(len(self._chain.steps) - 1, shard.name, ["language", "text"])
            lengths = pc.utf8_length(texts.column("text")).to_pylist()
            for language, length in zip(texts.column("language").to_pylist(), lengths, strict=True):
                characters[language] = characters.get(language, 0) + length
            counted = self._table(shard.name)
            pairs = zip(counted.column("language").to_pylist(), counted.column("num_tokens").to_pylist(), strict=True)
            for language, number in pairs:
                tokens[language] = tokens.get(language, 0) + number
            documents += texts.num_rows
            if documents >= _RATIO_DOCUMENTS:
                break
        characters[""], tokens[""] = sum(characters.values()), sum(tokens.values())
        return {language: characters[language] / n for language, n in tokens.items() if n}

    def estimate(self, language: str, characters: int) -> float:
        """Tokens that so many characters have; 0 when nothing is known."""
        ratio = self.ratios.get(language) or self.ratios.get("")
        return characters / ratio if ratio else 0.0

    def in_corpus(self, shard: str, moved: pa.Table) -> Amount:
        """Of the documents `moved` (shift.MOVED) those that are in the corpus; their tokens are counted."""
        if self.ratios:
            counted = self._table(shard)
            counted = counted.filter(pc.is_in(counted.column("doc_id"), value_set=moved.column("doc_id")))
            ids, tokens = counted.column("doc_id"), int(pc.sum(counted.column("num_tokens")).as_py() or 0)
        else:
            ids = self._chain.kept(len(self._chain.steps) - 1, shard, ["doc_id"]).column("doc_id")
            tokens = None
        there = moved.filter(pc.is_in(moved.column("doc_id"), value_set=ids))
        characters = int(pc.sum(there.column("characters")).as_py() or 0)
        return Amount(there.num_rows, characters, tokens, exact=tokens is not None)


class Amounts:
    """Sums of MOVED rows (pipeline/shift.py) by rule."""

    def __init__(self, tokens: TokenCounts) -> None:
        self._tokens = tokens
        self._tallies: dict[tuple[str, str], Tally] = {}  # by rule and language

    def add(self, moved: pa.Table) -> None:
        """Adds rows."""
        groups = moved.group_by(["rule", "language"]).aggregate([("characters", "sum"), ("characters", "count")])
        for row in groups.to_pylist():
            tally = Tally(documents=row["characters_count"], characters=row["characters_sum"])
            key = (row["rule"], row["language"])
            self._tallies[key] = self._tallies.get(key, Tally()) + tally

    def by_rule(self) -> dict[str, Amount]:
        """The sum of each rule, the one with the most documents first."""
        found = {rule: self._sum(rule) for rule in sorted({rule for rule, _ in self._tallies})}
        return dict(sorted(found.items(), key=lambda item: -item[1].documents))

    def total(self) -> Amount:
        """The sum of all rows."""
        return self._sum(None)

    def _sum(self, rule: str | None) -> Amount:
        chosen = [(language, tally) for (name, language), tally in self._tallies.items() if rule in (None, name)]
        total = sum((tally for _, tally in chosen), Tally())
        tokens = sum(self._tokens.estimate(language, tally.characters) for language, tally in chosen)
        return Amount(total.documents, total.characters, round(tokens) if self._tokens.ratios else None)
