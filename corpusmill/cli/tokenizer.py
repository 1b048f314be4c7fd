"""`corpusmill tokenizer`: train, extend and judge tokenizers."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

import typer
from pydantic import ValidationError

from corpusmill.cli.output import print_json, print_table
from corpusmill.core import storage
from corpusmill.core.errors import ConfigError, InputError, UserError
from corpusmill.pipeline.progress import Reporter
from corpusmill.pipeline.status import open_run
from corpusmill.tokenize import sample as samples
from corpusmill.tokenize.extension import extend as extend_model
from corpusmill.tokenize.report import Fertility, TokenizerReport
from corpusmill.tokenize.report import report as make_report
from corpusmill.tokenize.sample import Sample
from corpusmill.tokenize.tokenizer import LossyTokenizerWarning, Tokenizer
from corpusmill.tokenize.training import TokenizerConfig, fit, sample_of

app = typer.Typer(
    help="Tokenizers: train SentencePiece models, extend them, see how they fit a corpus.", no_args_is_help=True
)

_DEFAULTS = TokenizerConfig()
_REPORT_BYTES = 64 << 20
# Options that are named once for each entry of a key.
_OPTIONS = {"user_symbols": "user_symbol", "control_symbols": "control_symbol", "sample_languages": "sample_language"}
_LINE_EVERY_SECONDS = 5.0

RUN = typer.Argument(..., help="Documents: a run (its refined corpus), a folder of Parquet files, a file or a glob.")
COVERAGE = typer.Option(
    _DEFAULTS.character_coverage, help="Share of characters that get their own piece; the rest is spelled in bytes."
)
SAMPLE = typer.Option(_DEFAULTS.sample_bytes, min=1, help="UTF-8 bytes to learn from, chosen by hash of doc_id.")
LANGUAGES = typer.Option(
    [], "--sample-language", metavar="LANGUAGE=SHARE", help="Share of the sample, e.g. ja=1/2; repeat. Default: any."
)
THREADS = typer.Option(_DEFAULTS.num_threads, min=1, max=64, help="Threads of the training; part of the result.")
JSON = typer.Option(False, "--json", help="Print JSON.")
QUIET = typer.Option(False, help="No progress.")


@app.command()
def train(
    run: str = RUN,
    vocab_size: int = typer.Option(_DEFAULTS.vocab_size, help="Tokens, 256 bytes and 4 control tokens included."),
    out: str = typer.Option(..., help="Model to write, .model."),
    model_type: str = typer.Option(_DEFAULTS.model_type, help="unigram or bpe."),
    character_coverage: float = COVERAGE,
    split_digits: bool = typer.Option(_DEFAULTS.split_digits, help="Every digit is a piece."),
    user_symbol: list[str] = typer.Option([], help="A string that is one token wherever a text has it; repeat."),
    control_symbol: list[str] = typer.Option([], help="A reserved token, which no text is encoded as; repeat."),
    sample_bytes: int = SAMPLE,
    sample_language: list[str] = LANGUAGES,
    num_threads: int = THREADS,
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Trains a SentencePiece model on the refined corpus of a run.

    Example: corpusmill tokenizer train RUN --vocab-size 32000 --out M.model --user-symbol '<|user|>'
    """
    config = _config(
        vocab_size=vocab_size,
        model_type=model_type,
        character_coverage=character_coverage,
        split_digits=split_digits,
        user_symbols=user_symbol,
        control_symbols=control_symbol,
        sample_bytes=sample_bytes,
        sample_languages=_shares(sample_language),
        num_threads=num_threads,
    )
    reporter = Reporter(quiet=quiet)
    sample = _sampled(run, config, reporter)
    with reporter.track("training", 1) as track:
        model = fit([document.text for document in sample.documents], config)
        track.advance()
    storage.write_bytes(out, model)
    tokenizer = Tokenizer(model, out)
    if as_json:
        print_json(_about(out, tokenizer) | {"sample": _sample_json(sample)})
    else:
        print(f"{out}\nvocab_size {tokenizer.vocab_size:,}, sha256 {tokenizer.sha256}")


@app.command()
def extend(
    run: str = RUN,
    base: str = typer.Option(..., help="SentencePiece model to extend; its ids stay as they are."),
    pieces: int = typer.Option(..., min=1, help="New pieces."),
    out: str = typer.Option(..., help="Model to write, .model."),
    character_coverage: float = COVERAGE,
    sample_bytes: int = SAMPLE,
    sample_language: list[str] = LANGUAGES,
    num_threads: int = THREADS,
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Adds pieces learnt from the refined corpus of a run to a model, and shows tokens per character before and after.

    Example: corpusmill tokenizer extend RUN --base M.model --pieces 8000 --out M2.model --sample-language ja=1
    """
    config = _config(
        character_coverage=character_coverage,
        sample_bytes=sample_bytes,
        sample_languages=_shares(sample_language),
        num_threads=num_threads,
    )
    reporter = Reporter(quiet=quiet)
    sample = _sampled(run, config, reporter)
    texts = [document.text for document in sample.documents]
    with reporter.track("learning pieces", 1) as track:
        extended = extend_model(storage.read_bytes(base), base, texts, pieces, config)
        track.advance()
    storage.write_bytes(out, extended.model)
    before, after = Tokenizer.load(base), Tokenizer(extended.model, out)
    reports = [_reported(tokenizer, run, _REPORT_BYTES, reporter) for tokenizer in (before, after)]
    if as_json:
        shown = {"before": reports[0].to_json(), "after": reports[1].to_json()}
        print_json(
            _about(out, after) | {"base": base, "pieces": extended.pieces, "sample": _sample_json(sample)} | shown
        )
    else:
        print(f"{out}\nvocab_size {before.vocab_size:,} -> {after.vocab_size:,}, sha256 {after.sha256}")
        _print_before_and_after(*reports)
    if reports[1].total.failures > reports[0].total.failures:
        raise typer.Exit(1)


@app.command()
def report(
    model: str = typer.Argument(..., help="SentencePiece model or tokenizer.json."),
    run: str = RUN,
    sample_bytes: int = typer.Option(
        _REPORT_BYTES, min=0, help="UTF-8 bytes to look at, chosen by hash of doc_id; 0: every document."
    ),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Shows how a tokenizer fits a corpus: fertility by language, unused pieces, texts that do not come back.

    Exit code 1 when a text does not come back from a round trip.
    Example: corpusmill tokenizer report M.model RUN
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossyTokenizerWarning)  # the report says it
        tokenizer = Tokenizer.load(model)
    found = _reported(tokenizer, run, sample_bytes, Reporter(quiet=quiet))
    if as_json:
        print_json({"model": model} | found.to_json())
    else:
        _print_report(model, found)
    if found.total.failures or found.control_tokens:
        raise typer.Exit(1)


def _config(**values: Any) -> TokenizerConfig:
    try:
        return TokenizerConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        what = first["msg"].removeprefix("Value error, ")
        option = "--" + _OPTIONS.get(name, name).replace("_", "-")
        raise ConfigError(f"{option}: {what}" if name else what, value=first["input"] if name else None) from error


def _shares(options: list[str]) -> dict[str, str] | None:
    pairs = [option.partition("=") for option in options]
    for language, separator, share in pairs:
        if not (language and separator and share):
            raise UserError("--sample-language is LANGUAGE=SHARE", value=language, remedy="--sample-language ja=1/2")
    return {language: share for language, _, share in pairs} or None


def _documents(source: str) -> list[str]:
    """Parquet files of documents: a run's refined corpus, a folder's, or those that a path or glob names."""
    found = storage.list_files(storage.join(source, "documents"), ".parquet")
    if not found and storage.exists(storage.join(source, "resolved.yaml")):
        _, chain = open_run(source)
        last = chain.folder(len(chain.steps) - 1)
        found = [path for shard in chain.shards if storage.exists(path := last.path("out", shard.name))]
    found = found or storage.list_files(source, ".parquet") or [p for p in storage.glob(source) if storage.exists(p)]
    if not found:
        raise InputError(
            "no documents here", where=source, remedy="name a run with a refined corpus, or Parquet files of documents"
        )
    return found


def _sampled(run: str, config: TokenizerConfig, reporter: Reporter) -> Sample:
    files = _documents(run)
    reporter.say(f"reading {len(files)} files of documents")
    sample = sample_of(files, config)
    taken = ", ".join(f"{name or 'any language'} {size:,} bytes" for name, size in sample.bytes.items())
    reporter.say(f"sample: {len(sample.documents):,} documents: {taken}")
    if sample.scarce is not None:
        there = sample.seen_bytes[sample.scarce]
        reporter.warn(f"{sample.scarce} has only {there:,} bytes; less is taken of the others, so that shares hold")
    return sample


def _sample_json(sample: Sample) -> dict[str, Any]:
    return {
        "documents": len(sample.documents),
        "bytes": dict(sample.bytes),
        "seen_bytes": dict(sample.seen_bytes),
        "scarce": sample.scarce,
    }


def _about(path: str, tokenizer: Tokenizer) -> dict[str, Any]:
    return {"model": path, "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256}


def _reported(tokenizer: Tokenizer, run: str, sample_bytes: int, reporter: Reporter) -> TokenizerReport:
    files = _documents(run)
    documents = samples.documents(files, sample_bytes)

    last = time.monotonic()

    def progress(so_far: Fertility) -> None:
        nonlocal last
        if time.monotonic() - last < _LINE_EVERY_SECONDS:
            return
        last = time.monotonic()
        reporter.say(f"report: {so_far.documents:,} documents, {so_far.tokens:,} tokens")

    return make_report(tokenizer, documents, num_threads=os.cpu_count() or 1, progress=progress)


def _print_report(model: str, found: TokenizerReport) -> None:
    print(f"{model}: {found.kind}, vocab_size {found.vocab_size:,}, sha256 {found.sha256}\n")
    rows = [
        [name or "(unknown)", each.documents, each.tokens, *each.ratios().values(), each.failures]
        for name, each in [*found.languages.items(), ("all", found.total)]
    ]
    columns = [
        "language",
        "documents",
        "tokens",
        *(name.replace("_", " ") for name in Fertility().ratios()),
        "failures",
    ]
    print_table(columns, rows, numbers=columns[1:])
    unused = found.unused
    print(f"\nunused pieces: {unused.unused:,} of {unused.pieces:,} ({unused.share:.1%})")
    if unused.examples:
        print(f"  {', '.join(map(repr, unused.examples))}")
    print(f"control tokens in texts: {found.control_tokens}")
    print(f"round trips that fail: {found.total.failures:,} of {found.total.documents:,}")
    for doc_id in found.failures:
        print(f"  {doc_id}")
    if found.loss is not None:
        print(f"what this tokenizer cannot give back:\n  {found.loss}")


def _print_before_and_after(before: TokenizerReport, after: TokenizerReport) -> None:
    rows = []
    for name in [*after.languages, None]:
        old, new = (r.total if name is None else r.languages[name] for r in (before, after))
        shown = [each.ratios()["tokens_per_character"] for each in (old, new)]
        rows.append(["all" if name is None else name or "(unknown)", new.documents, *shown, new.failures])
    columns = ["language", "documents", "tokens per character before", "after", "failures"]
    print_table(columns, rows, numbers=columns[1:])
