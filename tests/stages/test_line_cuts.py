from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.documents import Cut, without_spans
from corpusmill.core.text import Text
from corpusmill.core.words import codepoints
from corpusmill.stages.line_cuts import all_lines, in_order, is_only_lines, stripped, whole_lines

TEXTS = st.text(alphabet="ab \n\u3000𝕏")


def left(text: str, cuts: list[Cut]) -> str:
    at = 0
    for cut in cuts:
        assert at <= cut.start < cut.end <= len(text)
        at = cut.end
    return without_spans(text, [(cut.start, cut.end) for cut in cuts])


@given(TEXTS)
def test_all_lines_are_those_of_split(text: str) -> None:
    assert all_lines(codepoints(text)).texts(text) == text.split("\n")


@given(TEXTS, st.data())
def test_without_lines_the_others_are_left(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    gone = data.draw(st.sets(st.integers(0, len(lines) - 1)))
    cuts = in_order(whole_lines(all_lines(codepoints(text)), dict.fromkeys(gone, "rule")))
    kept = [line for i, line in enumerate(lines) if i not in gone]
    assert left(text, cuts) == "\n".join(kept)


@given(TEXTS, st.data())
def test_stripped_texts_begin_and_end_with_letters(text: str, data: st.DataObject) -> None:
    ends = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    cuts = [Cut("rule", a, b) for a, b in zip(ends[::2], ends[1::2], strict=False)]
    assert left(text, stripped(text, cuts, "whitespace")) == left(text, cuts).strip()


@given(TEXTS)
def test_only_lines(text: str) -> None:
    whole = Text(text, "en")
    assert is_only_lines(whole) == (
        bool(text)
        and text == "\n".join(line.strip() for line in text.split("\n"))
        and all(line.strip() for line in text.split("\n"))
    )
