"""The folders of tokens of a run: RUN/tokens, which is trained on, and those of the held-out split."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import storage
from corpusmill.pipeline import held_out
from corpusmill.pipeline.erasure import Passages
from corpusmill.tokenize.columns import OFFSETS, SALTS
from corpusmill.tokenize.redaction import RedactedFiles
from corpusmill.tokenize.shards import TokensManifest
from corpusmill.tokenize.store import DocumentIndex, TokenStore


class TokenFolder(NamedTuple):
    """One folder, and which of some documents are in it.

    name: relative to the run. ordinals: of the documents, ascending. redacted: ordinals whose tokens are gone.
    """

    run: str
    name: str
    manifest: TokensManifest
    ordinals: tuple[int, ...]
    redacted: frozenset[int]

    @property
    def path(self) -> str:
        """The folder."""
        return storage.join(self.run, self.name)

    @property
    def new(self) -> list[int]:
        """Ordinals of the documents that are not redacted yet, ascending."""
        return [ordinal for ordinal in self.ordinals if ordinal not in self.redacted]

    def own_files(self) -> list[str]:
        """Files that a redaction rewrites, by path relative to the run."""
        names = [*(f"{shard.name}.bin" for shard in self.manifest.shards), "documents.parquet", OFFSETS, SALTS]
        return [f"{self.name}/{name}" for name in names]

    def add_tokens(self, passages: Passages) -> None:
        """Adds the tokens of the documents that are not redacted yet."""
        index = DocumentIndex.load(self.path, self.manifest.shards)
        store = TokenStore(self.path, self.manifest.shards, self.manifest.dtype)
        for ordinal in self.new:
            one = np.array([ordinal])
            ids = store.gather(index, one, np.zeros(1, np.int64), index.num_tokens(one), 0)
            passages.add_bytes(ids.astype(store.dtype).tobytes())


def token_folders(run: str, doc_ids: Sequence[str]) -> list[TokenFolder]:
    """The folders that exist, RUN/tokens first."""
    wanted = pa.array(sorted(doc_ids), pa.string())
    found = []
    for path in (storage.join(run, "tokens"), *held_out.folders(run).values()):
        if storage.exists(storage.join(path, "manifest.json")):
            table = storage.read_parquet(storage.join(path, "documents.parquet"), ["doc_ordinal", "doc_id"])
            chosen = table.filter(pc.is_in(table.column("doc_id"), value_set=wanted))
            ordinals = tuple(sorted(chosen.column("doc_ordinal").to_pylist()))
            redacted = frozenset(RedactedFiles.load(path).documents)
            name = posixpath.relpath(path, run)
            found.append(TokenFolder(run, name, TokensManifest.load(path), ordinals, redacted))
    return found
