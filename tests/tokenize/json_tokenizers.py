"""Small tokenizer.json files of the kinds that are published, trained on the words of the tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from token_runs import random_texts
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [*random_texts(1, 40), "日本語の文章です。東京は日本の首都です。", "a.b,c!d?", "0123456789"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def _byte_level(**settings: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **settings})
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def byte_level() -> Tokenizer:
    """As GPT-2's and Llama 3's."""
    return _byte_level()


def byte_level_with_prefix() -> Tokenizer:
    """A space is put in front of every text, and stays there."""
    return _byte_level(add_prefix_space=True)


def byte_level_nfc() -> Tokenizer:
    """As GPT-NeoX's and Qwen's: decomposed characters are composed."""
    tokenizer = _byte_level()
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def byte_level_with_runs() -> Tokenizer:
    """With added tokens that are text: runs of spaces, as GPT-NeoX's."""
    tokenizer = _byte_level()
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("\t\t", normalized=False)])
    return tokenizer


def greedy_byte_level() -> Tokenizer:
    """Its `</s>` is among the pieces of the model, and a word that is a piece is taken whole (`ignore_merges`)."""
    data = json.loads(_byte_level().to_str())
    data["model"]["ignore_merges"] = True
    data["model"]["vocab"]["</s>"] = len(data["model"]["vocab"])
    data["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "</s>|\\s+|[^\\s<]+|<"}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }
    for added in data["added_tokens"]:
        if added["content"] == "<|endoftext|>":
            added |= {"content": "</s>", "id": data["model"]["vocab"]["</s>"]}
    del data["model"]["vocab"]["<|endoftext|>"]
    return Tokenizer.from_str(json.dumps(data))


def _byte_fallback(prefix: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<unk>", "<s>", "</s>", *BYTES],
        limit_alphabet=60,
        show_progress=False,
    )
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    tokenizer.train_from_iterator(TEXTS, trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [added for added in data["added_tokens"] if added["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(data))


def byte_fallback() -> Tokenizer:
    """As Gemma's: U+2581 is a space, unknown characters are spelled."""
    return _byte_fallback(prefix=False)


def byte_fallback_with_prefix() -> Tokenizer:
    """As Llama 2's: the same, and a space in front that decoding takes off."""
    return _byte_fallback(prefix=True)


def unigram() -> Tokenizer:
    """As T5's: `</s>` is a piece of the model, characters are normalised, what is unknown is lost."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    eos = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", eos)])
    return tokenizer


def word_piece() -> Tokenizer:
    """As BERT's: lower case, no accents, no spaces."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


EXACT: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "byte_level_with_runs": byte_level_with_runs,
    "greedy_byte_level": greedy_byte_level,
    "byte_fallback": byte_fallback,
    "byte_fallback_with_prefix": byte_fallback_with_prefix,
}
# What each loses, in the words of `loss`.
LOSSY: dict[str, tuple[Callable[[], Tokenizer], tuple[str, ...]]] = {
    "byte_level_with_prefix": (byte_level_with_prefix, ("begins with a letter",)),
    "byte_level_nfc": (byte_level_nfc, ("(NFC)",)),
    "unigram": (unigram, ("(NFC)", "(NFKC)", "rare and unassigned", "U+2581")),
    "word_piece": (word_piece, ("capitals", "accents", "several spaces", "line ends", "rare and unassigned")),
}


@cache
def file_of(name: str) -> bytes:
    """The tokenizer.json of that name."""
    make = EXACT[name] if name in EXACT else LOSSY[name][0]
    content: str = make().to_str(pretty=True)
    return content.encode("utf-8")
