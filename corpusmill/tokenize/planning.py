"""From settings and documents to a rule: which sources each phase reads, from where, and for how many steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from corpusmill.core.errors import ConfigError
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.blend import MAX_PERIOD, Blend
from corpusmill.tokenize.derivation import source_uses
from corpusmill.tokenize.order_config import OrderConfig, PhaseConfig
from corpusmill.tokenize.reading import Reading, ReadingRule, Readings
from corpusmill.tokenize.rule import DocumentsFile, PackingRule, PermutationRule, Phase, Rule, TokenizerRule
from corpusmill.tokenize.shards import TokensManifest
from corpusmill.tokenize.store import DocumentIndex

_NATURAL_PERIOD = 1_000_000  # denominator of proportions to the sources' sizes where those are larger


def make_rule(manifest: TokensManifest, index: DocumentIndex, config: OrderConfig) -> Rule:
    """The rule of an order of these token shards. Raises ConfigError where the settings do not fit them."""
    packing = PackingRule(method=config.packing, block_sequences=config.block_sequences)
    permutation = PermutationRule(
        scope=config.shuffle, chunk_sequences=config.chunk_sequences, window_chunks=config.window_chunks
    )
    readings = Readings(ReadingRule(config.key, packing, permutation), index, np.empty(0, np.int64))
    phases: list[Phase] = []
    for number, wanted in enumerate(config.resolved_phases()):
        phases.append(_plan_phase(number, phases[-1].stop_step if phases else 0, wanted, index, readings))
    return Rule(
        key=config.key,
        phases=tuple(phases),
        packing=packing,
        permutation=permutation,
        tokenizer=TokenizerRule(
            sha256=manifest.tokenizer_sha256,
            vocab_size=manifest.vocab_size,
            eos_id=manifest.eos_id,
            pad_id=manifest.pad_id,
            dtype=manifest.dtype,
        ),
        documents=DocumentsFile(
            sha256=manifest.documents_sha256,
            bytes=manifest.documents_bytes,
            documents=manifest.documents,
            tokens=manifest.tokens,
        ),
        shards=manifest.shards,
    )


def _plan_phase(number: int, first_step: int, wanted: PhaseConfig, index: DocumentIndex, readings: Readings) -> Phase:
    length, batch = wanted.sequence_length, wanted.batch_size
    assert length is not None
    assert batch is not None
    names = list(wanted.sources or [s.name for s in index.sources if s.stop > s.first])
    _check_names(names, index)
    entered = [readings.enter(number, name, length) for name in names]
    for name, (reading, _) in zip(names, entered, strict=True):
        if reading.whole.num_sequences == 0:
            raise ConfigError(
                f"source {name!r} has {reading.source.stop - reading.source.first} documents and makes no sequence",
                value=f"sequence_length {length}",
                remedy="leave it out of the phase, or tokenise more documents",
            )
    blend = Blend(_weights(wanted.sources, [reading for reading, _ in entered]))
    steps = _steps(number, wanted, batch, blend, names, entered)
    taken = blend.taken(steps * batch).tolist()
    for name, (reading, cursor), count in zip(names, entered, taken, strict=True):
        readings.leave(name, reading, cursor + count)
    return Phase(
        phase=number,
        first_step=first_step,
        steps=steps,
        sequence_length=length,
        batch_size=batch,
        sources=source_uses(names, blend, entered),
    )


def _check_names(names: Sequence[str], index: DocumentIndex) -> None:
    known = [s.name for s in index.sources]
    if not names:
        raise ConfigError("there are no documents to order", remedy="tokenise some documents first")
    for name in names:
        if name not in known:
            raise ConfigError(
                f"no document is of the order's source {name!r}",
                value=", ".join(known),
                remedy="name one of these sources, or tokenise documents of the source first",
            )


def _weights(stated: Mapping[str, str | int | float] | None, readings: Sequence[Reading]) -> list[Fraction]:
    if stated is not None:
        return [Fraction(str(weight)) for weight in stated.values()]
    sizes = [reading.whole.num_sequences for reading in readings]
    if sum(sizes) <= MAX_PERIOD:
        return [Fraction(size) for size in sizes]
    return [Fraction(int(a)) for a in _apportion(sizes, _NATURAL_PERIOD)]


def _apportion(sizes: Sequence[int], total: int) -> Int64Array:
    """Integers in proportion to `sizes`, at least 1 each, by largest remainders; their sum is about `total`."""
    exact = [Fraction(size * total, sum(sizes)) for size in sizes]
    amounts = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (amounts[i] - exact[i], i))
    for i in by_remainder[: total - sum(amounts)]:
        amounts[i] += 1
    return np.maximum(1, np.array(amounts, np.int64))


def _steps(
    number: int,
    wanted: PhaseConfig,
    batch: int,
    blend: Blend,
    names: Sequence[str],
    entered: Sequence[tuple[Reading, int]],
) -> int:
    """Steps of the phase, within the epochs that it may read."""
    epochs = wanted.epochs if wanted.epochs is not None or wanted.steps is not None else 1
    if epochs is None:
        assert wanted.steps is not None
        return wanted.steps
    allowed = [max(0, _end(reading, epochs) - cursor) for reading, cursor in entered]
    first_beyond = [int(blend.positions(i, np.array([count]))[0]) for i, count in enumerate(allowed)]
    most = min(first_beyond) // batch
    if wanted.steps is not None and wanted.steps <= most:
        return wanted.steps
    if wanted.steps is None and most >= 1:
        return most
    scarce = names[int(np.argmin(first_beyond))]
    left = allowed[int(np.argmin(first_beyond))]
    raise ConfigError(
        f"phase {number}: source {scarce!r} has {left} sequences left until it was read {epochs} times, which is enough"
        f" for {most} steps",
        value=f"steps: {wanted.steps}" if wanted.steps else f"batch_size: {batch}",
        remedy=f"set steps to at most {most}, or epochs of the phase to more"
        if most
        else "raise `epochs` of the phase, lower batch_size or sequence_length, or set `steps`",
    )


def _end(reading: Reading, epochs: int) -> int:
    """The reading's cursor when its source was read `epochs` times."""
    return reading.end_of(epochs - 1) if epochs > reading.first_epoch else 0
