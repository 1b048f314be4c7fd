"""Progress with ETA on stderr: a bar on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_SECONDS = 10.0


class Reporter:
    """Reports how far a task list has come. One `track` at a time."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)

    def say(self, message: str) -> None:
        """One line, now."""
        if not self._quiet:
            self._console.print(message, markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """A warning, now; quiet or not."""
        self._console.print(f"warning: {message}", markup=False, soft_wrap=True, style="yellow")

    def track(self, label: str, total: int) -> Track:
        """A context manager whose `advance` counts finished tasks."""
        terminal = sys.stderr.isatty() and not self._quiet
        return _Bar(label, total, self._console) if terminal else _Lines(label, total, self)


class Track:
    """Counts finished tasks of one list."""

    def __init__(self, label: str, total: int) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self.started = time.monotonic()

    def __enter__(self) -> Track:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def advance(self, note: str = "") -> None:
        """One more task is finished; `note` says what it gave."""
        self.done += 1
        self.show(note)

    def show(self, note: str) -> None:
        """Shows the state after an advance."""

    def close(self, *, failed: bool) -> None:
        """Shows the end."""


class _Lines(Track):
    def __init__(self, label: str, total: int, reporter: Reporter) -> None:
        super().__init__(label, total)
        self._reporter = reporter
        self._last = self.started

    def show(self, note: str) -> None:
        now = time.monotonic()
        if now - self._last < _LINE_EVERY_SECONDS or self.done == self.total:
            return
        self._last = now
        left = (now - self.started) / self.done * (self.total - self.done)
        self._reporter.say(f"{self.label}: {self.done}/{self.total}, about {left:.0f} s left  {note}".rstrip())

    def close(self, *, failed: bool) -> None:
        state = "failed after" if failed else "done:"
        seconds = time.monotonic() - self.started
        self._reporter.say(f"{self.label}: {state} {self.done}/{self.total} in {seconds:.1f} s")


class _Bar(Track):
    def __init__(self, label: str, total: int, console: Console) -> None:
        super().__init__(label, total)
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._task = self._progress.add_task(label, total=total, note="")

    def __enter__(self) -> Track:
        self._progress.start()
        return self

    def show(self, note: str) -> None:
        self._progress.update(self._task, completed=self.done, note=note)

    def close(self, *, failed: bool) -> None:
        self._progress.stop()
