"""Recipes: one YAML file that says what a run does, checked key by key, with overrides from the command line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError
from corpusmill.core.languages import normalised
from corpusmill.pipeline.registry import CORPUS_STEPS, DOCUMENT_STAGES, ORDER_OF_STAGES, WARC
from corpusmill.stages.warc import WarcStage
from corpusmill.tokenize.held_out import HeldOutConfig
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.sources import SourcesConfig
from corpusmill.tokenize.training import TokenizerConfig
from corpusmill.training_hook.config import TrainConfig

BUILT_IN_SAMPLE = "sample"  # the value of `input` that stands for examples/crawl


class ErrorBudget(BaseModel):
    """How many records a stage may quarantine before the run stops: more than both limits is too many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: int = Field(default=1000, ge=0, description="quarantined records of one stage that are always tolerated")
    percent: float = Field(default=1.0, ge=0, le=100, description="of a stage's input, tolerated above `records`")


class TokenizerSection(TokenizerConfig):
    """The `tokenizer` section: a model to use as it is, or how to train one on the refined corpus."""

    model: str | None = Field(
        None,
        description="path of a SentencePiece model or tokenizer.json; the settings of training are not used then",
    )
    eos_token: str | None = Field(None, description="with `model`: token that ends documents; null: the model's own")
    allow_lossy: bool = Field(False, description="with `model`: accept one that does not give every text back")

    @model_validator(mode="after")
    def _check_model(self) -> TokenizerSection:
        if self.model is None and (self.eos_token is not None or self.allow_lossy):
            raise ValueError("`eos_token` and `allow_lossy` are for a given `model`; a trained one needs neither")
        return self

    def training(self) -> TokenizerConfig:
        """The settings of the training."""
        return TokenizerConfig.model_validate(self.model_dump(exclude={"model", "eos_token", "allow_lossy"}))


class Recipe(BaseModel):
    """A resolved recipe: every key has its value. `stages` holds the enabled stages in running order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    input: list[str] = Field([], description="WARC files or globs; `sample` is the built-in sample crawl")
    crawl: str = Field("", description="snapshot name of the input, e.g. CC-MAIN-2026-30")
    history: list[str] = Field(
        [], description="earlier runs, or their folders `history`, the earliest first: documents that they know go"
    )
    history_steps: list[str] = Field(
        ["url_dedup", "exact_dedup"],
        description="corpus steps that look into `history` and commit their own for later runs",
    )
    error_budget: ErrorBudget = ErrorBudget()
    stages: dict[str, dict[str, Any]]
    expected: dict[str, dict[str, Annotated[float, Field(ge=0, le=1)] | None]] = Field(
        {}, description="stage to rule to the largest share of the stage's input that it should remove; null: any"
    )
    tokenizer: TokenizerSection | None = None
    held_out: HeldOutConfig | None = Field(None, description="documents that are never trained on; null: none")
    sources: SourcesConfig = SourcesConfig()
    order: OrderConfig | None = None
    salt_key: str = Field("", description="secret that keys the salts of the order; empty = the order's key")
    train: TrainConfig | None = None
    train_processes: int = Field(1, ge=1, description="FSDP ranks on this machine")

    def stage_config(self, name: str) -> BaseModel:
        """The typed config of stage `name`."""
        return config_class(name).model_validate(self.stages[name])

    def to_yaml(self) -> str:
        """The recipe with every default written out; loading it gives the same recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_class(stage: str) -> type[BaseModel]:
    """Config class of a stage or corpus step."""
    if stage == WARC:
        return WarcStage.Config
    if stage in DOCUMENT_STAGES:
        return DOCUMENT_STAGES[stage].Config
    return CORPUS_STEPS[stage].Config


def load(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe and applies `a.b=c` overrides (values are YAML). Raises ConfigError with the key and a remedy."""
    try:
        data = yaml.safe_load(storage.read_text(path))
    except yaml.YAMLError as error:
        raise ConfigError("the recipe is not valid YAML", where=path, value=str(error)) from error
    if not isinstance(data, dict):
        raise ConfigError("the recipe is not a mapping of keys", where=path, value=type(data).__name__)
    for override in overrides:
        _set(data, override)
    return resolve(data, path)


def resolve(data: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from parsed YAML. Relative paths inside it are left as they are: they mean the working folder."""
    data = dict(data)
    stages = data.get("stages")
    if not isinstance(stages, dict) or not stages:
        raise ConfigError(
            "the recipe names no stages", where=where, remedy=f"add `stages:` with any of {', '.join(ORDER_OF_STAGES)}"
        )
    for name in stages:
        if name not in ORDER_OF_STAGES:
            raise _unknown(f"stages.{name}", name, ORDER_OF_STAGES, where)
    # A stage runs where ORDER_OF_STAGES puts it, wherever the recipe mentions it; `null` means all defaults,
    # `false` switches it off (so that an override can).
    stages.setdefault(WARC, {})
    configs = {
        name: _validated(config_class(name), stages[name] or {}, f"stages.{name}", where)
        for name in ORDER_OF_STAGES
        if name in stages and stages[name] is not False
    }
    resolved = {name: config.model_dump(mode="json") for name, config in configs.items()}
    for needed in ("extract", "language"):  # everything behind them reads what they add
        if needed not in resolved:
            raise ConfigError(
                f"every recipe needs the stage `{needed}`", where=where, remedy=f"add `{needed}:` under `stages:`"
            )
    _check_prescreen(configs, where)
    _check_keep(configs, where)
    for name in data.get("expected") or {}:
        if name not in ORDER_OF_STAGES:
            raise _unknown(f"expected.{name}", name, ORDER_OF_STAGES, where)
    for name in data.get("history_steps") or []:
        if name not in CORPUS_STEPS:
            raise _unknown(f"history_steps.{name}", name, list(CORPUS_STEPS), where)
    _check_tokens(data, where)
    if data.get("train") is not None:
        if data.get("order") is None:
            raise ConfigError("training needs an order", where=where, remedy="add an `order:` section")
        data["train"] = TrainConfig.of(data["train"]).model_dump()
    data["stages"] = resolved
    if isinstance(data.get("input"), str):
        data["input"] = [data["input"]]
    recipe: Recipe = _validated(Recipe, data, "", where)
    return recipe


def _validated(model: type[BaseModel], values: Any, prefix: str, where: str) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        location = [str(part) for part in first["loc"]]
        key = ".".join([prefix, *location] if prefix else location)
        if first["type"] == "extra_forbidden":
            names = _known_keys(model, location[:-1])
            raise _unknown(key, location[-1], names, where) from error
        raise ConfigError(
            f"recipe key `{key}`: {first['msg']}", where=where, value=first["input"], remedy=f"--set {key}=..."
        ) from error


def _check_prescreen(configs: Mapping[str, Any], where: str) -> None:
    """Refuses a prescreen that would remove pages which the rest of the chain might keep for their number of words."""
    asked = configs["prescreen"].min_words if "prescreen" in configs else None
    if asked is None:
        return
    demanded = 0.0
    if "quality" in configs:
        quality = configs["quality"]
        wanted = map(normalised, configs["language"].languages or {"": None, **quality.languages})
        demanded = min(quality.limit("min_words", language) or 0 for language in wanted)
    if asked > demanded:
        raise ConfigError(
            "the prescreen would remove pages that `quality` does not remove for their number of words",
            where=f"{where}: stages.prescreen.min_words",
            value=asked,
            remedy=f"--set stages.prescreen.min_words={f'{demanded:g}' if demanded else 'null'}, or let "
            "stages.quality.min_words, in every language, be at least that",
        )


def _check_keep(configs: Mapping[str, Any], where: str) -> None:
    """Refuses to keep the best where nothing says how good a document is."""
    for name, config in configs.items():
        if getattr(config, "keep", None) == "best" and "classifier" not in configs:
            raise ConfigError(
                "keeping the best needs the scores of the stage `classifier`",
                where=f"{where}: stages.{name}.keep",
                value="best",
                remedy=f"add `classifier:` under `stages:`, or --set stages.{name}.keep=longest",
            )


def _check_tokens(data: Mapping[str, Any], where: str) -> None:
    """Refuses what needs token shards where no tokenizer makes them, and sources that nothing can name."""
    sources = data.get("sources")
    sources = sources if isinstance(sources, Mapping) else {}
    needs = {"an order": "order", "a held-out split": "held_out"}
    missing = [what for what, key in needs.items() if data.get(key) is not None]
    missing += ["extra sources"] if sources.get("extra") else []
    if missing and data.get("tokenizer") is None:
        verb = "need" if missing[0].endswith("s") else "needs"
        raise ConfigError(f"{missing[0]} {verb} tokens", where=where, remedy="add a `tokenizer:` section")
    if sources.get("by") == "crawl" and not data.get("crawl"):
        raise ConfigError(
            "documents cannot be told by their crawl, which the recipe does not name",
            where=f"{where}: sources.by",
            value="crawl",
            remedy="--set crawl=CC-MAIN-2026-30, or --set sources.by=null",
        )


def _known_keys(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _unknown(key: str, name: str, names: Sequence[str], where: str) -> ConfigError:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    remedy = f"did you mean `{near[0]}`? Known here: {', '.join(names)}" if near else ""
    return ConfigError(f"unknown recipe key `{key}`", where=where, remedy=remedy)


def _set(data: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(
            "an override is not of the form key=value", value=override, remedy="--set stages.quality.min_words=40"
        )
    *parents, last = key.split(".")
    node = data
    for parent in parents:
        child = node.get(parent)
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"`{key}`: `{parent}` is not a mapping of keys", value=child)
        node = child
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"`{key}`: the value is not valid YAML", value=value) from error


def shipped(name: str) -> str | None:
    """Path of the recipe `name` among those shipped in `recipes/` of a source checkout, if it is one."""
    candidate = Path(__file__).resolve().parents[2] / "recipes" / f"{name}.yaml"
    return str(candidate) if candidate.is_file() else None
