from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The first example pays for compiling or loading the kernels.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_the_disk() -> Iterator[None]:
    """Histories of hundreds of examples are written; none has to outlive the machine."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield
