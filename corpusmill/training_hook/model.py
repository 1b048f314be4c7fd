"""A Llama-style decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU, tied or untied head.

Sources: Touvron et al. 2023 (LLaMA), Su et al. 2021 (RoPE), Ainslie et al. 2023 (GQA), Shazeer 2020 (SwiGLU). Queries
and keys are rotated by halves (dimension i with i + head_dim / 2), as the public Llama checkpoints in safetensors form
are, so weights move between the two without a permutation.

Tensor names end in their shape:
    B rows, L positions (of them M are queries and N are keys in a mask), D dim, V vocabulary,
    H query heads, K key/value heads, E head_dim, F ffn_dim
"""

from __future__ import annotations

import hashlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from corpusmill.training_hook.config import ModelConfig


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, computed in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.eps = eps

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Same shape and dtype as the input."""
        x = x_BLD.float()
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return x.to(x_BLD.dtype) * self.weight


class Attention(nn.Module):
    """Grouped-query attention within documents."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        kv_dim = config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.dim, config.dim, bias=False)
        self.k_proj = nn.Linear(config.dim, kv_dim, bias=False)
        self.v_proj = nn.Linear(config.dim, kv_dim, bias=False)
        self.o_proj = nn.Linear(config.dim, config.dim, bias=False)
        self.groups = config.num_heads // config.num_kv_heads

    def forward(self, x_BLD: Tensor, rope_2LE: Tensor, mask_B1MN: Tensor) -> Tensor:
        """`mask_B1MN` is true where a query may look."""
        rows, length, _ = x_BLD.shape
        q_BHLE = self.q_proj(x_BLD).view(rows, length, -1, self.head_dim).transpose(1, 2)
        k_BKLE = self.k_proj(x_BLD).view(rows, length, -1, self.head_dim).transpose(1, 2)
        v_BKLE = self.v_proj(x_BLD).view(rows, length, -1, self.head_dim).transpose(1, 2)
        q_BHLE, k_BKLE = rotate(q_BHLE, rope_2LE), rotate(k_BKLE, rope_2LE)
        out_BHLE = F.scaled_dot_product_attention(
            q_BHLE, k_BKLE, v_BKLE, attn_mask=mask_B1MN, enable_gqa=self.groups > 1
        )
        out: Tensor = self.o_proj(out_BHLE.transpose(1, 2).reshape(rows, length, -1))
        return out


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.up_proj = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.down_proj = nn.Linear(config.ffn_dim, config.dim, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Same shape as the input."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x_BLD)) * self.up_proj(x_BLD))
        return out


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.dim, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.dim, config.norm_eps)
        self.mlp = SwiGLU(config)

    def forward(self, x_BLD: Tensor, rope_2LE: Tensor, mask_B1MN: Tensor) -> Tensor:
        """Same shape as the input."""
        x_BLD = x_BLD + self.self_attn(self.input_layernorm(x_BLD), rope_2LE, mask_B1MN)
        out: Tensor = x_BLD + self.mlp(self.post_attention_layernorm(x_BLD))
        return out


class Transformer(nn.Module):
    """The decoder. Build it under `torch.device("meta")`, shard it, `to_empty`, then `initialize`.

    Parameter names are those of the public Llama checkpoints without the prefix `model.`.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        # A tied head is a second use of the embedding, never a second parameter: sharding cannot untie it.
        self.lm_head = None if config.tied else nn.Linear(config.dim, vocab_size, bias=False)

    def forward(self, tokens_BL: Tensor, segments_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of the next token.

        A token sees earlier tokens of its own segment only. Positions are 0..L-1 along the row and do not restart at a
        segment: RoPE makes attention depend on differences of positions alone, and no difference crosses a segment.

        Args:
            tokens_BL: int64, 0..V-1.
            segments_BL: integer; equal numbers are one document. Padding (-1) sees padding.
        """
        rope_2LE = rope(tokens_BL.shape[1], self.config.head_dim, self.config.rope_theta, tokens_BL.device)
        mask_B1MN = document_mask(segments_BL)
        x_BLD = self.embed_tokens(tokens_BL)
        for layer in self.layers:
            x_BLD = layer(x_BLD, rope_2LE, mask_B1MN)
        x_BLD = self.norm(x_BLD)
        if self.lm_head is None:
            return F.linear(x_BLD, self.embed_tokens.weight)
        logits_BLV: Tensor = self.lm_head(x_BLD)
        return logits_BLV


def rope(length: int, head_dim: int, theta: float, device: torch.device) -> Tensor:
    """Cosines and sines of the rotation angles, float32 (2, length, head_dim), the second half repeating the first."""
    frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return torch.stack((angles.cos(), angles.sin()))


def rotate(x_BHLE: Tensor, rope_2LE: Tensor) -> Tensor:
    """Rotates every head by its position's angles, in float32; same dtype as the input."""
    x = x_BHLE.float()
    low, high = x.chunk(2, dim=-1)
    return (x * rope_2LE[0] + torch.cat((-high, low), dim=-1) * rope_2LE[1]).to(x_BHLE.dtype)


def document_mask(segments_BL: Tensor) -> Tensor:
    """Boolean (B, 1, L, L): query m may look at key n when n <= m and both are of one segment."""
    length = segments_BL.shape[1]
    causal_MN = torch.ones(length, length, dtype=torch.bool, device=segments_BL.device).tril()
    same_BMN = segments_BL[:, :, None] == segments_BL[:, None, :]
    return (same_BMN & causal_MN)[:, None]


def token_loss_sum(logits_BLV: Tensor, labels_BL: Tensor, valid_BL: Tensor) -> Tensor:
    """Sum of the cross-entropies (nats) of the valid labels, a float32 scalar."""
    losses = F.cross_entropy(logits_BLV.flatten(0, 1).float(), labels_BL.flatten(), reduction="none")
    return (losses * valid_BL.flatten()).sum()


@torch.no_grad()
def initialize(model: Transformer, seed: int) -> None:
    """Fills the parameters, sharded or not: norms with 1, matrices with N(0, init_std).

    Matrices that write to the residual stream (`o_proj`, `down_proj`) get init_std / sqrt(2 layers) (GPT-2). Each
    parameter has its own generator, keyed by seed and name, and is drawn whole on the CPU in float32: number of
    processes, sharding and device do not change a bit of it. Memory: the largest parameter, once.
    """
    config = model.config
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(1.0)
            continue
        std = config.init_std
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            std /= math.sqrt(2 * config.num_layers)
        key = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
        whole = torch.empty(parameter.shape).normal_(0.0, std, generator=generator)
        if isinstance(parameter, DTensor):
            # Every rank drew the same values: nothing to send.
            whole = distribute_tensor(
                whole.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
            )
        parameter.copy_(whole)


def count_parameters(model: Transformer) -> tuple[int, int]:
    """Number of parameters: all, and without the embedding matrix (and the untied head)."""
    everything = sum(p.numel() for p in model.parameters())
    embedding = model.embed_tokens.weight.numel()
    head = 0 if model.lm_head is None else model.lm_head.weight.numel()
    return everything, everything - embedding - head


def flops_per_token(model: Transformer, length: int) -> int:
    """Floating-point operations of forward and backward for one token, a multiply-add counted as two.

    6 x (parameters in matrix products: the head, not the embedding look-up) + 12 x layers x dim x length for the scores
    and the weighted sum (Chowdhery et al. 2022, appendix B: the full square, as if nothing were masked).
    """
    config = model.config
    _, inner = count_parameters(model)
    head = model.embed_tokens.weight.numel()
    return 6 * (inner + head) + 12 * config.num_layers * config.dim * length
