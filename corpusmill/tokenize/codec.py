"""What every kind of tokenizer can do, and which texts it must give back.

A codec turns texts into ids and ids into text. Whatever stands in a text is text: the string `</s>` is encoded in
pieces of its own, never as the id that ends a document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from corpusmill.core.errors import InputError

Ids = npt.NDArray[np.int32]

SPACE_MARK = "\u2581"  # how many vocabularies write a space; a text's own is encoded as its three UTF-8 bytes
BYTE_PIECE = "<0x{:02X}>"
EOS_REMEDY = "name it: --set tokenizer.eos_token=TOKEN (in a recipe: tokenizer: {model: ..., eos_token: TOKEN})"

# What a codec must give back, and what it is that one fails at.
PROBES: tuple[tuple[str, str], ...] = (
    ("words and spaces", "two words"),
    ("a text that begins with a letter", "a"),
    ("a text that begins with a space", " a"),
    ("a text that ends in spaces", "a  "),
    ("several spaces", "a  b   c"),
    ("blank text", "   "),
    ("line ends and tabs", "a\r\n\n\tb\n c\n"),
    ("capitals", "Abc DEF"),
    ("accents", "déjà vu naïve"),
    ("digits", "0123456789 1,000"),
    ("punctuation between spaces", "a . b , c ! d ' s n't"),
    ("composed characters that Unicode has decomposed forms of (NFD)", "Å é が"),
    ("decomposed characters (NFC)", "A\u030a e\u0301 か\u3099"),
    ("characters that Unicode has plain forms of (NFKC)", "ﬁ ｆｕｌｌ ﾊﾝ ① ² …"),
    ("spaces of other kinds", "a\u00a0b\u3000c\u2009d\u2028e"),
    ("characters without width", "a\u200bb\u200dc\ufeffd\u00ade"),
    ("control characters", "a\0b\x01c\x7fd\x85e"),
    ("Japanese and Chinese", "日本語の文章。你好"),
    ("emoji", "😀 👩‍👩‍👧 🇯🇵"),
    ("rare and unassigned characters", "\U00016800 \U0010ffff \ue000 \uffff \u0378"),
    ("the mark U+2581", "a\u2581b \u2581 \u2581\u2581c\u2581"),
)


class Codec(Protocol):
    """One kind of tokenizer. Loaded once, read-only afterwards, safe to share among threads."""

    kind: str  # as people call it
    vocab_size: int  # ids are 0..vocab_size-1
    eos_id: int
    pad_id: int | None
    unk_id: int | None

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that no text is ever encoded as."""

    @property
    def byte_ids(self) -> frozenset[int]:
        """Ids that stand for one byte of a character which needs several."""

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """Token ids of every text, without BOS or EOS; the same for any number of threads."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; control tokens are nothing, bytes that are no UTF-8 are U+FFFD."""

    def markup(self) -> Iterable[str]:
        """Strings that stand for tokens of their own."""


def loss(codec: Codec) -> str | None:
    """What the codec does not give back, with the first example of each kind; None where it gives everything back."""
    kinds: dict[str, tuple[str, str]] = {}
    probes = list(_probes(codec))
    for (kind, text), ids in zip(probes, codec.encode_batch([text for _, text in probes], 1), strict=True):
        back = codec.decode(ids.tolist())
        if back != text and kind not in kinds:
            kinds[kind] = (text, back)
    return "; ".join(f"{kind}: {text!a} becomes {back!a}" for kind, (text, back) in kinds.items()) or None


def _probes(codec: Codec) -> Iterator[tuple[str, str]]:
    yield from PROBES
    for token in codec.markup():
        yield "texts that hold a special token", f"a {token}  {token}b{token}"


def usual_eos(names: Iterable[str], where: str) -> str:
    """The one of `names` that usually ends a document. Raises InputError when there is none or more than one."""
    found = [name for name in _USUAL_EOS if name in set(names)]
    if len(found) == 1:
        return found[0]
    raise InputError(
        "it is not known which token ends a document" if found else "the tokenizer has no token that ends a document",
        where=where,
        value=", ".join(found) or None,
        remedy=EOS_REMEDY,
    )


_USUAL_EOS = (
    "<|endoftext|>",
    "</s>",
    "<|end_of_text|>",
    "<eos>",
    "<|eos|>",
    "[EOS]",
    "<EOS>",
    "<end_of_text>",
    "<|end▁of▁sentence|>",
    "<｜end▁of▁sentence｜>",
    "<|endofdocument|>",
)
