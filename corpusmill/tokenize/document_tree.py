"""The document tree of an order on disk: sorted leaves, among which a content hash is found in a moment.

RUN/tokens/index/
    documents.tree    RECORD_BYTES a document, in the tree's order: content hash (16), ordinal (uint64), tokens (uint64)
    documents.nodes   32 bytes for every NODE_LEAVES leaves: the root over them (the last one over fewer)

32.03 bytes a document. A record is what a leaf hashes. The files say nothing that documents.parquet does not say; who
opens them compares their root with the order's, and makes them again where it is another.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.errors import VerificationFailed
from corpusmill.tokenize.columns import document_records
from corpusmill.tokenize.hashes import merkle_root
from corpusmill.tokenize.merkle import audit_path

RECORD_BYTES: Final = 32
NODE_LEAVES: Final = 1024
TREE, NODES = "documents.tree", "documents.nodes"

_BATCH_DOCUMENTS = 1 << 16
_SORTED_DOCUMENTS = 1 << 20  # sorted in memory at once: some 100 MB
_MOST_BITS = 8  # of a content hash that choose its partition: as many files are open at most as 2^8

ByteArray = npt.NDArray[np.uint8]


class TreeLeaf(NamedTuple):
    """What a leaf of the document tree says. num_tokens: EOS included."""

    content_hash: bytes  # 16
    doc_ordinal: int
    num_tokens: int


class DocumentTree:
    """The sorted leaves of a document tree; see the module. Holds nothing in memory but what it is asked for."""

    def __init__(self, folder: str) -> None:
        self._records = _mapped(storage.join(folder, TREE))
        self._nodes = _mapped(storage.join(folder, NODES))

    @classmethod
    def open(cls, tokens_folder: str, documents: int, root: bytes, scratch: str) -> DocumentTree:
        """The tree of RUN/tokens, made first where it is not there: then it reads documents.parquet once and sorts it.

        Args:
            tokens_folder: RUN/tokens.
            documents: that there should be.
            root: documents root that the tree should have.
            scratch: a local folder for the tree where it cannot be kept in tokens_folder, as long as it is in use.

        Raises:
            VerificationFailed: documents.parquet does not give the root.
        """
        kept = storage.join(tokens_folder, "index")
        if storage.is_local(kept) and _has_sizes(kept, documents):
            tree = cls(kept)
            if tree.root == root:
                return tree
        source = storage.join(tokens_folder, "documents.parquet")
        tree = cls(_build_where_possible(source, documents, kept, scratch))
        if len(tree) != documents or tree.root != root:
            raise VerificationFailed(
                "the documents do not give the documents root of the order",
                where=source,
                value=tree.root.hex(),
                remedy="restore tokens/ from a copy; `corpusmill verify --full` says what else differs",
            )
        return tree

    def __len__(self) -> int:
        return len(self._records)

    @cached_property
    def root(self) -> bytes:
        """The documents root: hashes the nodes, not the leaves."""
        return merkle_root(bytes(node) for node in self._nodes)

    def leaf(self, index: int) -> TreeLeaf:
        """The leaf at a place of the tree."""
        record = bytes(self._records[index])
        return TreeLeaf(record[:16], *(int.from_bytes(record[a : a + 8], "little") for a in (16, 24)))

    def find(self, content_hash: bytes) -> range:
        """Places of the leaves of this content hash (16 bytes); empty, where they would be, when there are none."""
        places = range(len(self))
        first = bisect_left(places, content_hash, key=self._hash_at)
        return range(first, bisect_right(places, content_hash, lo=first, key=self._hash_at))

    def path(self, index: int) -> list[bytes]:
        """The audit path of a leaf: hashes at most 2,048 leaves, and the nodes."""
        return audit_path(index, len(self), self._root_of)

    def _hash_at(self, index: int) -> bytes:
        return bytes(self._records[index, :16])

    def _root_of(self, first: int, stop: int) -> bytes:
        if stop - first <= NODE_LEAVES:
            return _root_over(self._records[first:stop].tobytes())
        # Subtrees of more leaves begin at a multiple of NODE_LEAVES, and are trees over whole nodes.
        return merkle_root(bytes(node) for node in self._nodes[first // NODE_LEAVES : -(-stop // NODE_LEAVES)])


def build_tree(documents_path: str, documents: int, folder: str) -> None:
    """Writes the tree of a documents.parquet of so many documents into a local folder.

    Needs as much disk again while it sorts, and memory for 2^20 documents, or for those whose content hashes begin
    with the same 8 bits where there are more.
    """
    bits = min(_MOST_BITS, max(0, (documents - 1) // _SORTED_DOCUMENTS).bit_length())
    target = storage.local_path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="tree-", dir=target) as name:
        paths = [Path(name) / f"{number:03d}" for number in range(1 << bits)]
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for records in _record_batches(documents_path):
                numbers = records[:, 0] >> (8 - bits) if bits else np.zeros(len(records), np.uint8)
                for number in np.unique(numbers).tolist():
                    files[number].write(records[numbers == number].tobytes())
        with storage.open_write(storage.join(folder, TREE)) as out:
            for path in paths:
                out.write(_sorted(np.fromfile(path, np.uint8).reshape(-1, RECORD_BYTES)).tobytes())
                path.unlink()
    with storage.open_read(storage.join(folder, TREE)) as file, storage.open_write(storage.join(folder, NODES)) as out:
        while data := file.read(NODE_LEAVES * RECORD_BYTES):
            out.write(_root_over(data))


def _build_where_possible(source: str, documents: int, kept: str, scratch: str) -> str:
    if storage.is_local(kept):
        try:
            build_tree(source, documents, kept)
        except OSError:
            pass  # a folder that may only be read, or a full disk
        else:
            return kept
    build_tree(source, documents, scratch)
    return scratch


def _record_batches(documents_path: str) -> Iterator[ByteArray]:
    """(rows, RECORD_BYTES) in order of ordinal."""
    columns = ["content_hash", "doc_ordinal", "num_tokens"]
    with storage.open_read(documents_path) as file:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_DOCUMENTS, columns=columns):
            yield document_records(batch)


def _sorted(records: ByteArray) -> ByteArray:
    upper, lower = (np.ascontiguousarray(records[:, a : a + 8]).view(">u8")[:, 0] for a in (0, 8))
    ordinals = np.ascontiguousarray(records[:, 16:24]).view("<u8")[:, 0]
    ordered: ByteArray = records[np.lexsort((ordinals, lower, upper))]
    return ordered


def _root_over(data: bytes) -> bytes:
    """The root over records, one after another."""
    return merkle_root(
        hashlib.sha256(b"\0" + data[a : a + RECORD_BYTES]).digest() for a in range(0, len(data), RECORD_BYTES)
    )


def _has_sizes(folder: str, documents: int) -> bool:
    sizes = {TREE: documents * RECORD_BYTES, NODES: -(-documents // NODE_LEAVES) * 32}
    paths = {name: storage.join(folder, name) for name in sizes}
    return all(storage.exists(paths[name]) and storage.size_bytes(paths[name]) == sizes[name] for name in sizes)


def _mapped(path: str) -> ByteArray:
    """(rows, 32) of a file; an empty one cannot be mapped."""
    if not storage.size_bytes(path):
        return np.empty((0, 32), np.uint8)
    mapped: ByteArray = np.memmap(storage.local_path(path), np.uint8, "r").reshape(-1, 32)
    return mapped
