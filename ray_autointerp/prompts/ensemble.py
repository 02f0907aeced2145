"""Ensembles: Raw puts several kinds of evidence into one prompt, Concat joins finished
descriptions, Summary has an LLM merge them (paper 2.3, methods 4.4).

Concat calls no LLM of its own; its parts are asked again at a share of the cap so that the whole
fits the cap that every method has, and longer text does not win. Uncapped, it joins what the
methods themselves gave, as the paper did.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from ray_autointerp.prompts.question import Question, ask_with
from ray_autointerp.prompts.shown import Rows, Shown
from ray_autointerp.prompts.text import worked_examples

SINGLE_ORDER = ("vocab_proj", "max_act", "token_change")
"""The single methods that are joined or merged, in the paper's order."""

_HEADINGS = {
    "max_act": "[INPUT]",
    "vocab_proj": "[OUTPUT: its direction read as tokens]",
    "jacobian_proj": "[OUTPUT: its direction carried through the layers above]",
    "token_change": "[OUTPUT: tokens moved by setting it]",
}
_NEVER_ACTIVE = "It was never active."
_SOURCES = {
    "vocab_proj": "From its direction read as tokens",
    "max_act": "From texts that activate it",
    "token_change": "From tokens moved by setting it",
}


def raw_text(kinds: tuple[str, ...]) -> str:
    """The prompt text of a Raw ensemble of these kinds of evidence."""
    return "ensemble_raw" if "max_act" in kinds else "ensemble_raw_outputs"


def raw_from(shown: Mapping[str, Callable[[Rows, Shown], str | None]]) -> Callable[..., str | None]:
    """Evidence of several kinds as one text: [INPUT] with the examples, an [OUTPUT] per list."""

    def shown_of(rows: Rows, limits: Shown) -> str | None:
        found = {kind: text for kind, of in shown.items() if (text := of(rows, limits))}
        if found and "max_act" in shown:
            found = {"max_act": _NEVER_ACTIVE} | found
        return sections(found) or None

    return shown_of


def raw_ask(kinds: tuple[str, ...]) -> Callable[[str, str, int, bool], Question]:
    """The question about these kinds of evidence, with worked examples that show the same."""

    def ask(name: str, evidence: str, cap_words: int, is_structured: bool) -> Question:
        shots = []
        for shot in worked_examples(name):
            assert isinstance(shot.user, Mapping)
            shots.append(replace(shot, user=sections({kind: shot.user[kind] for kind in kinds})))
        return ask_with(name, shots, evidence, cap_words, is_structured)

    return ask


def sections(texts: Mapping[str, str]) -> str:
    """Each kind of evidence under its heading."""
    return "\n".join(f"{_HEADINGS[kind]}\n{text}" for kind, text in texts.items())


def part_cap(cap_words: int) -> int:
    """Words each part of Concat may have."""
    return max(1, cap_words // len(SINGLE_ORDER))


def summary_from(rows: Rows, _: Shown) -> str | None:
    """What is merged: each single method's description, and what it was made from."""
    lines = [
        f"{source}: {row['description']}"
        for method, source in _SOURCES.items()
        for row in rows.get(f"descriptions/{method}", ())
        if row["status"] == "ok"
    ]
    return "\n".join(lines) or None
