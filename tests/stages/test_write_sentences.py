"""Sentences of a description: the writer's, and neutral ones that know no description."""

from collections import defaultdict

from ray_autointerp.prompts.neutral import NEUTRAL_SENTENCES
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables


def written(run: Run) -> list[Row]:
    made: list[Row] = []
    for method in run.config.score.methods:
        made += Tables(run).read("sentences", "planted", method).to_pylist()
    assert {row["status"] for row in made} == {"ok"}
    return made


def test_neutral_sentences_are_the_same_for_all_methods_and_not_the_writers(
    quick_run: Run,
) -> None:
    by_draw = defaultdict(list)
    for row in written(quick_run):
        by_draw[row["latent"], row["draw"]].append(row["neutral"])
        assert len(row["neutral"]) == len(row["activating"])
        assert set(row["neutral"]) <= set(NEUTRAL_SENTENCES)
        assert '"neutral"' not in row["answer"]
    for neutral in by_draw.values():
        assert len(neutral) == len(quick_run.config.score.methods)
        assert all(one == neutral[0] for one in neutral)
    assert len({str(neutral) for neutral in by_draw.values()}) > len(by_draw) / 2


def test_neutral_sentences_are_the_writers_where_the_config_says_so(written_run: Run) -> None:
    for row in written(written_run):
        assert row["neutral"] and not set(row["neutral"]) & set(NEUTRAL_SENTENCES)
        assert all(text in row["answer"] for text in row["neutral"])
