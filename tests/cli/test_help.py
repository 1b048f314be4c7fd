"""Every command explains itself with an example; errors of the command itself have their exit codes."""

from __future__ import annotations

import pytest
from sample_runs import Mill

import corpusmill
from corpusmill.cli import main
from corpusmill.core.errors import ConservationError, InfrastructureError, InternalError

COMMANDS = ["run", "plan", "stage", "status", "inspect", "removed", "scores", "tune", "explain", "verify", "train"]
COMMANDS += [f"order {name}" for name in ("show", "find", "mix", "diff", "prove", "check")]
COMMANDS += ["models list", "models fetch"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(mill: Mill, command: str) -> None:
    shown = mill(*command.split(), "--help")
    assert shown.code == 0
    assert f"Example: corpusmill {command}" in shown.out


def test_all_commands_are_listed(mill: Mill) -> None:
    listed = mill("--help").out
    assert all(command.split()[0] in listed for command in COMMANDS)
    assert mill("--version").out == f"corpusmill {corpusmill.__version__}\n"


def test_models_list_is_json(mill: Mill) -> None:
    rows = mill("models", "list", "--json").json
    assert "lid.176" in [row["name"] for row in rows]


@pytest.mark.parametrize("arguments", [["no-such-command"], ["run"], ["inspect", "RUN", "x", "-n", "0"]])
def test_usage_errors_end_with_code_2(mill: Mill, arguments: list[str]) -> None:
    result = mill(*arguments)
    assert (result.code, result.out) == (2, "")


@pytest.mark.parametrize(
    ("error", "code", "trace"),
    [
        (ConservationError("3 in, 2 kept"), 1, False),
        (InfrastructureError("the disk is full", remedy="make room"), 3, False),
        (InternalError("a broken invariant"), 4, True),
        (KeyError("a bug"), 4, True),
    ],
)
def test_exit_codes(mill: Mill, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, trace: bool) -> None:
    def fails() -> None:
        raise error

    mill("--version")  # registers the commands
    monkeypatch.setattr(main, "app", fails)
    monkeypatch.setattr(main, "_register", lambda: None)
    monkeypatch.setattr("sys.argv", ["corpusmill"])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == code


def test_tracebacks_only_for_bugs(mill: Mill, tmp_path: object) -> None:
    assert "Traceback" not in mill("status", str(tmp_path)).err
