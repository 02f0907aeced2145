"""What decides a run's results: a record for each step, owner and variant, and its digest.

A record holds the step's revision, the config that it declares, how its work is cut, the digests
of its input files and those of the steps whose tables it reads. So a digest changes with whatever
can change a table, and with nothing else. A run on the store refuses to continue only where a
record differs, and names step and field (architecture, section 5).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_autointerp.config import Config, Section
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.reads import owners_read, variants_read
from ray_autointerp.plan.shards import Axes, methods_of, owners_of
from ray_autointerp.plan.step import Input, Step
from ray_autointerp.records.keys import slug

Record = Mapping[str, Mapping[str, object]]
"""Sections `config`, `cut`, `inputs` and `reads`, by field."""

_OWN = ("config", "cut", "inputs")
"""What a step's record says of itself, and not of what it reads."""


@dataclass(frozen=True)
class Inputs:
    """Content digests of what a run is made from (hex, or a hub name with its revision)."""

    subject: str
    tokenizer: str
    corpus: str
    saes: Mapping[str, str]
    """By SAE id."""
    llm: str
    """The explainer's name, without the folder it lies in."""
    prompts: Mapping[str, str]
    """By name of a prompt text."""
    judge: str | None = None
    """The judge's name, where it is another model."""
    earlier_saes: Mapping[str, str] | None = None
    """By SAE id, of the parent run's SAE with which its latents are matched, and of its tables."""
    lens: str | None = None
    """Of the Jacobian that was fitted before; None where the run fits its own."""

    def digest_of(self, name: Input, sae: str | None) -> str | None:
        """One input's digest; of `sae` that SAE's. None of a lens where there is none."""
        if name == "sae":
            assert sae is not None
            return self.saes[sae]
        if name == "earlier_sae":
            assert sae is not None and self.earlier_saes is not None
            return self.earlier_saes[sae]
        if name == "judge":
            return self.judge or self.llm
        found: str | None = getattr(self, name)
        return found


@dataclass(frozen=True, order=True)
class Node:
    """A step's work for one owner (an SAE, a hook point, or the run) and one variant."""

    step: str
    owner: str | None
    method: str | None

    @property
    def name(self) -> str:
        """The key in a manifest."""
        return "/".join(slug(part) for part in (self.step, self.owner, self.method) if part)


def identity(config: Config, axes: Axes, inputs: Inputs) -> dict[str, Record]:
    """By node name, in the flow's order: everything that decides the node's tables."""
    made = _Identity(config, axes, inputs)
    return {node.name: made.record(node) for node in nodes(config, axes)}


def nodes(config: Config, axes: Axes) -> Iterator[Node]:
    """Every step with its owners and variants. One pass for all SAEs counts for each of them."""
    for step in FLOW:
        owners = tuple(axes.latents) if step.scope == "subject" else owners_of(step, axes)
        for owner in owners:
            for method in methods_of(step, config):
                yield Node(step.name, owner, method)


def digest(record: object) -> str:
    """A short content digest of anything JSON can hold."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def first_difference(old: Mapping[str, Record], new: Mapping[str, Record]) -> str | None:
    """One sentence that names the first step and field in which two identities differ.

    Nodes that only one of them has are methods that were added or dropped: no difference. A step's
    own fields are compared before what it reads, so that the cause is named and not its effect.
    """
    if one := next(_differences(old, new, _OWN), None):
        return (
            f"step `{_step(one.node)}` was made with {one.field} = {_short(one.before)}, and the "
            f"config now says {_short(one.now)}"
        )
    for one in _differences(old, new, ("reads",)):
        # What publishing reads grows with the methods.
        if _step(one.node) != "publish" or None not in (one.before, one.now):
            return f"step `{_step(one.node)}` was made from other tables of {one.field}"
    return None


def differs_by_selection_alone(old: Mapping[str, Record], new: Mapping[str, Record]) -> bool:
    """Whether two identities differ, if at all, in which latents are chosen, and in what follows
    from that.
    """
    return all(one.field.startswith("select.") for one in _differences(old, new, _OWN))


@dataclass(frozen=True)
class _Difference:
    """A field of a node that both identities have; None stands for a field that is not there."""

    node: str
    field: str
    before: object
    now: object


def _differences(
    old: Mapping[str, Record], new: Mapping[str, Record], sections: Sequence[str]
) -> Iterator[_Difference]:
    for node in new:
        if node not in old:
            continue
        for section in sections:
            before, now = old[node][section], new[node][section]
            for field in sorted({*before, *now}):
                if before.get(field) != now.get(field):
                    yield _Difference(node, field, before.get(field), now.get(field))


def _texts(step: Step, method: str | None, config: Config) -> tuple[str, ...]:
    if not callable(step.texts):
        return step.texts
    assert method is not None, f"{step.name} has prompt texts by method"
    return step.texts(method, config)


def _step(name: str) -> str:
    return name.partition("/")[0]


class _Identity:
    """The records of one run; each is made once."""

    def __init__(self, config: Config, axes: Axes, inputs: Inputs) -> None:
        self._config, self._axes, self._inputs = config, axes, inputs
        self._records: dict[Node, Record] = {}

    def record(self, node: Node) -> Record:
        if node not in self._records:
            self._records[node] = self._made(node)
        return self._records[node]

    def _made(self, node: Node) -> Record:
        step = step_named(node.step)
        sae = node.owner if step.scope in ("sae", "subject") else None
        read = {
            Node(made.name, owner, method)
            for _, made, method in variants_read(step, node.method, self._config)
            for owner in owners_read(made, sae, self._axes)
        }
        return {
            "config": dict(sorted(declared(step, self._config).items())),
            "cut": {"revision": step.revision, **self._cut(step, node.owner)},
            "inputs": {
                **{
                    f"input.{i}": found
                    for i in step.inputs
                    if (found := self._inputs.digest_of(i, sae)) is not None
                },
                **{
                    f"prompts.{text}": self._inputs.prompts[text]
                    for text in _texts(step, node.method, self._config)
                },
            },
            "reads": {other.name: digest(self.record(other)) for other in sorted(read)},
        }

    def _cut(self, step: Step, owner: str | None) -> dict[str, object]:
        """What decides names and keys of the step's objects."""
        axes = self._axes
        found: dict[str, object] = {}
        if step.split == "token":
            found["axes.num_token_shards"] = axes.num_token_shards
        elif step.split == "directions":
            found["axes.directions_per_shard"] = axes.directions_per_shard
        elif step.split == "selection":
            found["axes.selected_per_shard"] = axes.selected_per_shard
        if step.scope in ("sae", "subject"):
            assert owner is not None
            latents = axes.latents[owner]
            found["axes.latents"] = [latents.start, latents.stop]
            found["axes.latents_per_shard"] = axes.latents_per_shard
        return found


def declared(step: Step, config: Config) -> dict[str, object]:
    """The values of the fields of the kind `identity` that a step declares, by dotted name."""
    found: dict[str, object] = {}
    for name in step.config:
        section: Any = config
        parts = name.split(".")
        for part in parts[:-1]:
            section = getattr(section, part)
        if name == "judge":
            found |= identity_fields(config.judging, "judge")
        elif isinstance(value := getattr(section, parts[-1]), Section):
            found |= identity_fields(value, name)
        elif section.kind_of(parts[-1]) == "identity":
            found[name] = section.model_dump(mode="json", include={parts[-1]})[parts[-1]]
    return found


def identity_fields(section: Section, path: str) -> dict[str, object]:
    """A section's fields of the kind `identity`, its own sections' too."""
    found: dict[str, object] = {}
    dumped = section.model_dump(mode="json")
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            found |= identity_fields(value, f"{path}.{name}")
        elif section.kind_of(name) == "identity":
            found[f"{path}.{name}"] = dumped[name]
    return found


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
