"""Comparison of finished runs: every score with its floor, verdicts on chance, paired differences.

The floor of a score is what descriptions of other latents get (plan/controls.py); the lift is the
mean of what a latent's own description gets more, over the latents that have both.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Any, NamedTuple, TextIO

import numpy as np

from ray_autointerp.methods.chance import ChanceTest, chance_test
from ray_autointerp.methods.paired import (
    Difference,
    Mean,
    Scores,
    difference,
    mean_of,
    rank_correlation,
    shared,
)
from ray_autointerp.plan.controls import (
    CONTROL_TARGETS,
    NEIGHBOUR,
    RANDOM_DIRECTION,
    UNSTEERED,
    shuffled,
)
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.reports.run_scores import (
    MAIN,
    MEASURES,
    WORDS,
    Measure,
    RunScores,
    run_scores,
)
from ray_autointerp.runs.run import Run

ALL = "all methods"
"""The row of a verdict over every method's control."""

THIRDS = ("seldom", "middle", "often")
"""Latents by density, a third each."""

CONTROL_TITLES = {
    RANDOM_DIRECTION: "text of a random direction",
    UNSTEERED: "unsteered text",
}

_COLUMNS = (
    *("run", "sae", "method", "control", "score", "n", "mean", "low", "high"),
    *("floor", "lift", "lift_low", "lift_high", "p"),
)


@dataclass(frozen=True)
class Line:
    """One method's score on an SAE."""

    method: str
    measure: Measure
    mean: Mean
    floor: Mean
    lift: Difference


def lines(scores: RunScores) -> list[Line]:
    """By measure, then method: means, shuffled floors, paired lifts."""
    made = []
    for method, measure in scores.lines():
        own = scores.get(method, measure.name)
        floor = scores.get(shuffled(method), measure.name)
        seed = _seed(scores, method, measure.name)
        made.append(
            Line(
                method,
                measure,
                mean_of(own.values_N, seed),
                mean_of(floor.values_N, seed),
                difference([shared(own, floor)], seed),
            )
        )
    return made


def chance_tests(scores: RunScores) -> Iterator[tuple[Measure, str, ChanceTest]]:
    """Of each forced choice: whether shuffled descriptions win half; of ALL, then by method.

    The verdict over all methods is the scorer's: one test, and not as many as there are methods.
    A latent's rate is the mean of its methods' there, so that latents stay the sample.
    """
    num_tests = _num_tests(scores)
    for measure, made in _shuffled(scores).items():
        for name, test in _tests(made, num_tests):
            yield measure, name, test


def control_text_tests(scores: RunScores) -> Iterator[tuple[str, str, ChanceTest]]:
    """Of each kind of text that no latent made: whether descriptions win half of their trials with
    it in the target's place; of ALL, then by method.
    """
    num_tests = _num_tests(scores)
    for kind, made in _of_no_latent(scores).items():
        for name, test in _tests(made, num_tests):
            yield kind, name, test


def against_nearest(scores: RunScores) -> Iterator[tuple[str, Mean, Difference]]:
    """By method, the win rate with the decoder-nearest latent's text as the partner's, and what it
    is more than the output win rate of the same latents.
    """
    for method in scores.run.config.score.methods:
        found = scores.controls.get((NEIGHBOUR, method))
        if found is not None and len(found.wins.latents_N):
            seed = _seed(scores, method, NEIGHBOUR)
            pair = shared(found.wins, scores.get(method, "output_win_rate"))
            yield method, mean_of(found.wins.values_N, seed), difference([pair], seed)


def picks(scores: RunScores, kind: str) -> Mean:
    """How often the judge takes a control text for the description's, over all methods."""
    made = [found.picks for (of, _), found in scores.controls.items() if of == kind]
    return mean_of(_mean_by_latent(made).values_N, _seed(scores, "picks", kind))


class _Wins(NamedTuple):
    """A method's wins in a forced choice that says nothing."""

    rates: Scores
    """By latent."""
    num_trials: int


def _shuffled(scores: RunScores) -> dict[Measure, dict[str, _Wins]]:
    """Of each forced choice, by method, what shuffled descriptions win."""
    found = {
        measure: {
            method: _Wins(
                scores.get(shuffled(method), measure.name),
                scores.trials.get((shuffled(method), measure.name), 0),
            )
            for method in scores.run.config.score.methods
        }
        for measure in MEASURES
        if measure.trials is not None
    }
    return {measure: made for measure, made in found.items() if _has_wins(made)}


def _of_no_latent(scores: RunScores) -> dict[str, dict[str, _Wins]]:
    """Of each kind of text that no latent made, by method, what wins with it as the target's."""
    found = {
        kind: {
            method: _Wins(trials.wins, trials.num_trials)
            for (of, method), trials in scores.controls.items()
            if of == kind
        }
        for kind in scores.run.config.score.control_texts
        if kind in CONTROL_TARGETS
    }
    return {kind: made for kind, made in found.items() if _has_wins(made)}


def _has_wins(made: Mapping[str, _Wins]) -> bool:
    return any(len(own.rates.latents_N) for own in made.values())


def _num_tests(scores: RunScores) -> int:
    """Tests over all methods that a run makes of its forced choices."""
    return len(scores.run.saes) * (len(_shuffled(scores)) + len(_of_no_latent(scores)))


def _tests(made: Mapping[str, _Wins], num_tests: int) -> Iterator[tuple[str, ChanceTest]]:
    """Of ALL methods, one of so many tests; then of each method, of which there are more."""
    pooled = _mean_by_latent([own.rates for own in made.values()])
    num_trials = sum(own.num_trials for own in made.values())
    yield ALL, chance_test(pooled.values_N.tolist(), num_trials, num_tests)
    for method, own in made.items():
        rates = own.rates.values_N.tolist()
        yield method, chance_test(rates, own.num_trials, num_tests * len(made))


def off_chance_sentence(run: Run) -> str | None:
    """What to say of a run whose forced choices do not give shuffled descriptions half, or true
    ones with a control text in the target's place.
    """
    others, texts = [], []
    for sae in run.saes:
        scores = run_scores(run, sae)
        for measure, method, test in chance_tests(scores):
            if method == ALL and (rate := _off_chance(test)):
                others.append(f"{measure.title} {rate} on {sae}")
        for kind, method, test in control_text_tests(scores):
            if method == ALL and (rate := _off_chance(test)):
                texts.append(f"{rate} on {sae} with {CONTROL_TITLES[kind]}")
    said = []
    if others:
        said.append(
            f"Off chance: descriptions of other latents get {', '.join(others)}, where 0.5 is "
            "chance; believe such a score's lift over them, not the score."
        )
    if texts:
        said.append(
            f"Off chance: descriptions get output win rate {', '.join(texts)} in the place of "
            "their latent's own, where 0.5 is chance: as much of that score is not about what the "
            "latent does."
        )
    return " ".join(said) or None


def _off_chance(test: ChanceTest) -> str | None:
    """The rate and its interval, of a test that is off chance."""
    if test.verdict != "off chance" or test.rate is None or test.interval is None:
        return None
    return f"{test.rate:.2f} ({test.interval.low:.2f} to {test.interval.high:.2f})"


def method_pairs(scores: RunScores, measure: Measure) -> Iterator[tuple[str, str, Difference]]:
    """Each pair of scored methods, the first less the second, on the latents that both have."""
    for one, other in combinations(scores.run.config.score.methods, 2):
        pair = shared(scores.get(one, measure.name), scores.get(other, measure.name))
        if len(pair[0]):
            yield one, other, difference([pair], _seed(scores, one, other, measure.name))


def run_pairs(
    ours: Sequence[RunScores], theirs: Sequence[RunScores]
) -> Iterator[tuple[str, Measure, Difference]]:
    """By measure and method, the first run less the second, paired by SAE id and latent."""
    other = {scores.sae: scores for scores in theirs}
    both = [(scores, other[scores.sae]) for scores in ours if scores.sae in other]
    for measure in MEASURES:
        for method in dict.fromkeys(name for scores, _ in both for name in scores.methods):
            pairs = [
                shared(one.get(method, measure.name), two.get(method, measure.name))
                for one, two in both
            ]
            if any(len(one) for one, _ in pairs):
                yield method, measure, difference(pairs, _seed(both[0][0], method, measure.name))


def num_shared(ours: Sequence[RunScores], theirs: Sequence[RunScores]) -> int:
    """Chosen latents that both runs have, over the SAEs of the same id."""
    other = {scores.sae: scores.chosen for scores in theirs}
    return sum(len(np.intersect1d(s.chosen, other[s.sae])) for s in ours if s.sae in other)


def agreements(scores: RunScores, method: str) -> list[float | None]:
    """Spearman over latents of each pair of main scores, as `combinations` has them."""
    return [
        rank_correlation(*shared(scores.get(method, one.name), scores.get(method, other.name)))
        for one, other in combinations(MAIN, 2)
    ]


def length_correlations(scores: RunScores, methods: Sequence[str]) -> list[float | None]:
    """Spearman of each main score against words, over all descriptions of these methods."""
    found = []
    for measure in MAIN:
        pairs = [
            shared(scores.get(name, measure.name), scores.get(name, WORDS)) for name in methods
        ]
        found.append(rank_correlation(*(np.concatenate(side) for side in zip(*pairs, strict=True))))
    return found


def by_density(scores: RunScores, method: str) -> list[list[Mean]]:
    """For each third of the alive chosen latents by density, the mean of each main score."""
    density = scores.density
    order = np.lexsort((density.latents_N, density.values_N))
    return [
        [
            _plain_mean(scores.get(method, measure.name).of(density.latents_N[third]))
            for measure in MAIN
        ]
        for third in np.array_split(order, len(THIRDS))
    ]


def main_means(scores: RunScores, method: str) -> list[Mean]:
    """The mean of each main score, without an interval."""
    return [_plain_mean(scores.get(method, measure.name)) for measure in MAIN]


@dataclass(frozen=True)
class Success:
    """The paper's figure: the share of latents with success, in %, by denominator."""

    scored: float | None
    """Of all that have a score."""
    alive: float | None
    """Of those that are not dead."""
    with_failures: float | None
    """Of all that have a score or failed to get one; null for the label, which does not fail."""


def success(scores: RunScores, method: str, measure: Measure) -> Success:
    """Of the paper's success on inputs, or of its three sets."""
    own = scores.get(method, measure.name)
    alive = own.where(~np.isin(own.latents_N, scores.dead))
    failed = scores.num_failed.get((method, measure.name))
    return Success(
        _percent(own.values_N.sum(), len(own.values_N)),
        _percent(alive.values_N.sum(), len(alive.values_N)),
        None if failed is None else _percent(own.values_N.sum(), len(own.values_N) + failed),
    )


def csv_rows(all_scores: Sequence[RunScores]) -> Iterator[dict[str, Any]]:
    """A row for each SAE, method and score, and for each control."""
    for scores in all_scores:
        run, sae = scores.run.config.run.name, scores.sae
        for line in lines(scores):
            start = [run, sae, line.method]
            name, lift = line.measure.name, line.lift
            more = [line.floor.mean, *_cells(lift.mean)[1:], lift.p]
            yield _row([*start, None, name, *_cells(line.mean), *more])
            if line.floor.num_latents:
                yield _row([*start, "shuffled", name, *_cells(line.floor)])
        for (kind, method), found in scores.controls.items():
            if len(found.wins.latents_N):
                mean = mean_of(found.wins.values_N, _seed(scores, method, kind))
                yield _row([run, sae, method, kind, "output_win_rate", *_cells(mean)])


def write_csv(all_scores: Sequence[RunScores], stream: TextIO) -> None:
    """The same as CSV; nulls are empty."""
    writer = csv.DictWriter(stream, _COLUMNS)
    writer.writeheader()
    writer.writerows(csv_rows(all_scores))


def _row(values: Sequence[Any]) -> dict[str, Any]:
    """Columns at the end that have no value are null."""
    return dict(zip_longest(_COLUMNS, values))


def _cells(mean: Mean) -> list[float | None]:
    interval = mean.interval
    ends = [interval.low, interval.high] if interval else [None, None]
    return [mean.num_latents, mean.mean, *ends]


def _seed(scores: RunScores, *purpose: str) -> int:
    return derive_seed(scores.run.config.run.seed, "compare", scores.sae, *purpose)


def _plain_mean(scores: Scores) -> Mean:
    values_N = scores.values_N
    return Mean(len(values_N), float(values_N.mean()) if len(values_N) else None, None)


def _mean_by_latent(parts: Sequence[Scores]) -> Scores:
    latents, place = np.unique(
        np.concatenate([part.latents_N for part in parts]), return_inverse=True
    )
    values = np.concatenate([part.values_N for part in parts])
    return Scores(latents, np.bincount(place, values) / np.bincount(place))


def _percent(total: float, count: int) -> float | None:
    return 100 * float(total) / count if count else None
