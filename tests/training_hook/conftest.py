"""A tiny run folder with tokens and an order, a tiny model, and one process as a world."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the trainer needs torch: pip install corpusmill[train]")

import pyarrow as pa  # noqa: E402

from corpusmill.core import storage  # noqa: E402
from corpusmill.core.hashing import content_hash  # noqa: E402
from corpusmill.tokenize.order import build_order  # noqa: E402
from corpusmill.tokenize.order_config import OrderConfig  # noqa: E402
from corpusmill.tokenize.shards import encode_shard, merge_documents  # noqa: E402
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer  # noqa: E402
from corpusmill.training_hook.config import TrainConfig  # noqa: E402
from corpusmill.training_hook.parallel import World, world  # noqa: E402

TEXT = "river stone bread letter winter garden silver window music paper harbour candle forest ladder"
WORDS = TEXT.split()
STEPS = 12
ORDER_STEPS = 40


def _documents(number: int) -> pa.Table:
    chance = random.Random(7)
    texts = [" ".join(chance.choice(WORDS) for _ in range(chance.randrange(3, 40))) for _ in range(number)]
    return pa.table(
        {
            "doc_id": [f"crawl.warc.gz:{i * 100}" for i in range(number)],
            "url": [f"https://example.org/{i}" for i in range(number)],
            "domain": ["example.org"] * number,
            "content_hash": pa.array([content_hash(t) for t in texts], pa.binary(16)),
            "language": ["en"] * number,
            "text": pa.array(texts, pa.large_string()),
        }
    )


@pytest.fixture(scope="session")
def order_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN with tokens/ and order/: vocabulary 300, L = 32, B = 8, 40 steps."""
    run = tmp_path_factory.mktemp("order") / "run"
    documents = str(run / "documents.parquet")
    storage.write_parquet(documents, _documents(260))
    model = str(run / "tokenizer.model")
    train_tokenizer([documents], TokenizerConfig(vocab_size=300, num_threads=1), model)
    shards = encode_shard(documents, "shard-0", model, str(run / "tokens"))
    merge_documents(str(run / "tokens"), shards, model, salt_key="k")
    config = OrderConfig(sequence_length=32, batch_size=8, steps=ORDER_STEPS, key="tests")
    build_order(str(run / "tokens"), str(run / "order"), config)
    return run


@pytest.fixture
def new_run(order_folder: Path, tmp_path: Path) -> Callable[[str], str]:
    """A fresh run folder with a copy of the order, by name."""

    def make(name: str = "run") -> str:
        shutil.copytree(order_folder, tmp_path / name)
        return str(tmp_path / name)

    return make


TINY = {
    "model": {"dim": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_dim": 64},
    "optimizer": {"lr": 1e-2, "warmup_steps": 3},
    "checkpoint_every": 5,
    "steps": STEPS,
    "device": "cpu",
    "seed": 3,
}


@pytest.fixture
def tiny() -> TrainConfig:
    return TrainConfig.of(TINY)


@pytest.fixture
def alone(tiny: TrainConfig) -> Iterator[World]:
    """This process as a world of one."""
    with world(tiny) as here:
        yield here
    torch.use_deterministic_algorithms(False)
