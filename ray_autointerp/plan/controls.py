"""Controls: what is scored though it is wrong on purpose, by the same steps as anything else.

A shuffled control is a variant of a description method, with tables, tasks and a bill of its own,
for the latents of the control sample alone. Whatever a scorer gives to it is that scorer's floor.
A control text replaces one of a trial's texts, under the same two descriptions (methods 16). In
the place of the latent's own, that of a random direction or of no steering: neither description is
about it, so each wins half the trials. In the place of the partner's, that of the latent with the
most similar decoder row: the hardest to be told from.
"""

_SHUFFLED = ".shuffled"

RANDOM_DIRECTION, UNSTEERED, NEIGHBOUR = "random_direction", "unsteered", "neighbour"
CONTROL_TARGETS = (RANDOM_DIRECTION, UNSTEERED)
"""Control texts in the place of the latent's own."""
CONTROL_TEXTS = (*CONTROL_TARGETS, NEIGHBOUR)
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
