"""datatrove's filters over texts: their verdicts, the values of their rules, and the time they take.

    PEER/bin/python bench/peers/datatrove_filters.py TEXTS.parquet --out verdicts.jsonl [--repeat 3] [--no-values]

TEXTS: JSONL with the keys id and text, or Parquet with the columns doc_id and text. Runs in the environment that
bench/peers/setup makes; bench/filters.py calls it.

Every filter judges every text as it was read (C4's edits do not reach the next filter), so verdicts can be compared
rule by rule. Timed is `filter(document)` alone, after a warm-up on some of the texts, in two orders: one filter after
another over all texts ("apart"), and all filters on one text after another ("in_turn"). The values are found apart from
that, by datatrove's own functions where it has them.

Out: one JSON line a text, {"id", "verdicts": {filter: reason or null}, "values": {filter: {rule: value}},
"broken": {filter: [every rule that the text breaks]}, "c4_lines": {"kept": n, ...}, "c4_text": text after
C4, null if removed}. On stdout one JSON object: {"documents", "packages", "seconds": {filter: [wall of each
repetition]}, "cpu_seconds": the same, "inconsistent": ids whose verdict is none of the rules found broken}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datatrove_parts as parts
import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import c4_filters
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)
from datatrove.utils.text import PUNCTUATION_SET, split_into_words

WARM_UP_TEXTS = 20


def read_texts(path: Path) -> list[tuple[str, str]]:
    """(id, text) of every row."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=["doc_id", "text"])
        return list(zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True))
    with path.open(encoding="utf-8") as lines:
        return [(row["id"], row["text"]) for row in map(json.loads, lines)]


def verdict(stage: BaseFilter, document: Document) -> str | None:
    """The filter's reason, None when it keeps the text; what it raised, as some do on a text without words."""
    try:
        return parts.judged(stage, document)
    except (ZeroDivisionError, IndexError) as error:
        return f"raises {type(error).__name__}"


def apart(stage: BaseFilter, texts: list[tuple[str, str]]) -> tuple[list[str | None], list[str], float, float]:
    """Verdicts, texts afterwards, wall and CPU seconds of one filter over all texts."""
    documents = [Document(text=text, id=key) for key, text in texts]
    started, started_cpu = time.perf_counter(), time.process_time()
    verdicts = [verdict(stage, document) for document in documents]
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    return verdicts, [document.text for document in documents], wall, cpu


def in_turn(filters: dict[str, BaseFilter], texts: list[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of each filter, when all filters see a text before they see the next one.

    That is the order of a pipeline. It is faster, as datatrove remembers how it split the last five texts.
    """
    seconds = dict.fromkeys(filters, (0.0, 0.0))
    for key, text in texts:
        for name, stage in filters.items():
            document = Document(text=text, id=key)
            started, started_cpu = time.perf_counter(), time.process_time()
            verdict(stage, document)
            wall, cpu = seconds[name]
            seconds[name] = wall + time.perf_counter() - started, cpu + time.process_time() - started_cpu
    return seconds


def repetition_values(text: str, words: list[str]) -> dict[str, float]:
    """Value of each rule of GopherRepetitionFilter, in its order; those of n-grams only where the text has one."""
    stage = parts.GopherRepetitionFilter()
    paragraphs = stage.paragraph_exp.split(text.strip())
    lines = stage._line_splitter.split(text)
    values: dict[str, float] = {}
    for name, items in (("para", paragraphs), ("line", lines)):
        copies, characters = find_duplicates(items)
        values[f"dup_{name}_frac"] = copies / len(items)
        values[f"dup_{name}_char_frac"] = characters / len(text)
    for n, _ in stage.top_n_grams:
        grams = get_n_grams(words, n)
        if grams:
            values[f"top_{n}_gram"] = find_top_duplicate(grams) / len(text)
    for n, _ in stage.dup_n_grams:
        values[f"duplicated_{n}_n_grams"] = find_all_duplicate(words, n) / len(text)
    return values


def quality_values(text: str, words: list[str]) -> dict[str, float]:
    """Value of each rule of GopherQualityFilter, in its order; two rules may judge one value."""
    spoken = [w for w in words if any(c not in PUNCTUATION_SET for c in w)]
    lines = text.splitlines()
    mean = float(np.mean([len(w) for w in spoken])) if spoken else 0.0
    stop_words = parts.GopherQualityFilter().stop_words
    return {
        "gopher_short_doc": len(spoken),
        "gopher_long_doc": len(spoken),
        "gopher_below_avg_threshold": mean,
        "gopher_above_avg_threshold": mean,
        "gopher_too_many_hashes": text.count("#") / len(words),
        "gopher_too_many_ellipsis": (text.count("...") + text.count("…")) / len(words),
        "gopher_too_many_bullets": sum(s.lstrip().startswith(("•", "-")) for s in lines) / len(lines),
        "gopher_too_many_end_ellipsis": sum(s.rstrip().endswith(("...", "…")) for s in lines) / len(lines),
        "gopher_below_alpha_threshold": sum(any(c.isalpha() for c in w) for w in words) / len(words),
        "gopher_enough_stop_words": len(stop_words.intersection(words)),
    }


def c4_values(text: str) -> tuple[dict[str, float], dict[str, int]]:
    """Value of each rule of C4QualityFilter (1 or 0 for those that look for a string), and how its lines fared."""
    values: dict[str, float] = {}
    sentences = 0
    original = c4_filters.split_into_sentences

    def counting(line: str, language: str) -> list[str]:
        nonlocal sentences
        found = original(line, language)
        sentences += len(found)
        return found

    settings: dict[str, Any] = {"filter_no_terminal_punct": False}
    for rule, other in (("lorem_ipsum", "curly_bracket"), ("curly_bracket", "lorem_ipsum")):
        stage = c4_filters.C4QualityFilter(**settings, **{f"filter_{other}": False}, min_num_sentences=-1)
        values[rule] = float(parts.judged(stage, Document(text=text, id="")) == rule)
    stage = c4_filters.C4QualityFilter(**settings, filter_lorem_ipsum=False, filter_curly_bracket=False)
    c4_filters.split_into_sentences = counting
    try:
        stage.filter(Document(text=text, id=""))
    finally:
        c4_filters.split_into_sentences = original
    values["too_few_sentences"] = sentences
    lines = {
        name.removeprefix("line-").removeprefix("filter-"): int(stat.total)
        for name, stat in stage.stats.stats.items()
        if name.startswith("line-")
    }
    return values, lines


def fineweb_values(text: str, words: list[str]) -> dict[str, float]:
    """Value of each rule of FineWebQualityFilter, in its order."""
    stage = parts.FineWebQualityFilter()
    lines = [line for line in text.split("\n") if line.strip()]
    return {
        "line_punct_ratio": sum(line.endswith(stage.stop_chars) for line in lines) / len(lines),
        "short_line_ratio": sum(len(line) <= stage.short_line_length for line in lines) / len(lines),
        "char_dup_ratio": find_duplicates(lines)[1] / len(text.replace("\n", "")),
        "list_ratio": text.count("\n") / len(words),
    }


def limits() -> dict[str, dict[str, tuple[str, float]]]:
    """Of every rule, in the filter's order: which values it removes ("<" or ">"), and the threshold."""
    filters = parts.quality_filters()
    repetition, quality, c4, fineweb = (filters[name] for name in ("repetition", "quality", "c4", "fineweb"))
    return {
        "repetition": {
            "dup_para_frac": (">", repetition.dup_para_frac),
            "dup_para_char_frac": (">", repetition.dup_para_char_frac),
            "dup_line_frac": (">", repetition.dup_line_frac),
            "dup_line_char_frac": (">", repetition.dup_line_char_frac),
            **{f"top_{n}_gram": (">", limit) for n, limit in repetition.top_n_grams},
            **{f"duplicated_{n}_n_grams": (">", limit) for n, limit in repetition.dup_n_grams},
        },
        "quality": {
            "gopher_short_doc": ("<", quality.min_doc_words),
            "gopher_long_doc": (">", quality.max_doc_words),
            "gopher_below_avg_threshold": ("<", quality.min_avg_word_length),
            "gopher_above_avg_threshold": (">", quality.max_avg_word_length),
            "gopher_too_many_hashes": (">", quality.max_symbol_word_ratio),
            "gopher_too_many_ellipsis": (">", quality.max_symbol_word_ratio),
            "gopher_too_many_bullets": (">", quality.max_bullet_lines_ratio),
            "gopher_too_many_end_ellipsis": (">", quality.max_ellipsis_lines_ratio),
            "gopher_below_alpha_threshold": ("<", quality.max_non_alpha_words_ratio),
            "gopher_enough_stop_words": ("<", quality.min_stop_words),
        },
        "c4": {
            "lorem_ipsum": (">", 0),
            "curly_bracket": (">", 0),
            "too_few_sentences": ("<", c4.min_num_sentences),
        },
        "fineweb": {
            "line_punct_ratio": ("<", fineweb.line_punct_thr),
            "short_line_ratio": (">", fineweb.short_line_threshold),
            "char_dup_ratio": (">", fineweb.char_duplicates_ratio),
            "list_ratio": (">", fineweb.new_line_ratio),
        },
    }


def broken_rules(values: dict[str, dict[str, float]]) -> dict[str, list[str]]:
    """Every rule that the values break, by filter."""
    return {
        name: [
            rule
            for rule, (removes, limit) in limits()[name].items()
            if rule in found and (found[rule] < limit if removes == "<" else found[rule] > limit)
        ]
        for name, found in values.items()
    }


def rule_values(text: str) -> dict[str, Any]:
    """Values of all rules by filter, and the lines of C4; empty for a text in which datatrove finds no word."""
    words = split_into_words(text, parts.LANGUAGE)
    if not words:
        return {"values": {}, "broken": {}, "c4_lines": {}, "words": 0}
    c4, lines = c4_values(text)
    values = {
        "repetition": repetition_values(text, words),
        "quality": quality_values(text, words),
        "c4": c4,
        "fineweb": fineweb_values(text, words),
    }
    return {"values": values, "broken": broken_rules(values), "c4_lines": lines, "words": len(words)}


def rows(texts: list[tuple[str, str]], found: dict[str, Any], *, values: bool) -> Iterator[dict[str, Any]]:
    """One row a text."""
    for i, (key, text) in enumerate(texts):
        verdicts = {name: found[name][0][i] for name in found}
        after_c4 = None if verdicts["c4"] else found["c4"][1][i]
        yield {"id": key, "verdicts": verdicts, "c4_text": after_c4, **(rule_values(text) if values else {})}


def main() -> None:
    """Runs the filters, writes verdicts, prints times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--no-values", action="store_true", help="verdicts and times only")
    arguments = parser.parse_args()
    texts = read_texts(arguments.texts)
    filters = parts.quality_filters()
    in_turn(filters, texts[:WARM_UP_TEXTS])
    found: dict[str, Any] = {}
    seconds: dict[str, dict[str, list[float]]] = {
        order: {name: [] for name in filters} for order in ("apart", "apart_cpu", "in_turn", "in_turn_cpu")
    }
    for _ in range(arguments.repeat):
        for name, stage in filters.items():
            verdicts, after, wall, cpu = apart(stage, texts)
            found[name] = (verdicts, after)
            seconds["apart"][name].append(wall)
            seconds["apart_cpu"][name].append(cpu)
        for name, (wall, cpu) in in_turn(filters, texts).items():
            seconds["in_turn"][name].append(wall)
            seconds["in_turn_cpu"][name].append(cpu)
    inconsistent = []
    with arguments.out.open("w", encoding="utf-8") as out:
        for row in rows(texts, found, values=not arguments.no_values):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            if any(row["verdicts"][name] not in (broken or [None]) for name, broken in row.get("broken", {}).items()):
                inconsistent.append(row["id"])
    report = {"documents": len(texts), "packages": parts.package_versions(), "limits": limits()}
    print(json.dumps({**report, "seconds": seconds, "inconsistent": inconsistent}))


if __name__ == "__main__":
    main()
