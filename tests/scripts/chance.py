"""Whether a share of right choices is shown to be at its chance level."""

from ray_autointerp.methods.intervals import wilson_interval


def is_at_chance(rate: float, num_trials: int, chance: float = 0.5, margin: float = 0.05) -> bool:
    """Two one-sided tests at 5 %: the 90 % interval lies within the margin around chance."""
    interval = wilson_interval(rate, num_trials, 0.9)
    return chance - margin <= interval.low and interval.high <= chance + margin
