"""Choices that look random and follow from their key alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def rank(key: str) -> int:
    """A 64-bit number that depends on nothing but `key`."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def pick(items: Sequence[T], key: str) -> T:
    """One of `items`."""
    return items[rank(key) % len(items)]


def shuffled(items: Sequence[T], key: str, name: Callable[[T], str] = str) -> list[T]:
    """`items` in an order set by `key` and each item's `name`, so that a new item moves no other."""
    return sorted(items, key=lambda item: rank(f"{key}/{name(item)}"))
