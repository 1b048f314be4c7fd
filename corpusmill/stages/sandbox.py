"""A child process that runs one function on untrusted bytes, under limits, and is replaced when it dies.

Parsers in C meet every page of the web: some crash them, some keep them busy for ever, some exhaust memory. A call
that does so becomes a `Failure`; the caller quarantines that input and goes on with a fresh child.

Limits are of CPU time, address space, stack and size, never of wall-clock time: what fails must not depend on how busy
the machine is. Nor may it depend on earlier calls: a child that keeps much memory after a call is replaced, and a call
that crashed or ran out of memory in a child with a history is tried once more in a fresh one, whose verdict counts.
The only wall-clock limit is a watchdog for a child that neither works nor answers; it raises InfrastructureError and
decides nothing about the data.

The child is `python -m corpusmill.stages.sandbox`. Frames on its standard input and output (duplicated at the start,
so that whatever the function prints goes nowhere): one byte of kind, eight bytes of length (little-endian), the body.
It ends with its parent: at end of file on its input, and by PR_SET_PDEATHSIG where it is busy (Linux).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any

from corpusmill.core.errors import InfrastructureError, InternalError

_HEADER = struct.Struct("<cQ")
_REQUEST, _RESULT, _ERROR, _READY = b"Q", b"R", b"E", b"Y"
_PR_SET_PDEATHSIG = 1
_STACK_BYTES = 8 << 20  # fixed, as a page may be nested so deeply that the stack decides its fate
_DETAIL_CHARACTERS = 300
_GROWTH_SHARE = 8  # a child is replaced when it keeps more than this part of its memory_bytes
_COLLECT_AFTER = 20_000  # new objects of the child between collections of cycles; Python's 700 suit small heaps
_GRACE_SECONDS = 10.0  # for a child whose input or output is closed: it is ending already

_START_REMEDY = "check that memory_bytes is enough to load the interpreter and the target's modules"


@dataclass(frozen=True)
class Limits:
    """What one call may use.

    cpu_seconds: CPU time of the child's threads together. The kernel kills it, be it in Python or in C.
    memory_bytes: address space of the child (RLIMIT_AS), modules included.
    request_bytes: size of a request; a larger one fails without a call.
    watchdog_seconds: wall-clock time without an answer after which the machine, not the input, is blamed.
    """

    cpu_seconds: float = 30.0
    memory_bytes: int = 4 << 30
    request_bytes: int = 20 << 20
    watchdog_seconds: float = 1800.0


@dataclass(frozen=True)
class Failure:
    """Why a call gave nothing.

    reason: `size_limit`, `cpu_limit`, `memory_limit`, `crashed:<signal>`, `crashed:exit` or `extractor_error:<type>`.
    detail: the value seen and the limit, or the message of the exception.
    """

    reason: str
    detail: str


class Sandbox:
    """Calls `target` in a child process that is started at the first call and kept.

    Args:
        target: `module:function`. The function takes the request (bytes) and `settings` as keyword arguments, and gives
            the reply (bytes); module and settings are handed over once for each child.
        limits: see Limits.
        settings: keyword arguments, JSON values.

    Not safe to share between threads: one Sandbox a thread.
    """

    def __init__(self, target: str, limits: Limits | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self.target = target
        self.limits = limits or Limits()
        self.settings = dict(settings or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._calls = 0  # that the present child has answered
        self._at_exit: weakref.finalize[..., Sandbox] | None = None  # for those who drop a sandbox without closing it
        self._start_bytes = 0  # address space of the present child before its first call

    def call(self, request: bytes) -> bytes | Failure:
        """The function's reply to `request`, or why there is none.

        Raises:
            InternalError: the target cannot be imported.
            InfrastructureError: the child was killed from outside (SIGKILL, as the kernel does when memory is short)
                twice in a row, does not start, or neither works nor answers.
        """
        if len(request) > self.limits.request_bytes:
            return Failure("size_limit", f"{len(request)} bytes, limit {self.limits.request_bytes}")
        while True:
            fresh = self._child is None or self._calls == 0
            outcome = self._attempt(request)
            if isinstance(outcome, bytes) or outcome.reason == "cpu_limit":
                return outcome
            if outcome.reason.startswith("extractor_error:"):
                return outcome
            if fresh and outcome.reason == "crashed:SIGKILL":
                raise InfrastructureError(
                    "the sandbox was killed from outside",
                    where=self.target,
                    value=f"request of {len(request)} bytes",
                    remedy="give the machine or container more memory, or set a lower memory_bytes",
                )
            if fresh:
                return outcome

    @property
    def pid(self) -> int | None:
        """Process id of the child, None before the first call and after a failure."""
        return self._child.pid if self._child else None

    def close(self) -> None:
        """Ends the child. The sandbox may be used again: the next call starts another."""
        if self._child is not None:
            self._end(_GRACE_SECONDS)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, request: bytes) -> bytes | Failure:
        child = self._child or self._start()
        try:
            _write(_input(child), _REQUEST, request)
            kind, body = self._reply(child)
        except (BrokenPipeError, EOFError):
            return self._death(self._end(_GRACE_SECONDS))
        except BaseException:  # interrupted, or the watchdog: the stream is no longer in step
            self._end()
            raise
        self._calls += 1
        outcome = body if kind == _RESULT else Failure(**json.loads(body))
        ran_out = isinstance(outcome, Failure) and outcome.reason == "memory_limit"
        grown = _address_space(child.pid) - self._start_bytes > self.limits.memory_bytes // _GROWTH_SHARE
        if ran_out or grown:
            self._end()  # the next request must find the memory that it would find in a fresh child
        return outcome

    def _start(self) -> subprocess.Popen[bytes]:
        # PYTHONHASHSEED: sets of strings must be walked in one order everywhere.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
        }
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "corpusmill.stages.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        self._child, self._calls = child, 0
        self._at_exit = weakref.finalize(self, _dispose, child, _GRACE_SECONDS)
        order = {
            "target": self.target,
            "settings": self.settings,
            "limits": asdict(self.limits),
            "parent": os.getpid(),
        }
        try:
            _write(_input(child), _REQUEST, json.dumps(order).encode())
            kind, body = self._reply(child)
        except (BrokenPipeError, EOFError) as error:
            raise InfrastructureError(
                "the sandbox did not start",
                where=self.target,
                value=f"exit status {self._end(_GRACE_SECONDS)}",
                remedy=_START_REMEDY,
            ) from error
        except BaseException:
            self._end()
            raise
        if kind != _READY:
            self._end()
            raise InternalError(
                "the sandbox could not load its target",
                where=self.target,
                value=body.decode(),
                remedy=_START_REMEDY,
            )
        self._start_bytes = _address_space(child.pid)
        return child

    def _reply(self, child: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        deadline = time.monotonic() + self.limits.watchdog_seconds
        stream = child.stdout
        assert stream is not None
        kind, size = _HEADER.unpack(self._read(stream, _HEADER.size, deadline))
        return kind, bytes(self._read(stream, size, deadline))

    def _read(self, stream: IO[bytes], size: int, deadline: float) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        poll = select.poll()  # unlike select(), fit for descriptors above 1,023
        poll.register(stream, select.POLLIN)
        filled = 0
        while filled < size:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise InfrastructureError(
                    "the sandbox neither works nor answers",
                    where=self.target,
                    value=f"{self.limits.watchdog_seconds} seconds",
                    remedy="look for a stopped process or an overloaded machine, then run the command again",
                )
            count = os.readv(stream.fileno(), [view[filled:]])
            if count == 0:
                raise EOFError
            filled += count
        return data

    def _end(self, grace_seconds: float = 0.0) -> int:
        """Lets go of the child; its exit status (negative: the signal)."""
        child, self._child = self._child, None
        assert child is not None
        if self._at_exit is not None:
            self._at_exit.detach()
        return _dispose(child, grace_seconds)

    def _death(self, status: int) -> Failure:
        if status == -signal.SIGPROF:
            return Failure("cpu_limit", f"limit {self.limits.cpu_seconds} s of CPU time")
        if status < 0:
            return Failure(f"crashed:{signal.Signals(-status).name}", f"killed by signal {-status}")
        return Failure("crashed:exit", f"the process ended with status {status}")


def _address_space(pid: int) -> int:
    """Bytes of a process's address space; 0 where the system does not tell (it is Linux that does)."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _dispose(child: subprocess.Popen[bytes], grace_seconds: float) -> int:
    """Closes the child's input, at which it ends if idle, and kills it if it is there after the grace."""
    _input(child).close()
    try:
        return child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
    finally:
        assert child.stdout is not None
        child.stdout.close()


def _input(child: subprocess.Popen[bytes]) -> IO[bytes]:
    assert child.stdin is not None
    return child.stdin


def _write(stream: IO[bytes], kind: bytes, body: bytes) -> None:
    """Writes one frame to an unbuffered stream."""
    stream.write(_HEADER.pack(kind, len(body)))
    view = memoryview(body)
    while view:
        view = view[stream.write(view) :]


def _read_frame(stream: IO[bytes]) -> bytes | None:
    """Body of the next frame; None at end of file."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    _, size = _HEADER.unpack(header)
    return stream.read(size)


def _confine(limits: Limits, parent: int) -> None:
    """Ties the child to its parent and sets the limits that hold for its whole life."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # an ignored signal would stay ignored across exec
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before prctl
            os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    stack = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, hard))


def _answer(target: Any, request: bytes, settings: Mapping[str, Any], limits: Limits) -> tuple[bytes, bytes]:
    """Calls the function under the CPU limit; kind and body of the reply frame."""
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    try:
        return _RESULT, target(request, **settings)
    except MemoryError:
        failure = Failure("memory_limit", f"limit {limits.memory_bytes} bytes of address space")
    except BaseException as error:
        message = str(error)[:_DETAIL_CHARACTERS].encode("utf-8", "replace").decode()
        failure = Failure(f"extractor_error:{type(error).__name__}", message or type(error).__name__)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return _ERROR, json.dumps(asdict(failure)).encode()


def _serve() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    order = json.loads(_read_frame(requests) or b"{}")
    if not order:
        return
    limits = Limits(**order["limits"])
    _confine(limits, order["parent"])
    try:
        module, _, function = order["target"].partition(":")
        target = getattr(importlib.import_module(module), function)
    except Exception as error:
        _write(replies, _ERROR, f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
        return
    gc.freeze()  # what was loaded stays: walking it again and again costs a tenth of the time
    gc.set_threshold(_COLLECT_AFTER)
    _write(replies, _READY, b"")
    while (request := _read_frame(requests)) is not None:
        _write(replies, *_answer(target, request, order["settings"], limits))


if __name__ == "__main__":
    _serve()
