"""The evidence that each explainer, map and mode of TokenChange reads beside its step's tables.

prompts/README.md says how to add a description method.
"""

import re
from typing import Literal

from ray_autointerp.config import Config
from ray_autointerp.plan.controls import NEIGHBOUR, is_control, method_of
from ray_autointerp.plan.step import Explainer, Read
from ray_autointerp.prompts import ensemble, max_act, named_keywords, token_change, token_lists

_SHOWN = {
    "max_act": ("top_examples", max_act.shown_of),
    "vocab_proj": ("vocab_proj", token_lists.shown_from("vocab_proj")),
    "jacobian_proj": ("jacobian_proj", token_lists.shown_from("jacobian_proj")),
    "token_change": ("token_change", token_change.shown_of),
}
"""By kind of evidence, its table and how a latent's rows of it are shown."""


def _single(kind: str) -> Explainer:
    table, shown_of = _SHOWN[kind]
    return Explainer(shown_of, (table,), text=kind)


def _raw(*kinds: str) -> Explainer:
    return Explainer(
        ensemble.raw_from({kind: _SHOWN[kind][1] for kind in kinds}),
        tuple(_SHOWN[kind][0] for kind in kinds),
        text=ensemble.raw_text(kinds),
        ask=ensemble.raw_ask(kinds),
    )


EXPLAINERS: dict[str, Explainer] = {
    **{kind: _single(kind) for kind in _SHOWN},
    "ensemble_raw": _raw("max_act", "vocab_proj", "token_change"),
    "ensemble_raw_max_act_vocab_proj": _raw("max_act", "vocab_proj"),
    "ensemble_raw_max_act_token_change": _raw("max_act", "token_change"),
    "ensemble_raw_max_act_jacobian_proj": _raw("max_act", "jacobian_proj"),
    "ensemble_raw_vocab_proj_token_change": _raw("vocab_proj", "token_change"),
    "ensemble_concat": Explainer(
        reads=tuple(_SHOWN[kind][0] for kind in ensemble.SINGLE_ORDER), parts=ensemble.SINGLE_ORDER
    ),
    "ensemble_concat_uncapped": Explainer(descriptions=ensemble.SINGLE_ORDER),
    "summary": Explainer(ensemble.summary_from, descriptions=ensemble.SINGLE_ORDER, text="summary"),
    "named_keywords": Explainer(
        named_keywords.keywords_from,
        descriptions=("keywords",),
        text="named_keywords",
        ask=named_keywords.ask,
        can_be_structured=False,
    ),
    "name": Explainer(descriptions=("named_keywords",), column="name"),
}
"""The description methods beside `keywords`, which is made of every latent, named or not."""

DESCRIPTION_METHODS: tuple[str, ...] = ("keywords", *EXPLAINERS)
"""What `describe.methods` may name, and further candidates of those that ask about evidence."""

_CANDIDATE = re.compile(r"(?P<method>\w+)_[2-9]")
"""`max_act_2` to `max_act_9`: further answers to the prompt of `max_act`, so that the label is the
best of n."""

NEVER_LABELS = frozenset({"name"})
"""Methods that are scored like any other and never become a label: a name alone is too broad to
write sentences from (methods 19)."""

MAP_READS: dict[str, tuple[str, ...]] = {
    "lens": (),
    "reads": ("input_map",),
    "jacobian": ("jacobian", "latent_stats"),
}
"""The maps from a latent to the vocabulary, and what `hub_stats` reads for each: the decoder row
through the final norm and through the Jacobian, and the encoder column, sent back by the input map,
against the embedding."""

MAPS: tuple[str, ...] = tuple(MAP_READS)

MODE_READS: dict[str, tuple[str, ...]] = {
    "all": ("jacobian", "change_variance", "hub_stats/exact"),
    "active": ("top_examples", "hub_stats/exact"),
    "last": ("hub_stats/exact",),
}
"""The modes of TokenChange (methods 16), and what `token_change` reads for each beside the rest."""


REVIVAL_LISTS: dict[str, tuple[str, str]] = {
    "tokens.reads": ("vocab_proj", "reads"),
    "tokens.vocab_proj": ("vocab_proj", "promoted"),
    "tokens.jacobian_proj": ("jacobian_proj", "promoted"),
}
"""The token lists that `revive` makes texts of, beside written sentences: table and column."""


def is_method(name: str) -> bool:
    """Whether `describe.methods` may hold the name."""
    found = _CANDIDATE.fullmatch(name)
    first = EXPLAINERS.get(found["method"]) if found else None
    return name in DESCRIPTION_METHODS or (
        first is not None and first.text is not None and not first.descriptions
    )


def is_candidate(method: str) -> bool:
    """Whether the method gives a further answer to another method's prompt."""
    return _CANDIDATE.fullmatch(method) is not None


def explainer_of(method: str) -> Explainer:
    """How a method other than `keywords` describes; a further candidate as the first one."""
    found = _CANDIDATE.fullmatch(method)
    return EXPLAINERS[found["method"] if found else method]


def evidence_of(method: str, config: Config) -> tuple[Read, ...]:
    """The evidence tables of a description method; of TokenChange, the config's first mode."""
    mode = config.evidence.change_modes[0]
    tables = (
        Read(table, method=mode if table == "token_change" else None)
        for table in explainer_of(method).reads
    )
    return (*tables, *(Read("descriptions", method=m) for m in explainer_of(method).descriptions))


def can_be_label(method: str) -> bool:
    """Whether a description by the method may become a label; a control's never does."""
    return not is_control(method) and method not in NEVER_LABELS


def label_methods(config: Config) -> tuple[str, ...]:
    """The methods that a label may be by, in the config's order."""
    return tuple(method for method in config.describe.methods if can_be_label(method))


def missing_method(methods: tuple[str, ...]) -> tuple[str, str] | None:
    """A description method and one whose descriptions it reads and that is not among them."""
    made = {"keywords", *methods}
    for method in methods:
        for read in EXPLAINERS[method].descriptions if method in EXPLAINERS else ():
            if read not in made:
                return method, read
    return None


def answer_kind_of(method: str, config: Config) -> Literal["text", "json"] | None:
    """The form of a description's answers; None where no LLM is asked."""
    explainer = explainer_of(method)
    if explainer.text is None and not explainer.parts:
        return None
    return "json" if config.describe.structured and explainer.can_be_structured else "text"


def texts_of(method: str, config: Config) -> tuple[str, ...]:
    """The prompt texts of a description method."""
    own = {explainer_of(one).text for one in explainer_of(method).parts or (method,)}
    form = {"json": ("cap", "structured"), "text": ("cap",), None: ()}
    return (*sorted(text for text in own if text), *form[answer_kind_of(method, config)])


def map_reads(name: str, _: Config) -> tuple[Read, ...]:
    """The tables of a map."""
    return tuple(Read(table) for table in MAP_READS[name])


def mode_reads(mode: str, _: Config) -> tuple[Read, ...]:
    """The tables of a mode of TokenChange."""
    return tuple(Read(table) for table in MODE_READS[mode])


def revival_reads(source: str, _: Config) -> tuple[Read, ...]:
    """The table that holds the texts of a source: a list of tokens, or a method's sentences."""
    if source in REVIVAL_LISTS:
        return (Read(REVIVAL_LISTS[source][0]),)
    return (Read("sentences", method=source),)


def shuffled_reads(variant: str, _: Config) -> tuple[Read, ...]:
    """The panel's descriptions by the method that the variant shuffles."""
    return (Read("descriptions", "panel", method=method_of(variant)),)


def control_text_reads(method: str, config: Config) -> tuple[Read, ...]:
    """The control texts with which a method's descriptions are judged too, and whose they are."""
    kinds = () if is_control(method) or not config.select.controls else config.score.control_texts
    whose = (Read("neighbours"),) if NEIGHBOUR in kinds else ()
    return (*(Read("control_texts", method=kind) for kind in kinds), *whose)


def first_mode_reads(config: Config) -> tuple[Read, ...]:
    """TokenChange as explainers read it, of the shard and of the panel."""
    return (Read("token_change", "panel", config.evidence.change_modes[0]),)


def selection_reads(config: Config) -> tuple[Read, ...]:
    """The tables of the config's rule of selection, and which labels are carried over."""
    by_rule = (Read(score_column(config.select.by)[0]),) if config.select.rule == "top" else ()
    return (*by_rule, Read("carry_checks")) if config.carries_over else by_rule


def carried_label_reads(config: Config) -> tuple[Read, ...]:
    """The labels that are carried over from the parent run."""
    return (Read("carried_labels"),) if config.carries_over else ()


def score_column(by: str) -> tuple[str, str]:
    """The table and the column of a score that latents may be selected by."""
    return ("keyword_scores", "f1") if by == "keyword_f1" else ("free_scores", by)
