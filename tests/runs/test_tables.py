"""Tables: what many tasks ask for is read once, and not for ever kept."""

import pytest

from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.runs import tables as module
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


def test_selection_and_scales_of_an_sae_are_read_once(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(quick_run)
    chosen, scale = tables.selection("planted"), reference_activations(tables, "planted")
    size = tables.selected("planted")

    def fail(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(module, "read_tables", fail)
    assert tables.selection("planted") == chosen
    assert reference_activations(tables, "planted") == scale
    assert tables.selected("planted") == size
    assert size.num_chosen == len(chosen)
    assert size.num_panel == sum(row["panel"] for row in chosen.values())


def test_size_of_a_selection_is_read_once_of_however_many_saes(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver asks for it with every task that ends, in no order of SAEs."""
    tables = Tables(quick_run)
    size = tables.selected("planted")
    for other in range(100):
        tables.kept(other, lambda: 0)
    monkeypatch.setattr(module, "read_tables", lambda *_: pytest.fail("read again"))
    assert tables.selected("planted") == size


def test_least_recently_used_is_dropped(quick_run: Run) -> None:
    tables = Tables(quick_run)
    reads: list[int] = []
    for key in [*range(17), 16, 0]:
        assert tables.kept(key, lambda key=key: reads.append(key) or key) == key  # type: ignore[misc]
    assert reads == [*range(17), 0]
