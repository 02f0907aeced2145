"""The comparison of runs for eyes: tables that fit 100 columns."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ray_autointerp.methods.chance import ChanceTest
from ray_autointerp.methods.intervals import Interval
from ray_autointerp.methods.paired import Difference, Mean
from ray_autointerp.reports import compare
from ray_autointerp.reports.compare import ALL, THIRDS
from ray_autointerp.reports.published_results import METHODS, published_results
from ray_autointerp.reports.revival_table import PAPER, revived_by_source, source_in_words
from ray_autointerp.reports.run_scores import MEASURES, WORDS, RunScores
from ray_autointerp.reports.terminal_text import printable

_SHORT = ("input\nAUROC", "output\nwin rate", "unseen\nwin rate", "detection\nAUROC")
"""Headings of the main scores."""
_PAIRED = ("input_auroc", "output_win_rate", "unseen_win_rate")
"""The scores in which methods are compared with each other."""
_BY_NAME = {measure.name: measure for measure in MEASURES}
_SUCCESSES = (_BY_NAME["input_paper_success"], _BY_NAME["output_three_set"])


def comparison(ours: Sequence[RunScores], theirs: Sequence[RunScores]) -> Iterator[RenderableType]:
    """The whole report: each SAE of each run, then the two runs against each other."""
    for group in filter(None, (ours, theirs)):
        for scores in group:
            yield from _spaced(_of_sae(scores))
        if len(group) > 1:
            yield from _spaced([_by_layer(group)])
    if theirs:
        yield from _spaced([_between_runs(ours, theirs)])


def _spaced(parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
    """An empty line behind each table."""
    for part in parts:
        yield part
        if isinstance(part, Table):
            yield Text()


def _of_sae(scores: RunScores) -> Iterator[RenderableType]:
    config = scores.run.config
    name = f"{config.run.name} · {scores.sae} · {scores.hook_point}"
    yield Text(printable(name), style="bold cyan")
    yield Text(
        f"{len(scores.chosen):,} chosen latents, {len(scores.dead):,} of them dead; "
        f"{scores.num_controls:,} also scored with another's description (shuffled)"
    )
    if scores.num_carried:
        yield Text(f"{scores.num_carried:,} keep the labels of earlier runs, not counted below")
    judge = printable(config.judging.model or config.judging.script)
    yield Text(f"judge {judge}; word overlap: a judge that counts shared words")
    yield Text("intervals: 95 % over latents")
    yield _scores(scores)
    yield _statuses(scores)
    yield _chance(scores)
    yield from _control_texts(scores)
    yield from _against_nearest(scores)
    for measure in map(_BY_NAME.__getitem__, _PAIRED):
        yield from _pairs(scores, measure.name)
    yield _agreement(scores)
    yield _length(scores)
    yield _by_density(scores)
    yield from _revivals(scores)
    yield _paper(scores)


def _scores(scores: RunScores) -> Table:
    columns = ("latents", "mean", "interval", "floor", "lift", "interval", "p")
    table = _table("scores; floor: another latent's description; lift: paired", "score", columns)
    before = None
    for line in compare.lines(scores):
        if line.measure != before:
            table.add_section()
            table.add_row(Text(line.measure.title, style="bold"))
        before = line.measure
        mean, lift = line.mean, line.lift
        table.add_row(
            f" {line.method}",
            f"{mean.num_latents:,}",
            _number(mean.mean),
            _ends(mean.interval),
            _number(line.floor.mean),
            *_difference(lift),
        )
    return table


def _statuses(scores: RunScores) -> Table:
    table = _table("who was scored", "method", ("scored on", "latents by status"))
    for method in scores.run.config.score.methods:
        same: dict[str, list[str]] = {}
        for name in dict.fromkeys(measure.table for measure in MEASURES):
            counts = scores.statuses.get((method, name), Counter())
            others = [f"{status} {n:,}" for status, n in sorted(counts.items()) if status != "ok"]
            if counts:
                told = ", ".join([f"ok {counts['ok']:,}", *others])
                same.setdefault(told, []).append(name.removesuffix("_scores"))
        for told, names in same.items():
            table.add_row(method, ", ".join(names), told)
    return table


def _chance(scores: RunScores) -> Table:
    columns = ("latents", "trials", "share", "interval", "verdict")
    table = _table("wins of shuffled descriptions in forced choices (chance 0.5)", "score", columns)
    for measure, method, test in compare.chance_tests(scores):
        if method == ALL:
            table.add_section()
            table.add_row(Text(measure.title, style="bold"))
        table.add_row(f" {method}", *_tested(test), _verdict(test))
    return table


def _control_texts(scores: RunScores) -> Iterator[Table]:
    columns = ("latents", "trials", "share", "interval", "verdict")
    title = "output win rate with other text in the target's place (chance 0.5)"
    table = _table(title, "text", columns)
    for kind, method, test in compare.control_text_tests(scores):
        if method == ALL:
            table.add_section()
            table.add_row(Text(compare.CONTROL_TITLES[kind], style="bold"))
            picked = compare.picks(scores, kind)
            mean = (_number(picked.mean), _ends(picked.interval))
            table.add_row(" picked by the judge", f"{picked.num_latents:,}", "", *mean)
        table.add_row(f" {method}", *_tested(test), _verdict(test))
    if table.row_count:
        yield table


def _against_nearest(scores: RunScores) -> Iterator[Table]:
    columns = ("latents", "mean", "interval", "less\nordinary", "interval", "p")
    title = "output win rate against the text of the decoder-nearest latent"
    if scores.median_cosine is not None:
        title += f" (median cosine {scores.median_cosine:.2f})"
    table = _table(title, "method", columns)
    for method, mean, more in compare.against_nearest(scores):
        cells = (f"{mean.num_latents:,}", _number(mean.mean), _ends(mean.interval))
        table.add_row(method, *cells, *_difference(more))
    if table.row_count:
        yield table


def _verdict(test: ChanceTest) -> Text:
    is_off = test.verdict == "off chance"
    return Text(test.verdict.upper() if is_off else test.verdict, style="red" if is_off else "")


def _tested(test: ChanceTest) -> tuple[str, str, str, str]:
    return (
        f"{test.num_latents:,}",
        f"{test.num_trials:,}",
        _number(test.rate),
        _ends(test.interval),
    )


def _pairs(scores: RunScores, name: str) -> Iterator[Table]:
    measure = _BY_NAME[name]
    columns = ("latents", "difference", "interval", "p", "won/tied/lost")
    table = _table(f"{measure.title}: methods on the same latents", "method", columns)
    before = None
    for one, other, made in compare.method_pairs(scores, measure):
        if one != before:
            table.add_row(Text(f"{one} less", style="bold"))
        before = one
        table.add_row(f" {other}", f"{made.mean.num_latents:,}", *_difference(made), _wins(made))
    if before is not None:
        yield table


def _agreement(scores: RunScores) -> Table:
    short = [name.split("\n")[0] for name in _SHORT]
    columns = [f"{one}\n{other}" for one, other in combinations(short, 2)]
    table = _table("agreement of scores: Spearman over latents", "method", columns)
    for method in scores.methods:
        table.add_row(method, *map(_number, compare.agreements(scores, method)))
    return table


def _length(scores: RunScores) -> Table:
    columns = ("words", *_SHORT)
    table = _table("length: mean words, and Spearman of score against words", "method", columns)
    methods = scores.run.config.score.methods
    for name, which in (*((method, (method,)) for method in scores.methods), (ALL, methods)):
        words = [value for method in which for value in scores.get(method, WORDS).values_N]
        mean = f"{sum(words) / len(words):.1f}" if words else ""
        table.add_row(name, mean, *map(_number, compare.length_correlations(scores, which)))
    return table


def _by_density(scores: RunScores) -> Table:
    table = _table("by density: thirds of the alive chosen latents", "method", _SHORT)
    for method in scores.methods:
        table.add_row(Text(method, style="bold"))
        for third, means in zip(THIRDS, compare.by_density(scores, method), strict=True):
            table.add_row(f" {third}", *map(_counted, means))
    return table


def _revivals(scores: RunScores) -> Iterator[Table]:
    made = list(revived_by_source(scores.revivals))
    if made:
        title = f"dead latents that a text fires (in the paper {PAPER})"
        table = _table(title, "text", ("tried", "revived", "share", "texts each"))
        for one in made:
            each = f"{one.num_texts / one.num_tried:,.0f}"
            counts = (f"{one.num_tried:,}", f"{one.num_revived:,}", _number(one.share), each)
            table.add_row(source_in_words(one.source), *counts)
        yield table


def _by_layer(group: Sequence[RunScores]) -> Table:
    table = _table(f"{group[0].run.config.run.name}: by hook point", "hook point, SAE", _SHORT)
    for method in group[0].methods:
        table.add_section()
        table.add_row(Text(method, style="bold"))
        for scores in group:
            name = printable(f" {scores.hook_point}, {scores.sae}")
            table.add_row(name, *map(_counted, compare.main_means(scores, method)))
    return table


def _paper(scores: RunScores) -> Table:
    published = published_results(scores.run.config.subject.model, scores.hook_point)
    title = "share of latents with success in %, input / output (Gur-Arieh et al., 2025)"
    columns = ["scored", "alive", "failures\nas misses"]
    if published:
        is_same = scores.run.config.score.neutral_sentences == "written"
        columns.append("published" if is_same else "published, with\nwritten neutral\nsentences")
    table = _table(title, "method", columns)
    for method in dict.fromkeys((*scores.methods, *(METHODS if published else ()))):
        both = [compare.success(scores, method, measure) for measure in _SUCCESSES]
        cells = [
            " / ".join("-" if value is None else f"{value:.1f}" for value in values)
            for values in (
                [one.scored for one in both],
                [one.alive for one in both],
                [one.with_failures for one in both],
            )
        ]
        if published:
            cells.append(" / ".join(f"{value:.1f}" for value in published.get(method, ())))
        table.add_row(method, *cells)
    return table


def _between_runs(ours: Sequence[RunScores], theirs: Sequence[RunScores]) -> Table:
    names = [group[0].run.config.run.name for group in (ours, theirs)]
    title = (
        f"{names[0]} less {names[1]}, paired by SAE and latent: "
        f"{compare.num_shared(ours, theirs):,} shared latents"
    )
    columns = ("latents", "difference", "interval", "p", "won/tied/lost")
    table = _table(title, "score", columns)
    before = None
    for method, measure, made in compare.run_pairs(ours, theirs):
        if measure != before:
            table.add_section()
            table.add_row(Text(measure.title, style="bold"))
        before = measure
        table.add_row(f" {method}", f"{made.mean.num_latents:,}", *_difference(made), _wins(made))
    return table


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    """A narrow table whose first column is text, all others numbers."""
    table = Table(
        title=Text(printable(title), style="italic"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(first, overflow="fold")
    for name in columns:
        is_text = name in ("scored on", "latents by status", "verdict")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
    return table


def _difference(made: Difference) -> tuple[str, str, str]:
    mean = "" if made.mean.mean is None else f"{made.mean.mean:+.3f}"
    p = "" if made.p is None else "<0.001" if made.p < 0.001 else f"{made.p:.3f}"
    return mean, _ends(made.mean.interval, "+.2f"), p


def _wins(made: Difference) -> str:
    return f"{made.wins:,}/{made.ties:,}/{made.losses:,}"


def _ends(interval: Interval | None, form: str = ".2f") -> str:
    return "" if interval is None else f"{interval.low:{form}} {interval.high:{form}}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _counted(mean: Mean) -> str:
    return "" if mean.mean is None else f"{mean.mean:.3f} ({mean.num_latents:,})"
