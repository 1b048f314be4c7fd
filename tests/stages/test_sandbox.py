from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core.errors import InfrastructureError, InternalError
from corpusmill.stages.sandbox import Failure, Limits, Sandbox

TARGET = "hostile_targets:act"
LIMITS = Limits(cpu_seconds=1.0, memory_bytes=1 << 29, request_bytes=1 << 20, watchdog_seconds=60)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(TARGET, LIMITS) as box:
        yield box


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox(TARGET, LIMITS, {"suffix": "!"}) as box:
        yield box


@settings(max_examples=30, deadline=None)
@given(body=st.binary(max_size=3000))
def test_requests_and_replies_are_bytes_of_any_kind(shared_sandbox: Sandbox, body: bytes) -> None:
    assert shared_sandbox.call(b"echo:" + body) == (b"echo:" + body)[::-1] + b"!"


def test_a_reply_larger_than_a_pipe(sandbox: Sandbox) -> None:
    request = os.urandom(1 << 20)
    assert sandbox.call(request) == request[::-1]


def test_one_child_answers_all_calls(sandbox: Sandbox) -> None:
    assert sandbox.pid is None
    sandbox.call(b"a")
    first = sandbox.pid
    sandbox.call(b"b")
    assert first is not None
    assert sandbox.pid == first


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"segfault", "crashed:SIGSEGV"),
        (b"loop", "cpu_limit"),
        (b"loop_in_c", "cpu_limit"),
        (b"allocate", "memory_limit"),
        (b"allocate_slowly", "memory_limit"),
        (b"exit", "crashed:exit"),
        (b"sys_exit", "extractor_error:SystemExit"),
        (b"raise", "extractor_error:ValueError"),
        (b"recurse", "extractor_error:RecursionError"),
        (b"x" * ((1 << 20) + 1), "size_limit"),
    ],
)
def test_a_hostile_call_fails_alone(sandbox: Sandbox, request_: bytes, reason: str) -> None:
    batch = [b"before", request_, b"after"]
    before, failure, after = [sandbox.call(r) for r in batch]
    assert (before, after) == (b"erofeb", b"retfa")
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert failure.detail.encode()  # no surrogates: it goes into a table


def test_garbage_on_the_standard_streams_goes_nowhere(sandbox: Sandbox) -> None:
    assert [sandbox.call(b"print"), sandbox.call(b"next")] == [b"tnirp", b"txen"]


def test_cpu_time_is_counted_per_call(sandbox: Sandbox) -> None:
    assert [sandbox.call(b"burn") for _ in range(4)] == [b"nrub"] * 4


def test_waiting_costs_no_cpu_time_but_the_watchdog_raises() -> None:
    limits = Limits(cpu_seconds=0.2, watchdog_seconds=1.0)
    with Sandbox(TARGET, limits) as box:
        with pytest.raises(InfrastructureError, match="neither works nor answers"):
            box.call(b"sleep")
        assert box.call(b"ok") == b"ko"


def test_a_crash_in_a_child_with_a_history_is_judged_in_a_fresh_one() -> None:
    with Sandbox("hostile_targets:grumpy", LIMITS) as box:
        assert [box.call(b"%d" % i) for i in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_child_that_keeps_memory_is_replaced(sandbox: Sandbox) -> None:
    sandbox.call(b"hoard:10")
    first = sandbox.pid
    sandbox.call(b"hoard:10")
    assert sandbox.pid == first
    # 8 x 100 MiB would not fit in 512 MiB together.
    assert [sandbox.call(b"hoard:100") for _ in range(8)] == [b"001:draoh"] * 8


def test_a_kill_from_outside_is_not_blamed_on_the_input(sandbox: Sandbox) -> None:
    sandbox.call(b"a")
    assert sandbox.pid is not None
    os.kill(sandbox.pid, signal.SIGKILL)
    assert sandbox.call(b"abc") == b"cba"
    with pytest.raises(InfrastructureError, match="killed from outside"):
        sandbox.call(b"kill")
    assert sandbox.call(b"abc") == b"cba"


def test_an_unknown_target_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match="could not load its target") as caught:
        Sandbox("hostile_targets:missing", LIMITS).call(b"")
    assert "missing" in str(caught.value.value)


def test_too_little_memory_for_the_modules_is_said() -> None:
    box = Sandbox("corpusmill.stages.with_trafilatura:extract_page", Limits(memory_bytes=32 << 20))
    with box, pytest.raises((InfrastructureError, InternalError), match=r"did not start|could not load") as caught:
        box.call(b"")
    assert "memory_bytes" in caught.value.remedy


def test_environment_of_the_child_is_the_same_everywhere() -> None:
    with Sandbox("hostile_targets:crosses_over", LIMITS) as box:
        reply = box.call(b"")
        assert reply == f"{box.pid} {os.getpid()} 0".encode()


def test_closing_ends_the_child_and_the_next_call_starts_another(sandbox: Sandbox) -> None:
    sandbox.call(b"a")
    first = sandbox.pid
    sandbox.close()
    assert first is not None
    assert not _alive(first)
    sandbox.close()
    assert sandbox.call(b"ab") == b"ba"


def test_a_sandbox_that_is_dropped_ends_its_child() -> None:
    box = Sandbox(TARGET, LIMITS)
    box.call(b"a")
    pid = box.pid
    assert pid is not None
    del box
    gc.collect()
    assert not _alive(pid)


PARENT = """
import sys, threading
from corpusmill.stages.sandbox import Limits, Sandbox
box = Sandbox("hostile_targets:act", Limits(cpu_seconds=600))
box.call(b"a")
print(box.pid, flush=True)
if sys.argv[1] == "busy":
    box.call(b"loop_in_c")
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_the_child_dies_with_its_parent(state: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    with parent.stdout, parent.stdin:
        child = int(parent.stdout.readline())
        if state == "busy":
            time.sleep(0.3)
        assert _alive(child)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20
        while _alive(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
