"""The sizes of a run that its work follows from, and one step's share of that work."""

from dataclasses import dataclass

from ray_autointerp.config import Config


@dataclass(frozen=True)
class Sizes:
    """The numbers of a run that its work follows from, for every SAE together."""

    config: Config
    chosen: int
    """Latents that exact clamps and LLM requests are spent on."""
    dead: int
    """Of those, at most as many never fired on the corpus."""
    controls: int
    """Those among them that controls are made for."""
    watched: int
    sample: int
    """Latents set aside for agreement."""
    hook_points: int
    d_model: int
    read_points: int
    layer: int
    """Of the hook, counted from 0."""
    above: int
    """Layers above it, through which clamped passes go."""


@dataclass(frozen=True)
class Work:
    """One step's share."""

    text: str
    """In words, with the numbers that make it up."""
    subject_tokens: int = 0
    """Tokens passed through (part of) the subject."""
