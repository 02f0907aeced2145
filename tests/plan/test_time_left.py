"""What is left of a run, reckoned from what was done of it."""

import pytest

from ray_autointerp.plan.estimate import asked_about, expected_selection
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.plan.shards import methods_of, tasks_of
from ray_autointerp.plan.time_left import Left, MeasuredStep, Outlook
from ray_autointerp.runs.run import Run


def step(name: str, done: int, total: int | None, seconds: float | None) -> MeasuredStep:
    return MeasuredStep(StepProgress(name, step_named(name).pool, done, total), seconds)


@pytest.fixture
def outlook(quick_run: Run) -> Outlook:
    return Outlook(quick_run.config, quick_run.axes)


def test_measured_steps_take_what_their_shards_took_and_share_the_workers(outlook: Outlook) -> None:
    steps = [step("explain", 4, 10, 30.0), step("steering", 3, 3, 7.0), step("max_act", 1, 4, 2.0)]
    assert outlook.left(steps, 2.0) == Left(8, 17, (6 * 30 + 3 * 2) / 2, ())


def test_step_of_a_pool_that_did_nothing_is_named_and_nothing_is_reckoned(outlook: Outlook) -> None:
    steps = [step("max_act", 4, 4, 2.0), step("explain", 0, 3, None)]
    left = outlook.left(steps, 1.0)
    assert (left.seconds, left.unmeasured) == (None, ("explain",))
    assert left.sentence == "left: not known yet (4 of 7 tasks)"


def test_step_that_asks_an_llm_takes_what_requests_of_other_steps_took(
    outlook: Outlook, quick_run: Run
) -> None:
    def requests_a_shard(name: str) -> float:
        config, axes = quick_run.config, quick_run.axes
        selected = {sae: expected_selection(config, len(r)) for sae, r in axes.latents.items()}
        of = step_named(name)
        number = sum(sum(asked_about(of, m, config, axes)) for m in methods_of(of, config))
        return number / len(tasks_of(of, config, axes, selected) or ())

    left = outlook.left([step("explain", 2, 2, 3.0), step("detection", 0, 4, None)], 1.0)
    each = 3.0 / requests_a_shard("explain")
    assert left.seconds == pytest.approx(4 * requests_a_shard("detection") * each)
    assert requests_a_shard("detection") != requests_a_shard("explain")


def test_two_questions_while_the_engine_starts_tell_nothing_of_thousands_in_batches(
    outlook: Outlook,
) -> None:
    steps = [step("judge_check", 1, 2, 20.0), step("detection", 0, 4, None)]
    left = outlook.left(steps, 1.0)
    assert (left.seconds, left.unmeasured) == (None, ("detection",))
    check, detection = steps
    explain = step("explain", 2, 2, 3.0)
    found, without = (
        outlook.left(of, 1.0).seconds for of in ([check, detection, explain], [detection, explain])
    )
    assert found is not None and without is not None
    assert found == pytest.approx(without + 20.0), "its own other shard takes what its first took"


def test_step_without_requests_takes_what_shards_of_its_pool_took(outlook: Outlook) -> None:
    steps = [step("max_act", 2, 2, 2.0), step("jacobian", 1, 1, 5.0), step("steering", 0, 4, None)]
    assert outlook.left(steps, 1.0).seconds == pytest.approx(4 * (2 * 2 + 5) / 3)


def test_shards_of_a_selection_to_come_are_those_that_the_run_then_has(
    outlook: Outlook, quick_run: Run
) -> None:
    """The rule chooses as many as it can."""
    config, axes = quick_run.config, quick_run.axes
    selected = {sae: expected_selection(config, len(r)) for sae, r in axes.latents.items()}
    number = len(tasks_of(step_named("steering"), config, axes, selected) or ())
    assert outlook.left([step("steering", 0, None, None)], 1.0).num_tasks == number > 0


def test_nothing_left_takes_no_time(outlook: Outlook) -> None:
    assert outlook.left([step("explain", 4, 4, 30.0)], 1.0) == Left(4, 4, 0.0, ())


def test_sentence_says_time_and_tasks() -> None:
    assert Left(40, 1200, 750.4, ()).sentence == "about 0:12:30 left (40 of 1,200 tasks)"
