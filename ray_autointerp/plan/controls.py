"""Controls: descriptions that are wrong on purpose, scored by the same steps as any other.

A control is a variant of a description method, with tables, tasks and a bill of its own, for the
latents of the control sample alone. Whatever a scorer gives to it is that scorer's floor.
"""

_SHUFFLED = ".shuffled"


def shuffled(method: str) -> str:
    """The variant of a method in which each latent has another's description."""
    return method + _SHUFFLED


def is_control(method: str | None) -> bool:
    """Whether the method is a variant of another that serves as a control."""
    return method is not None and method.endswith(_SHUFFLED)


def method_of(variant: str) -> str:
    """The description method behind a variant; a method is its own."""
    return variant.removesuffix(_SHUFFLED)
