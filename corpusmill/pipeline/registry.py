"""The stages and corpus steps a recipe may name, in the order in which they run."""

from __future__ import annotations

from corpusmill.dedup.base import CorpusStep
from corpusmill.dedup.exact import ExactDedup
from corpusmill.dedup.minhash import MinHash
from corpusmill.dedup.substring import Substring
from corpusmill.dedup.url import UrlDedup
from corpusmill.stages.base import DocumentStage
from corpusmill.stages.c4 import C4
from corpusmill.stages.classifier import ClassifierStage
from corpusmill.stages.decontaminate import Decontaminate
from corpusmill.stages.extract import ExtractStage
from corpusmill.stages.fineweb import FineWeb
from corpusmill.stages.language import LanguageStage
from corpusmill.stages.lines import Lines
from corpusmill.stages.perplexity import PerplexityStage
from corpusmill.stages.pii import Pii
from corpusmill.stages.prescreen import PrescreenStage
from corpusmill.stages.quality import Quality
from corpusmill.stages.repetition import Repetition
from corpusmill.stages.swallow import Swallow
from corpusmill.stages.url_filter import UrlFilterStage
from corpusmill.stages.warc import WarcStage

# The first stage; it makes records out of files and so is no DocumentStage.
WARC = WarcStage.name

DOCUMENT_STAGES: dict[str, type[DocumentStage]] = {  # type: ignore[type-arg]  # each has its own config
    stage.name: stage
    for stage in (
        UrlFilterStage,
        PrescreenStage,
        ExtractStage,
        LanguageStage,
        Repetition,
        Quality,
        C4,
        FineWeb,
        Swallow,
        PerplexityStage,
        ClassifierStage,
        Lines,
        Pii,
        Decontaminate,
    )
}

CORPUS_STEPS: dict[str, type[CorpusStep]] = {  # type: ignore[type-arg]
    step.name: step for step in (UrlDedup, ExactDedup, MinHash, Substring)
}

# What follows the refined corpus. Their configs are sections of the recipe of the same name; of `tokens`: `sources`.
PRODUCTS = ("tokenizer", "held_out", "tokens", "order", "train")

ORDER_OF_STAGES = (WARC, *DOCUMENT_STAGES, *CORPUS_STEPS)
