"""`plan` as people and programs see it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from sample_runs import REPOSITORY, Mill

from corpusmill.pipeline import recipe


def test_plan_for_people(mill: Mill) -> None:
    shown = mill("plan", "fineweb", "--set", "stages.minhash.keep=latest")
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    stages = [line.split()[0] for line in lines[3 : lines.index("", 3)]]
    resolved = recipe.load(str(REPOSITORY / "recipes" / "fineweb.yaml"))
    assert stages == [*resolved.stages, "tokenizer", "tokens", "order"]
    (minhash,) = [line for line in lines if line.startswith("minhash ")]
    assert 'keep="latest"' in minhash
    assert "languages=..." in shown.out  # long values are for --json
    assert "bands" not in minhash  # 14 is the default
    assert "minhash: 14 bands of 8 rows, 112 permutations" in shown.out
    assert "0.75 77.16 %" in " ".join(shown.out.split())
    assert "half of the pairs are found at a similarity of 0.685" in shown.out


def test_plan_json_and_figure(mill: Mill, tmp_path: Path) -> None:
    out = tmp_path / "curve.svg"
    body = mill("plan", "refinedweb", "--json", "--plot", out).json
    assert recipe.resolve(body["recipe"], "plan").model_dump(mode="json") == body["recipe"]
    steps = [s["name"] for s in body["stages"] if s["kind"] == "corpus step"]
    assert steps == ["url_dedup", "minhash", "substring"]
    changed = {s["name"]: s["changed"] for s in body["stages"]}["minhash"]
    assert changed == {"bands": 450, "rows": 20, "min_similarity": None}
    curve = body["s_curve"]
    assert curve["half"] == curve["threshold"] == pytest.approx(0.7235, abs=1e-3)
    assert {"similarity": 0.8, "probability": pytest.approx(0.9946, abs=1e-4)} in curve["points"]
    texts = "".join(ET.parse(out).getroot().itertext())
    assert "450 bands of 20 rows" in texts
    assert "half are found: 0.723" in texts


def test_a_recipe_without_minhash(mill: Mill, tmp_path: Path) -> None:
    assert mill("plan", "fineweb", "--set", "stages.minhash=false", "--json").json["s_curve"] is None
    refused = mill("plan", "fineweb", "--set", "stages.minhash=false", "--plot", tmp_path / "curve.svg")
    assert refused.code == 2
    assert "add `minhash:` under `stages:`" in refused.err
    assert not (tmp_path / "curve.svg").exists()


def test_a_mistake_in_the_recipe_is_found_without_a_run(mill: Mill) -> None:
    refused = mill("plan", "fineweb", "--set", "stages.minhash.band=3")
    assert refused.code == 2
    assert "did you mean `bands`" in refused.err
