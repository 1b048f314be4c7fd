"""The definitions of the Swallow rules, with lists of strings."""

from __future__ import annotations

import re
from collections import Counter

_SENTENCE = re.compile("[^。．！？!?]+[。．！？!?]?")
_HAN = re.compile("[々〇〻\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002ffff]")


def _copies(items: list[str]) -> tuple[float, float]:
    again = [item for item, times in Counter(items).items() for _ in range(times - 1)]
    if not items:
        return 0, 0
    return len(again) / len(items), sum(map(len, again)) / sum(map(len, items))


def _is_blank(sentence: str) -> bool:
    return not sentence.strip("。．！？!?").strip()


def _grams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def reference(text: str) -> dict[str, float]:
    """All scores but that of listed words."""
    by_line = [[s for s in _SENTENCE.findall(line) if not _is_blank(s)] for line in text.split("\n")]
    paragraphs = [joined for line in by_line if (joined := "".join(line))]
    sentences = [sentence for line in by_line for sentence in line]
    paragraph, paragraph_characters = _copies(paragraphs)
    sentence, sentence_characters = _copies(sentences)
    found = {
        "letters": float(len(text)),
        "duplicate_paragraph_fraction": paragraph,
        "duplicate_sentence_fraction": sentence,
        "duplicate_paragraph_character_fraction": paragraph_characters,
        "duplicate_sentence_character_fraction": sentence_characters,
    }
    for n in (2, 3, 4):
        grams = _grams(text, n)
        found[f"top_{n}_gram_fraction"] = max(grams.values()) / grams.total() if grams else 0
    for n in (5, 6, 7, 8, 9, 10):
        grams = _grams(text, n)
        found[f"duplicate_{n}_gram_fraction"] = sum(v > 1 for v in grams.values()) / len(grams) if grams else 0
    hiragana = sum("ぁ" <= c <= "ゖ" for c in text)
    katakana = sum("ァ" <= c <= "ヺ" for c in text)
    japanese = hiragana + katakana + len(_HAN.findall(text)) + sum(c in "、，。．！？" for c in text)
    lengths = [len(s) for s in sentences]
    ellipses = sum(s.strip().endswith(("・", "…")) for s in sentences)
    return {
        **found,
        "hiragana_fraction": hiragana / japanese if japanese else 0,
        "katakana_fraction": katakana / japanese if japanese else 0,
        "japanese_fraction": japanese / len(text) if text else 0,
        "japanese_letters": float(japanese),
        "mean_sentence_length": sum(lengths) / len(lengths) if lengths else 0,
        "max_sentence_length": float(max(lengths, default=0)),
        "ellipsis_sentences": ellipses / len(lengths) if lengths else 0,
    }
