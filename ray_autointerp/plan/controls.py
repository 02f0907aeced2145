"""Controls: what is scored though it is wrong on purpose, by the same steps as anything else.

A shuffled control is a variant of a description method, with tables, tasks and a bill of its own,
for the latents of the control sample alone. Whatever a scorer gives to it is that scorer's floor.
A control text replaces a latent's steered text in a trial, under the same two descriptions
(methods 16): neither is about it, so each wins half the trials.
"""

_SHUFFLED = ".shuffled"

RANDOM_DIRECTION, UNSTEERED = "random_direction", "unsteered"
CONTROL_TEXTS = (RANDOM_DIRECTION, UNSTEERED)
"""What `score.control_texts` may name."""


def shuffled(method: str) -> str:
    """The variant of a method in which each latent has another's description."""
    return method + _SHUFFLED


def is_control(variant: str | None) -> bool:
    """Whether it is a control, for the latents of the control sample alone: a shuffled variant of
    a method, or a kind of control text.
    """
    return variant is not None and (variant.endswith(_SHUFFLED) or variant in CONTROL_TEXTS)


def method_of(variant: str) -> str:
    """The description method behind a variant; a method is its own."""
    return variant.removesuffix(_SHUFFLED)
