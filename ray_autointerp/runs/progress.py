"""How far a run is, from the store alone."""

from collections.abc import Iterable

from ray_autointerp.plan.schedule import Schedule
from ray_autointerp.records.layout import labels_file
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.store import Store


def has_labels(store: Store, saes: Iterable[str]) -> bool:
    """Whether the labels of these SAEs, written last, are in the run's folder."""
    return all(store.exists(labels_file(sae)) for sae in saes)


def schedule_of(tables: Tables) -> Schedule:
    """The schedule of the tables' run, with all that exists noted, as its next driver begins it."""
    schedule = Schedule(tables.run.config, tables.run.axes)
    schedule.note_objects(tables.objects())
    for sae in schedule.unselected:
        schedule.note_selection(sae, tables.selected(sae))
    return schedule
