"""XPath expressions that look for elements by their names and attributes, without libxml2's interpreter.

trafilatura finds what to keep and what to drop with a dozen expressions such as

    .//*[self::div or self::span][@class='post' or re:test(@id, 'foot|nav')]

libxml2 walks through all of it for every element of a page, and calls into Python for each `re:test`: half of the time
of a page. But what such a predicate says depends on a few strings, which repeat within pages and between them. So it is
translated into a function of these strings, and its answers are remembered.

Translated are unions of `.//NAME[PREDICATE]...`, where the last predicate may be `[1]`, and one of them in `(...)[1]`.
A predicate is made of `or`, `and`, `not()`, `self::NAME`, `@A`, `@A='TEXT'`, `contains`, `starts-with`, `translate` and
`re:test`; their first argument is an attribute, or the first in the source of two (`@A|@B`). A predicate that holds
anything else is asked of libxml2, but only for elements that pass those before it. Any other expression is left as it
is. What is found, and in which order, is what XPath 1.0 says, with the regular expressions of lxml (Python's).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter, methodcaller
from typing import Any, Final, cast

from lxml import etree

_NAMESPACES: Final = {"re": "http://exslt.org/regular-expressions"}
_REMEMBERED: Final = 8192  # answers of each question

Find = Callable[[Any], Sequence[Any]]
_Strings = Mapping[str, str | None]  # by slot: `self`, `@id`, `@id|@class`; None for an attribute that is not there
_Test = Callable[[_Strings], bool]
_Value = Callable[[_Strings], str]
_Passes = Callable[[Any], bool]

_PIECE = re.compile(r"""'[^']*'|"[^"]*"|.""", re.DOTALL)
_TOKEN = re.compile(r"""\s*('[^']*'|"[^"]*"|self::[a-z0-9]+|re:test|@[a-z-]+(?:\|@[a-z-]+)?|[a-z-]+|[(),=])""")
_STEP = re.compile(r"\s*\.//(\*|[a-z][a-z0-9]*)\s*")
_NAMES = re.compile(r"\s*self::[a-z0-9]+(?:\s+or\s+self::[a-z0-9]+)*\s*")
_FIRST = re.compile(r"\s*\((.*)\)\s*\[1\]\s*", re.DOTALL)
_BOOLEAN = re.compile(r"\s*not\([^()]*\)\s*(?:$|(?:or|and)\s)")
_POSITION = re.compile(r"\b(?:position|last)\(")


class _UnknownError(Exception):
    """Something that is not translated."""


def finder(expression: etree.XPath) -> Find:
    """What finds in an element, and in this order, what `expression` finds; that itself where it is not translated."""
    path: str = expression.path
    try:
        whole = _FIRST.fullmatch(path)
        steps = [_step(piece) for piece in _split(whole[1] if whole else path, "|")]
        return _Search(steps, only_first=whole is not None).find
    except _UnknownError:
        return cast(Find, expression)


@dataclass(frozen=True)
class _Term:
    """An operand of the `or` that a predicate is, and the strings it depends on."""

    slots: frozenset[str]
    test: _Test


@dataclass(frozen=True)
class _Step:
    """`.//NAME[PREDICATE]...`

    names: of elements, `*` for all. predicates: those translated. others: those after them, as libxml2 has them.
    first_of_parent: whether the last predicate is `[1]`.
    """

    names: tuple[str, ...]
    predicates: tuple[Sequence[_Term], ...]
    others: tuple[_Passes, ...]
    first_of_parent: bool


class _Answers(dict[str, bool]):
    """Whether one of `tests` holds of an attribute's string; each is given with the slot that the string fills."""

    def __init__(self, tests: Sequence[tuple[str, _Test]]) -> None:
        self._tests = tests

    def __missing__(self, string: str) -> bool:
        if len(self) >= _REMEMBERED:
            self.clear()
        for slot, test in self._tests:
            if test({slot: string}):
                self[string] = True
                return True
        self[string] = False
        return False


class _Search:
    """Looks for the elements that fit one of the steps."""

    def __init__(self, steps: Sequence[_Step], *, only_first: bool) -> None:
        names = dict.fromkeys(name for step in steps for name in step.names)
        self._names = ("*",) if "*" in names else tuple(names)
        self._only_first = only_first
        self._first_of_parent = steps[0].first_of_parent
        self._hints: dict[str, _Answers] = {}
        if len(steps) == 1 and not (only_first and self._first_of_parent):
            first, *others = steps[0].predicates or ((),)
            self._hints = _hints(first)
            asked = (first, *others) if first and not (self._hints and _is_exact(first)) else others
            self._passes = [*map(_remembering, asked), *steps[0].others]
        elif all(len(step.predicates) < 2 and not step.others and not step.first_of_parent for step in steps):
            self._passes = [_by_name(steps)]
        else:
            raise _UnknownError

    def find(self, tree: Any) -> list[Any]:
        """The elements below `tree`, in the order of the page."""
        matches = self._hinted(tree) if self._hints else self._matches(tree)
        if self._only_first:
            first = next(matches, None)
            return [] if first is None else [first]
        if self._first_of_parent:
            found: dict[Any, Any] = {}
            for element in matches:
                found.setdefault(element.getparent(), element)
            return list(found.values())
        return list(matches)

    def _matches(self, tree: Any) -> Iterator[Any]:
        predicates = self._passes
        for element in tree.iterdescendants(*self._names):
            for passes in predicates:
                if not passes(element):
                    break
            else:
                yield element

    def _hinted(self, tree: Any) -> Iterator[Any]:
        """The same, where an attribute must give a hint first. All attributes in one call cost less than one by one."""
        predicates, answers_of = self._passes, self._hints.get
        for element in tree.iterdescendants(*self._names):
            for name, string in element.items():
                answers = answers_of(name)
                if answers is not None and answers[string]:
                    if all(passes(element) for passes in predicates):
                        yield element
                    break


def _by_name(steps: Sequence[_Step]) -> _Passes:
    """Whether an element fits a step of a union."""

    @lru_cache(_REMEMBERED)
    def of_name(name: str) -> _Passes:
        fitting = [step.predicates for step in steps if name in step.names or "*" in step.names]
        if not all(fitting):  # a step without predicates
            return lambda element: True
        return _remembering([term for (terms,) in fitting for term in terms])

    for name in {"", *(name for step in steps for name in step.names)}:
        of_name(name)  # now, as it may be that a term is not translated
    return lambda element: of_name(element.tag)(element)


def _hints(terms: Sequence[_Term]) -> dict[str, _Answers]:
    """For each attribute that `terms` ask for, whether its string may make one of them hold, where that is clear.

    An element passes one of `terms` only if one of its attributes says so. It need not pass where it does: of the two
    in `@A|@B`, the other may come first in the source.
    """
    if any(len(term.slots) != 1 or "self" in term.slots for term in terms):
        return {}
    tests = [(slot, term.test) for term in terms for slot in term.slots]
    if any(test({slot: None}) for slot, test in tests):
        raise _UnknownError  # attributes that are not there are not asked about
    names = sorted({name for slot, _ in tests for name in slot.split("|")})
    return {name[1:]: _Answers([(slot, test) for slot, test in tests if name in slot.split("|")]) for name in names}


def _is_exact(terms: Sequence[_Term]) -> bool:
    """Whether an element passes wherever there is a hint."""
    return not any("|" in slot for term in terms for slot in term.slots)


def _remembering(terms: Sequence[_Term]) -> _Passes:
    """Whether an element passes one of `terms`.

    Answers are remembered for each string by itself: combinations of class, id and style hardly repeat.
    """
    tests: dict[tuple[str, ...], list[_Test]] = {}
    for term in terms:
        tests.setdefault(tuple(sorted(term.slots)), []).append(term.test)
    asked = [(_reader(slots), _remembered(slots, of_slots)) for slots, of_slots in tests.items()]

    def passes(element: Any) -> bool:
        for read, fits in asked:
            strings = read(element)
            if strings is not None and fits(strings):
                return True
        return False

    return passes


def _reader(slots: tuple[str, ...]) -> Callable[[Any], Any]:
    """What gives the string in a slot, None if it is not there; of several slots a tuple of these."""
    if len(slots) > 1:
        readers = [_reader((slot,)) for slot in slots]
        return lambda element: tuple([read(element) for read in readers])
    if slots == ("self",):
        return attrgetter("tag")
    a, _, b = slots[0].partition("|")
    return partial(_first_of, a=a[1:], b=b[1:]) if b else methodcaller("get", a[1:])


def _first_of(element: Any, a: str, b: str) -> Any:
    """The one of two attributes that comes first in the source."""
    one, other = element.get(a), element.get(b)
    if one is None or other is None:
        return other if one is None else one
    names = element.keys()
    return one if names.index(a) < names.index(b) else other


def _remembered(slots: tuple[str, ...], tests: Sequence[_Test]) -> Callable[[Any], bool]:
    if "self" not in slots and any(test(dict.fromkeys(slots)) for test in tests):
        raise _UnknownError  # attributes that are not there are not asked about
    if len(slots) == 1:
        return _Answers([(slots[0], test) for test in tests]).__getitem__
    return lru_cache(_REMEMBERED)(lambda strings: any(test(dict(zip(slots, strings, strict=True))) for test in tests))


def _step(path: str) -> _Step:
    start = _STEP.match(path)
    if start is None:
        raise _UnknownError
    names: tuple[str, ...] = (start[1],)
    predicates = _predicates(path[start.end() :])
    first_of_parent = predicates[-1:] == ["1"]
    if first_of_parent:
        predicates.pop()
    if names == ("*",) and predicates and _NAMES.fullmatch(predicates[0]):
        names = tuple(re.findall(r"self::([a-z0-9]+)", predicates.pop(0)))
    translated: list[Sequence[_Term]] = []
    while predicates:
        try:
            translated.append(_Parser(predicates[0]).terms())
        except _UnknownError:
            break
        predicates.pop(0)
    return _Step(names, tuple(translated), tuple(map(_asked_of_libxml2, predicates)), first_of_parent)


def _asked_of_libxml2(predicate: str) -> _Passes:
    if not _BOOLEAN.match(predicate) or _POSITION.search(predicate):  # a number means a position
        raise _UnknownError
    return cast(_Passes, etree.XPath(f"boolean({predicate})", namespaces=_NAMESPACES))


def _split(text: str, separator: str) -> list[str]:
    """`text` between separators outside brackets, parentheses and strings."""
    pieces, depth, start = [], 0, 0
    for match in _PIECE.finditer(text):
        depth += (match[0] in ("(", "[")) - (match[0] in (")", "]"))
        if not depth and match.start() >= start and text.startswith(separator, match.start()):
            pieces.append(text[start : match.start()])
            start = match.start() + len(separator)
    return [*pieces, text[start:]]


def _predicates(text: str) -> list[str]:
    """The texts in brackets of which `text` is made."""
    found, depth, inside = [], 0, ""
    for piece in _PIECE.findall(text):
        depth -= piece == "]"
        if depth:
            inside += piece
        elif piece == "]":
            found.append(inside)
            inside = ""
        elif piece != "[" and not piece.isspace():
            raise _UnknownError
        depth += piece == "["
    return found


class _Parser:
    """Reads a predicate."""

    def __init__(self, predicate: str) -> None:
        self._slots: set[str] = set()  # that the present term asks for
        self._tokens: list[str] = []
        at, predicate = 0, predicate.rstrip()
        while at < len(predicate):
            token = _TOKEN.match(predicate, at)
            if token is None:
                raise _UnknownError
            self._tokens.append(token[1])
            at = token.end()

    def terms(self) -> Sequence[_Term]:
        """The operands of the outermost `or`."""
        terms = [self._term()]
        while self._is_next("or"):
            terms.append(self._term())
        if self._tokens:
            raise _UnknownError
        return terms

    def _term(self) -> _Term:
        self._slots.clear()
        test = self._and()
        return _Term(frozenset(self._slots), test)

    def _next(self, expected: str = "") -> str:
        if not self._tokens or (expected and self._tokens[0] != expected):
            raise _UnknownError
        return self._tokens.pop(0)

    def _is_next(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        self._tokens.pop(0)
        return True

    def _or(self) -> _Test:
        tests = [self._and()]
        while self._is_next("or"):
            tests.append(self._and())
        return (lambda of: any(test(of) for test in tests)) if len(tests) > 1 else tests[0]

    def _and(self) -> _Test:
        tests = [self._one()]
        while self._is_next("and"):
            tests.append(self._one())
        return (lambda of: all(test(of) for test in tests)) if len(tests) > 1 else tests[0]

    def _one(self) -> _Test:
        token = self._next()
        if token == "(":
            test = self._or()
            self._next(")")
            return test
        if token == "not":
            self._next("(")
            negated = self._or()
            self._next(")")
            return lambda of: not negated(of)
        if token.startswith("self::"):
            name = token.removeprefix("self::")
            self._slots.add("self")
            return lambda of: of["self"] == name
        if token.startswith("@") and "|" not in token:
            self._slots.add(token)
            if not self._is_next("="):
                return lambda of: of[token] is not None
            wanted = self._text()
            return lambda of: of[token] == wanted
        return self._function(token)

    def _function(self, name: str) -> _Test:
        self._next("(")
        value = self._value()
        self._next(",")
        text = self._text()
        if name == "re:test":
            flags = self._text() if self._is_next(",") else ""
            if flags not in ("", "i"):
                raise _UnknownError
            search = re.compile(text, re.IGNORECASE if flags else 0).search
            test: _Test = lambda of: search(value(of)) is not None  # noqa: E731
        elif name == "contains":
            test = lambda of: text in value(of)  # noqa: E731
        elif name == "starts-with":
            test = lambda of: value(of).startswith(text)  # noqa: E731
        else:
            raise _UnknownError
        self._next(")")
        return test

    def _value(self) -> _Value:
        token = self._next()
        if token == "translate":
            self._next("(")
            value = self._value()
            self._next(",")
            letters = self._text()
            self._next(",")
            others = self._text()
            self._next(")")
            if len(letters) != len(others) or len(set(letters)) != len(letters):
                raise _UnknownError
            changes = str.maketrans(letters, others)
            return lambda of: value(of).translate(changes)
        if not token.startswith("@"):
            raise _UnknownError
        self._slots.add(token)
        return lambda of: of[token] or ""

    def _text(self) -> str:
        token = self._next()
        if token[0] not in "'\"":
            raise _UnknownError
        return token[1:-1]
