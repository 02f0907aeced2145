"""The schedule on the real flow: everything runs once, never before what it reads."""

import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.controls import shuffled
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.priority import llm_steps_after
from ray_autointerp.plan.reads import producers, reads_of
from ray_autointerp.plan.schedule import Schedule, part_count
from ray_autointerp.plan.shards import Axes, LatentRange, Selected, objects_of
from ray_autointerp.records.layout import part_name
from ray_autointerp.records.task import Task

METHODS = ["ensemble_raw", "max_act", "vocab_proj", "token_change", "ensemble_concat", "keywords"]


def config(
    saes: int = 2, rule: str = "sample", by: str = "s_out", carry_over: bool = True
) -> Config:
    return parse_config(
        {
            "run": {"name": "t", "parent": "before"},
            "match": {"carry_over": carry_over},
            "subject": {"model": "hub/model"},
            "sae": [{"id": f"s{i}", "path": "sae"} for i in range(saes)],
            "corpus": {"path": "c.parquet"},
            "llm": {"backend": "scripted", "script": "m:f"},
            "select": {"rule": rule, "by": by},
            "describe": {"methods": METHODS},
            "score": {
                "methods": ["ensemble_raw", "max_act", "keywords"],
                "num_surprisal_trials": 2,
            },
        },
        Path("t.toml"),
    )


def axes(saes: int = 2, tokens: int = 3, latents: int = 10, per: int = 4, chosen: int = 2) -> Axes:
    ids = [f"s{i}" for i in range(saes)]
    ranges = {sae: LatentRange(0, latents) for sae in ids}
    points = dict.fromkeys(ids, "hook")
    return Axes(tokens, ranges, per, chosen, points, 4, 2, points)


SELECTED = Selected(num_chosen=5, num_panel=3, num_controls=4)


def ready_tasks(schedule: Schedule) -> list[Task]:
    """All that may run now, best first."""
    tasks = list(iter(schedule.take, None))
    for task in tasks:
        schedule.put_back(task)
    return tasks


def run_all(schedule: Schedule, order: random.Random) -> list[Task]:
    done: list[Task] = []
    while not schedule.finished():
        ready = ready_tasks(schedule)
        assert ready, "nothing ready, not finished"
        task = order.choice(ready)
        done.append(task)
        schedule.note_objects(objects_of(task, ("s0", "s1")))
        for sae in schedule.unselected:
            schedule.note_selection(sae, SELECTED)
    return done


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_schedule_any_order_of_ready_tasks_ends_with_every_object_once(seed: int) -> None:
    schedule = Schedule(config(), axes())
    done = run_all(schedule, random.Random(seed))
    assert len(done) == len(set(done))
    written = [name for task in done for name in objects_of(task, ("s0", "s1"))]
    assert len(written) == len(set(written))
    for step in FLOW:
        assert any(task.step == step.name for task in done)


def test_schedule_output_score_waits_for_the_panels_completions() -> None:
    schedule = Schedule(config(1), axes(1))
    all_names = {
        name
        for task in run_all(Schedule(config(1), axes(1)), random.Random(0))
        for name in objects_of(task, ("s0",))
    }
    # Shard 2 of 3 holds no panel latent (5 chosen, 2 a shard, panel of 3 in shards 0 and 1).
    panel_texts = part_name("completions", "s0", None, 1, 3)
    scores = {n for n in all_names if "output_scores" in n or "judgements" in n or "labels" in n}
    schedule.note_objects(all_names - scores - {panel_texts})
    schedule.note_selection("s0", SELECTED)
    schedule.note_objects(())
    assert "output_score" not in {task.step for task in ready_tasks(schedule)}
    schedule.note_objects([panel_texts])
    waiting = {task.shard for task in ready_tasks(schedule) if task.step == "output_score"}
    assert waiting == {0, 1, 2}


def test_schedule_output_score_waits_for_control_texts_of_its_own_shard_alone() -> None:
    """The control sample, 4 latents of 5, lies in shards 0 and 1 of 3."""
    schedule = Schedule(config(1), axes(1))
    all_names = {
        name
        for task in run_all(Schedule(config(1), axes(1)), random.Random(0))
        for name in objects_of(task, ("s0",))
    }
    missing = {part_name("control_texts", "s0", "unsteered", shard, 2) for shard in (0, 1)}
    assert missing < all_names
    scores = {n for n in all_names if "output_scores" in n or "judgements" in n or "labels" in n}
    schedule.note_objects(all_names - scores - missing)
    schedule.note_selection("s0", SELECTED)

    def judged() -> set[tuple[str | None, int]]:
        ready = ready_tasks(schedule)
        return {(task.method, task.shard) for task in ready if task.step == "output_score"}

    methods = config(1).score.methods
    controls = {(shuffled(method), shard) for method in methods for shard in (0, 1)}
    assert judged() == controls | {(method, 2) for method in methods}
    schedule.note_objects([part_name("control_texts", "s0", "unsteered", 1, 2)])
    assert judged() == controls | {(method, shard) for method in methods for shard in (1, 2)}


def _parts(*tables: str) -> list[str]:
    return [part_name(table, "s0", None, shard, 3) for table in tables for shard in range(3)]


def test_schedule_one_saes_work_never_waits_for_anothers_selection() -> None:
    schedule = Schedule(config(2), axes(2))
    done: set[str] = set()
    while task := next((t for t in ready_tasks(schedule) if t.sae != "s1"), None):
        done |= set(objects_of(task, ("s0", "s1")))
        schedule.note_objects(objects_of(task, ("s0", "s1")))
        if "s0" in schedule.unselected:
            schedule.note_selection("s0", SELECTED)
    assert not schedule.finished()
    assert {f"sae/s0/labels/part-0000{shard}-of-00003.parquet" for shard in range(3)} <= done


def test_schedule_a_task_under_way_is_given_once_and_again_after_it_failed() -> None:
    schedule = Schedule(config(1), axes(1))
    before = schedule.num_ready("subject")
    task = schedule.take("subject")
    assert task is not None
    assert schedule.num_ready("subject") == before - 1
    rest = list(iter(lambda: schedule.take("subject"), None))
    assert len(rest) == before - 1
    assert task not in rest
    schedule.put_back(task)
    assert schedule.take("subject") == task
    schedule.note_objects(objects_of(task, ("s0",)))
    schedule.put_back(task)
    assert task not in list(iter(lambda: schedule.take("subject"), None)), "its objects exist"


def test_schedule_token_shards_follow_each_other() -> None:
    schedule = Schedule(config(1), axes(1))
    for shard in range(3):
        (task,) = [task for task in ready_tasks(schedule) if task.step == "corpus"]
        assert task.shard == shard
        schedule.note_objects(objects_of(task, ("s0",)))
    resumed = Schedule(config(1), axes(1))
    resumed.note_objects([part_name("tokens", None, None, 0, 3)])
    assert [t.shard for t in ready_tasks(resumed) if t.step == "corpus"] == [1]


def test_schedule_what_others_finish_meanwhile_is_not_given() -> None:
    schedule = Schedule(config(1), axes(1))
    first = ready_tasks(schedule)[0]
    schedule.note_objects([*objects_of(first, ("s0",))] * 2)
    assert first not in ready_tasks(schedule)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.sampled_from(["sample", "top"]))
def test_schedule_ready_is_what_a_slow_reading_of_the_flow_says(
    order: random.Random, rule: str
) -> None:
    """Against a reference that looks at every task and every object it reads."""
    asked = config(2, rule)
    schedule = Schedule(asked, axes(2))
    inputs, outputs = objects_read(rule), objects_written(rule)
    exists: set[str] = set()
    selected: dict[str, Selected] = {}
    while not schedule.finished():
        ready = ready_tasks(schedule)
        assert set(ready) == {
            task
            for task, read in inputs.items()
            if not outputs[task] <= exists and read <= exists
            if is_known(task, selected) and inputs_known(task, asked, selected)
        }
        task = order.choice(ready)
        exists |= outputs[task]
        schedule.note_objects(outputs[task])
        for sae in schedule.unselected:
            selected[sae] = SELECTED
            schedule.note_selection(sae, SELECTED)


@cache
def objects_written(rule: str) -> dict[Task, frozenset[str]]:
    """Objects of every task of the run."""
    every = run_all(Schedule(config(2, rule), axes(2)), random.Random(0))
    return {task: frozenset(objects_of(task, ("s0", "s1"))) for task in every}


@cache
def objects_read(rule: str) -> dict[Task, frozenset[str]]:
    """Objects that every task of the run reads, each pair of tasks looked at."""
    asked, sizes, written = config(2, rule), axes(2), objects_written(rule)
    return {
        task: frozenset().union(
            *(written[other] for other in written if reads(task, other, asked, sizes))
        )
        for task in written
    }


def is_known(task: Task, selected: dict[str, Selected]) -> bool:
    return step_named(task.step).split != "selection" or task.sae in selected


def inputs_known(task: Task, asked: Config, selected: dict[str, Selected]) -> bool:
    made = [
        producer
        for read in reads_of(step_named(task.step), task.method, asked)
        for producer in producers(read.table)
    ]
    return task.sae in selected or all(step.split != "selection" for step in made)


def reads(task: Task, other: Task, asked: Config, sizes: Axes) -> bool:
    """Whether the task reads what the other writes."""
    step, made = step_named(task.step), step_named(other.step)
    if step.is_chain and step == made and other.shard == task.shard - 1:
        return True
    for read in reads_of(step, task.method, asked):
        if read.table not in made.writes:
            continue
        if task.sae is not None and other.sae not in (None, task.sae):
            continue
        methods = {
            "given": read.method == other.method,
            "own": task.method == other.method,
            "none": True,
        }
        kind = "none"
        if made.methods != "none":
            kind = "given" if read.method else "own"
            kind = "none" if kind == "own" and task.method is None else kind
        if not methods[kind]:
            continue
        if read.which == "first":
            if other.shard == 0:
                return True
            continue
        alike = made.split == step.split and made.split != "whole" and read.which != "whole"
        panel = read.which == "panel" and other.shard < sizes.num_panel_shards(SELECTED)
        if not alike or panel or other.shard == task.shard:
            return True
    return False


def test_schedule_explain_waits_only_for_its_own_methods_evidence() -> None:
    schedule = Schedule(config(1), axes(1))
    schedule.note_objects(
        [
            *(part_name("vocab_proj", "s0", None, shard, 3) for shard in range(3)),
            *_parts("latent_stats", "top_examples"),
            part_name("selection", "s0", None, 0, 1),
        ]
    )
    schedule.note_selection("s0", SELECTED)
    explained = {task.method for task in ready_tasks(schedule) if task.step == "explain"}
    assert explained == {"vocab_proj", "max_act"}


@pytest.mark.parametrize(
    ("rule", "by", "table"),
    [
        ("sample", "s_out", None),
        ("sample", "keyword_f1", None),
        ("top", "s_out", "free_scores"),
        ("top", "keyword_f1", "keyword_scores"),
    ],
)
def test_schedule_select_waits_for_scores_only_where_it_goes_by_them(
    rule: str, by: str, table: str | None
) -> None:
    schedule = Schedule(config(1, rule, by, carry_over=False), axes(1))
    schedule.note_objects(_parts("latent_stats", "top_examples"))
    assert ("select" in {task.step for task in ready_tasks(schedule)}) == (table is None)
    schedule.note_objects(_parts(table) if table else ())
    assert "select" in {task.step for task in ready_tasks(schedule)}


def test_schedule_select_waits_for_labels_that_may_be_carried_over() -> None:
    schedule = Schedule(config(1), axes(1))
    schedule.note_objects(_parts("latent_stats", "top_examples"))
    assert "select" not in {task.step for task in ready_tasks(schedule)}
    schedule.note_objects(_parts("carry_checks", "carried_labels"))
    assert "select" in {task.step for task in ready_tasks(schedule)}


def test_schedule_first_goes_what_the_llm_waits_for_longest() -> None:
    asked = parse_config(
        {
            **config(1, carry_over=False).model_dump(mode="json", exclude_none=True),
            "evidence": {"change_modes": ["all", "active"]},
        },
        Path("t.toml"),
    )
    order = [(task.step, task.method) for task in in_order(Schedule(asked, axes(1)))]

    def first(step: str, method: str | None = None) -> int:
        return order.index((step, method))

    assert first("max_act") < first("jacobian"), "explainers wait for it"
    assert first("jacobian") < first("steering"), "explainers wait for it, not only judges"
    assert first("token_change", "all") < first("steering") < first("free_scores")
    assert first("steering") < first("token_change", "active"), "it is only published"


def in_order(schedule: Schedule) -> list[Task]:
    """Every task, the best ready one first."""
    order: list[Task] = []
    while not schedule.finished():
        order.append(ready_tasks(schedule)[0])
        schedule.note_objects(objects_of(order[-1], ("s0", "s1")))
        for sae in schedule.unselected:
            schedule.note_selection(sae, SELECTED)
    return order


def test_schedule_what_all_chosen_latents_wait_for_comes_before_their_shards() -> None:
    """The LLM asks about keywords once JacobianProj is made: it must not wait for calibration."""
    raw = config(1).model_dump(mode="json", exclude_none=True)
    defaults = parse_config({**raw, "describe": {}, "score": {}}, Path("t.toml"))
    order = [(task.step, task.method) for task in in_order(Schedule(defaults, axes(1)))]
    before_calibrate = order[: order.index(("calibrate", None))]
    assert {("jacobian", None), ("jacobian_proj", None)} <= {*before_calibrate}
    assert order.count(("jacobian_proj", None)) == before_calibrate.count(("jacobian_proj", None))


def test_schedule_one_sae_goes_after_the_other() -> None:
    """A worker holds few SAEs: shards of a step do not alternate between them."""
    for step in ("calibrate", "token_change", "steering"):
        mine = [t for t in in_order(Schedule(config(2), axes(2))) if t.step == step]
        assert [(t.sae, t.shard) for t in mine] == sorted((t.sae, t.shard) for t in mine)


def test_schedule_scores_that_choose_latents_come_before_what_is_chosen() -> None:
    waits = llm_steps_after(config(1, "top"))
    assert waits["free_scores", None] == waits["max_act", None] == 2
    assert llm_steps_after(config(1))["free_scores", None] == 0


def test_schedule_nothing_chosen_still_publishes_labels() -> None:
    schedule = Schedule(config(1), axes(1))
    while not schedule.finished():
        ready = ready_tasks(schedule)
        assert ready
        schedule.note_objects(objects_of(ready[0], ("s0",)))
        for sae in schedule.unselected:
            schedule.note_selection(sae, Selected(0, 0, 0))
    steps = {line.step: line for line in schedule.progress()}
    assert steps["publish"].done == 3
    assert steps["calibrate"].total == 0


@pytest.mark.parametrize(
    ("table", "method", "parts"),
    [
        ("tokens", None, 3),
        ("hub_stats", "lens", 1),
        ("hub_stats/exact", None, 1),
        ("jacobian", None, 2),
        ("token_change", "all", 3),
        ("vocab_proj", None, 3),
        ("descriptions", "keywords", 3),
        ("descriptions", "max_act", 3),
        ("completions", None, 3),
        ("control_texts", "unsteered", 2),
        ("selection", None, 1),
    ],
)
def test_part_count_follows_the_axis_of_the_producing_step(
    table: str, method: str | None, parts: int
) -> None:
    sae = None if table == "tokens" else "hook" if table == "jacobian" else "s0"
    assert part_count(axes(1), {"s0": SELECTED}, table, sae, method) == parts
