"""The filters after extraction beside datatrove's: documents per second on one core, and whether they judge alike.

    bench/peers/setup                                     # once; prints the PYTHON of the peer's environment
    python bench/filters.py --peer-python PYTHON
    python bench/filters.py --peer-python PYTHON --kept --variant paper
    python bench/filters.py --reference                   # without the peer: against the slow reference in tests/

Texts: the pages of --data (the shared crawl) that corpusmill's own chain extracts and identifies, by recipes/refinedweb
without a choice of language; the work folder keeps that run, which starts again where something changed. Or --texts, a
Parquet file with the columns doc_id, url, text, content_hash, language and language_score. Speed and agreement with
datatrove are of the English ones, as they were extracted: all of them, or with --kept those that the recipe keeps, from
its language threshold through its last filter. The reference sees all texts in all languages.

--variant chooses the reading of repetition, quality and fineweb; without it the recipe does. Which texts --kept leaves
does not depend on it.

Speed: both sides judge the same texts, every filter all of them, on one core, after a warm-up. Two orders, as both
sides remember what they found in the texts that they saw last: `in turn`, every filter on a text (datatrove) or a batch
of 256 (corpusmill) before the next one, as in a pipeline; and `apart`, each filter by itself. Each repetition of ours
is a new process. Our time is that of `stage.process`, that is with building the Arrow tables of kept rows, removals and
scores. The best of the repetitions counts, on both sides.

Agreement: for every rule by itself, whatever the other rules say, on the text as it was extracted: how many documents
both sides remove, only one of them, and the share on which they agree. --differences FILE gets one JSON line a
difference with both values.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from side_by_side import CACHE, DATA, Agreement, in_fresh_process, machine, run_peer, table, use_one_core

from corpusmill.core.documents import with_texts
from corpusmill.pipeline import recipe
from corpusmill.pipeline.chain import document_stage
from corpusmill.stages.scored import ScoredStage

REPOSITORY = Path(__file__).resolve().parent.parent
LANGUAGE = "en"
BATCH_ROWS = 256
WARM_UP_TEXTS = 20
COLUMNS = ("doc_id", "url", "text", "content_hash", "language", "language_score")
STAGES = ("repetition", "quality", "c4", "fineweb")
WITH_VARIANTS = ("repetition", "quality", "fineweb")
VARIANTS = ("paper", "datatrove")  # those that all three have
PEER_REPETITIONS = 2  # it takes minutes
TARGET = 100.0  # times datatrove's documents per second

# corpusmill's rule: datatrove's, by stage.
SAME_RULES: dict[str, dict[str, str]] = {
    "repetition": {
        "duplicate_line_fraction": "dup_line_frac",
        "duplicate_paragraph_fraction": "dup_para_frac",
        "duplicate_line_character_fraction": "dup_line_char_frac",
        "duplicate_paragraph_character_fraction": "dup_para_char_frac",
        **{f"top_{n}_gram_character_fraction": f"top_{n}_gram" for n in (2, 3, 4)},
        **{f"duplicate_{n}_gram_character_fraction": f"duplicated_{n}_n_grams" for n in range(5, 11)},
    },
    "quality": {
        "words_min": "gopher_short_doc",
        "words_max": "gopher_long_doc",
        "mean_word_length_min": "gopher_below_avg_threshold",
        "mean_word_length_max": "gopher_above_avg_threshold",
        "hash_ratio": "gopher_too_many_hashes",
        "ellipsis_ratio": "gopher_too_many_ellipsis",
        "bullet_lines": "gopher_too_many_bullets",
        "ellipsis_lines": "gopher_too_many_end_ellipsis",
        "alphabetic_words": "gopher_below_alpha_threshold",
        "stop_words": "gopher_enough_stop_words",
    },
    "c4": {"lorem_ipsum": "lorem_ipsum", "curly_bracket": "curly_bracket", "sentences": "too_few_sentences"},
    "fineweb": {
        "line_punctuation": "line_punct_ratio",
        "short_lines": "short_line_ratio",
        "duplicate_line_characters": "char_dup_ratio",
        "newline_ratio": "list_ratio",
    },
}

StageConfigs = dict[str, dict[str, Any]]


def prepare(data: Path, work: Path) -> Path:
    """Path of the identified texts of all pages of `data`, extracted where they are not up to date."""
    run = work / "run"
    command = [sys.executable, "-m", "corpusmill", "run", str(REPOSITORY / "recipes" / "refinedweb.yaml")]
    command += ["--input", str(data / "warc" / "*.warc.gz"), "--out", str(run), "--until", "language", "--quiet"]
    command += ["--set", "stages.language.languages=null"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    folder = run / "stages" / "language" / "out"
    tables = [pq.read_table(path, columns=list(COLUMNS)) for path in sorted(folder.glob("*.parquet"))]
    path = work / "texts.parquet"
    pq.write_table(pa.concat_tables(tables), path)
    return path


def kept_by(stages: StageConfigs, documents: pa.Table) -> pa.Table:
    """The rows of `documents`, in English, that the recipe's language threshold and its filters, one on another, keep.

    Their texts are those of `documents`, not what C4 made of them.
    """
    threshold = stages["language"]["languages"][LANGUAGE]
    left = documents.filter(pc.greater_equal(documents["language_score"], threshold))
    for stage in load_stages({name: stages[name] for name in STAGES}).values():
        left = stage.process(left).kept
    return documents.filter(pc.is_in(documents["doc_id"], left["doc_id"].combine_chunks()))


def load_stages(configs: StageConfigs) -> dict[str, ScoredStage[Any]]:
    """The stages, by name."""
    stages: dict[str, ScoredStage[Any]] = {}
    for name, config in configs.items():
        stage = document_stage(name, config)
        assert isinstance(stage, ScoredStage)
        stages[name] = stage
    return stages


def measure(texts: Path, configs: StageConfigs) -> tuple[dict[str, float], dict[str, float]]:
    """Wall and CPU seconds of each stage over all texts."""
    documents = pq.read_table(texts)
    stages = load_stages(configs)
    few = documents.slice(0, WARM_UP_TEXTS)
    other = with_texts(few, {row: f"{text} warm" for row, text in enumerate(few["text"].to_pylist())})
    for stage in stages.values():
        stage.process(other)
    wall, cpu = dict.fromkeys(stages, 0.0), dict.fromkeys(stages, 0.0)
    for start in range(0, documents.num_rows, BATCH_ROWS):
        batch = documents.slice(start, BATCH_ROWS)
        for name, stage in stages.items():
            started, started_cpu = time.perf_counter(), time.process_time()
            stage.process(batch)
            wall[name] += time.perf_counter() - started
            cpu[name] += time.process_time() - started_cpu
    return wall, cpu


class OurVerdicts:
    """What corpusmill's stages say of each document: scores, rules broken, text afterwards."""

    def __init__(self, documents: pa.Table, configs: StageConfigs) -> None:
        self.stages = load_stages(configs)
        self.documents = documents
        languages = documents["language"].to_pylist()
        self.scores: dict[str, list[dict[str, float]]] = {}
        self.broken: dict[str, list[dict[str, float]]] = {}  # rule -> limit
        self.texts: dict[str, dict[str, str]] = {}  # of kept documents
        for name, stage in self.stages.items():
            result = stage.process(documents)
            assert result.scores is not None
            rows = result.scores.select(list(stage.score_names)).to_pylist()
            self.scores[name] = rows
            self.broken[name] = [broken(stage, language, row) for language, row in zip(languages, rows, strict=True)]
            kept = result.kept
            self.texts[name] = dict(zip(kept["doc_id"].to_pylist(), kept["text"].to_pylist(), strict=True))


def broken(stage: ScoredStage[Any], language: str, scores: dict[str, float]) -> dict[str, float]:
    """Every rule of `stage` that these scores break, with its limit."""
    found = {}
    for bound in stage.bounds(language):
        if bound.broken_by(pa.array([scores[bound.score]]).to_numpy())[0]:
            found[bound.rule] = bound.limit
    return found


def compare(ours: OurVerdicts, theirs: list[dict[str, Any]]) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """Rows of the table of agreement, and the differences."""
    rows, differences = [], []
    for name, stage in ours.stages.items():
        bounds = {bound.rule: bound for bound in stage.bounds(LANGUAGE)}
        for rule, other in SAME_RULES[name].items():
            agreement = Agreement()
            for i, row in enumerate(theirs):
                if not row["values"]:
                    continue
                we, they = rule in ours.broken[name][i], other in row["broken"][name]
                agreement.add(we, they)
                if we != they:
                    differences.append(
                        {
                            "id": row["id"],
                            "stage": name,
                            "rule": rule,
                            "removed_by": "corpusmill" if we else "datatrove",
                            "corpusmill": ours.scores[name][i][bounds[rule].score] if rule in bounds else None,
                            "datatrove": row["values"][name].get(other),
                        }
                    )
            rows.append([name, rule, other, *agreement.cells()])
        whole = Agreement()
        for i, row in enumerate(theirs):
            whole.add(bool(ours.broken[name][i]), row["verdicts"][name] is not None)
        rows.append([name, "**any rule**", "**any rule**", *whole.cells()])
    return rows, differences


def same_lines(ours: OurVerdicts, theirs: list[dict[str, Any]]) -> Counter[str]:
    """Of the documents that both C4 filters keep, how many come out with the same text."""
    outcome: Counter[str] = Counter()
    for row in theirs:
        text = ours.texts["c4"].get(row["id"])
        if text is not None and row["c4_text"] is not None:
            outcome["same" if text == row["c4_text"] else "other"] += 1
    return outcome


def reference() -> ModuleType:
    """tests/stages/reference_rules.py."""
    path = REPOSITORY / "tests" / "stages" / "reference_rules.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def against_reference(ours: OurVerdicts) -> Iterator[list[str]]:
    """One row a stage: its variant, largest difference of a score, documents with another verdict in any rule."""
    slow = reference()
    texts, languages = ours.documents["text"].to_pylist(), ours.documents["language"].to_pylist()
    for name, stage in ours.stages.items():
        largest, other = 0.0, 0
        # c4 has no variants: datatrove's is its rules without terminal punctuation, as in the recipe.
        of_c4 = "paper" if getattr(stage.config, "terminal_punctuation", True) else "datatrove"
        variant = getattr(stage.config, "variant", of_c4)
        for i, (text, language) in enumerate(zip(texts, languages, strict=True)):
            found = slow.reference_scores(name, text, language, variant)
            for score in stage.score_names:
                a, b = ours.scores[name][i][score], found[score]
                if a == a or b == b:  # a rule that does not apply to the language gives NaN
                    largest = max(largest, abs(a - b) if a == a and b == b else float("inf"))
            other += broken(stage, language, found) != ours.broken[name][i]
        yield [name, variant, f"{largest:.1e}", f"{other} of {len(texts):,} differ"]


Seconds = dict[str, float]  # by stage


def best(repetitions: Sequence[Seconds]) -> Seconds:
    """The repetition of least total time."""
    return min(repetitions, key=lambda seconds: sum(seconds.values()))


def our_seconds(texts: Path, configs: StageConfigs, repeat: int) -> dict[str, Seconds]:
    """Best wall and CPU seconds of each stage, in turn and apart."""
    found: dict[str, list[Seconds]] = {"in_turn": [], "in_turn_cpu": [], "apart": [], "apart_cpu": []}
    for _ in range(repeat):
        together = in_fresh_process(measure, texts, configs)
        alone = [in_fresh_process(measure, texts, {name: config}) for name, config in configs.items()]
        for i, kind in enumerate(("", "_cpu")):
            found[f"in_turn{kind}"].append(together[i])
            found[f"apart{kind}"].append({name: s for result in alone for name, s in result[i].items()})
    return {order: best(repetitions) for order, repetitions in found.items()}


def speed_rows(label: str, seconds: dict[str, Seconds], documents: int) -> Iterator[list[str]]:
    """Rows of the table of speeds: milliseconds a document by stage and in all, documents per second."""
    for order, by_stage in seconds.items():
        total = sum(by_stage.values())
        each = [f"{1000 * s / documents:.3f}" for s in by_stage.values()]
        words = order.replace("_cpu", ", CPU time").replace("_", " ")
        yield [f"{label}, {words}", *each, f"{1000 * total / documents:.3f}", f"{documents / total:,.0f}"]


def main() -> int:
    """Prints speeds, ratio and agreement; exit code 1 if documents differ from the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="Python of the environment that bench/peers/setup made")
    parser.add_argument("--reference", action="store_true", help="compare with the slow reference implementation")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--texts", type=Path, help="texts to judge, instead of those of --data")
    parser.add_argument("--work", type=Path, default=CACHE / "filters")
    parser.add_argument(
        "--recipe", default=str(REPOSITORY / "recipes" / "fineweb.yaml"), help="has the stages' configs"
    )
    parser.add_argument("--variant", choices=VARIANTS, help=f"of {', '.join(WITH_VARIANTS)}; default: the recipe's")
    parser.add_argument("--kept", action="store_true", help="only the English texts that the recipe keeps")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--limit", type=int, help="so many texts, evenly spread")
    parser.add_argument("--repeat", type=int, default=5, help=f"of ours; the peer: {PEER_REPETITIONS}")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--differences", type=Path)
    arguments = parser.parse_args()
    if not arguments.peer_python and not arguments.reference:
        parser.error("give --peer-python, --reference or both")

    arguments.work.mkdir(parents=True, exist_ok=True)
    everything = pq.read_table(arguments.texts or prepare(arguments.data, arguments.work))
    if arguments.limit is not None and arguments.limit < everything.num_rows:
        everything = everything.take([i * everything.num_rows // arguments.limit for i in range(arguments.limit)])
    of_recipe = recipe.load(arguments.recipe, arguments.overrides).stages
    configs = {name: of_recipe[name] for name in arguments.stages}
    if arguments.variant:
        for name in set(WITH_VARIANTS).intersection(configs):
            configs[name] = {**configs[name], "variant": arguments.variant}
    use_one_core(arguments.core)
    print(f"{machine()}\n")
    status = 0
    if arguments.peer_python:
        english = everything.filter(pc.equal(everything["language"], LANGUAGE))
        if arguments.kept:
            english = kept_by(of_recipe, english)
        texts = arguments.work / "english.parquet"
        pq.write_table(english, texts)
        beside_peer(arguments, texts, configs)
    if arguments.reference:
        rows = list(against_reference(OurVerdicts(everything, configs)))
        header = ["stage", "variant", "largest difference of a score", "verdicts"]
        print("\n" + table(header, rows, text_columns=2))
        status = int(any(not row[3].startswith("0 ") for row in rows))
    return status


def beside_peer(arguments: argparse.Namespace, texts: Path, configs: StageConfigs) -> None:
    """Speeds and agreement on the texts of a Parquet file."""
    documents = pq.read_table(texts)
    number = documents.num_rows
    ours = our_seconds(texts, configs, arguments.repeat)
    out = arguments.work / "datatrove.jsonl"
    repeat = min(PEER_REPETITIONS, arguments.repeat)
    report = run_peer(arguments.peer_python, "datatrove_filters.py", texts, "--out", out, "--repeat", repeat)
    theirs = {
        order: best([{name: by_filter[name][i] for name in configs} for i in range(repeat)])
        for order, by_filter in report["seconds"].items()
    }
    words = sum(len(text.split()) for text in documents["text"].to_pylist()) / number
    which = "kept English texts" if arguments.kept else "English texts"
    print(f"{number:,} {which} of {words:.0f} words on average; datatrove {report['packages']['datatrove']}\n")
    rows = [*speed_rows("corpusmill", ours, number), *speed_rows("datatrove", theirs, number)]
    print(table(["ms a document", *configs, "all", "documents/s a core"], rows))
    print(f"\ndocuments per second on one core, times datatrove's (target {TARGET:.0f}):")
    for order in ("in_turn", "apart"):
        print(f"  {order.replace('_', ' ')} {sum(theirs[order].values()) / sum(ours[order].values()):.1f}")
    print()

    with out.open(encoding="utf-8") as lines:
        verdicts = [json.loads(line) for line in lines]
    judged = OurVerdicts(documents, configs)
    rows, differences = compare(judged, verdicts)
    header = ["stage", "corpusmill's rule", "datatrove's rule", "both remove", "only corpusmill", "only datatrove"]
    print(table([*header, "agreement"], rows, text_columns=3))
    if report["inconsistent"]:
        print(f"\ndatatrove's verdict is not explained by its values: {len(report['inconsistent'])} documents")
    if "c4" in configs:
        print(f"\ntexts after C4's line rules, kept by both: {dict(same_lines(judged, verdicts))}")
    if arguments.differences:
        with arguments.differences.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in differences)


if __name__ == "__main__":
    sys.exit(main())
