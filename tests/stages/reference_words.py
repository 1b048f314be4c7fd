"""Words by the definitions: strings and regular expressions, slow and plain."""

from __future__ import annotations

import functools
import re
import unicodedata
from bisect import bisect_left
from itertools import groupby, pairwise

import regex

from corpusmill.core import words as text_words
from corpusmill.core.special_tokens import special_cases

# UAX #29, section 4.1.1. A letter stands for each value of Word_Break.
_LETTERS = {
    "CR": "r",
    "LF": "n",
    "Newline": "w",
    "Extend": "e",
    "ZWJ": "z",
    "Format": "f",
    "Regional_Indicator": "R",
    "Katakana": "K",
    "Hebrew_Letter": "H",
    "ALetter": "A",
    "Single_Quote": "q",
    "Double_Quote": "Q",
    "MidNumLet": "m",
    "MidLetter": "l",
    "MidNum": "u",
    "Numeric": "N",
    "ExtendNumLet": "_",
    "WSegSpace": "s",
}
_IGNORED = "[efz]*"
# (what stands before, whether there is a boundary, what follows); the first rule that holds decides.
_BEFORE_WB4 = [("r", False, "n"), ("[wrn]", True, ""), ("", True, "[wrn]"), ("s", False, "s"), ("", False, "[efz]")]
_RULES = [
    ("[AH]", False, "[AH]"),
    ("[AH]", False, "[lmq][AH]"),
    ("[AH][lmq]", False, "[AH]"),
    ("H", False, "q"),
    ("H", False, "QH"),
    ("HQ", False, "H"),
    ("N", False, "N"),
    ("[AH]", False, "N"),
    ("N", False, "[AH]"),
    ("N[umq]", False, "N"),
    ("N", False, "[umq]N"),
    ("K", False, "K"),
    ("[AHNK_]", False, "_"),
    ("_", False, "[AHNK]"),
    ("(?<!R)(?:RR)*R", False, "R"),
    ("", True, ""),
]


@functools.cache
def _value(character: str) -> str:
    for name, letter in _LETTERS.items():
        if regex.match(rf"\p{{Word_Break={name}}}", character):
            return letter
    return "."


def _boundary(values: str, text: str, i: int) -> bool:
    before, after = values[max(0, i - 64) : i], values[i : i + 64]  # enough unless marks or flags run for longer
    if before.endswith("z") and regex.match(r"\p{Extended_Pictographic}", text[i]):
        return False
    for left, is_boundary, right in _BEFORE_WB4:
        if re.search(f"{left}$", before) and re.match(right, after):
            return is_boundary
    # WB4: marks are passed over, but not at the start of the text or after a line break.
    before = re.sub(r"(?<=[^wrnefz])[efz]+", "", before)
    after = after[0] + re.sub("[efz]", "", after[1:])
    return next(b for left, b, right in _RULES if re.search(f"{left}$", before) and re.match(right, after))


def unicode_words(text: str) -> list[str]:
    """What word boundaries of UAX #29 separate and begins with a letter or digit."""
    values = "".join(map(_value, text))
    cuts = [0, *(i for i in range(1, len(text)) if _boundary(values, text, i)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(cuts)]
    return [piece for piece in pieces if piece and piece[0].isalnum()]


# spaCy 3.8, English: what may be split off. Letters and symbols are those of Unicode's categories.


def _of(*categories: str) -> str:
    """The inside of a character class."""
    found = [i for i in range(0x40000) if unicodedata.category(chr(i)) in categories]
    runs = [list(run) for _, run in groupby(found, key=lambda i: i - bisect_left(found, i))]
    return "".join(f"{re.escape(chr(run[0]))}-{re.escape(chr(run[-1]))}" for run in runs)


_LOWER, _UPPER = _of("Ll", "Lo", "Lm"), _of("Lu", "Lt", "Lo")
_LETTER, _SYMBOL = _of("Ll", "Lo", "Lm", "Lu", "Lt"), _of("So")
_PUNCTUATION = re.escape("…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪")
_QUOTES = re.escape("'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧")
_CURRENCY = r"\$£€¥฿﷼\u20a0-\u20bf"
_UNITS = (
    "km|km²|km³|m|m²|m³|dm|dm²|dm³|cm|cm²|cm³|mm|mm²|mm³|ha|µm|nm|yd|in|ft|kg|g|mg|µg|t|lb|oz|m/s|km/h|kmh|mph|hPa|Pa|"
    "mbar|mb|MB|kb|KB|gb|GB|tb|TB|T|G|M|K|%|км|км²|км³|м|м²|м³|дм|дм²|дм³|см|см²|см³|мм|мм²|мм³|нм|кг|г|мг|м/с|км/ч|"
    "кПа|Па|мбар|Кб|КБ|кб|Мб|МБ|мб|Гб|ГБ|гб|Тб|ТБ|тб|كم|كم²|كم³|م|م²|م³|سم|سم²|سم³|مم|مم²|مم³|غرام|جرام|جم|كغ|ملغ|كوب|"
    "اكواب"
)
_PREFIX = regex.compile(rf"\+(?![0-9])|\.\.+|[§%=—–{_PUNCTUATION}{_QUOTES}{_CURRENCY}{_SYMBOL}]|US\$|C\$|A\$")
_SUFFIX = regex.compile(
    rf"(?:……|\.\.+|['’][sS]|[—–{_PUNCTUATION}{_QUOTES}{_SYMBOL}]|(?<=[0-9])\+|(?<=°[FCK])\.|"
    rf"(?<=[0-9])(?:US\$|C\$|A\$|[{_CURRENCY}]|{_UNITS})|(?<=[0-9{_LOWER}%²\-+|{_PUNCTUATION}{_QUOTES}])\.|"
    rf"(?<=[{_UPPER}][{_UPPER}])\.)$"
)
_INFIX = regex.compile(
    rf"\.\.+|…|[{_SYMBOL}]|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[{_LOWER}{_QUOTES}])\.(?=[{_UPPER}{_QUOTES}])|"
    rf"(?<=[{_LETTER}]),(?=[{_LETTER}])|(?<=[{_LETTER}0-9])(?:-|–|—|--|---|——|~)(?=[{_LETTER}])|"
    rf"(?<=[{_LETTER}0-9])[:<>=/](?=[{_LETTER}])"
)
_HOST = r"[A-Za-z0-9\u00a1-\uffff]"
_URL = regex.compile(
    rf"(?:[^/?#]{{2,}}://)?(?:[^/?#]*@)?(?:{_HOST}(?:[\w\-\u00a1-\uffff--.]*{_HOST})?\.)+[{_LOWER}]{{2,}}"
    r"(?::[0-9]{2,5})?(?:[/?#].*)?",
    regex.V1,
)
_SPECIAL = special_cases()


def _cut(chunk: str) -> list[str]:
    prefixes: list[str] = []
    suffixes: list[str] = []
    while chunk and chunk not in _SPECIAL:
        prefix = _PREFIX.match(chunk)
        length = prefix.end() if prefix else 0
        if length and chunk[length:] in _SPECIAL:
            prefixes.append(chunk[:length])
            chunk = chunk[length:]
            break
        suffix = _SUFFIX.search(chunk[length:])
        cut = len(chunk) - len(suffix.group()) if suffix else len(chunk)
        if suffix and chunk[:cut] in _SPECIAL:
            suffixes.insert(0, chunk[cut:])
            chunk = chunk[:cut]
            break
        if not length and not suffix:
            break
        prefixes += [chunk[:length]] if length else []
        suffixes[:0] = [chunk[cut:]] if suffix else []
        chunk = chunk[length:cut]
    if chunk in _SPECIAL:
        middle = list(_SPECIAL[chunk])
    elif not chunk:
        middle = []
    elif _URL.fullmatch(chunk):
        middle = [chunk]
    else:
        infixes = [m.span() for m in _INFIX.finditer(chunk) if m.start() > 0]
        cuts = [0, *(at for span in infixes for at in span), len(chunk)]
        middle = [chunk[a:b] for a, b in pairwise(cuts) if a < b]
    return [*prefixes, *middle, *suffixes]


def tokens(text: str, language: str) -> list[str]:
    """Words with punctuation split off; words of core/words.py where the language writes no spaces."""
    if not text_words.writes_spaces(language):
        return text_words.words(text, language).texts(text)
    return [token for chunk in text.split() for token in _cut(chunk)]
