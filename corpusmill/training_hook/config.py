"""The settings of a training run: frozen, typed, unknown keys refused with the nearest valid name.

A configuration never says batch size, sequence length or vocabulary: those belong to the order. It says what the order
leaves open: the model's shape, the optimiser, how often to save, and how the machine is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError
from corpusmill.core.hashing import canonical_json, digest


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(_Frozen):
    """Shape of a Llama-style decoder. The vocabulary comes from the order's tokenizer."""

    dim: int = Field(ge=8, description="width of the residual stream")
    num_layers: int = Field(ge=1)
    num_heads: int = Field(ge=1, description="query heads; head size = dim / num_heads")
    num_kv_heads: int = Field(ge=1, description="key and value heads (GQA); divides num_heads")
    ffn_dim: int = Field(ge=8, description="inner width of SwiGLU")
    tied: bool = Field(default=False, description="the output head is the embedding matrix")
    rope_theta: float = Field(default=10_000.0, gt=0)
    norm_eps: float = Field(default=1e-5, gt=0)
    init_std: float = Field(
        default=0.02, gt=0, description="matrices that write to the residual stream: / sqrt(2 layers)"
    )

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim / num_heads must be an even integer, got {self.dim} / {self.num_heads}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads must divide num_heads, got {self.num_kv_heads} and {self.num_heads}")
        return self

    @property
    def head_dim(self) -> int:
        """Size of one attention head."""
        return self.dim // self.num_heads


class OptimizerConfig(_Frozen):
    """AdamW and its schedule. Defaults are those of GPT-3 (Brown et al. 2020, appendix B)."""

    lr: float = Field(default=3e-4, gt=0, description="peak")
    min_lr_ratio: float = Field(default=0.1, ge=0, le=1, description="learning rate at the last step / peak")
    schedule: Literal["cosine", "constant", "wsd"] = "cosine"
    warmup_steps: int = Field(default=2000, ge=0)
    decay_fraction: float = Field(default=0.1, gt=0, le=1, description="wsd: share of the steps that decay, at the end")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0, description="matrices only; norms never decay")
    clip_norm: float = Field(default=1.0, gt=0, description="of the whole gradient")


class GuardConfig(_Frozen):
    """When an update is not applied. Non-finite losses and gradients always stop the run."""

    spike_sigma: float | None = Field(default=None, gt=0, description="null: off; 6 is usual")
    window: int = Field(default=128, ge=4, description="steps whose loss and gradient norm are the yardstick")


class TrainConfig(_Frozen):
    """Everything `corpusmill train` needs besides the order."""

    preset: str | None = Field(default=None, description="a name of PRESETS; other keys override it")
    model: ModelConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    guard: GuardConfig = GuardConfig()
    steps: int | None = Field(default=None, ge=1, description="null: all steps of the order")
    checkpoint_every: int = Field(default=500, ge=1, description="steps; the last step is always saved")
    keep: int = Field(default=2, ge=1, description="committed checkpoints that are kept")
    seed: int = Field(default=0, ge=0, description="of the initial weights; nothing else is random")
    deterministic: bool = Field(default=True, description="bitwise repeatable with the same number of processes")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of forward and backward; weights, optimiser and reductions stay float32"
    )
    micro_batch: int | None = Field(default=None, ge=1, description="rows at once in a process; null: all its rows")
    reshard_after_forward: bool = Field(default=True, description="true: ZeRO-3; false: ZeRO-2, faster, more memory")
    verify_hashes: bool = Field(
        default=True, description="check the SHA-256 of every token shard before the first step; false: sizes only"
    )
    prefetch: bool = Field(default=True, description="read the next step's rows while this one computes")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1, description="CPU threads of a process; another number may change low bits")
    log_every: int = Field(default=10, ge=1, description="steps between progress lines")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A configuration from a mapping; a preset is filled in below the other keys.

        Raises ConfigError for an unknown preset, key or value.
        """
        name = values.get("preset")
        if name is not None and name not in PRESETS:
            raise ConfigError("unknown preset", value=name, remedy=f"one of {', '.join(PRESETS)}")
        try:
            return cls.model_validate(_merged(PRESETS[name], values) if name else dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"training configuration: {first['msg']}",
                where=".".join(str(part) for part in first["loc"]),
                value=first["input"] if isinstance(first["input"], str | int | float) else None,
                remedy=_hint(first["loc"]) if first["type"] == "extra_forbidden" else "see docs/trainer.md",
            ) from error

    @classmethod
    def load(cls, path: str) -> Self:
        """A configuration from a YAML or JSON file."""
        values = yaml.safe_load(storage.read_text(path))
        if not isinstance(values, dict):
            raise ConfigError("a training configuration is a mapping of keys", where=path)
        return cls.of(values)

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the resolved configuration."""
        return digest(canonical_json(self.model_dump(mode="json")))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, key by key at every depth."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def _hint(location: tuple[int | str, ...]) -> str:
    model: Any = TrainConfig
    for part in location[:-1]:
        model = model.model_fields[part].annotation
    near = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f"did you mean {near[0]}?" if near else f"known keys: {', '.join(model.model_fields)}"


def _shape(layers: int, dim: int, heads: int, lr: float, std: float = 0.02, **more: Any) -> dict[str, Any]:
    """GPT-3 sizes. SwiGLU of width 8/3 dim (to the next 64) has as many parameters as a GELU layer of width 4 dim."""
    ffn_dim = -(-(8 * dim) // (3 * 64)) * 64
    model = {"dim": dim, "num_layers": layers, "num_heads": heads, "num_kv_heads": heads, "ffn_dim": ffn_dim}
    return {"model": {**model, "init_std": std}, "optimizer": {"lr": lr, **more}}


# Widths, depths and learning rates as published; the block is Llama's in all of them [DEVIATION for GPT-3 and LLM-jp,
# whose blocks have LayerNorm, GELU and learned positions].
# gpt3-*: Brown et al. 2020, table 2.1. llm-jp-*: LLM-jp 2024 (v1.0), batch 1536 x 2048 tokens.
# llama3-8b: Llama Team 2024, table 3.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {  # about a million parameters with a vocabulary of 4,000: tests and demonstrations on a CPU
        "model": {"dim": 128, "num_layers": 4, "num_heads": 4, "num_kv_heads": 2, "ffn_dim": 320, "tied": True},
        "optimizer": {"lr": 2e-3, "warmup_steps": 20},
        "checkpoint_every": 50,
    },
    "gpt3-125m": _shape(12, 768, 12, 6e-4),
    "gpt3-350m": _shape(24, 1024, 16, 3e-4),
    "gpt3-760m": _shape(24, 1536, 16, 2.5e-4),
    # The table has 24 heads of 128 for a width of 2048, which does not multiply: 16 heads of 128.
    "gpt3-1.3b": _shape(24, 2048, 16, 2e-4),
    "llm-jp-1.3b": _shape(24, 2048, 16, 2e-4, 0.013),
    "llm-jp-13b": _shape(40, 5120, 40, 1e-4, 0.008),
    "llm-jp-175b": _shape(96, 12288, 96, 0.6e-4, 0.005),
    "llama3-8b": {
        "model": {
            "dim": 4096,
            "num_layers": 32,
            "num_heads": 32,
            "num_kv_heads": 8,
            "ffn_dim": 14336,
            "rope_theta": 500_000.0,
        },
        "optimizer": {"lr": 3e-4, "warmup_steps": 8000},
        "dtype": "bfloat16",
    },
}
