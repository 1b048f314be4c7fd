"""Runs lists of tasks on Ray: back-pressure, retries, progress. Nothing else in corpusmill touches Ray.

Ray is imported when an engine starts, not with this module: it reads its environment once, at import, and the
commands that only read files do not wait for it.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from corpusmill.core.errors import CorpusmillError, InfrastructureError, InternalError
from corpusmill.pipeline.progress import Reporter

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

_RETRIES = 3
_OBJECT_STORE_BYTES = 256 << 20  # tasks exchange through files; only job descriptions pass through Ray
_AHEAD = 2  # submitted tasks per CPU: enough to keep every core busy, few enough to keep memory flat


class Engine:
    """A Ray session for the length of a `with` block.

    Args:
        workers: CPUs that tasks may use on this machine; None = all. Not allowed together with `address`.
        address: of a running Ray cluster; None starts a private local one.
        reporter: where progress goes.
    """

    def __init__(self, reporter: Reporter, workers: int | None = None, address: str | None = None) -> None:
        self.reporter = reporter
        self._workers = workers
        self._address = address
        self._owns_session = False

    def __enter__(self) -> Engine:
        if "ray" not in sys.modules and not self._address:
            self._use_private_token()
        import ray

        if ray.is_initialized():
            return self  # a notebook's or a test's session
        self._owns_session = True
        try:
            if self._address:
                ray.init(address=self._address, logging_level=logging.WARNING, log_to_driver=False)
            else:
                ray.init(
                    address="local",  # never some other cluster that happens to run here
                    num_cpus=self._workers or os.cpu_count(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise InfrastructureError(
                "could not start or reach Ray",
                where=self._address or "local",
                value=str(error),
                remedy="check --address, or leave it out to run on this machine",
            ) from error
        return self

    def _use_private_token(self) -> None:
        # Ray turns token authentication on for local clusters and would write the token to the home folder, where
        # later `ray start` commands trip over it; a private token leaves no trace.
        # It lives as long as this process: a later session in it reads the same file.
        scratch = tempfile.mkdtemp(prefix="corpusmill-ray-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        token = Path(scratch) / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(token))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # What outlives a killed command looks for its head no longer than this; a local head never comes back.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owns_session:
            import ray

            ray.shutdown()

    @property
    def cpus(self) -> int:
        """CPUs of the session, of all machines together."""
        import ray

        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)))

    def map(
        self,
        label: str,
        function: Callable[[JobT], ResultT],
        jobs: Iterable[JobT],
        name: Callable[[JobT], str],
        note: Callable[[ResultT], str] = lambda _: "",
    ) -> Iterator[tuple[JobT, ResultT]]:
        """Runs `function(job)` for every job as a task; yields (job, result) as they finish, in any order.

        A task whose worker dies is run again, at most 3 times; an InfrastructureError likewise. Any other error of a
        task ends the run with the job's name.
        """
        import ray

        queue = list(jobs)
        queue.reverse()
        remote: Any = ray.remote(function).options(
            num_cpus=1, max_retries=_RETRIES, retry_exceptions=[InfrastructureError]
        )
        limit = max(2, self.cpus * _AHEAD)
        pending: dict[Any, JobT] = {}
        with self.reporter.track(label, len(queue)) as track:
            try:
                while queue or pending:
                    while queue and len(pending) < limit:
                        job = queue.pop()
                        pending[remote.remote(job)] = job
                    ready, _ = ray.wait(list(pending), num_returns=1)
                    job = pending.pop(ready[0])
                    result: ResultT = _get(ready[0], f"{label}: {name(job)}")
                    track.advance(note(result))
                    yield job, result
            finally:
                for reference in pending:
                    ray.cancel(reference)


def _get(reference: Any, where: str) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, CorpusmillError):
            raise cause from None
        raise InternalError(
            f"a task failed with {type(cause).__name__}: {cause}", where=where, remedy="please report this"
        ) from error
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
    ) as error:
        raise InfrastructureError(
            f"a worker died {_RETRIES + 1} times on the same task",
            where=where,
            value=type(error).__name__,
            remedy="run the same command again; if it dies at the same place, give workers more memory (--workers 1)",
        ) from error
