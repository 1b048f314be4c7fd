from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import languages, words
from corpusmill.core.languages import normalised


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("en", "en"),
        ("__label__en", "en"),
        ("eng_Latn", "en"),
        ("__label__jpn_Jpan", "ja"),
        ("jpn", "ja"),
        ("zho_Hans", "zh"),
        ("zho_Hant", "zh"),
        ("cmn_Hani", "zh"),
        ("zh-Hant", "zh"),
        ("yue_Hant", "yue"),
        ("tha_Thai", "th"),
        ("arb_Arab", "ar"),
        ("arz_Arab", "arz"),
        ("srp_Cyrl", "sr"),
        ("srp_Latn", "sr"),
        ("nob_Latn", "nb"),
        ("pes_Arab", "fa"),
        ("ceb_Latn", "ceb"),
        ("hin_Deva", "hi"),
        ("hin_Latn", "hi-Latn"),
        ("jpn_Latn", "ja-Latn"),
        ("und_Latn", "und_Latn"),
        ("zxx_zzzz", "zxx_zzzz"),
        ("noise", "noise"),
        ("", ""),
    ],
)
def test_labels_become_codes(label: str, code: str) -> None:
    assert normalised(label) == code


def test_als_is_alemannic_to_lid176_and_albanian_to_models_that_name_scripts() -> None:
    assert normalised("als") == "als"
    assert normalised("als_Latn") == "sq"


def test_languages_without_spaces_are_known_by_any_name() -> None:
    for label in ("ja", "jpn_Jpan", "cmn_Hani", "tha_Thai", "lao_Laoo", "khm_Khmr", "mya_Mymr", "bod_Tibt", "dzo_Tibt"):
        assert not words.writes_spaces(normalised(label)), label


def test_codes_are_what_their_own_codes_become() -> None:
    for code in set(languages._CODES.values()):
        assert len(code) == 2
        assert normalised(code) == code


@given(st.text())
def test_anything_has_a_code_and_codes_are_stable(label: str) -> None:
    assert normalised(normalised(label)) == normalised(normalised(normalised(label)))
