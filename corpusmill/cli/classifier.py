"""`corpusmill classifier`: quality classifiers, trained and calibrated."""

from __future__ import annotations

from typing import Any

import typer

from corpusmill.cli.output import print_json, print_table
from corpusmill.stages import classifier_training
from corpusmill.stages.classifier_card import Card, card_path
from corpusmill.stages.classifier_training import TrainingSettings

app = typer.Typer(help="Quality classifiers (fastText): train them, calibrate percentiles.", no_args_is_help=True)

_DEFAULTS = TrainingSettings()
_SHOWN_PERCENTAGES = (1, 2, 5, 10, 20, 30, 50)
JSON = typer.Option(False, "--json", help="Print JSON.")
LANGUAGE = typer.Option(_DEFAULTS.language, help="Language of texts whose file does not say it, e.g. ja.")


@app.command()
def train(
    positives: list[str] = typer.Option(..., help="Texts of the wanted kind: files, globs, a folder, a run."),
    negatives: list[str] = typer.Option(..., help="Texts to tell them from, e.g. documents of the crawl."),
    out: str = typer.Option(..., help="Model to write, .bin; its card is written beside it."),
    language: str = LANGUAGE,
    max_documents: int = typer.Option(_DEFAULTS.max_documents, min=1, help="Texts of each class, chosen by hash."),
    held_out: float = typer.Option(_DEFAULTS.held_out, min=0, max=0.99, help="Share that is not trained on."),
    positive_label: str = typer.Option(_DEFAULTS.positive_label, help="Label of the wanted texts."),
    negative_label: str = typer.Option(_DEFAULTS.negative_label, help="Label of the others."),
    lr: float = typer.Option(_DEFAULTS.lr, help="Learning rate."),
    dim: int = typer.Option(_DEFAULTS.dim, min=1, help="Size of word vectors."),
    epoch: int = typer.Option(_DEFAULTS.epoch, min=1, help="Times that every text is seen."),
    word_ngrams: int = typer.Option(_DEFAULTS.word_ngrams, min=1, help="Longest n-gram of words."),
    min_count: int = typer.Option(_DEFAULTS.min_count, min=1, help="Rarer words are not known."),
    bucket: int = typer.Option(_DEFAULTS.bucket, min=1, help="Slots of n-grams; unused where --word-ngrams is 1."),
    seed: int = typer.Option(_DEFAULTS.seed, min=0, help="Of the initial weights."),
    as_json: bool = JSON,
) -> None:
    """Trains a classifier of wanted texts against others, and measures it on texts held out.

    Example: corpusmill classifier train --positives good.jsonl --negatives RUN --out quality.bin
    """
    settings = TrainingSettings(
        language=language,
        max_documents=max_documents,
        held_out=held_out,
        positive_label=positive_label,
        negative_label=negative_label,
        lr=lr,
        dim=dim,
        epoch=epoch,
        word_ngrams=word_ngrams,
        min_count=min_count,
        bucket=bucket,
        seed=seed,
    )
    card = classifier_training.train(positives, negatives, out, settings)
    if as_json:
        print_json(card.model_dump())
        return
    training: dict[str, Any] = card.training or {}
    used = ", ".join(f"{label} {number:,}" for label, number in training["documents"].items())
    print(f"{out}\n{card_path(out)}\ntrained on: {used} (in both classes, left out: {training['in_both']:,})")
    accuracy = training["held_out"]["accuracy"]
    shown = "none" if accuracy is None else f"{accuracy:.4f}"
    print(f"held out: {training['held_out']['documents']:,} texts, accuracy {shown}")
    _print_thresholds(card)


@app.command()
def calibrate(
    model: str = typer.Argument(..., help="fastText model, .bin or .ftz."),
    source: str = typer.Argument(..., help="Documents: a run, a folder, a file or a glob."),
    label: str = typer.Option(_DEFAULTS.positive_label, help="The wanted label."),
    language: str = LANGUAGE,
    sample: int = typer.Option(100_000, min=1, help="Documents to score, chosen by hash."),
    as_json: bool = JSON,
) -> None:
    """Scores documents and writes the quantiles into the model's card, so that a recipe can name a percentile.

    Example: corpusmill classifier calibrate quality.bin RUN
    """
    card = classifier_training.calibrate(model, source, label=label, language=language, number=sample)
    if as_json:
        print_json(card.model_dump())
        return
    print(card_path(model))
    _print_thresholds(card)


def _print_thresholds(card: Card) -> None:
    if card.quantiles is None:
        return
    print(f"scores of {card.quantiles.documents:,} documents ({card.quantiles.source}), label {card.quantiles.label}")
    rows = [[percent, card.quantiles.threshold(percent)] for percent in _SHOWN_PERCENTAGES]
    print_table(["percentile", "threshold"], rows, numbers=["percentile", "threshold"])
