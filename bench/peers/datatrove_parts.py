"""datatrove's filters with FineWeb's settings, so that they run without a network. Imported by the scripts beside it.

Settings: those of FineWeb's published pipeline (Penedo et al. 2024, arXiv 2406.17557).
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before datatrove is imported: it reads its caches' place from here, and must neither ask the hub nor log every step.
os.environ.setdefault("HF_HOME", str(Path(tempfile.gettempdir()) / "corpusmill-peer-cache"))
os.environ["HF_HUB_OFFLINE"] = "1"

from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter

LANGUAGE = "en"
PACKAGES = ("datatrove", "trafilatura", "lxml", "spacy", "warcio", "fasttext-numpy2-wheel", "numpy")


def quality_filters() -> dict[str, BaseFilter]:
    """The four filters after extraction, by the name of corpusmill's stage, in FineWeb's order."""
    return {
        "repetition": GopherRepetitionFilter(),
        "quality": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }


def url_filter(*, lists: bool) -> URLFilter:
    """The URL filter. `lists`: with datatrove's own lists, already loaded."""
    from tldextract import TLDExtract

    stage = URLFilter(use_integrated_lists=lists)
    stage.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)
    stage.tldextractor("https://example.org/")  # reads the public suffix list
    stage.download_data()
    return stage


def language_filter(model: Path, language: str, threshold: float) -> LanguageFilter:
    """The language filter with the fastText model at `model`, already loaded."""
    stage = LanguageFilter(languages=[language], language_threshold=threshold)
    stage.model.MODEL_URL = str(model)
    assert stage.model.model is not None
    return stage


def judged(stage: BaseFilter, document: Any) -> str | None:
    """None when the filter keeps the document, else its reason."""
    verdict = stage.filter(document)
    kept, reason = verdict if isinstance(verdict, tuple) else (verdict, None)
    return None if kept else (reason or "removed")


def package_versions() -> dict[str, str]:
    """Versions of what decides results and times."""
    return {name: version(name) for name in PACKAGES}
