"""Suspects: alone, narrower at each death, cleared by an end of their own."""

from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.plan.suspects import NARROWING, Suspects
from ray_autointerp.records.task import Task


def task(shard: int) -> Task:
    return Task("explain", "sae", "max_act", shard, 9)


def test_what_a_dead_worker_held_runs_alone_and_whole_in_turn() -> None:
    suspects = Suspects()
    suspects.accuse([task(0), task(1)])
    assert suspects.next() == (task(0), None)
    assert suspects.next() == (task(1), None)
    assert suspects.next() is None
    assert task(0) in suspects and task(1) in suspects, "on the probe they are still suspects"


def test_task_that_ends_is_cleared() -> None:
    suspects = Suspects()
    suspects.accuse([task(0)])
    suspects.next()
    suspects.clear(task(0))
    assert not suspects
    suspects.accuse([task(0)])
    assert suspects.next() == (task(0), None), "an old death is forgotten"


def test_each_death_alone_narrows_until_one_request_has_killed_twice_and_then_all_begins_anew() -> (
    None
):
    suspects = Suspects()
    suspects.accuse([task(0)])
    widths = []
    for _ in range(2 * len(NARROWING)):
        found = suspects.next()
        assert found is not None
        widths.append(found[1])
        suspects.accuse([task(0)])
    assert widths == [*NARROWING, *NARROWING]
    assert widths[2:4] == [1, 1], "only the second death alone counts"
    assert suspects.num_rounds(task(0)) == 2


@given(st.lists(st.tuples(st.sampled_from(["die", "pass"]), st.integers(0, 3)), max_size=40))
def test_one_task_at_a_time_and_none_is_forgotten(events: list[tuple[str, int]]) -> None:
    """Whatever happens: who was accused and not cleared is waiting or on the probe."""
    suspects, accused = Suspects(), set()
    for event, shard in events:
        if event == "die":
            suspects.accuse([task(shard)])
            accused.add(task(shard))
        elif task(shard) in accused:
            suspects.clear(task(shard))
            accused.discard(task(shard))
    given_out = set()
    while (found := suspects.next()) is not None:
        given_out.add(found[0])
    assert given_out == accused
    assert bool(suspects) == bool(accused)
