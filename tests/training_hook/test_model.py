import math

import pytest
import torch
import torch.nn.functional as F

from corpusmill.training_hook.config import ModelConfig, TrainConfig
from corpusmill.training_hook.model import (
    Transformer,
    count_parameters,
    document_mask,
    flops_per_token,
    initialize,
    rope,
    rotate,
    token_loss_sum,
)
from corpusmill.training_hook.parallel import World, build_model

VOCAB = 300


def make(tied: bool = False, dtype: torch.dtype = torch.float32, **more: float) -> Transformer:
    shape = {"dim": 64, "num_layers": 3, "num_heads": 8, "num_kv_heads": 2, "ffn_dim": 96, "init_std": 0.2}
    model = Transformer(ModelConfig(**{**shape, "tied": tied, **more}), VOCAB)
    initialize(model, seed=5)
    return model.to(dtype)


@pytest.mark.parametrize("tied", [False, True])
def test_forward_equals_transformers(tied: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="compares with transformers' LlamaForCausalLM")
    model = make(tied, torch.float64, rope_theta=500.0)
    config = model.config
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=config.dim,
            intermediate_size=config.ffn_dim,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=tied,
            attn_implementation="eager",
        )
    ).double()
    weights = {n if n.startswith("lm_head") else f"model.{n}": p.detach() for n, p in model.named_parameters()}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if tied else set())
    theirs.tie_weights()
    tokens = torch.randint(0, VOCAB, (3, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(tokens, torch.zeros_like(tokens)).log_softmax(-1)
        their = theirs(tokens).logits.log_softmax(-1)
    divergence = F.kl_div(ours, their, reduction="none", log_target=True).sum(-1)
    # Rotation and norms are computed in float32 by both.
    assert divergence.max() < 1e-10
    assert ours.std() > 0.5  # the comparison is not of two flat distributions


def test_a_document_does_not_see_its_neighbours_nor_its_place_in_the_row() -> None:
    model = make()
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randint(0, VOCAB, (1, n), generator=generator) for n in (7, 12))
    row = torch.cat((a, b, torch.zeros(1, 3, dtype=torch.int64)), dim=1)
    segments = torch.tensor([[0] * 7 + [1] * 12 + [-1] * 3])
    with torch.no_grad():
        packed = model(row, segments)
        torch.testing.assert_close(packed[:, :7], model(a, segments[:, :7]), rtol=1e-4, atol=1e-4)
        # Positions run on along the row; RoPE sees differences only.
        torch.testing.assert_close(packed[:, 7:19], model(b, segments[:, 7:19]), rtol=1e-4, atol=1e-4)
        changed = row.clone()
        changed[0, 3] = (changed[0, 3] + 1) % VOCAB
        again = model(changed, segments)
    assert torch.equal(packed[:, 7:], again[:, 7:])
    assert torch.equal(packed[:, :3], again[:, :3])  # nor does a token see the future
    assert not torch.equal(packed[:, 3:7], again[:, 3:7])


def test_mask_by_brute_force() -> None:
    segments = torch.tensor([[0, 0, 1, 1, -1], [3, 3, 3, 4, 4]])
    mask = document_mask(segments)
    for r in range(2):
        for m in range(5):
            for n in range(5):
                assert mask[r, 0, m, n] == (n <= m and segments[r, m] == segments[r, n])


def test_rotation_by_definition() -> None:
    angles = rope(5, 4, 100.0, torch.device("cpu"))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(1, 1, 5, 4)
    out = rotate(x, angles)
    for position in range(5):
        for i, frequency in ((0, 1.0), (1, 0.1)):
            c, s = math.cos(position * frequency), math.sin(position * frequency)
            low, high = float(x[0, 0, 0, i]), float(x[0, 0, 0, i + 2])
            assert float(out[0, 0, position, i]) == pytest.approx(low * c - high * s, abs=1e-5)
            assert float(out[0, 0, position, i + 2]) == pytest.approx(high * c + low * s, abs=1e-5)


def test_token_loss_counts_valid_labels_only() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 2, 3], [4, 0, 1]])
    valid = torch.tensor([[True, False, True], [False, False, True]])
    expected = sum(
        -float(logits[r, i].log_softmax(-1)[labels[r, i]]) for r in range(2) for i in range(3) if valid[r, i]
    )
    assert float(token_loss_sum(logits, labels, valid)) == pytest.approx(expected, rel=1e-6)


def test_initial_weights() -> None:
    config = ModelConfig(dim=128, num_layers=8, num_heads=4, num_kv_heads=4, ffn_dim=256, init_std=0.02)
    model = Transformer(config, 500)
    initialize(model, seed=1)
    model.requires_grad_(False)
    for name, p in model.named_parameters():
        if name.endswith("norm.weight"):
            assert torch.equal(p, torch.ones_like(p))
            continue
        std = 0.02 / 4 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
        assert float(p.std()) == pytest.approx(std, rel=0.05)
        assert abs(float(p.mean())) < 4 * std / math.sqrt(p.numel())
    draws = [p.flatten()[:4].tolist() for n, p in model.named_parameters() if not n.endswith("norm.weight")]
    assert len({tuple(d) for d in draws}) == len(draws)


def test_sharding_does_not_change_the_initial_weights(alone: World, tiny: TrainConfig) -> None:
    sharded = build_model(tiny, VOCAB, alone)
    plain = Transformer(tiny.model, VOCAB)
    initialize(plain, tiny.seed)
    theirs = dict(plain.named_parameters())
    for name, p in sharded.named_parameters():
        assert torch.equal(p.full_tensor(), theirs[name])
    initialize(plain, tiny.seed + 1)
    assert not torch.equal(plain.embed_tokens.weight, sharded.embed_tokens.weight.full_tensor())


def test_parameters_and_flops() -> None:
    model = make(tied=True)
    inner = 3 * (2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 96 + 2 * 64) + 64
    assert count_parameters(model) == (inner + VOCAB * 64, inner)
    assert flops_per_token(model, 10) == 6 * (inner + VOCAB * 64) + 12 * 3 * 64 * 10
    assert flops_per_token(make(tied=False), 10) == flops_per_token(model, 10)
