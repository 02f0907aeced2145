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


def work(outlook: Outlook, *spans: tuple[str, float, float]) -> None:
    """Tasks of these steps, from one time to another."""
    events = [(end, False, name) for name, _, end in spans]
    events += [(start, True, name) for name, start, _ in spans]
    for at, is_start, name in sorted(events):
        (outlook.started if is_start else outlook.ended)(name, at)


def one_after_another(outlook: Outlook, *names: str) -> None:
    work(outlook, *((name, float(at), at + 1.0) for at, name in enumerate(names)))


def requests_a_shard(name: str, run: Run) -> float:
    config, axes = run.config, run.axes
    selected = {sae: expected_selection(config, len(r)) for sae, r in axes.latents.items()}
    of = step_named(name)
    number = sum(sum(asked_about(of, m, config, axes)) for m in methods_of(of, config))
    return number / len(tasks_of(of, config, axes, selected) or ())


def test_measured_steps_take_what_their_shards_took(outlook: Outlook) -> None:
    one_after_another(outlook, "explain", "max_act")
    steps = [step("explain", 4, 10, 30.0), step("steering", 3, 3, 7.0), step("max_act", 1, 4, 2.0)]
    assert outlook.left(steps, 9.0) == Left(8, 17, 6 * 30 + 3 * 2, ())


def test_tasks_of_a_pool_share_the_time_as_so_far(outlook: Outlook) -> None:
    """Six of the LLM at once, then one alone; before and beside them one of the subject."""
    steps = [step("explain", 7, 13, 100.0), step("steering", 2, 5, 40.0)]
    explains = [("explain", 40.0, 140.0)] * 6 + [("explain", 140.0, 240.0)]
    work(outlook, ("steering", 0.0, 40.0), *explains)
    llm, subject = 6 * 100 / (700 / 200), 3 * 40.0
    assert outlook.left(steps, 240.0).seconds == pytest.approx(llm + subject), "in turns"


def test_pools_work_beside_each_other_as_so_far(outlook: Outlook) -> None:
    steps = [step("explain", 1, 7, 100.0), step("steering", 1, 2, 100.0)]
    work(outlook, ("steering", 0.0, 100.0), ("explain", 0.0, 100.0))
    assert outlook.left(steps, 500.0).seconds == pytest.approx(6 * 100), "the longer of both"


def test_tasks_under_way_count_up_to_now(outlook: Outlook) -> None:
    steps = [step("max_act", 1, 3, 10.0)]
    work(outlook, ("max_act", 0.0, 10.0))
    outlook.started("max_act", 10.0)
    outlook.started("max_act", 10.0)
    assert outlook.left(steps, 10.0).seconds == pytest.approx(20.0)
    assert outlook.left(steps, 20.0).seconds == pytest.approx(20.0 * 20 / 30)


def test_time_in_which_nothing_ran_does_not_count(outlook: Outlook) -> None:
    """Between a driver that died and the next."""
    steps = [step("max_act", 2, 3, 10.0)]
    work(outlook, ("max_act", 0.0, 10.0), ("max_act", 5000.0, 5010.0))
    assert outlook.left(steps, 9000.0).seconds == pytest.approx(10.0)


def test_step_of_a_pool_that_did_nothing_is_named_and_nothing_is_reckoned(outlook: Outlook) -> None:
    one_after_another(outlook, "max_act")
    steps = [step("max_act", 4, 4, 2.0), step("explain", 0, 3, None)]
    left = outlook.left(steps, 1.0)
    assert (left.seconds, left.unmeasured) == (None, ("explain",))
    assert left.sentence == "left: not known yet (4 of 7 tasks)"


def test_step_that_asks_an_llm_takes_what_requests_of_other_steps_took(
    outlook: Outlook, quick_run: Run
) -> None:
    one_after_another(outlook, "detection")
    steps = [step("detection", 2, 2, 3.0), step("unseen_tokens", 0, 4, None)]
    each = 3.0 / requests_a_shard("detection", quick_run)
    asked = requests_a_shard("unseen_tokens", quick_run)
    assert outlook.left(steps, 1.0).seconds == pytest.approx(4 * asked * each)
    assert asked != requests_a_shard("detection", quick_run)


def test_request_for_one_token_takes_less_than_one_for_a_text(
    outlook: Outlook, quick_run: Run
) -> None:
    """Each as many of the other as `plan.time_left` says, in both directions."""
    one_after_another(outlook, "explain")
    a_text = 3.0 / requests_a_shard("explain", quick_run)
    choices = requests_a_shard("detection", quick_run)
    found = outlook.left([step("explain", 2, 2, 3.0), step("detection", 0, 4, None)], 1.0).seconds
    assert found is not None
    times = 4 * choices * a_text / found
    assert 4 <= times <= 16
    a_choice = 3.0 / choices
    texts = requests_a_shard("write_sentences", quick_run)
    steps = [step("detection", 2, 2, 3.0), step("write_sentences", 0, 4, None)]
    assert outlook.left(steps, 1.0).seconds == pytest.approx(4 * texts * a_choice * times)


def test_two_questions_while_the_engine_starts_tell_nothing_of_thousands_in_batches(
    outlook: Outlook,
) -> None:
    one_after_another(outlook, "judge_check")
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
    one_after_another(outlook, "max_act", "max_act", "jacobian")
    steps = [step("max_act", 2, 2, 2.0), step("jacobian", 1, 1, 5.0), step("steering", 0, 4, None)]
    assert outlook.left(steps, 3.0).seconds == pytest.approx(4 * (2 * 2 + 5) / 3)


def test_shards_of_a_selection_to_come_are_those_that_the_run_then_has(
    outlook: Outlook, quick_run: Run
) -> None:
    """The rule chooses as many as it can."""
    config, axes = quick_run.config, quick_run.axes
    selected = {sae: expected_selection(config, len(r)) for sae, r in axes.latents.items()}
    number = len(tasks_of(step_named("steering"), config, axes, selected) or ())
    assert outlook.left([step("steering", 0, None, None)], 1.0).num_tasks == number > 0


def test_tables_are_not_waited_for(outlook: Outlook) -> None:
    """Where a parent had all other tables, nothing tells how long `publish` takes."""
    one_after_another(outlook, "explain")
    steps = [step("explain", 4, 10, 30.0), step("publish", 0, 9, None)]
    assert outlook.left(steps, 9.0) == Left(4, 19, 6 * 30, ())


def test_nothing_left_takes_no_time(outlook: Outlook) -> None:
    assert outlook.left([step("explain", 4, 4, 30.0)], 1.0) == Left(4, 4, 0.0, ())


def test_sentence_says_time_and_tasks() -> None:
    assert Left(40, 1200, 750.4, ()).sentence == "about 0:12:30 left (40 of 1,200 tasks)"
