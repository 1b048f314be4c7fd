"""What MinHash and Substring find on real pages whose copies are known.

    python bench/dedup_truth.py --crawl ../shared/data/crawl --documents build/dedup_truth.parquet [--json result.json]

Extracts all pages with corpusmill's stages (minutes; kept in `--documents` and read from there the next time), then
prints

- MinHash, 14 bands of 8 rows: for every kind of noise, and for every similarity, the pairs that meet in a band beside
  what the S-curve expects at their exact Jaccard similarities, and the pairs that end in one cluster; for similarities
  also the interval in which their number lies with a probability of 99 %; wrong merges among pairs known to differ, and
  precision: of the pairs with a label that end as document and twin, the share whose label is not "not_duplicate";
- Substring: planted passages that are cut, and all cuts against an oracle that names windows without hashing.

Pairs known to differ are those of same_site_negatives.jsonl and the noise that changes every other word. The former
were chosen by the whole visible text; those of Jaccard 0.7 or more after extraction (one article under two addresses,
pages that are all menu) are near-duplicates by definition and counted apart.

Exits with 1 when fewer or more pairs of a similarity meet than the interval says, a pair known to differ is merged,
precision is below 0.995, a planted copy is not cut, or a cut is missed or wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from substring_oracle import find, oracle_cuts, oracle_units

from corpusmill.core import documents, normalise, urls
from corpusmill.core.verdicts import StageResult
from corpusmill.dedup import signatures
from corpusmill.dedup.local import run_step
from corpusmill.dedup.minhash import MinHash, MinHashConfig
from corpusmill.dedup.substring import Substring, SubstringConfig

ALIKE = 0.7  # exact Jaccard of the extracted texts
LEAST_PRECISION = 0.995
BAND = 0.1  # of similarities
Rows = list[dict[str, Any]]


def read_jsonl(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Truth:
    """The truth files of the crawl, with doc_ids in place of page ids and URLs."""

    def __init__(self, crawl: Path, tables: list[pa.Table]) -> None:
        self.pages = {p["id"]: f"{Path(p['warc']).name}:{p['offset']}" for p in read_jsonl(crawl / "pages.jsonl")}
        self.by_url = dict(zip(*(tables[-1].column(c).to_pylist() for c in ("url", "doc_id")), strict=True))
        self.noise = read_jsonl(crawl / "noise" / "neardup_truth.jsonl")
        self.passages = read_jsonl(crawl / "noise" / "planted_passages.jsonl")
        self.negatives = read_jsonl(crawl / "same_site_negatives.jsonl")

    def made(self, url: str) -> str:
        """doc_id of a made page, "" when it was not extracted."""
        return self.by_url.get(urls.normalise(url) or "", "")


def languages(crawl: Path) -> dict[str, str]:
    """Language of every page by its URL, as the truth files give it ("" for undetermined)."""
    noise = crawl / "noise"
    found = {p["url"]: p["lang"] for p in read_jsonl(crawl / "pages.jsonl")}
    found |= {h["url"]: p["lang"] for p in read_jsonl(noise / "planted_passages.jsonl") for h in p["hosts"]}
    found |= {v["variant_url"]: v["lang"] for v in read_jsonl(noise / "neardup_truth.jsonl")}
    found |= {q["url"]: q["lang"] for q in read_jsonl(noise / "quality_truth.jsonl")}
    return {urls.normalise(u) or u: "" if lang == "und" else lang for u, lang in found.items()}


def extract(crawl: Path) -> list[pa.Table]:
    """Documents of all WARCs, one table a file, the made pages last."""
    from corpusmill.stages.extract import ExtractConfig, ExtractStage
    from corpusmill.stages.warc import WarcConfig, WarcStage, plan_slices

    reader, extractor, known = WarcStage(WarcConfig()), ExtractStage(ExtractConfig()), languages(crawl)
    tables = []
    for path in [*sorted(crawl.glob("warc/*.warc.gz")), *sorted(crawl.glob("noise/*.warc.gz"))]:
        batches = []
        for piece in plan_slices(str(path), "", 1 << 40):
            batches += [extractor.process(result.kept).kept for result in reader.read(piece)]
        table = documents.concat(batches, documents.DOCUMENT)
        codes = [known.get(url, "") for url in table.column("url").to_pylist()]
        table = table.append_column(documents.LANGUAGE_FIELDS[0], pa.array(codes, pa.string()))
        table = table.append_column(documents.LANGUAGE_FIELDS[1], pa.array(np.ones(len(codes), dtype=np.float32)))
        tables.append(table)
        print(f"extracted {table.num_rows} documents of {path.name}", file=sys.stderr)
    extractor.close()
    return tables


def sample(crawl: Path, store: Path | None) -> list[pa.Table]:
    """`extract`, or what it left in `store`."""
    if store is None or not store.exists():
        tables = extract(crawl)
        if store is not None:
            store.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.concat_tables(tables), store)
        return tables
    table = pq.read_table(store)
    files = table.column("warc_file").to_pylist()
    return [table.filter(pa.array([f == name for f in files])) for name in dict.fromkeys(files)]


class Shingled:
    """Exact shingle sets and band keys of the documents that the truth names."""

    def __init__(self, tables: list[pa.Table], config: MinHashConfig) -> None:
        self._texts = {
            i: (text, language)
            for table in tables
            for i, text, language in zip(
                *(table.column(c).to_pylist() for c in ("doc_id", "text", "language")), strict=True
            )
        }
        self._config = config
        self._maps = signatures.permutations(config.bands * config.rows, config.seed)
        self._sets: dict[str, tuple[set[int], list[int]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def _of(self, name: str) -> tuple[set[int], list[int]]:
        if name not in self._sets:
            units = normalise.normalised_words(*self._texts[name])
            found = signatures.shingles(units.hashes, self._config.ngram)
            values = signatures.signature(found, *self._maps)
            keys = signatures.band_keys(values, self._config.bands, self._config.rows)[0] if len(found) else []
            self._sets[name] = set(found.tolist()), list(keys)
        return self._sets[name]

    def jaccard(self, a: str, b: str) -> float:
        first, second = self._of(a)[0], self._of(b)[0]
        return len(first & second) / len(first | second) if first or second else 0.0

    def meet(self, a: str, b: str) -> bool:
        return any(x == y for x, y in zip(self._of(a)[1], self._of(b)[1], strict=False))


def judge_minhash(tables: list[pa.Table], truth: Truth) -> dict[str, Any]:
    config = MinHashConfig()
    started = time.perf_counter()
    results = run_step(MinHash(config), tables)
    seconds = time.perf_counter() - started
    cluster = {c["doc_id"]: c for r in results if r.clusters is not None for c in r.clusters.to_pylist()}
    shingled = Shingled(tables, config)

    def together(a: str, b: str) -> bool:
        return a in cluster and b in cluster and cluster[a]["cluster_id"] == cluster[b]["cluster_id"]

    twins = {frozenset((c["doc_id"], c["canonical"])) for c in cluster.values()}
    right_twins = 0
    kinds: dict[str, list[tuple[float, bool, bool]]] = defaultdict(list)
    missing: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    for pair in truth.noise:
        a, b = truth.made(pair["variant_url"]), truth.pages[pair["original_id"]]
        if a not in shingled or b not in shingled:
            missing[pair["kind"]] += 1
            continue
        kinds[pair["kind"]].append((shingled.jaccard(a, b), shingled.meet(a, b), together(a, b)))
        right_twins += pair["label"] != "not_duplicate" and frozenset((a, b)) in twins
        if pair["label"] == "not_duplicate" and together(a, b):
            wrong.append({"kind": pair["kind"], "a": a, "b": b, "jaccard": shingled.jaccard(a, b)})
    negatives = [(truth.pages[n["a"]], truth.pages[n["b"]]) for n in truth.negatives]
    judged = [(a, b, shingled.jaccard(a, b)) for a, b in negatives if a in shingled and b in shingled]
    different = [pair for pair in judged if pair[2] < ALIKE]
    wrong += [{"kind": "same_site", "a": a, "b": b, "jaccard": j} for a, b, j in different if together(a, b)]
    removed = [(r["doc_id"], r["twin"]) for result in results for r in result.removed.to_pylist()]
    similarity = [shingled.jaccard(a, b) for a, b in removed]
    return {
        "documents": sum(t.num_rows for t in tables),
        "seconds": seconds,
        "removed": len(removed),
        "clusters": len({c["cluster_id"] for c in cluster.values()}),
        "largest_cluster": max((c["cluster_size"] for c in cluster.values()), default=0),
        "removed_by_similarity_to_twin": {
            f"{low:.1f}": sum(low <= s < low + 0.1 for s in similarity) for low in np.arange(0, 1.1, 0.1).tolist()
        },
        "kinds": {
            kind: {
                "pairs": len(found),
                "not_extracted": missing[kind],
                "mean_jaccard": float(np.mean([j for j, _, _ in found])),
                "expected": float(
                    np.mean([signatures.lsh_probability(j, config.bands, config.rows) for j, _, _ in found])
                ),
                "met": float(np.mean([met for _, met, _ in found])),
                "clustered": float(np.mean([one for _, _, one in found])),
            }
            for kind, found in sorted(kinds.items())
        },
        "similarities": by_similarity([pair for found in kinds.values() for pair in found], config),
        "right_twins": right_twins,
        "precision": right_twins / max(1, right_twins + len(wrong)),
        "known_different_pairs": len(different) + len(kinds["words:.5"]),
        "same_site_pairs_alike_after_extraction": len(judged) - len(different),
        "wrong_merges": wrong,
    }


def by_similarity(pairs: list[tuple[float, bool, bool]], config: MinHashConfig) -> list[dict[str, Any]]:
    """Pairs that met, by band of similarity, and the interval in which they are 99 times of 100.

    Every pair meets with a probability of its own, so their number has the Poisson binomial distribution.
    """
    rows = []
    for low in np.arange(0, 1, BAND).round(2).tolist():
        found = [(j, met) for j, met, _ in pairs if low <= j < low + BAND or (j == 1 and low + BAND >= 1)]
        if not found:
            continue
        distribution = np.ones(1)
        for j, _ in found:
            p = signatures.lsh_probability(j, config.bands, config.rows)
            distribution = np.convolve(distribution, (1 - p, p))
        at_most = np.cumsum(distribution)
        rows.append(
            {
                "from": low,
                "pairs": len(found),
                "met": int(sum(met for _, met in found)),
                "expected": float(np.arange(len(distribution)) @ distribution),
                "least": int(np.searchsorted(at_most, 0.005)),
                "most": int(np.searchsorted(at_most, 0.995)),
            }
        )
    return rows


def judge_substring(tables: list[pa.Table], truth: Truth) -> dict[str, Any]:
    config = SubstringConfig(min_remaining=0, passes=1)  # no document goes, so that every cut has its span
    started = time.perf_counter()
    results = run_step(Substring(config), tables)
    seconds = time.perf_counter() - started
    texts = {
        i: (text, language)
        for table in tables
        for i, text, language in zip(
            *(table.column(c).to_pylist() for c in ("doc_id", "text", "language")), strict=True
        )
    }
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for result in results:
        for span in result.spans.to_pylist():
            spans[span["doc_id"]].append((span["start"], span["end"]))

    known: dict[str, str] = {}
    oracle = oracle_cuts(texts, config)
    missed = false = 0
    for name, (text, language) in texts.items():
        if name not in oracle and name not in spans:
            continue
        expected = set(oracle.get(name, []))
        cut = cut_flags(text, spans.get(name, []))
        for a, b in oracle_units(text, language, known)[1]:
            missed += (a, b) in expected and not cut[a:b].all()
            false += (a, b) not in expected and bool(cut[a:b].any())

    copies = survived = whole = 0
    for passage in truth.passages:
        for host in passage["hosts"]:
            copies += 1
            name = truth.made(host["url"])
            if name not in texts:
                continue
            at = find(passage["text"], *texts[name], known)
            if at is not None:
                survived += 1
                whole += bool(cut_flags(texts[name][0], spans.get(name, []))[at[0] : at[1]].all())
    characters = sum(len(text) for text, _ in texts.values())
    return {
        "documents": len(texts),
        "characters": characters,
        "seconds": seconds,
        "documents_cut": len(spans),
        "characters_cut": sum(b - a for one in spans.values() for a, b in one),
        "share_cut_after_minhash": share_cut(run_step(MinHash(MinHashConfig()), tables)),
        "units_missed": int(missed),
        "units_cut_wrongly": int(false),
        "planted_copies": copies,
        "planted_copies_extracted_whole": survived,
        "planted_copies_cut_whole": whole,
    }


def share_cut(minhash: list[StageResult]) -> float:
    """Share of the characters that Substring cuts from what MinHash left, as in the chain."""
    left = [result.kept for result in minhash]
    cut = sum(len(s) for r in run_step(Substring(SubstringConfig()), left) for s in r.spans.column("text").to_pylist())
    return cut / sum(documents.characters_in(table) for table in left)


def cut_flags(text: str, spans: list[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    flags = np.zeros(len(text), dtype=np.bool_)
    for a, b in spans:
        flags[a:b] = True
    return flags


def show(found: dict[str, Any]) -> None:
    minhash, substring = found["minhash"], found["substring"]
    print(f"MinHash 14 x 8: {minhash['documents']} documents in {minhash['seconds']:.1f} s,", end=" ")
    print(f"{minhash['removed']} removed, {minhash['clusters']} clusters, largest {minhash['largest_cluster']}")
    print(f"{'noise':<18}{'pairs':>6}{'lost':>6}{'Jaccard':>9}{'expected':>10}{'met':>7}{'clustered':>11}")
    for kind, k in minhash["kinds"].items():
        print(f"{kind:<18}{k['pairs']:>6}{k['not_extracted']:>6}{k['mean_jaccard']:>9.3f}", end="")
        print(f"{k['expected']:>10.3f}{k['met']:>7.3f}{k['clustered']:>11.3f}")
    print(f"{'similarity':<18}{'pairs':>6}{'met':>6}{'expected':>10}{'99 % interval':>15}")
    for k in minhash["similarities"]:
        interval = f"{k['least']}-{k['most']}"
        name = f"{k['from']:.1f}-{k['from'] + BAND:.1f}"
        print(f"{name:<18}{k['pairs']:>6}{k['met']:>6}{k['expected']:>10.1f}{interval:>15}")
    print("removed, by similarity to the twin:", minhash["removed_by_similarity_to_twin"])
    print(f"wrong merges: {len(minhash['wrong_merges'])} of {minhash['known_different_pairs']} pairs known to differ")
    print(f"precision: {minhash['precision']:.4f}, of {minhash['right_twins']} right twins")
    for wrong in minhash["wrong_merges"]:
        print("  ", wrong)
    print(
        f"  left out: {minhash['same_site_pairs_alike_after_extraction']} pairs of Jaccard >= {ALIKE} after extraction"
    )
    share = substring["characters_cut"] / substring["characters"]
    print(f"Substring: {substring['characters']} characters in {substring['seconds']:.1f} s,", end=" ")
    print(f"{share:.1%} cut from {substring['documents_cut']} documents", end=" ")
    print(f"(after MinHash {substring['share_cut_after_minhash']:.1%})")
    print(f"planted copies: {substring['planted_copies']}, extracted whole", end=" ")
    print(f"{substring['planted_copies_extracted_whole']}, cut whole {substring['planted_copies_cut_whole']}")
    print(f"against the oracle: {substring['units_missed']} units missed", end=", ")
    print(f"{substring['units_cut_wrongly']} cut wrongly")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crawl", type=Path, required=True, help="folder of pages with truth files")
    parser.add_argument("--documents", type=Path, help="Parquet file that keeps the extracted documents")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    tables = sample(options.crawl, options.documents)
    truth = Truth(options.crawl, tables)
    found = {"minhash": judge_minhash(tables, truth), "substring": judge_substring(tables, truth)}
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    minhash, substring = found["minhash"], found["substring"]
    off = any(not k["least"] <= k["met"] <= k["most"] for k in minhash["similarities"])
    wrong = off or minhash["wrong_merges"] or minhash["precision"] < LEAST_PRECISION
    wrong = wrong or substring["units_missed"] or substring["units_cut_wrongly"]
    uncut = substring["planted_copies_extracted_whole"] - substring["planted_copies_cut_whole"]
    return 1 if wrong or uncut else 0


if __name__ == "__main__":
    sys.exit(main())
