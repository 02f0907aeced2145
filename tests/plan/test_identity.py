"""Identity: what decides results stops a resumed run, and nothing else does."""

from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.identity import Inputs, declared, digest, first_difference, identity
from ray_autointerp.plan.shards import Axes, LatentRange

AXES = Axes(2, {"s": LatentRange(0, 8)}, 4, 4, {"s": "h"}, 4, 4)
INPUTS = Inputs("subject", "tokenizer", "corpus", {"s": "sae"}, "llm", "prompts")


def config(**changes: Any) -> Config:
    raw: dict[str, Any] = {
        "run": {"name": "t"},
        "subject": {"model": "hub/model"},
        "sae": [{"id": "s", "path": "sae"}],
        "corpus": {"path": "c.parquet"},
        "llm": {"backend": "scripted", "script": "m:f"},
    }
    for name, value in changes.items():
        section, field = name.split("__")
        raw.setdefault(section, {})[field] = value
    return parse_config(raw, Path("t.toml"))


@pytest.mark.parametrize(
    ("change", "value", "step"),
    [
        ("run__seed", 1, "jacobian"),
        ("corpus__num_tokens", 5, "corpus"),
        ("evidence__num_top_examples", 3, "max_act"),
        ("evidence__change_windows", 3, "overlap"),
        ("select__num_latents", 3, "select"),
        ("steering__temperature", 0.1, "steering"),
        ("describe__cap_words", 9, "explain"),
        ("score__num_sentences", 9, "write_sentences"),
        ("score__num_units", 2, "steering"),
        ("operations__micro_batch", 2, "jacobian"),
    ],
)
def test_identity_a_deciding_field_names_its_step(change: str, value: Any, step: str) -> None:
    old = identity(config(), AXES, INPUTS)
    difference = first_difference(old, identity(config(**{change: value}), AXES, INPUTS))
    assert difference is not None
    assert f"`{step}`" in difference
    assert change.replace("__", ".") in difference


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("run__root", "s3://elsewhere"),
        ("operations__subject_workers", 9),
        ("operations__llm_gpus", 1),
        ("llm__requests_in_flight", 9),
        ("subject__device", "cpu"),
        ("describe__methods", ["keywords", "ensemble_raw", "max_act"]),
        ("corpus__path", "elsewhere/c.parquet"),
    ],
)
def test_identity_operations_and_growth_are_free(change: str, value: Any) -> None:
    old = identity(config(), AXES, INPUTS)
    assert first_difference(old, identity(config(**{change: value}), AXES, INPUTS)) is None


def test_identity_another_subject_stops_the_run() -> None:
    other = Inputs("other", "tokenizer", "corpus", {"s": "sae"}, "llm", "prompts")
    difference = first_difference(identity(config(), AXES, INPUTS), identity(config(), AXES, other))
    assert difference is not None
    assert "input.subject" in difference


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("evidence__change_modes", ["active", "all"]),
        ("subject__model_kwargs", {"rope_scaling": None}),
        ("score__three_set_methods", ["max_act"]),
        ("llm__engine_args", {"quantization": "fp8"}),
    ],
)
def test_identity_holes_of_hand_kept_lists_are_closed(change: str, value: Any) -> None:
    before = {"evidence__change_modes": ["all", "active"]}
    old = identity(config(**before), AXES, INPUTS)
    difference = first_difference(old, identity(config(**{**before, change: value}), AXES, INPUTS))
    assert difference is not None
    assert change.replace("__", ".") in difference


def test_identity_growing_scored_methods_changes_no_other_methods_scores() -> None:
    few = config(describe__methods=["max_act", "keywords"], score__methods=["keywords"])
    many = config(describe__methods=["max_act", "keywords"], score__methods=["max_act", "keywords"])
    old, new = identity(few, AXES, INPUTS), identity(many, AXES, INPUTS)
    assert first_difference(old, new) is None
    assert {name for name in new if name not in old} == {
        "shuffle/s/max_act.shuffled",
        *(
            f"{step}/s/{method}"
            for step in (
                *("write_sentences", "detection", "fuzzing"),
                *("input_score", "output_score", "unseen_tokens"),
            )
            for method in ("max_act", "max_act.shuffled")
        ),
    }
    assert {name for name in old if old[name] != new[name]} == {"publish/s"}


def test_identity_another_sae_subject_and_corpus_change_every_digest() -> None:
    other = Inputs("other", "other", "other", {"s": "other"}, "llm", "prompts")
    old, new = identity(config(), AXES, INPUTS), identity(config(), AXES, other)
    assert {name for name in old if digest(old[name]) == digest(new[name])} == set()


def test_identity_the_jacobian_of_a_hook_point_does_not_depend_on_an_sae() -> None:
    other = Inputs("subject", "tokenizer", "corpus", {"s": "other"}, "llm", "prompts")
    old, new = identity(config(), AXES, INPUTS), identity(config(), AXES, other)
    same = {name for name in old if digest(old[name]) == digest(new[name])}
    assert same == {"corpus", "overlap", "jacobian/h"}


def test_identity_of_one_sae_does_not_depend_on_the_others() -> None:
    two = {
        **config().model_dump(mode="json", exclude_none=True),
        "sae": [{"id": "s", "path": "sae"}, {"id": "z", "path": "z"}],
    }
    axes = Axes(
        2, {"s": LatentRange(0, 8), "z": LatentRange(0, 9)}, 4, 4, {"s": "h", "z": "h"}, 4, 4
    )
    inputs = Inputs("subject", "tokenizer", "corpus", {"s": "sae", "z": "z"}, "llm", "prompts")
    both = identity(parse_config(two, Path("t.toml")), axes, inputs)
    alone = identity(config(), AXES, INPUTS)
    assert {name: digest(record) for name, record in both.items() if name in alone} == {
        name: digest(record) for name, record in alone.items()
    }


def test_identity_every_field_has_a_kind_and_every_declared_field_exists() -> None:
    made = config()
    for step in FLOW:
        assert declared(step, made) or not step.config, step.name
    fields = {field for step in FLOW for field in declared(step, made)}
    assert {"run.seed", "subject.dtype", "operations.micro_batch", "llm.engine_args"} <= fields
    assert not {"run.root", "llm.model", "corpus.path", "describe.methods"} & fields
