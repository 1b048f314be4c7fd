"""`tune` and `scores`: what other thresholds would change, and how scores are distributed. They read files only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from rich.text import Text

from corpusmill.cli.output import EXCERPT_WIDTH, print_json, print_lines, print_table
from corpusmill.core import storage
from corpusmill.core.errors import UserError
from corpusmill.pipeline import scores as distributions
from corpusmill.pipeline import sweep as sweeps
from corpusmill.pipeline.amounts import Amount
from corpusmill.pipeline.near import Near, near_rule
from corpusmill.pipeline.scores import Bin, Distribution, Limit
from corpusmill.pipeline.status import open_run
from corpusmill.pipeline.tune import StageTuning, Tuning
from corpusmill.pipeline.tune import tune as tune_run

RUN = typer.Argument(..., help="Run folder.")
JSON = typer.Option(False, "--json", help="Print JSON.")
_BAR = 46  # characters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_SPARKS = "▁▂▃▄▅▆▇█"
_MOST_LANGUAGES = 10  # shown apart in the terminal


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command("tune")(tune)
    app.command("scores")(scores)


def tune(
    run: str = RUN,
    set_: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Threshold to try; repeat for more."),
    number: int = typer.Option(3, "-n", min=0, help="Documents to show on either side of each changed threshold."),
    sweep: str | None = typer.Option(
        None, metavar="KEY=START:STOP:STEP", help="Try many values of one threshold: a range, or a list a,b,c."
    ),
    plot: str | None = typer.Option(None, metavar="FILE", help="With --sweep: also draw the curve as SVG."),
    as_json: bool = JSON,
) -> None:
    """Shows what other thresholds would gain and lose, from stored scores: no stage is run again.

    Example: corpusmill tune RUN --set stages.quality.min_words=40
    """
    if sweep is not None:
        _sweep(run, sweep, set_, plot, as_json)
        return
    if plot is not None:
        raise UserError("--plot draws the curve of a sweep", remedy="--sweep stages.quality.min_words=20:100:10")
    found = tune_run(run, set_, number)
    if as_json:
        print_json(found.to_json())
    else:
        _print_tuning(found)


def _print_tuning(found: Tuning) -> None:
    for change in found.changes:
        print(f"{change.key}: {_plain(change.before)} -> {_plain(change.after)}")
    if not found.changes:
        print("These are the settings of the run: nothing changes.")
        return
    print()
    rows = [[s.stage, s.kept_now, s.kept_then, _signed(s.kept_then - s.kept_now), _why(s)] for s in found.stages]
    print_table(["stage", "keeps now", "would keep", "change", "why"], rows, ["keeps now", "would keep", "change"])
    print()
    rows = []
    for stage in found.stages:
        rows += _amount_rows(f"gained at {stage.stage}", stage.gained)
        rows += _amount_rows(f"lost at {stage.stage}", stage.lost)
    end = found.stages[-1].stage
    rows.append(_amount_row(f"gained behind {end}, the last document stage", found.gained))
    rows.append(_amount_row(f"lost behind {end}", found.lost))
    if found.lost_from_corpus is not None:
        rows.append(_amount_row("  of these in the corpus now", found.lost_from_corpus))
    print_table(["", "documents", "characters", "tokens"], rows, ["documents", "characters", "tokens"])
    ratios = ", ".join(f"{code} {ratio:.2f}" for code, ratio in found.characters_per_token.items() if code)
    print(
        f"\ntokens: ~ is estimated from characters a token of this run ({ratios}); without ~ they were counted"
        if ratios
        else "\ntokens: not known, as the run has no token shards that are up to date"
    )
    print(
        "Dedup is not simulated: gained documents may be copies of others, lost ones may be replaced by their copies.\n"
        f"To make the change: {found.rerun}"
    )
    _print_near(found.samples)


def _why(stage: StageTuning) -> str:
    parts = [f"{rule} {_signed(a.documents)}" for rule, a in stage.gained.items()]
    parts += [f"{rule} {_signed(-a.documents)}" for rule, a in stage.lost.items()]
    if stage.arrived:
        stopped = ", ".join(f"{rule} {a.documents:,}" for rule, a in stage.stopped.items())
        kept = stage.arrived - sum(a.documents for a in stage.stopped.values())
        parts.append(f"of {stage.arrived:,} gained before it keeps {kept:,}{f' ({stopped})' if stopped else ''}")
    if stage.anyway:
        parts.append(f"{stage.anyway:,} of those lost before went here anyway")
    return "; ".join(parts)


def _amount_rows(title: str, by_rule: dict[str, Amount]) -> list[list[Any]]:
    if not by_rule:
        return []
    return [_amount_row(f"{title} ({rule})", amount) for rule, amount in by_rule.items()]


def _amount_row(title: str, amount: Amount) -> list[Any]:
    tokens = "" if amount.tokens is None else f"{'' if amount.exact else '~'}{amount.tokens:,}"
    return [title, amount.documents, amount.characters, tokens]


def _signed(number: int) -> str:
    return f"{number:+,}" if number else "0"


def _plain(value: object) -> str:
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _print_near(samples: Sequence[Near]) -> None:
    """Documents by rule: the removed ones nearest to the limit, then the kept ones."""
    groups: dict[tuple[str, str], list[Near]] = {}
    for near in samples:
        groups.setdefault((near.stage, near.rule), []).append(near)
    for (stage, rule), members in groups.items():
        for side in ("removed", "kept"):
            of_side = [near for near in members if near.side == side]
            if of_side:
                nearest = ", the nearest to the threshold first" if of_side[0].limit is not None else ""
                print_lines([Text(f"\n{stage} {rule}: {side}{nearest}", "bold")])
            for near in of_side:
                number = "" if near.value is None else f"{near.value:.6g} (threshold {near.limit:.6g})  "
                change = f"  {near.change}" if near.change else ""
                print(f"  {number}{near.url}{change}\n    {near.doc_id}")
                excerpt = near.excerpt[:EXCERPT_WIDTH].strip().replace("\n", "\n    | ")
                print(f"    | {excerpt}")


def _sweep(run: str, text: str, overrides: Sequence[str], plot: str | None, as_json: bool) -> None:
    key, values = sweeps.parse(text)
    curve = sweeps.sweep(run, key, values, overrides)
    if plot is not None:
        storage.write_text(plot, sweeps.figure(curve))
    if as_json:
        print_json(curve.to_json())
        return
    print(f"{key}, of {curve.documents_in:,} documents that enter {curve.stage}\n")
    most = max(1, *(point.stage.documents for point in curve.points))
    names = [f"kept by {curve.stage}", "characters"]
    if curve.last != curve.stage:
        names += [f"kept by {curve.last}", "characters "]
    rows = []
    for point in curve.points:
        row: list[Any] = [_plain(point.value), point.stage.documents, point.stage.characters]
        row += [point.end.documents, point.end.characters] if curve.last != curve.stage else []
        rows.append([*row, "now" if point.is_now else "", _bar(point.stage.documents / most, 30)])
    print_table([key.rpartition(".")[2], *names, "", ""], rows, [key.rpartition(".")[2], *names])
    if plot is not None:
        print(f"\ndrawn: {plot}")


def scores(
    run: str = RUN,
    stage: str = typer.Argument(..., help="Stage that judges by scores, e.g. quality."),
    score: list[str] = typer.Option([], help="A histogram of this score; repeat for more. Default: one line a score."),
    by: str | None = typer.Option(None, metavar="language", help="`language`: every language by itself."),
    near: str | None = typer.Option(
        None, metavar="RULE", help="The documents nearest to the threshold of this rule, on both sides."
    ),
    number: int = typer.Option(5, "-n", min=1, help="With --near: documents on either side."),
    as_json: bool = JSON,
) -> None:
    """Shows how the scores of a stage are distributed, and what each rule removes.

    Example: corpusmill scores RUN quality --score words
    """
    if by not in (None, "language"):
        raise UserError("scores can be told apart by language alone", value=by, remedy="--by language")
    _, chain = open_run(run)
    if near is not None:
        samples = near_rule(chain, stage, near, number)
        if as_json:
            print_json([sample.to_json() for sample in samples])
        else:
            _print_near(samples)
        return
    found = distributions.distributions(chain, stage, score, by_language=by is not None)
    if as_json:
        print_json({"stage": stage, "scores": [one.to_json() for one in found]})
        return
    languages = list(dict.fromkeys(one.language for one in found))
    if len(languages) > _MOST_LANGUAGES:
        print(f"the {_MOST_LANGUAGES} largest of {len(languages)} languages; --json has all\n")
        found = [one for one in found if one.language in languages[:_MOST_LANGUAGES]]
    if score:
        for one in found:
            _print_histogram(one)
    else:
        _print_overview(run, stage, found)


def _print_overview(run: str, stage: str, found: Sequence[Distribution]) -> None:
    rows = []
    for one in found:
        quantiles = [one.quantiles.get(q) for q in ("0.05", "0.5", "0.95")]
        limits = "\n".join(_limit_text(limit, one) for limit in one.limits)
        language = [one.language or "all"] if any(d.language for d in found) else []
        rows.append([one.score, *language, one.documents, _spark(one), *quantiles, limits])
    language = ["language"] if any(d.language for d in found) else []
    names = [
        "score",
        *language,
        "documents",
        "low to high",
        "5 %",
        "median",
        "95 %",
        "removes (documents that break it)",
    ]
    print_table(names, rows, ["documents", "5 %", "median", "95 %"])
    print(
        f"\nA histogram: corpusmill scores {run} {stage} --score {found[0].score}"
        f"\nOther thresholds: corpusmill tune {run} --set stages.{stage}.KEY=VALUE"
    )


def _limit_text(limit: Limit, one: Distribution) -> str:
    """`words_min < 50: 9 (4.8 %)`: the rule where it is not called like its score, languages where limits differ."""
    several = sum(other.rule == limit.rule for other in one.limits) > 1
    languages = f" [{_languages(limit.languages)}]" if several else ""
    rule = "" if limit.rule == one.score else f"{limit.rule} "
    return f"{rule}{limit.removes} {_number(limit.limit)}{languages}: {limit.breaks:,} ({_share(limit)})"


def _languages(codes: Sequence[str]) -> str:
    return ", ".join(codes[:6]) + (f" and {len(codes) - 6} more" if len(codes) > 6 else "")


def _share(limit: Limit) -> str:
    return f"{100 * limit.breaks / limit.documents:.1f} %" if limit.documents else "-"


def _spark(one: Distribution) -> str:
    """One character a bin, its height the number of documents; blank where there are none."""
    most = max((b.documents for b in one.bins), default=0)
    heights = [-(-b.documents * len(_SPARKS) // most) - 1 if b.documents else -1 for b in one.bins]
    return "".join(" " if h < 0 else _SPARKS[h] for h in heights)


def _bar(share: float, width: int = _BAR) -> str:
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _print_histogram(one: Distribution) -> None:
    """The bins with bars, and between them the limits."""
    title = Text(one.score + (f" [{one.language}]" if one.language else ""), "bold")
    title.append(f"  {one.documents:,} documents", "not bold")
    if one.none:
        title.append(f", {one.none:,} without this score", "not bold")
    lines = [title]
    names = {"minimum": "least", "0.5": "median", "maximum": "most"}
    shown = [f"{names.get(q) or f'{100 * float(q):g} %'} {_number(v)}" for q, v in one.quantiles.items()]
    lines += [Text("  " + " · ".join(shown), "dim"), Text()]
    most = max((b.documents for b in one.bins), default=0)
    edges = [(_number(b.start), _number(b.end)) for b in one.bins]
    width = max((len(label) for edge in edges for label in edge), default=0)
    whole = all(v == int(v) for v in one.quantiles.values())
    waiting = sorted(one.limits, key=lambda limit: limit.limit)
    for bin_, (start, end) in zip(one.bins, edges, strict=True):
        while waiting and waiting[0].limit <= bin_.start:
            lines.append(_marker(waiting.pop(0), one.limits))
        single = bin_.end < 1e-300 or (whole and bin_.end - bin_.start == 1)
        label = f"{start:>{width}}" + " " * (width + 3) if single else f"{start:>{width}} – {end:>{width}}"
        row = Text(f"  {label}  ")
        row.append(f"{_bar(bin_.documents / most if most else 0):<{_BAR}}", _colour(bin_, one.limits))
        row.append(f"  {bin_.documents:>9,}  {100 * bin_.documents / one.documents:5.1f} %")
        lines.append(row)
    lines += [_marker(limit, one.limits) for limit in waiting]
    print_lines([*lines, Text()])


def _colour(bin_: Bin, limits: Sequence[Limit]) -> str:
    """Red where a rule removes the documents of a bin, yellow where it does in some languages, green elsewhere."""
    colour = "green"
    for rule in {limit.rule for limit in limits}:
        removed = {_lies_behind(bin_, limit) for limit in limits if limit.rule == rule}
        if removed == {True}:
            return "red"
        if True in removed:
            colour = "yellow"
    return colour


def _lies_behind(bin_: Bin, limit: Limit) -> bool:
    return bin_.start >= limit.limit if limit.removes in (">", ">=") else bin_.end <= limit.limit * (1 + 1e-9)


def _marker(limit: Limit, all_limits: Sequence[Limit]) -> Text:
    several = sum(other.rule == limit.rule for other in all_limits) > 1
    languages = f" [{_languages(limit.languages)}]" if several else ""
    text = f"  ── {limit.rule}: removes {limit.removes} {_number(limit.limit)}{languages}: "
    if limit.breaks == 0:
        text += f"none of {limit.documents:,} ──"
    else:
        text += (
            f"{limit.breaks:,} ({_share(limit)}) break it, {limit.documents - limit.breaks:,} do not; "
            f"{limit.reported:,} went under it, {limit.alone:,} would stay without it ──"
        )
    return Text(text, "bold")


def _number(value: float) -> str:
    """Four significant digits; from 1,000 on whole, with commas; the least number above zero is zero here."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if value > 1e-300 or value < 0 else "0"
