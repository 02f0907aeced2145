"""Variants of the prompts of description methods, raced by prompts.py.

A variant is an entry of CODED, or files `prompts/<method>/<variant>.md` (instructions) and `.json`
(worked examples) in the form of ray_autointerp/prompts/texts; what it lacks is the packaged one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from ray_autointerp.plan.evidence import EXPLAINERS
from ray_autointerp.plan.step import Explainer
from ray_autointerp.prompts.question import Question

FOLDER = Path(__file__).parent / "prompts"
METHODS = ("named_keywords", "ensemble_raw", "max_act", "jacobian_proj")
PACKAGED = "packaged"

_LIST = re.compile(r"^((?:Fires on|Promot|Suppress|Raised, |Lowered, )[^:]*:) (.*)$", re.M)
"""A line that names a list of tokens."""
_ITEM = re.compile(r'"(?:\\.|[^"\\])*"|[^", ][^",]*')
"""A token of it: quoted, or in words where quotes would show nothing."""


@dataclass(frozen=True)
class Variant:
    """What differs from the packaged prompt, beside its files."""

    form: Callable[[str], str] = str
    """The text of each question, worked ones too, as it is shown."""
    describe: Mapping[str, int] = field(default_factory=dict)
    """Fields of the config's section `describe`."""


def _without(*starts: str) -> Variant:
    """Lines that begin so are not shown."""
    return Variant(lambda text: "\n".join(x for x in text.splitlines() if not x.startswith(starts)))


def _by_list(shown: Callable[[str, Sequence[str]], str]) -> Variant:
    """Each list as `shown` has it, by its name and its tokens as they are quoted."""

    def line(found: re.Match[str]) -> str:
        return shown(found[1], _ITEM.findall(found[2]))

    return Variant(lambda text: _LIST.sub(line, text))


def _promotes_first(text: str) -> str:
    return re.sub(r"^(Fires on: .*)\n(Promotes: .*)", r"\2\n\1", text)


def _without_vocab_proj(text: str) -> str:
    return re.sub(r"\[OUTPUT: its direction read as tokens\]\n(?:\w+ tokens: .*\n?)+", "", text)


_CAPS = {f"cap-{cap}": Variant(describe={"cap_words": cap}) for cap in (8, 20, 40)}
_EXAMPLES = {f"examples-{n}": Variant(describe={"num_examples": n}) for n in (3, 20)}
_TOKENS = {f"tokens-{n}": Variant(describe={"num_tokens_shown": n}) for n in (6, 20)}
_FORMS = {
    "lines": _by_list(lambda name, tokens: "\n".join([name, *tokens])),
    "bare": _by_list(lambda name, tokens: " ".join([name, *tokens]).replace('"', "")),
}
_MARKS = {
    "marks-alone": _without("Active: "),
    "list-alone": Variant(lambda text: re.sub(r"<<|>>", "", text)),
}

CODED: dict[str, dict[str, Variant]] = {
    "named_keywords": {
        **_FORMS,
        "promotes-first": Variant(_promotes_first),
        "fires-on-alone": _without("Promotes: "),
        "promotes-alone": _without("Fires on: "),
        **{name: _CAPS[name] for name in ("cap-20", "cap-40")},
    },
    "ensemble_raw": {
        **_FORMS,
        **_MARKS,
        "promoted-alone": _without("Suppressed", "Raised, these become less", "Lowered"),
        "no-vocab-proj": Variant(_without_vocab_proj),
        **_CAPS,
        **_EXAMPLES,
    },
    "max_act": {**_MARKS, "tokens-alone": _without("Text "), **_CAPS, **_EXAMPLES},
    "jacobian_proj": {**_FORMS, "promoted-alone": _without("Suppressed"), **_CAPS, **_TOKENS},
}
"""By method, the variants that need more than files."""


def variants_of(method: str) -> dict[str, Variant]:
    """The packaged prompt, then all others by name."""
    others = {path.stem: Variant() for path in (FOLDER / method).iterdir()} | CODED[method]
    return {PACKAGED: Variant(), **dict(sorted(others.items()))}


def explainer_of(method: str, name: str, variant: Variant, folder: Path) -> Explainer:
    """The method's, with the variant's texts, laid whole into a folder, and its form."""
    text = folder.resolve() / method / name
    text.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("md", "json"):
        own = FOLDER / method / f"{name}.{kind}"
        packaged = files("ray_autointerp.prompts") / "texts" / f"{method}.{kind}"
        text.with_name(f"{name}.{kind}").write_text((own if own.exists() else packaged).read_text())
    explainer = EXPLAINERS[method]

    def ask(*shown: Any) -> Question:
        question = explainer.ask(*shown)
        turns = (
            replace(turn, content=variant.form(turn.content)) if turn.role == "user" else turn
            for turn in question.messages
        )
        return replace(question, messages=tuple(turns))

    return replace(explainer, text=str(text), ask=ask)
