"""Shards cover every latent once, whatever the sizes."""

from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.plan.controls import shuffled
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.reads import owners_read
from ray_autointerp.plan.shards import (
    MAX_SHARDS,
    Axes,
    LatentRange,
    Selected,
    num_latents_of,
    num_shards,
    owners_of,
    shard_size,
)
from ray_autointerp.records.task import Task


@given(st.integers(0, 500), st.integers(1, 300), st.integers(1, 64))
def test_latent_shards_cover_the_range_once_in_order(start: int, size: int, per: int) -> None:
    axes = Axes(1, {"s": LatentRange(start, start + size)}, per, 1, {"s": "h"}, 4, 2)
    shards = [axes.latent_shard("s", i) for i in range(axes.num_latent_shards("s"))]
    assert [latent for shard in shards for latent in shard] == list(range(start, start + size))
    assert all(0 < len(shard) <= per for shard in shards)


@given(st.integers(0, 1000), st.integers(1, 64))
def test_num_shards_is_the_least_that_covers(size: int, per: int) -> None:
    count = num_shards(size, per)
    assert count * per >= size
    assert (count - 1) * per < size or size == 0


@given(st.integers(1, 512), st.integers(0, 10_000_000))
def test_no_size_gives_more_shards_than_a_store_lists_in_seconds(asked: int, size: int) -> None:
    per = shard_size(asked, size)
    assert num_shards(size, per) <= MAX_SHARDS
    assert per == asked or num_shards(size, asked) > MAX_SHARDS


def test_hook_points_above_a_cross_layer_transcoders_first_have_a_jacobian_each() -> None:
    points, later = {"s": "h1", "clt": "h1", "t": "h3"}, {"clt": ("h2", "h3")}
    ranges = dict.fromkeys(points, LatentRange(0, 8))
    axes = Axes(1, ranges, 8, 8, points, 4, 4, points, later)
    step = step_named("jacobian")
    assert owners_of(step, axes) == ("h1", "h3", "h2")
    assert [owners_read(step, sae, axes) for sae in points] == [
        ("h1",),
        ("h1", "h2", "h3"),
        ("h3",),
    ]


def test_panel_shards_hold_the_whole_panel() -> None:
    axes = Axes(1, {"s": LatentRange(0, 100)}, 10, 4, {"s": "h"}, 4, 2)
    assert axes.num_panel_shards(Selected(20, 5, 7)) == 2


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 9))
def test_shards_of_a_selection_hold_its_latents_once(chosen: int, controls: int, per: int) -> None:
    selected = {"s": Selected(chosen, 0, min(controls, chosen))}
    axes = Axes(1, {"s": LatentRange(0, 40)}, 7, per, {"s": "h"}, 4, 2)

    def total(step: str, method: str | None, count: int) -> int:
        tasks = [Task(step, "s", method, shard, count) for shard in range(count)]
        return sum(num_latents_of(task, axes, selected) for task in tasks)

    assert total("explain", "max_act", axes.num_selection_shards(selected["s"])) == chosen
    control = shuffled("max_act")
    shards = axes.num_control_shards(selected["s"])
    assert total("detection", control, shards) == selected["s"].num_controls
    assert total("neighbours", None, axes.num_latent_shards("s")) == 40
    assert total("corpus", None, 1) == 0
