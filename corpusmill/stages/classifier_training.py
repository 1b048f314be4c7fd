"""Making and calibrating quality classifiers (stages/classifier.py).

Training is deterministic: which texts are used, held out and in which order they are seen follows from the hashes of
their texts, so that the names, the number and the order of the files do not matter; fastText runs in one thread. The
same texts and settings give the same bytes on the same kind of machine.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from corpusmill.core import artifacts, fasttext_model, models, storage
from corpusmill.core import words as text_words
from corpusmill.core.errors import InputError
from corpusmill.core.fasttext_model import FastTextModel, one_line
from corpusmill.core.hashing import content_hash
from corpusmill.core.languages import LABEL_PREFIX
from corpusmill.core.text import Text
from corpusmill.stages.classifier import Classifier, document_line, wanted_label
from corpusmill.stages.classifier_card import SCORE_DECIMALS, Card, Quantiles, read_card

_TEXT_FILES: Final = (".parquet", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".txt", ".txt.gz")
_LINES_AT_ONCE: Final = 1000


class TrainingSettings(BaseModel):
    """Settings of a training; the defaults are DCLM's, but for what it does not say.

    language: of texts whose file does not say it. max_documents: of each class. held_out: share that is not trained on.
    Others: as fastText names them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = "en"
    max_documents: Annotated[int, Field(ge=1)] = 200_000
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.05
    positive_label: str = "hq"
    negative_label: str = "cc"
    lr: Annotated[float, Field(gt=0)] = 0.1
    dim: Annotated[int, Field(ge=1)] = 100
    epoch: Annotated[int, Field(ge=1)] = 5
    word_ngrams: Annotated[int, Field(ge=1)] = 1
    min_count: Annotated[int, Field(ge=1)] = 1
    bucket: Annotated[int, Field(ge=1)] = 2_000_000
    seed: Annotated[int, Field(ge=0)] = 0


def files_of(source: str) -> list[str]:
    """The files that `source` names: a file, a glob, a folder of files, or a run folder (its refined documents).

    Raises InputError when there are none.
    """
    in_run = storage.list_files(storage.join(source, "documents"), ".parquet")
    in_folder = [path for path in storage.list_files(source) if path.endswith(_TEXT_FILES)]
    found = in_run or in_folder or [path for path in storage.glob(source) if storage.exists(path)]
    if not found:
        raise InputError(
            "no texts here",
            where=source,
            remedy=f"name a run, a folder, or files that end with {', '.join(_TEXT_FILES)}",
        )
    return found


def read_texts(path: str, language: str) -> Iterator[Text]:
    """The texts of a file: Parquet and JSONL with a column or key `text` (and maybe `language`), else lines of text.

    Blank texts are left out. `language` is that of texts without their own.
    """
    rows = _parquet_rows(path) if path.endswith(".parquet") else _line_rows(path)
    for text, own in rows:
        if text.strip():
            yield Text(text, own or language)


def _parquet_rows(path: str) -> Iterator[tuple[str, str | None]]:
    import pyarrow.parquet as pq

    with storage.open_read(path) as file:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        if "text" not in names:
            raise InputError("this file has no column `text`", where=path, value=names)
        for batch in parquet.iter_batches(columns=[name for name in ("text", "language") if name in names]):
            for row in batch.to_pylist():
                yield row["text"] or "", row.get("language")


def _line_rows(path: str) -> Iterator[tuple[str, str | None]]:
    with storage.open_read(path) as file:
        stream = gzip.GzipFile(fileobj=file) if path.endswith(".gz") else file
        is_json = path.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
        for number, raw in enumerate(stream, start=1):
            line = raw.decode("utf-8", "replace")
            if not is_json:
                yield line, None
            elif line.strip():
                yield _json_row(line, f"{path}, line {number}")


def _json_row(line: str, where: str) -> tuple[str, str | None]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError("not JSON", where=where, value=str(error)) from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InputError("not a JSON object with a string `text`", where=where, value=line[:80])
    language = row.get("language")
    return row["text"], language if isinstance(language, str) else None


def sample(texts: Iterable[Text], number: int) -> dict[bytes, str]:
    """What a classifier reads of at most `number` different texts, by the hash of the text: those of least hash."""
    chosen: dict[bytes, str] = {}
    for text in texts:
        chosen[content_hash(text.string)] = one_line(document_line(text))
        if len(chosen) >= 2 * number:
            chosen = _least(chosen, number)
    return _least(chosen, number)


def _least(chosen: dict[bytes, str], number: int) -> dict[bytes, str]:
    return {key: chosen[key] for key in sorted(chosen)[:number]}


def train(positives: Sequence[str], negatives: Sequence[str], out: str, settings: TrainingSettings) -> Card:
    """Trains a classifier of positives against negatives, and writes it and its card.

    A text that is in both classes is in neither. The quantiles are those of the held-out negatives, as these stand for
    the crawl; `calibrate` takes those of other documents.

    Args:
        positives, negatives: what `files_of` takes.
        out: path of the model, `.bin`.
        settings: see its class.

    Returns:
        The card; it lies beside the model.
    """
    if not out.endswith(".bin"):
        raise InputError("a fastText model's name ends with .bin", value=out, remedy="--out quality.bin")
    sources = {settings.positive_label: positives, settings.negative_label: negatives}
    files = {label: [path for source in named for path in files_of(source)] for label, named in sources.items()}
    chosen = {
        label: sample((t for path in paths for t in read_texts(path, settings.language)), settings.max_documents)
        for label, paths in files.items()
    }
    in_both = chosen[settings.positive_label].keys() & chosen[settings.negative_label].keys()
    rows = sorted(
        (key[::-1], label, line)  # other bytes than those that chose: classes are chosen from at different rates
        for label, texts in chosen.items()
        for key, line in texts.items()
        if key not in in_both
    )
    kept_out = [_share(key) < settings.held_out for key, _, _ in rows]
    held_out = [(label, line) for out_of, (_, label, line) in zip(kept_out, rows, strict=True) if out_of]
    training = [(label, line) for out_of, (_, label, line) in zip(kept_out, rows, strict=True) if not out_of]
    for label, named in sources.items():
        if not any(label == seen for seen, _ in training):
            raise InputError("no texts to train on", where=", ".join(named), value=label)
    storage.write_bytes(out, _fit(training, settings))
    model = FastTextModel(out)
    card = Card(
        model_sha256=storage.sha256_file(out),
        labels=model.labels,
        quantiles=_quantiles_of(
            model,
            settings.positive_label,
            "held-out negatives",
            [line for label, line in held_out if label == settings.negative_label],
        ),
        training={
            "settings": settings.model_dump(),
            "inputs": {
                label: [{"file": storage.file_name(p), "sha256": storage.sha256_file(p)} for p in paths]
                for label, paths in files.items()
            },
            "documents": {label: sum(seen == label for seen, _ in training) for label in sources},
            "in_both": len(in_both),
            "held_out": {"documents": len(held_out), "accuracy": _accuracy(model, held_out)},
            "packages": artifacts.package_versions((*fasttext_model.PACKAGES, *text_words.PACKAGES)),
        },
    )
    card.write(out)
    return card


def calibrate(model_path: str, source: str, *, label: str, language: str, number: int) -> Card:
    """Writes the quantiles of the scores of at most `number` texts of `source` into the card of a model.

    Args:
        model_path: path of a fastText model; it gets a card if it has none.
        source: what `files_of` takes.
        label: the wanted label.
        language: of texts whose file does not say it.
        number: texts that are scored, those of least hash.
    """
    model = fasttext_model.load(models.find(model_path))
    wanted = wanted_label(model, Classifier(model=model_path, label=label))
    lines = sample((text for path in files_of(source) for text in read_texts(path, language)), number)
    before = read_card(model_path) or Card(model_sha256=storage.sha256_file(model_path), labels=model.labels)
    quantiles = _quantiles_of(model, wanted, storage.file_name(source), list(lines.values()))
    if quantiles is None:
        raise InputError("no texts here", where=source)
    card = before.model_copy(update={"quantiles": quantiles})
    card.write(model_path)
    return card


def _share(key: bytes) -> float:
    """A number of 0..1 that follows from a hash."""
    return int.from_bytes(key[8:12], "big") / (1 << 32)


def _fit(rows: Sequence[tuple[str, str]], settings: TrainingSettings) -> bytes:
    """The bytes of a model trained on (label, line) pairs, in their order."""
    import fasttext

    with tempfile.TemporaryDirectory(prefix="corpusmill-classifier-") as folder:
        lines, model = Path(folder, "lines.txt"), Path(folder, "model.bin")
        with lines.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{LABEL_PREFIX}{label} {line}\n" for label, line in rows)
        fasttext.train_supervised(
            str(lines),
            lr=settings.lr,
            dim=settings.dim,
            epoch=settings.epoch,
            wordNgrams=settings.word_ngrams,
            minCount=settings.min_count,
            bucket=settings.bucket,
            seed=settings.seed,
            minn=0,
            maxn=0,
            loss="softmax",
            thread=1,  # several threads write to the same weights in no order
            verbose=0,
        ).save_model(str(model))
        return model.read_bytes()


def _accuracy(model: FastTextModel, rows: Sequence[tuple[str, str]]) -> float | None:
    """Share of (label, line) pairs whose likeliest label is theirs; None without any."""
    if not rows:
        return None
    found = model.predict([line for _, line in rows], 1, SCORE_DECIMALS)
    right = sum(prediction.labels[:1] == [label] for prediction, (label, _) in zip(found, rows, strict=True))
    return right / len(rows)


def _quantiles_of(model: FastTextModel, label: str, source: str, lines: Sequence[str]) -> Quantiles | None:
    scores: list[float] = []
    for first in range(0, len(lines), _LINES_AT_ONCE):
        for prediction in model.predict(lines[first : first + _LINES_AT_ONCE], len(model.labels), SCORE_DECIMALS):
            scores += [s for name, s in zip(prediction.labels, prediction.scores, strict=True) if name == label]
    return Quantiles.of(scores, label, source) if scores else None
