"""Every error: exit code, message, and that it survives a process boundary."""

from __future__ import annotations

import inspect
import pickle

import pytest

from corpusmill.core import errors
from corpusmill.core.errors import CorpusmillError

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CorpusmillError) and kind is not CorpusmillError
]

EXIT_CODES = {
    "UserError": 2,
    "ConfigError": 2,
    "InputError": 2,
    "DataError": 1,
    "ErrorBudgetExceeded": 1,
    "ConservationError": 1,
    "VerificationFailed": 1,
    "InfrastructureError": 3,
    "InternalError": 4,
}


def test_the_tree_is_the_documented_one() -> None:
    assert {kind.__name__: kind.exit_code for kind in KINDS} == EXIT_CODES
    assert all(name in (errors.__doc__ or "") for name in EXIT_CODES)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_picklable(kind: type[CorpusmillError]) -> None:
    error = kind("it broke", where="a.warc.gz:17", value={"n": 3}, remedy="run it again")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.what, copy.where, copy.value, copy.remedy) == ("it broke", "a.warc.gz:17", {"n": 3}, "run it again")
    assert str(copy) == str(error)


def test_message_says_what_where_value_and_remedy() -> None:
    error = errors.InputError("no such file", where="a.warc.gz", value=0, remedy="check the path")
    assert str(error) == "no such file at a.warc.gz (seen: 0)\n  remedy: check the path"


def test_message_leaves_out_what_is_not_known() -> None:
    assert str(errors.InternalError("a broken invariant")) == "a broken invariant"
    assert str(errors.DataError("odd", value="")) == "odd (seen: '')"


def test_one_except_catches_all() -> None:
    assert issubclass(errors.ConfigError, errors.UserError)
    assert issubclass(errors.ConservationError, errors.DataError)
    assert all(issubclass(kind, CorpusmillError) for kind in KINDS)
