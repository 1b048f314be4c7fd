from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.documents import Cut, without_spans
from corpusmill.core.text import Text
from corpusmill.core.words import codepoints
from corpusmill.stages.line_cuts import all_lines, in_order, lines_and_whitespace, stripped, whole_lines

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


@given(TEXTS, st.booleans(), st.integers(0, 3), st.data())
def test_lines_and_whitespace(text: str, blank_goes: bool, long_line: int, data: st.DataObject) -> None:
    lines = Text(text, "en").lines
    gone = data.draw(st.lists(st.integers(0, 2), min_size=len(lines), max_size=len(lines)))
    starts, ends, rules, num_long = lines_and_whitespace(
        codepoints(text), *lines, np.array(gone, dtype=np.uint8), 8 if blank_goes else 0, 9, long_line
    )
    expected = list[str]()
    going = iter(gone)
    whole: dict[int, str] = {}
    spaces: list[Cut] = []
    at = 0
    for number, line in enumerate(text.split("\n")):
        rule = next(going) if line.strip() else 8 * blank_goes
        if rule:
            whole[number] = str(rule)
        else:
            inner = at + len(line) - len(line.lstrip())
            spaces += [Cut("9", at, inner)]
            spaces += [Cut("9", inner + len(line.strip()), at + len(line))]
            expected.append(line.strip())
        at += len(line) + 1
    cuts = list(map(Cut, map(str, rules.tolist()), starts.tolist(), ends.tolist()))
    assert cuts == in_order([*whole_lines(all_lines(codepoints(text)), whole), *spaces])
    assert left(text, cuts) == "\n".join(expected)
    assert num_long == sum(len(line) >= long_line for line in text.split("\n"))
