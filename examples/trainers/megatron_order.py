"""A dataset for Megatron-LM that reads an exported order (`corpusmill order export --to megatron`) as it is.

Return `OrderRows(folder)` as the training dataset from `train_valid_test_datasets_provider` and start Megatron-LM with
`--dataloader-type single`: its sampler then takes rows 0, 1, 2, ..., and the rows of a global batch are those of a
step. Needs megatron-core.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset


class OrderRows(torch.utils.data.Dataset):
    """Rows of one part, in order.

    An item has the keys of Megatron's GPTDataset: tokens, labels, position_ids (int64, L) and loss_mask (float32, L).
    Positions begin anew with every document, and cu_seqlens (int32, segments of the row + 1) says where, for attention
    kernels that take it; without it attention crosses documents.
    """

    def __init__(self, folder: str, *, cu_seqlens: bool = False) -> None:
        self._tokens = IndexedDataset(str(Path(folder) / "tokens"))
        self._masks = IndexedDataset(str(Path(folder) / "loss_mask"))
        self._segments = IndexedDataset(str(Path(folder) / "segments"))
        self._cu_seqlens = cu_seqlens

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = torch.from_numpy(self._tokens[index].astype(np.int64))
        lengths = np.abs(self._segments[index])
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        position_ids = np.arange(len(row)) - np.repeat(starts[:-1], lengths)
        item = {
            "tokens": row[:-1].contiguous(),
            "labels": row[1:].contiguous(),
            "loss_mask": torch.from_numpy(self._masks[index].astype(np.float32)),
            "position_ids": torch.from_numpy(position_ids[:-1].copy()),
        }
        if self._cu_seqlens:
            ends = np.unique(np.minimum(starts, len(row) - 1))
            item["cu_seqlens"] = torch.from_numpy(ends.astype(np.int32))
        return item
