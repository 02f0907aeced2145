"""select by a score: the best alive latents, ties by seeded hash, whatever was not scored last."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.config import SelectSection
from ray_autointerp.records.keys import hash_order
from ray_autointerp.records.task import Task
from ray_autointerp.stages import select

SCORES = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=8)


class WorkerContext:
    """The tables that `select` reads, and what it writes. Without `holds` no label is carried."""

    def __init__(
        self,
        rule: SelectSection,
        scores: list[float | None],
        dead: set[int],
        holds: set[int] | None = None,
    ) -> None:
        seed = SimpleNamespace(seed=5)
        self.run: Any = SimpleNamespace(
            config=SimpleNamespace(select=rule, run=seed, carries_over=holds is not None)
        )
        latents = range(len(scores))
        self._tables = {
            "latent_stats": [{"latent": i, "is_dead": i in dead} for i in latents],
            "free_scores": [{"latent": i, "s_in": score} for i, score in enumerate(scores)],
            "keyword_scores": [{"latent": i, "f1": score} for i, score in enumerate(scores)],
            "carry_checks": [{"latent": i, "carried": i in (holds or ())} for i in latents],
        }
        self.written: list[dict[str, Any]] = []

    @property
    def tables(self) -> Any:
        return self

    def read(self, table: str, _sae: str, columns: list[str]) -> pa.Table:
        return pa.Table.from_pylist(self._tables[table]).select(columns)

    def write(self, _task: Task, _table: str, rows: list[dict[str, Any]]) -> None:
        self.written = rows


@pytest.mark.parametrize(("by", "sign"), [("s_in", 1), ("keyword_f1", -1)])
@given(scores=SCORES, seed=st.integers(0, 20), num_latents=st.integers(0, 6))
def test_top_takes_the_best_alive_ones_or_those_whose_keywords_fail(
    by: Any, sign: int, scores: list[float | None], seed: int, num_latents: int
) -> None:
    dead = {i for i in range(len(scores)) if (i + seed) % 4 == 0}
    rule = SelectSection(
        rule="top", by=by, num_latents=num_latents, panel=3, sample=1, controls=5, num_dead=0
    )
    context: Any = WorkerContext(rule, scores, dead)
    select.run(Task("select", "s", None, 0, 1), context)
    picked = {row["latent"] for row in context.written if row["reason"] == "top"}
    alive = [i for i in range(len(scores)) if i not in dead]
    place = {latent: i for i, latent in enumerate(hash_order(alive, 5, "select"))}
    best = sorted(alive, key=lambda i: (scores[i] is None, -sign * (scores[i] or 0.0), place[i]))
    assert picked == set(best[:num_latents])
    chosen = {row["latent"] for row in context.written if row["chosen"]}
    panel = {i for i in alive if place[i] < 3}
    assert chosen == picked | panel
    controls = set(sorted(chosen, key=place.__getitem__)[:5])
    assert {row["latent"] for row in context.written if row["control"]} == controls
    assert panel <= controls
    ordered = sorted(chosen, key=lambda i: (i not in panel, i not in controls, i))
    assert {row["latent"]: row["order"] for row in context.written if row["chosen"]} == {
        latent: i for i, latent in enumerate(ordered)
    }


@pytest.mark.parametrize("by", ["s_outs", "label"])
def test_score_that_does_not_exist_is_refused(by: str) -> None:
    with pytest.raises(ValueError, match="s_out"):
        SelectSection(rule="top", by=by)


@given(num_latents=st.integers(6, 40), num_dead=st.integers(0, 12), seed=st.integers(0, 20))
def test_dead_latents_are_taken_beside_the_others_and_are_no_controls(
    num_latents: int, num_dead: int, seed: int
) -> None:
    dead = {i for i in range(num_latents) if (i * 7 + seed) % 3 == 0}

    def written(num_dead: int) -> dict[int, dict[str, Any]]:
        rule = SelectSection(num_latents=3, panel=3, sample=1, controls=9, num_dead=num_dead)
        context: Any = WorkerContext(rule, [None] * num_latents, dead)
        select.run(Task("select", "s", None, 0, 1), context)
        return {row["latent"]: row for row in context.written}

    rows, without = written(num_dead), written(0)
    taken = {i for i, row in rows.items() if row["reason"] == "dead"}
    assert taken <= dead and len(taken) == min(num_dead, len(dead))
    assert {i for i, row in rows.items() if row["chosen"]} - taken == {
        i for i, row in without.items() if row["chosen"]
    }
    assert not any(rows[i][mark] for i in taken for mark in ("panel", "sample", "control"))
    assert taken <= {i for i, row in written(num_dead + 1).items() if row["chosen"]}


@given(
    holds=st.sets(st.integers(0, 19)),
    rule=st.sampled_from(["sample", "all", "list"]),
    panel=st.integers(3, 5),
    sample=st.integers(1, 6),
)
def test_latents_whose_labels_hold_are_carried_but_for_the_panel_and_the_sample(
    holds: set[int], rule: Any, panel: int, sample: int
) -> None:
    section = SelectSection(
        rule=rule, num_latents=9, latents=(2, 3, 5), panel=panel, sample=sample, controls=0
    )

    def written(holds: set[int] | None) -> dict[int, dict[str, Any]]:
        context: Any = WorkerContext(section, [None] * 20, {4, 11}, holds)
        select.run(Task("select", "s", None, 0, 1), context)
        return {row["latent"]: row for row in context.written}

    rows, anew = written(holds), written(None)
    carried = {i for i, row in rows.items() if row["carried"]}
    marked = {i for i, row in anew.items() if row["panel"] or row["sample"]}
    taken = {i for i, row in anew.items() if row["reason"] == rule}
    assert carried == (holds & taken) - marked
    assert {i for i, row in rows.items() if row["chosen"]} == {
        i for i, row in anew.items() if row["chosen"]
    } - carried
    assert {row["reason"] for i, row in rows.items() if i in carried} <= {"carried"}
    for mark in ("panel", "sample"):
        assert [row[mark] for row in rows.values()] == [row[mark] for row in anew.values()]
