"""How many workers each pool should have."""

from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.plan.placement import Node, Want, can_hold
from ray_autointerp.plan.pool_sizes import UNBOUNDED, Demand, Durations, gain, sizes
from ray_autointerp.plan.schedule import StepProgress

ONE_GPU = Want(1, 1)


def demand(
    work: float, least: int = 1, most: int = 99, usable: int = 99, gpus: float = 1
) -> Demand:
    return Demand(Want(1, gpus), least, most, work, usable)


@st.composite
def demands(draw: st.DrawFn) -> dict[str, Demand]:
    found = {}
    for name in ("subject", "llm", "judge")[: draw(st.integers(1, 3))]:
        least = draw(st.integers(1, 4))
        most = draw(st.integers(least, 9))
        gpus = draw(st.sampled_from([0.5, 1, 2, 4]))
        work, usable = draw(st.floats(0, 1e6)), draw(st.integers(0, 12))
        found[name] = demand(work, least, most, usable, gpus)
    return found


def total(of: dict[str, Demand], counts: dict[str, int]) -> list[Want]:
    return [of[name].want for name, count in counts.items() for _ in range(count)]


def test_gpus_go_where_the_run_would_end_last() -> None:
    nodes = [Node(96, 8)]
    assert sizes(nodes, {"subject": demand(300), "llm": demand(100)}) == {"subject": 6, "llm": 2}
    assert sizes(nodes, {"subject": demand(0), "llm": demand(100)}) == {"subject": 1, "llm": 7}
    assert sizes(nodes, {"subject": demand(1), "llm": demand(1)}) == {"subject": 4, "llm": 4}


def test_pool_whose_tasks_are_not_ready_leaves_gpus_to_others() -> None:
    found = sizes([Node(96, 8)], {"subject": demand(1), "llm": demand(1e6, usable=2)})
    assert found == {"subject": 6, "llm": 2}


def test_smallest_sizes_come_before_all_work_and_shrink_together_where_they_do_not_fit() -> None:
    both = {"subject": demand(1e6, least=2), "llm": demand(0, least=4, most=4)}
    assert sizes([Node(96, 8)], both) == {"subject": 4, "llm": 4}
    assert sizes([Node(96, 4)], both) == {"subject": 1, "llm": 3}, "in proportion"
    assert sizes([Node(96, 2)], both) == {"subject": 1, "llm": 1}


def test_engine_of_many_gpus_is_placed_before_its_node_is_filled() -> None:
    both = {"a": demand(1, gpus=1), "llm": demand(1, gpus=4)}
    assert sizes([Node(96, 4), Node(96, 4)], both) == {"a": 4, "llm": 1}


@given(demands(), st.lists(st.integers(1, 8), min_size=1, max_size=3))
def test_bounds_are_kept_and_gpus_never_promised_twice(
    of: dict[str, Demand], nodes: list[int]
) -> None:
    cluster = [Node(99, gpus) for gpus in nodes]
    found = sizes(cluster, of)
    for name, count in found.items():
        assert 1 <= count <= of[name].most
    if can_hold(cluster, [each.want for each in of.values()]):
        gpus = sum(want.gpus for want in total(of, found))
        assert gpus <= sum(nodes)
    everything = [each.want for each in of.values() for _ in range(each.least)]
    if len(nodes) == 1 and can_hold(cluster, everything):
        assert all(found[name] >= of[name].least for name in of)


@given(demands(), st.integers(1, 16), st.floats(0, 1e6), st.integers(0, 2))
def test_more_work_never_gets_fewer_workers(
    of: dict[str, Demand], gpus: int, more: float, which: int
) -> None:
    name = sorted(of)[which % len(of)]
    before = of[name]
    busier = of | {
        name: Demand(before.want, before.least, before.most, before.work + more, before.usable)
    }
    cluster = [Node(99, gpus)]
    assert sizes(cluster, busier)[name] >= sizes(cluster, of)[name]


@given(demands(), st.integers(1, 16))
def test_sizes_that_are_reached_are_kept(of: dict[str, Demand], gpus: int) -> None:
    found = sizes([Node(99, gpus)], of)
    assert sizes([Node(99, gpus)], of) == found
    assert gain(of, found, found) == 0


def test_node_that_joins_is_used_and_one_that_left_is_not() -> None:
    of = {"subject": demand(100), "llm": demand(100)}
    assert sizes([Node(8, 4)], of) == {"subject": 2, "llm": 2}
    assert sizes([Node(8, 4), Node(8, 2)], of) == {"subject": 3, "llm": 3}


def test_gain_is_what_the_pools_that_change_would_win() -> None:
    of = {"subject": demand(100), "llm": demand(300), "judge": demand(1e9)}
    now = {"subject": 2, "llm": 2, "judge": 1}
    assert gain(of, now, {"subject": 1, "llm": 3, "judge": 1}) == 150 - 100


def step(name: str, pool: str, done: int, total: int | None) -> StepProgress:
    return StepProgress(name, pool, done, total, 0)  # type: ignore[arg-type]


POOLS = {"subject": ("subject",), "llm": ("llm", "judge")}


def test_work_left_is_what_is_not_done_at_the_measured_pace() -> None:
    durations = Durations()
    durations.note("max_act", 10)
    durations.note("max_act", 20)
    durations.note("explain", 4)
    steps = [
        step("max_act", "subject", 2, 6),
        step("token_change", "subject", 0, 2),
        step("explain", "llm", 1, 3),
        step("output_score", "judge", 0, None),
    ]
    work, is_measured = durations.work_left(POOLS, steps)
    assert is_measured
    assert work == {"subject": 4 * 15 + 2 * 15, "llm": 2 * 4}


def test_before_all_were_measured_those_that_have_work_have_the_same() -> None:
    durations = Durations()
    durations.note("max_act", 10)
    steps = [step("max_act", "subject", 1, 6), step("explain", "llm", 0, 3)]
    assert durations.work_left(POOLS, steps) == ({"subject": 1.0, "llm": 1.0}, False)
    steps[0] = step("max_act", "subject", 6, 6)
    assert durations.work_left(POOLS, steps) == ({"subject": 0.0, "llm": 1.0}, False)


def test_pool_without_a_bound_is_bounded_by_the_cluster() -> None:
    assert sizes([Node(8, 4)], {"llm": demand(1, most=UNBOUNDED)}) == {"llm": 4}
