from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_tables import check_conservation, documents_of

from corpusmill.core.errors import ConfigError, InputError, UserError
from corpusmill.core.text import Text
from corpusmill.stages.perplexity import PerplexityConfig, PerplexityStage, ccnet_normalised

# A bigram model by hand: after "a" comes "b" with probability 0.1, everything else by unigrams.
ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-2.0\t<unk>
-99\t<s>\t0.0
-1.0\t</s>
-1.0\ta\t-0.5
-2.0\tb

\\2-grams:
-1.0\ta b

\\end\\
"""


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("kenlm", reason="kenlm is not installed (pip install 'corpusmill[perplexity]')")
    path = tmp_path_factory.mktemp("lm") / "tiny.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


def stage(arpa: Path, language: str = "en", **config: Any) -> PerplexityStage:
    return PerplexityStage(PerplexityConfig.model_validate({"models": {language: {"model": str(arpa)}}, **config}))


def perplexity(arpa: Path, text: str, language: str = "en") -> float:
    (value,) = stage(arpa, language).measure(Text(text, language)).scores
    return value


@pytest.mark.parametrize(
    ("text", "log10", "tokens"),
    [
        ("a", -1.0 - 0.5 - 1.0, 1),  # a, then </s> by back-off
        ("a b", -1.0 - 1.0 - 1.0, 2),
        ("b", -2.0 - 1.0, 1),
        ("a\nb", -3.0, 2),  # one sequence
        ("unknown b", -2.0 - 2.0 - 1.0, 2),
        ("</s> b", -2.0 - 2.0 - 1.0, 2),
    ],
)
def test_perplexity_by_hand(arpa: Path, text: str, log10: float, tokens: int) -> None:
    assert perplexity(arpa, text) == round(10 ** (-log10 / (tokens + 1)), 1)


def test_a_text_without_tokens_has_none(arpa: Path) -> None:
    table = documents_of(("", "en"), (" \n", "en"), ("a", "de"))
    result = stage(arpa, max_perplexity=0.1, min_perplexity=0.05).process(table)
    assert result.removed.num_rows == 0


def test_bounds_are_inclusive(arpa: Path) -> None:
    value = perplexity(arpa, "b")
    table = documents_of(("b", "en"))
    assert stage(arpa, min_perplexity=value, max_perplexity=value).process(table).kept.num_rows == 1
    above = stage(arpa, max_perplexity=value - 0.1).process(table).removed.to_pylist()[0]
    below = stage(arpa, min_perplexity=value + 0.1).process(table).removed.to_pylist()[0]
    assert (above["rule"], above["value"]) == ("perplexity_max", value)
    assert (below["rule"], below["threshold"]) == ("perplexity_min", value + 0.1)
    own = stage(arpa, max_perplexity=value - 0.1, languages={"en": {"max_perplexity": value}})
    assert own.process(table).kept.num_rows == 1


def test_words_of_japanese_are_tokens(arpa: Path) -> None:
    # Two unknown words and </s>.
    assert perplexity(arpa, "猫。犬", "ja") == round(10 ** (5 / 3), 1)


def test_pieces_of_a_sentencepiece_model_are_tokens(arpa: Path, tmp_path: Path) -> None:
    import sentencepiece

    (tmp_path / "text.txt").write_text("a b ab ba abba baab\n" * 50, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "sp"), vocab_size=9, num_threads=1, minloglevel=9
    )
    model = {"model": str(arpa), "sentencepiece": str(tmp_path / "sp.model")}
    found = PerplexityStage(PerplexityConfig.model_validate({"models": {"en": model}}))
    assert found.resource_files() == [str(arpa), str(tmp_path / "sp.model")]
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sp.model")).encode("abba", out_type=str)
    known = {"a": -1.0, "b": -2.0}
    log10 = sum(known.get(piece, -2.0) for piece in pieces) - 1.0
    before = ["<s>", *pieces]
    log10 -= 0.5 * sum(a == "a" and b != "b" for a, b in zip(before, [*pieces, "</s>"], strict=True))
    log10 += sum((a, b) == ("a", "b") for a, b in zip(before, pieces, strict=False))
    (value,) = found.measure(Text("abba", "en")).scores
    assert value == round(10 ** (-log10 / (len(pieces) + 1)), 1)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        (" Héllo\tWORLD 12３ ", "helloworld 000"),
        ("「はい」、と。", '"はい",と.'),
        ("が", "か"),
        ("—…％", " - ...%"),
        ("a\nb", "ab"),
    ],
)
def test_ccnets_normalisation(text: str, normalised: str) -> None:
    assert ccnet_normalised(text) == normalised


def test_the_stage_is_pure_and_loses_nothing(arpa: Path) -> None:
    table = documents_of(("a b a b", "en"), ("x y z", "en"), ("", "en"), ("a", "ja"))
    found = stage(arpa, max_perplexity=30)
    result = found.process(table)
    check_conservation(table, result)
    assert result.kept.column("extra").to_pylist() == [0, 2, 3]
    assert found.only_filters
    order = [3, 1, 0, 2]
    assert found.process(table.take(order)).removed == result.removed


@given(st.text())
def test_any_text_has_a_perplexity_or_none(arpa: Path, text: str) -> None:
    value = perplexity(arpa, text)
    assert value != value or value >= 1


def test_files_that_are_no_models_are_named(arpa: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        stage(tmp_path / "absent.arpa").resource_files()
    (tmp_path / "bad.arpa").write_text("no model", encoding="utf-8")
    with pytest.raises(ConfigError, match="not a KenLM model"):
        stage(tmp_path / "bad.arpa").measure(Text("a", "en"))


def test_without_kenlm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(UserError, match="kenlm") as caught:
        stage(tmp_path / "any.arpa").resource_files()
    assert "corpusmill[perplexity]" in caught.value.remedy


@pytest.mark.parametrize(
    "bad", [{}, {"models": {}}, {"models": {"en": {}}}, {"models": {"en": {"model": "x"}}, "max_perplexity": 0}]
)
def test_wrong_configs_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PerplexityConfig.model_validate(bad)
