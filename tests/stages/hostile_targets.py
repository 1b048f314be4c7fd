"""Functions that a sandbox is made to survive. Imported by its child process."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import time

_hoard: list[bytearray] = []


def act(request: bytes, *, suffix: str = "") -> bytes:
    """Does what the request names."""
    word = request.split(b":", 1)[0]
    if word == b"segfault":
        ctypes.string_at(8)
    if word == b"loop":
        while True:
            pass
    if word == b"loop_in_c":
        re.match(r"(a+)+$", "a" * 64 + "b")
    if word == b"allocate":
        bytearray(10 << 30)
    if word == b"allocate_slowly":
        hoard = []
        while True:
            hoard.append(bytearray(64 << 20))
    if word == b"hoard":
        _hoard.append(bytearray(int(request.split(b":")[1]) << 20))
    if word == b"print":
        os.write(1, b"R" * 100)
        os.write(2, b"garbage")
        print("garbage")
        print("garbage", file=sys.stderr)
        sys.stdout.flush()
        sys.stdin.read()
    if word == b"exit":
        os._exit(3)
    if word == b"sys_exit":
        sys.exit("done")
    if word == b"kill":
        os.kill(os.getpid(), 9)
    if word == b"raise":
        raise ValueError("no such luck \udcff")
    if word == b"recurse":
        return act(request)
    if word == b"sleep":
        time.sleep(60)
    if word == b"burn":
        end = time.process_time() + 0.4
        while time.process_time() < end:
            pass
    return request[::-1] + suffix.encode()


_calls = 0


def grumpy(request: bytes) -> bytes:
    """Crashes on every second call of a process."""
    global _calls
    _calls += 1
    if _calls == 2:
        ctypes.string_at(8)
    return request


def crosses_over(request: bytes) -> bytes:
    """Tells its own process id and the parent's."""
    return f"{os.getpid()} {os.getppid()} {os.environ['PYTHONHASHSEED']}".encode()


def crash_on_request(request: bytes, **settings: object) -> bytes:
    """In the place of the extractor: gives the body back, or crashes where it says so."""
    body = request.partition(b"\n")[2]
    if body.startswith(b"segfault"):
        ctypes.string_at(8)
    return b'{"charset": "utf-8"}\n' + body
