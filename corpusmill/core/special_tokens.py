"""What core/tokens.py knows by heart: characters that are split off, units, and English words that are cut otherwise.

The sets and words are those of spaCy 3.8's English tokenizer, without its emoticons.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from corpusmill.core.string_table import StringTable

Properties = npt.NDArray[np.uint16]

# Properties of a code point, for the kernel.
PREFIX, SUFFIX, LETTER, LOWER, UPPER, DIGIT, QUOTE, CURRENCY, ICON, BEFORE_DOT, HOST = (1 << i for i in range(11))

_PUNCTUATION: Final = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES: Final = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧"
_CURRENCY: Final = "$£€¥฿﷼" + "".join(map(chr, range(0x20A0, 0x20C0)))
_UNITS: Final = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa "
    "mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с "
    "км/ч кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тб كم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ غرام جرام جم كغ ملغ "
    "كوب اكواب"
)

# Words that stay whole although they end in a dot or hold an apostrophe or slash.
_WHOLE: Final = (
    "' '' \\\") <space> C++ and/or w/o ma'am Ma'am o'clock O'clock 's 'S \u2018s \u2018S 're 'd 'em 'll 'nuff "
    "'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout lovin' Lovin' havin' Havin' "
    "doin' Doin' goin' Goin' nothin' Nothin' nuthin' Nuthin' ol' Ol' somethin' Somethin' "
    "Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul. Jun. "
    "Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. "
    "Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis. a.m. Adm. Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. "
    "i.e. I.e. I.E. Inc. Jr. Ltd. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. p.m. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s."
)
# Pieces between bars. Where one begins with an apostrophe, the word without its apostrophes is cut alike ("youll").
_CUT: Final = {
    "i": "|'m |'m|a |'ll |'ll|'ve |'d |'d|'ve |'ve",
    "you we they": "|'ll |'ll|'ve |'d |'d|'ve |'ve |'re",
    "he she it": "|'ll |'ll|'ve |'d |'d|'ve |'s",
    "who what when where why how there": "|'s |'ll |'ll|'ve |'re |'ve |'d |'d|'ve",
    "that this": "|'s |'ll |'ll|'ve |'d |'d|'ve",
    "these those": "|'ll |'ll|'ve |'re |'ve |'d |'d|'ve",
    "ca could do does did had may might must need ought sha should wo would": "|n't |n't|'ve",
    "could might must should would not": "|'ve",
    "ai are is was were have has dare": "|n't",
}
_CUT_ONLY_SO: Final = (
    "y'|all y|all how|'d|'y How|'d|'y can|not Can|not gon|na Gon|na got|ta Got|ta let|'s Let|'s c'm|on C'm|on "
    "°|c|. °|f|. °|k|. °|C|. °|F|. °|K|."
)
_NOT_CUT: Final = "Ill ill Its its Hell hell Shell shell Shed shed were Were Well well Whore whore"


def special_cases() -> dict[str, tuple[str, ...]]:
    """English words that are cut otherwise than by their punctuation, and their pieces."""
    whole = [*_WHOLE.split(), *(f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyzäöü")]
    cases: dict[str, tuple[str, ...]] = {word: (word,) for word in whole}
    for heads, tails in _CUT.items():
        for head in heads.split():
            for tail in tails.split():
                for pieces in ((head + tail).split("|"), (head.title() + tail).split("|")):
                    cases["".join(pieces)] = tuple(pieces)
                    bare = tuple(piece.replace("'", "") for piece in pieces)
                    cases["".join(bare)] = bare
    for hour in range(1, 13):
        for half in ("a.m.", "am", "p.m.", "pm"):
            cases[f"{hour}{half}"] = (str(hour), half)
    for cut in _CUT_ONLY_SO.split():
        cases[cut.replace("|", "")] = tuple(cut.split("|"))
    for word in _NOT_CUT.split():
        del cases[word]
    curly = {word.replace("'", "’"): tuple(piece.replace("'", "’") for piece in cases[word]) for word in cases}
    return {**curly, **cases}


@functools.cache
def cases_table() -> tuple[StringTable, npt.NDArray[np.int32]]:
    """The special cases, and the lengths of the pieces of each, int32 (cases, 3), 0 where there are fewer."""
    cases = special_cases()
    lengths = np.zeros((len(cases), 3), dtype=np.int32)
    for row, pieces in zip(lengths, cases.values(), strict=True):
        row[: len(pieces)] = [len(piece) for piece in pieces]
    return StringTable(list(cases)), lengths


@functools.cache
def units_table() -> StringTable:
    """The units."""
    return StringTable(_UNITS.split())


@functools.cache
def properties() -> Properties:
    """Properties of every code point there is, uint16 (0x110000,): a sum of PREFIX, ..., HOST."""
    table = np.zeros(0x110000, dtype=np.uint16)
    for i in range(0x40000):
        category = unicodedata.category(chr(i))
        if category in ("Ll", "Lo", "Lu", "Lt", "Lm"):
            table[i] |= LETTER
            table[i] |= LOWER | BEFORE_DOT if category not in ("Lu", "Lt") else 0
            table[i] |= UPPER if category in ("Lu", "Lt", "Lo") else 0
        elif category == "So":
            table[i] |= ICON | PREFIX | SUFFIX
    _mark(table, "0123456789", DIGIT | BEFORE_DOT | HOST)
    _mark(table, _PUNCTUATION, PREFIX | SUFFIX | BEFORE_DOT)
    _mark(table, _QUOTES, PREFIX | SUFFIX | BEFORE_DOT | QUOTE)
    _mark(table, _CURRENCY, PREFIX | CURRENCY)
    _mark(table, "§%=—–", PREFIX)
    _mark(table, "—–", SUFFIX)
    _mark(table, "%²-+|", BEFORE_DOT)
    _mark(table, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", HOST)
    table[0xA1:0x10000] |= HOST
    return table


def _mark(table: Properties, of: Iterable[str], flags: int) -> None:
    for character in of:
        table[ord(character)] |= flags
