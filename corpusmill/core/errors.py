"""Every error corpusmill raises on purpose, drawn as one tree.

    CorpusmillError                  exit code
    ├── UserError                    2   the command, recipe or input must be changed
    │   ├── ConfigError              2   a recipe key or value
    │   └── InputError               2   a path, file or document that was named does not fit
    ├── DataError                    1   the data are wrong, or more of them than the budget allows
    │   ├── ErrorBudgetExceeded      1   too many quarantined records
    │   ├── ConservationError        1   in != kept + removed + quarantined
    │   └── VerificationFailed       1   an artifact does not match its hashes or its rule
    ├── InfrastructureError          3   worth a retry: storage, network, a lost worker
    └── InternalError                4   a bug in corpusmill

An error says what happened, where (file, offset, doc_id), the value seen, and the remedy: the command or setting that
mends it. All are picklable, so that they cross process boundaries unharmed.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CorpusmillError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what happened, one sentence without a full stop.
        where: file, offset or doc_id, if there is one.
        value: the value seen, if there is one.
        remedy: the command or setting that mends it.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, what: str, *, where: str = "", value: object = None, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"at {self.where}")
        if self.value is not None:
            parts.append(f"(seen: {self.value!r})")
        text = " ".join(parts)
        return f"{text}\n  remedy: {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.what, self.where, self.value, self.remedy)


def _rebuild(kind: type[CorpusmillError], what: str, where: str, value: object, remedy: str) -> CorpusmillError:
    return kind(what, where=where, value=value, remedy=remedy)


class UserError(CorpusmillError):
    """The command, recipe or input must be changed."""

    exit_code = 2


class ConfigError(UserError):
    """A recipe key or value is not acceptable."""


class InputError(UserError):
    """A path, file or document that was named does not exist or does not fit."""


class DataError(CorpusmillError):
    """The data are wrong, or more of them are than the error budget allows."""

    exit_code = 1


class ErrorBudgetExceeded(DataError):
    """More records were quarantined than the recipe's error budget allows."""


class ConservationError(DataError):
    """Documents in differ from kept + removed + quarantined."""


class VerificationFailed(DataError):
    """An artifact does not match its hashes, its rule or its documents."""


class InfrastructureError(CorpusmillError):
    """Storage, network or a worker failed; the same command may succeed when run again."""

    exit_code = 3


class InternalError(CorpusmillError):
    """A broken invariant: a bug in corpusmill."""

    exit_code = 4
