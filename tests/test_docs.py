"""The documentation against the code: commands, options, recipe keys and defaults, links, deviations."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.core import TyperGroup

from corpusmill.cli import main
from corpusmill.core import documents, models
from corpusmill.core.artifacts import KINDS
from corpusmill.pipeline.recipe import ErrorBudget, Recipe, TokenizerSection, config_class
from corpusmill.pipeline.registry import ORDER_OF_STAGES
from corpusmill.stages import quality, repetition
from corpusmill.tokenize.held_out import HeldOutConfig
from corpusmill.tokenize.order_config import OrderConfig, PhaseConfig
from corpusmill.tokenize.sources import SourcesConfig
from corpusmill.training_hook.config import PRESETS, GuardConfig, ModelConfig, OptimizerConfig, TrainConfig

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/README.md")])
MARK = re.compile(r"\[(DEVIATION|NOT IMPLEMENTED)\b")

# Section of docs/recipes.md -> the model that holds its keys.
SECTIONS: dict[str, type[BaseModel]] = {
    "Top level": Recipe,
    "error_budget": ErrorBudget,
    **{f"stages.{name}": config_class(name) for name in ORDER_OF_STAGES},
    "tokenizer": TokenizerSection,
    "held_out": HeldOutConfig,
    "sources": SourcesConfig,
    "order": OrderConfig,
    "order.phases": PhaseConfig,
    "train": TrainConfig,
    "train.model": ModelConfig,
    "train.optimizer": OptimizerConfig,
    "train.guard": GuardConfig,
}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sections(text: str, level: int = 2) -> dict[str, str]:
    """Title (without backticks) -> body of the sections of a page at `level` or deeper."""
    parts = re.split(rf"^#{{{level},}} (.+)$", text, flags=re.MULTILINE)
    return {title.replace("`", "").strip(): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def code_lines(text: str) -> Iterator[str]:
    """Lines of the fenced code blocks of a page, continuation lines joined."""
    for block in re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def github_anchor(title: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", title.replace("`", "").strip().lower())
    return kept.replace(" ", "-")


@pytest.fixture(scope="module")
def command_line() -> TyperGroup:
    main._register()
    command = typer.main.get_command(main.app)
    assert isinstance(command, TyperGroup)
    return command


def commands(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


# Links


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {github_anchor(t) for t in titles}, f"{path.name}: {target}"


def test_every_page_of_docs_is_reachable_from_the_readme() -> None:
    readme = page("README.md")
    for path in (ROOT / "docs").glob("*.md"):
        assert f"docs/{path.name}" in readme, path.name
    for path in (ROOT / "docs" / "decisions").glob("*.md"):
        assert f"decisions/{path.name}" in page("docs/architecture.md"), path.name


# Commands


def test_every_command_and_option_has_its_place_in_the_cli_page(command_line: TyperGroup) -> None:
    described = sections(page("docs/cli.md"))
    for name, command in commands(command_line):
        assert f"corpusmill {name}" in described, name
        body = described[f"corpusmill {name}"]
        for parameter in command.params:
            for form in parameter.opts:
                shown = form if form.startswith("-") else form.upper()
                if shown != "--help":
                    assert f"`{shown}" in body, f"corpusmill {name}: {shown}"


def test_the_cli_page_describes_no_command_that_is_not_there(command_line: TyperGroup) -> None:
    known = {f"corpusmill {name}" for name, _ in commands(command_line)}
    described = {title for title in sections(page("docs/cli.md")) if title.startswith("corpusmill ")}
    assert described == known


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_command_lines_name_what_exists(path: Path, command_line: TyperGroup) -> None:
    for line in code_lines(path.read_text(encoding="utf-8")):
        words = shlex.split(line.removeprefix("$ "), comments=True) if re.match(r"(\$ )?[.\w/]+ ?", line) else []
        if not words:
            continue
        if words[0].startswith("./scripts/"):
            assert (ROOT / words[0]).is_file(), line
        if words[0].rpartition("/")[2] == "corpusmill":
            check_command_line(words[1:], command_line, line)


def check_command_line(words: list[str], group: TyperGroup, line: str) -> None:
    command: Any = group
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, line
        command, words = command.commands[words[0]], words[1:]
    known = {form for parameter in command.params for form in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in known | {"--help", "-h"}, f"{line}: {word}"


def test_examples_in_help_texts_name_options_that_exist(command_line: TyperGroup) -> None:
    for name, command in commands(command_line):
        example = re.search(r"Example: (corpusmill .+?)(?:\n\n|$)", command.help or "", flags=re.DOTALL)
        assert example is not None, name
        line = " ".join(example.group(1).split())
        check_command_line(shlex.split(line)[1:], command_line, line)


def test_the_json_that_is_shown_has_the_keys_that_are_printed() -> None:
    from corpusmill.core.artifacts import Counts
    from corpusmill.pipeline.explain import Fate
    from corpusmill.pipeline.status import RunStatus, StageStatus

    text = page("docs/cli.md")
    status = RunStatus("RUN", "name", [StageStatus("warc", "done", 1, 1, Counts(), 1.0)]).to_json()
    for key in (*status, *status["stages"][0], *Fate("warc", "kept").to_json()):
        assert f'"{key}"' in text, key


def test_the_table_kinds_of_inspect_are_named() -> None:
    body = sections(page("docs/cli.md"))["corpusmill inspect"]
    for kind in KINDS:
        assert f"`{kind}`" in body


# Recipes


def test_every_recipe_section_is_a_chapter() -> None:
    described = set(sections(page("docs/recipes.md")))
    assert set(SECTIONS) <= described


def shown_default(model: type[BaseModel], name: str) -> str:
    """The default as YAML on one line, as docs/recipes.md writes it; mappings with built-in values are `built-in`."""
    field = model.model_fields[name]
    if field.default is PydanticUndefined and field.default_factory is None:
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "section"
    if isinstance(value, dict):
        return "built-in"
    if isinstance(value, tuple):
        value = list(value)
    flow = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
    return flow.removesuffix("\n").removesuffix("\n...")


@pytest.mark.parametrize("section", SECTIONS)
def test_recipe_keys_and_defaults_are_those_of_the_models(section: str) -> None:
    body = sections(page("docs/recipes.md"))[section]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", body, flags=re.MULTILINE)
    model = SECTIONS[section]
    assert [name for name, _ in rows] == list(model.model_fields)
    for name, default in rows:
        assert default.replace("`", "") == shown_default(model, name), f"{section}.{name}"


def recipe_keys() -> set[str]:
    known = {"stages"} | {s for s in SECTIONS if s != "Top level"}
    for section, model in SECTIONS.items():
        prefix = "" if section == "Top level" else f"{section}."
        known |= {prefix + name for name in model.model_fields}
    return known


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_recipe_keys_in_prose_and_overrides_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"`(stages\.\w+(?:\.\w+)?)`", text) + re.findall(r"--set '?([\w.]+)=", text)
    for key in filter(lambda key: key != "KEY", named):
        assert key in recipe_keys(), f"{path.name}: {key}"


def test_yaml_examples_of_recipes_load() -> None:
    from corpusmill.pipeline.recipe import resolve

    for block in re.findall(r"^```yaml\n(.*?)^```$", page("docs/recipes.md"), flags=re.MULTILINE | re.DOTALL):
        resolve(yaml.safe_load(block), "docs/recipes.md")


def test_presets_and_models_are_listed() -> None:
    text = page("docs/recipes.md")
    for name in (*PRESETS, *models.REGISTRY):
        assert f"`{name}`" in text, name
    for model in models.REGISTRY.values():
        assert model.licence in text
        assert model.sha256 in text


# Stages and dedup


def test_every_stage_has_a_chapter() -> None:
    described = {*sections(page("docs/stages.md")), *sections(page("docs/dedup.md"))}
    assert set(ORDER_OF_STAGES) <= described


def test_rules_with_thresholds_are_named_with_their_defaults() -> None:
    described = sections(page("docs/stages.md"))
    for rule in repetition.RULES:
        threshold = repetition.RepetitionConfig().limit(rule, "en")
        assert re.search(rf"`{rule}` \| {threshold:.2f} \|", described["repetition"]), rule
    for rule, _, limit in quality.RULES:
        value = quality.QualityConfig().limit(limit, "en")
        shown = "off" if value is None else f"{value:g}"
        assert f"| `{rule}` | {shown} |" in described["quality"].replace(",", ""), rule


def test_rules_that_code_reports_are_named() -> None:
    """Every name handed to `remove`, `quarantine` or `cut` as a literal."""
    text = page("docs/stages.md") + page("docs/dedup.md")
    for path in [*(ROOT / "corpusmill/stages").glob("*.py"), *(ROOT / "corpusmill/dedup").glob("*.py")]:
        source = path.read_text(encoding="utf-8")
        calls = re.findall(
            r"""(?:\.(?:remove|cut)\(\s*row,\s*|_Removed\(|\bMatch\(|^    rule = )"(\w+)\"""", source, re.M
        )
        for rule in calls:
            assert f"`{rule}`" in text, f"{path.name}: {rule}"


def test_every_deviation_in_the_code_is_in_a_table() -> None:
    """docs/stages.md and docs/dedup.md have as many rows for a module as the module has marks."""
    text = page("docs/stages.md") + page("docs/dedup.md")
    rows = re.findall(r"^\| .+ \| `([\w/.]+)` \|$", text, flags=re.MULTILINE)
    sources = [p for room in ("core", "stages", "dedup") for p in (ROOT / "corpusmill" / room).glob("*.py")]
    for path in [*sources, *(ROOT / "recipes").glob("*.yaml")]:
        name = f"{path.parent.name}/{path.name}"
        marks = len(MARK.findall(path.read_text(encoding="utf-8")))
        assert rows.count(name) == marks, f"{name}: {marks} marks, {rows.count(name)} rows"


def test_schemas_in_the_architecture_page_are_those_of_the_code() -> None:
    text = page("docs/architecture.md")
    for schema in (documents.DOCUMENT_WITH_LANGUAGE, documents.REMOVAL, documents.QUARANTINE, documents.SPAN):
        for field in schema:
            assert f"`{field.name}`" in text, field.name


def test_schema_tables_name_no_other_columns() -> None:
    tables: dict[str, Any] = {
        "Document": documents.DOCUMENT_WITH_LANGUAGE,
        "Removal": documents.REMOVAL,
        "Quarantined record": documents.QUARANTINE,
        "Span": documents.SPAN,
    }
    described = sections(page("docs/architecture.md"), level=3)
    for title, schema in tables.items():
        rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", described[title], flags=re.MULTILINE)
        assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == schema.names, title


# Repository


def test_the_changelog_knows_this_version() -> None:
    import corpusmill

    text = page("CHANGELOG.md")
    assert text.index("## Unreleased") < text.index(f"## {corpusmill.__version__}")


def test_the_example_stage_of_the_contributing_page_works() -> None:
    """The stage that CONTRIBUTING.md shows runs, removes and fits the base class."""
    import pyarrow as pa

    block = re.search(r"^```python\n(.*?)^```$", page("CONTRIBUTING.md"), flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    source = block.group(1)
    assert len([line for line in source.splitlines() if line.strip() and "import" not in line]) <= 20
    space: dict[str, Any] = {"__name__": "example_stage"}
    exec(compile(source, "CONTRIBUTING.md", "exec"), space)
    stage = space["Shouting"](space["ShoutingConfig"]())
    table = pa.table({"doc_id": ["a:0", "a:1"], "url": ["", ""], "text": ["STOP!!!!!!!", "A quiet text."]})
    result = stage.process(table)
    assert result.removed.column("rule").to_pylist() == ["exclamation_marks"]
    assert result.kept.column("doc_id").to_pylist() == ["a:1"]
    assert stage.only_filters
