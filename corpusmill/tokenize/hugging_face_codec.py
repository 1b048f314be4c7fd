"""Codec of Hugging Face's tokenizer.json (package `tokenizers`).

The file is taken as it is, but for what would make ids depend on more than the text, or lose text without a word:
truncation, padding and BPE dropout are switched off, and no text becomes a special token:

- Special tokens among `added_tokens` are not looked for in texts (`encode_special_tokens`).
- A model may have the special token among its own pieces and build it from text (Unigram, WordLevel, BPE with
  `ignore_merges`). Where that happens the text is cut inside the token's string and its parts are encoded one by one.

EOS is the token that the file's own template puts at the end of a text, else the one that has a usual name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import tokenizers

from corpusmill.core.errors import InputError
from corpusmill.tokenize.codec import BYTE_PIECE, EOS_REMEDY, SPACE_MARK, Ids, usual_eos

Json = dict[str, Any]

_TEMPLATES = ("TemplateProcessing", "BertProcessing", "RobertaProcessing")
_USUAL_PAD = ("<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<PAD>")
_CHUNK = 32  # texts a call: several a thread, so that all threads end together
_MARK_PROBES = (SPACE_MARK, f"a{SPACE_MARK}b", f"{SPACE_MARK} a {SPACE_MARK}{SPACE_MARK}", f" {SPACE_MARK}a")


def parse(model: bytes, where: str) -> Json:
    """The content of a tokenizer.json. Raises InputError when it is none."""
    try:
        data = json.loads(model)
    except ValueError as error:
        raise _no_tokenizer(where, str(error)) from error
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise _no_tokenizer(where, "no key `model`")
    return data


def with_eos(model: bytes, token: str, where: str) -> bytes:
    """The file with `token` as EOS: its template ends a text with it. Raises InputError when it has no such token."""
    data = parse(model, where)
    number = _ids(data, where).get(token)
    if number is None:
        special = [added["content"] for added in _added(data) if added.get("special")]
        raise InputError(
            "the tokenizer has no such token",
            where=where,
            value=token,
            remedy=f"--set tokenizer.eos_token= one of its own, e.g. {', '.join(special[:20]) or '(none special)'}",
        )
    pieces: list[Json] = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": token, "type_id": 0}}]
    template = {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": [*pieces, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": token, "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }
    others = [p for p in _processors(data.get("post_processor")) if p.get("type") not in _TEMPLATES]
    data["post_processor"] = {"type": "Sequence", "processors": [*others, template]} if others else template
    return json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8")


class HuggingFaceCodec:
    """A tokenizer.json, whatever its model is."""

    kind = "Hugging Face"
    pad_id: int | None
    unk_id: int | None

    def __init__(self, model: bytes, where: str) -> None:
        # Threads are started here, as many as are asked for; the library would take every core for each call.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._where = where
        data = parse(model, where)
        ids = _ids(data, where)
        eos = _template_end(data.get("post_processor")) or usual_eos(ids, where)
        if eos not in ids:
            raise InputError(
                "the template ends texts with a token that is not there", where=where, value=eos, remedy=EOS_REMEDY
            )
        as_it_is = not (data.get("truncation") or data.get("padding") or data["model"].get("dropout"))
        data |= {"truncation": None, "padding": None}
        if data["model"].get("dropout") is not None:
            data["model"]["dropout"] = None
        as_it_is &= not _make_special(data, eos, ids[eos])
        self._data = data
        self._model = _tokenizer(model if as_it_is else _written(data), where)
        self.vocab_size = max(ids.values()) + 1
        self.eos_id = ids[eos]
        self.pad_id = next((ids[name] for name in _USUAL_PAD if name in ids), None)
        self.unk_id = ids.get(_unknown(data))
        self._control = [added["content"] for added in _added(data) if added.get("special")]
        self.control_ids = frozenset(ids[token] for token in self._control) - {self.unk_id}
        self._is_control = np.zeros(self.vocab_size, dtype=np.bool_)
        self._is_control[list(self.control_ids)] = True
        spelled = [ids[piece] for b in range(256) if (piece := BYTE_PIECE.format(b)) in ids]
        self.byte_ids = frozenset(spelled or [ids[letter] for letter in _byte_letters() if letter in ids])
        self._mark = self._mark_ids(ids)

    def _mark_ids(self, ids: dict[str, int]) -> Ids | None:
        """Bytes that spell U+2581, where the vocabulary has them and would take it for a space."""
        names = [BYTE_PIECE.format(b) for b in SPACE_MARK.encode()]
        if all(self.decode(self._model.encode(t, add_special_tokens=False).ids) == t for t in _MARK_PROBES):
            return None
        return np.array([ids[n] for n in names], np.int32) if all(n in ids for n in names) else None

    @cached_property
    def _inside(self) -> tokenizers.Tokenizer:
        """Encodes what does not begin a text: the same tokenizer, with nothing put in front."""
        data = deepcopy({key: value for key, value in self._data.items() if key != "model"})
        data["normalizer"] = _without_prefix(data.get("normalizer"))
        data["pre_tokenizer"] = _without_prefix(data.get("pre_tokenizer"))
        return _tokenizer(_written(data | {"model": self._data["model"]}), self._where)

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """Token ids of every text, without BOS or EOS; the same for any number of threads."""
        chunks = [list(texts[at : at + _CHUNK]) for at in range(0, len(texts), _CHUNK)]
        if num_threads == 1 or len(chunks) < 2:
            return list(chain.from_iterable(map(self._encode, chunks)))
        with ThreadPoolExecutor(min(num_threads, len(chunks))) as pool:
            return list(chain.from_iterable(pool.map(self._encode, chunks)))

    def _encode(self, texts: list[str]) -> list[Ids]:
        encodings = self._model.encode_batch_fast(texts, add_special_tokens=False)
        encoded = [_array(encoding) for encoding in encodings]
        for row, ids in enumerate(encoded):
            marked = self._mark is not None and SPACE_MARK in texts[row]
            if marked or self._is_control[ids].any():
                encoded[row] = self._encode_with_care(texts[row])
        return encoded

    def _encode_with_care(self, text: str) -> Ids:
        """Ids of a text of which the model would make a control token, or a space where U+2581 stands."""
        spelled: list[Ids] = []
        for number, part in enumerate(text.split(SPACE_MARK) if self._mark is not None else [text]):
            if number and self._mark is not None:
                spelled.append(self._mark)
            for piece in _cut_inside(part, self._control):
                model = self._inside if spelled else self._model
                spelled.append(_array(model.encode(piece, add_special_tokens=False)))
        ids: Ids = np.concatenate(spelled)
        if self._is_control[ids].any():
            token = self._model.id_to_token(int(ids[self._is_control[ids]][0]))
            raise InputError(
                "a text is encoded as a control token, and no cut of it avoids that",
                where=self._where,
                value=token,
                remedy="use a tokenizer whose control tokens no text becomes",
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; control tokens are nothing, bytes that are no UTF-8 are U+FFFD."""
        return str(self._model.decode(list(ids), skip_special_tokens=True))

    def markup(self) -> Iterator[str]:
        """Added tokens."""
        for added in _added(self._data):
            yield added["content"]


def _array(encoding: tokenizers.Encoding) -> Ids:
    ids = encoding.ids
    return np.fromiter(ids, dtype=np.int32, count=len(ids))


def _cut_inside(text: str, tokens: Iterable[str]) -> list[str]:
    """Parts of the text, cut behind the first character of every string of `tokens`, so that no part holds one."""
    parts = [text]
    for token in tokens:
        cut: list[str] = []
        for part in parts:
            head, *tails = part.split(token)
            for tail in tails:
                cut.append(head + token[:1])
                head = token[1:] + tail
            cut.append(head)
        parts = cut
    return [part for part in parts if part]


def _written(data: Json) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8")


def _tokenizer(content: bytes, where: str) -> tokenizers.Tokenizer:
    try:
        model = tokenizers.Tokenizer.from_str(content.decode("utf-8-sig"))
    except Exception as error:  # the library raises plain Exceptions
        raise _no_tokenizer(where, str(error)) from error
    model.encode_special_tokens = True
    return model


def _no_tokenizer(where: str, seen: str) -> InputError:
    return InputError(
        "not a tokenizer.json of Hugging Face tokenizers",
        where=where,
        value=seen,
        remedy="give a tokenizer.json (not tokenizer_config.json), or a .model file of SentencePiece",
    )


def _ids(data: Json, where: str) -> dict[str, int]:
    """Token to id, added tokens included."""
    vocab = data["model"].get("vocab")
    if isinstance(vocab, dict):
        ids = {str(token): int(number) for token, number in vocab.items()}
    elif isinstance(vocab, list):  # Unigram: pairs of token and score
        ids = {str(entry[0]): number for number, entry in enumerate(vocab)}
    else:
        raise _no_tokenizer(where, "the model has no `vocab`")
    return ids | {str(added["content"]): int(added["id"]) for added in _added(data)}


def _added(data: Json) -> list[Json]:
    return data.get("added_tokens") or []


def _unknown(data: Json) -> str:
    """The unknown token, "" where there is none."""
    model = data["model"]
    if model.get("unk_id") is not None:  # Unigram
        return str(model["vocab"][model["unk_id"]][0])
    return str(model.get("unk_token") or "")


def _make_special(data: Json, token: str, number: int) -> bool:
    """Lets the library know that `token` is special, so that no text becomes it; whether that was news."""
    for added in _added(data):
        if added["content"] == token:
            was_special = bool(added.get("special"))
            added["special"] = True
            return not was_special
    data["added_tokens"] = [
        *_added(data),
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        },
    ]
    return True


def _processors(post_processor: Json | None) -> list[Json]:
    if post_processor is None:
        return []
    if post_processor.get("type") == "Sequence":
        return [inner for p in post_processor["processors"] for inner in _processors(p)]
    return [post_processor]


def _template_end(post_processor: Json | None) -> str | None:
    """The token that the template puts behind a text, if it puts one."""
    for processor in reversed(_processors(post_processor)):
        if processor.get("type") == "TemplateProcessing":
            last = processor["single"][-1] if processor["single"] else {}
            if "SpecialToken" in last:
                return str(last["SpecialToken"]["id"])
        elif processor.get("type") in _TEMPLATES:
            return str(processor["sep"][0])
    return None


def _without_prefix(step: Json | None) -> Json | None:
    """A normaliser or pre-tokenizer that puts nothing in front of a text."""
    if step is None or step.get("type") == "Prepend":
        return None
    for key in ("normalizers", "pretokenizers"):
        if key in step:
            step[key] = [inner for each in step[key] if (inner := _without_prefix(each)) is not None]
    if "prepend_scheme" in step:
        step["prepend_scheme"] = "never"
    if "add_prefix_space" in step:
        step["add_prefix_space"] = False
    return step


def _byte_letters() -> list[str]:
    """The letters that byte-level models write the bytes 0x80..0xFF with: parts of characters."""
    shifted = [b for b in range(256) if not (0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or 0xAE <= b <= 0xFF)]
    letters = {b: chr(256 + n) for n, b in enumerate(shifted)}
    return [letters.get(b, chr(b)) for b in range(0x80, 256)]
