"""How far a run is, from the store alone: its schedule, with all that exists noted."""

from ray_autointerp.plan.schedule import Schedule
from ray_autointerp.runs.tables import Tables


def schedule_of(tables: Tables) -> Schedule:
    """The schedule of the tables' run as its next driver would begin it."""
    schedule = Schedule(tables.run.config, tables.run.axes)
    schedule.note_objects(tables.objects())
    for sae in schedule.unselected:
        schedule.note_selection(sae, tables.selected(sae))
    return schedule
