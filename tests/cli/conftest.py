"""The command line in this process: exit code, stdout and stderr of one call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sample_runs import Mill, Result

from corpusmill.cli import main


@pytest.fixture
def mill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mill:
    """Calls `corpusmill ARGUMENTS`."""

    def call(*arguments: str | Path) -> Result:
        if main.app.registered_commands:
            monkeypatch.setattr(main, "_register", lambda: None)
        monkeypatch.setattr(sys, "argv", ["corpusmill", *map(str, arguments)])
        code: Any = 0
        try:
            main.main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return Result(int(code), captured.out, captured.err)

    return call
