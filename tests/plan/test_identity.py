"""Identity: what decides results stops a resumed run, and nothing else does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.evidence import DESCRIPTION_METHODS, EXPLAINERS
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.identity import Inputs, declared, digest, first_difference, identity
from ray_autointerp.plan.shards import Axes, LatentRange
from ray_autointerp.prompts import text
from ray_autointerp.prompts.shown import Shown
from ray_autointerp.prompts.text import text_digests

AXES = Axes(2, {"s": LatentRange(0, 8)}, 4, 4, {"s": "h"}, 4, 4)
TEXTS = text_digests()
INPUTS = Inputs("subject", "tokenizer", "corpus", {"s": "sae"}, "llm", TEXTS)


SCORERS = (
    *("write_sentences", "detection", "fuzzing"),
    *("input_score", "output_score", "unseen_tokens"),
)


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
        ("describe__structured", True, "explain"),
        ("score__num_sentences", 9, "write_sentences"),
        ("score__num_units", 2, "steering"),
        ("operations__micro_batch", 2, "sae_fit"),
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
    other = Inputs("other", "tokenizer", "corpus", {"s": "sae"}, "llm", TEXTS)
    difference = first_difference(identity(config(), AXES, INPUTS), identity(config(), AXES, other))
    assert difference is not None
    assert "input.subject" in difference


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("evidence__change_modes", ["active", "all"]),
        ("subject__model_kwargs", {"rope_scaling": None}),
        ("score__three_set_methods", ["ensemble_raw"]),
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
        "revive/s/max_act",
        *(f"{step}/s/max_act" for step in SCORERS),
        *(f"{step}/s/max_act.shuffled" for step in SCORERS),
    }
    assert {name for name in old if old[name] != new[name]} == {"publish/s"}


def test_identity_another_sae_subject_and_corpus_change_every_digest() -> None:
    other = Inputs("other", "other", "other", {"s": "other"}, "llm", TEXTS)
    old, new = identity(config(), AXES, INPUTS), identity(config(), AXES, other)
    same = {name for name in old if digest(old[name]) == digest(new[name])}
    assert {name.partition("/")[0] for name in same} == {"judge_check"}


def test_identity_the_jacobian_of_a_hook_point_does_not_depend_on_an_sae() -> None:
    other = Inputs("subject", "tokenizer", "corpus", {"s": "other"}, "llm", TEXTS)
    old, new = identity(config(), AXES, INPUTS), identity(config(), AXES, other)
    same = {name for name in old if digest(old[name]) == digest(new[name])}
    assert {name for name in same if not name.startswith("judge_check/")} == {
        "corpus",
        "overlap",
        "jacobian/h",
    }


def test_identity_of_one_sae_does_not_depend_on_the_others() -> None:
    two = {
        **config().model_dump(mode="json", exclude_none=True),
        "sae": [{"id": "s", "path": "sae"}, {"id": "z", "path": "z"}],
    }
    axes = Axes(
        2, {"s": LatentRange(0, 8), "z": LatentRange(0, 9)}, 4, 4, {"s": "h", "z": "h"}, 4, 4
    )
    inputs = Inputs("subject", "tokenizer", "corpus", {"s": "sae", "z": "z"}, "llm", TEXTS)
    both = identity(parse_config(two, Path("t.toml")), axes, inputs)
    alone = identity(config(), AXES, INPUTS)
    assert {name: digest(record) for name, record in both.items() if name in alone} == {
        name: digest(record) for name, record in alone.items()
    }


def test_identity_every_field_has_a_kind_and_every_declared_field_exists() -> None:
    made = parse_config(
        {**config().model_dump(mode="json", exclude_none=True), "match": {}}, Path("t.toml")
    )
    for step in FLOW:
        assert declared(step, made) or not step.config, step.name
    fields = {field for step in FLOW for field in declared(step, made)}
    assert {"run.seed", "subject.dtype", "operations.micro_batch", "llm.engine_args"} <= fields
    assert not {"run.root", "llm.model", "corpus.path", "describe.methods"} & fields


def test_identity_of_a_prompt_text_is_that_of_the_methods_that_ask_with_it() -> None:
    """So that a new method's text, or a changed one, leaves every other method's answers alone."""
    made = config(
        describe__methods=[*DESCRIPTION_METHODS],
        score__methods=["max_act", "jacobian_proj"],
    )
    assert changed("jacobian_proj", made) == {
        "explain/s/jacobian_proj",
        "shuffle/s/jacobian_proj.shuffled",
        "revive/s/jacobian_proj",
        *(f"{step}/s/jacobian_proj" for step in SCORERS),
        *(f"{step}/s/jacobian_proj.shuffled" for step in SCORERS),
        "publish/s",
    }
    assert {name for name in changed("max_act", made) if name.startswith("explain")} == {
        "explain/s/max_act",
        "explain/s/ensemble_concat",
        "explain/s/ensemble_concat_uncapped",
        "explain/s/summary",
    }
    assert changed("named_keywords", made) == {
        "explain/s/named_keywords",
        "explain/s/name",
        "publish/s",
    }
    assert changed("structured", made) == set(), "nobody is asked for JSON"
    structured = config(
        describe__methods=["max_act", "named_keywords"],
        describe__structured=True,
        score__methods=["max_act"],
    )
    assert "explain/s/max_act" in changed("structured", structured)
    assert "explain/s/named_keywords" not in changed("structured", structured)


def test_identity_writer_judges_and_steering_have_texts_of_their_own() -> None:
    made = config(describe__methods=["max_act", "keywords"], score__methods=["max_act"])
    written = config(
        describe__methods=["max_act", "keywords"],
        score__methods=["max_act"],
        score__neutral_sentences="written",
    )
    of_sentences = {"write_sentences", "input_score", "revive", "publish"}
    assert steps(changed("activating_sentences", made)) == of_sentences
    assert steps(changed("neutral_sentences", made)) == of_sentences
    assert steps(changed("sentences", written)) == of_sentences
    assert not changed("sentences", made) and not changed("neutral_sentences", written)
    assert steps(changed("judge_two", made)) == {
        "judge_check",
        "output_score",
        "publish",
    }
    neutral = steps(changed("neutral", made))
    assert {"calibrate", "steering", "output_score"} <= neutral
    assert not {"explain", "write_sentences"} & neutral


def test_identity_changed_text_is_named_with_its_step() -> None:
    made = config(describe__methods=["max_act", "keywords"], score__methods=["max_act"])
    other = replace(INPUTS, prompts={**TEXTS, "max_act": "other"})
    difference = first_difference(identity(made, AXES, INPUTS), identity(made, AXES, other))
    assert difference is not None
    assert "`explain`" in difference and "prompts.max_act" in difference


@pytest.mark.parametrize("is_structured", [False, True])
@pytest.mark.parametrize("method", EXPLAINERS)
def test_identity_holds_every_text_that_a_method_reads(
    method: str, is_structured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config(
        describe__methods=[*DESCRIPTION_METHODS],
        describe__structured=is_structured,
        score__methods=["keywords"],
    )
    seen: set[str] = set()
    read = text._read
    monkeypatch.setattr(text, "_read", lambda file: (seen.add(file.split(".")[0]), read(file))[1])
    for one in EXPLAINERS[method].parts or (method,):
        if EXPLAINERS[one].text is not None:
            assert EXPLAINERS[one].question(EVIDENCE, Shown(1, 1, 1.0), 20, is_structured)
    record = identity(made, AXES, INPUTS)[f"explain/s/{method}"]
    held = {field.removeprefix("prompts.") for field in record["inputs"] if "prompts." in field}
    assert seen <= held <= seen | {"cap"}


MOVED = {"promoted": [{"text": "owl", "logit": 1.0}], "suppressed": []}
EVIDENCE: dict[str, list[dict[str, Any]]] = {
    "top_examples": [{"split": "explain", "status": "ok", "examples": []}],
    "token_change": [{"sign": 1, "status": "ok", **MOVED}],
    **{table: [{"status": "ok", **MOVED}] for table in ("vocab_proj", "jacobian_proj")},
    **{
        f"descriptions/{method}": [
            {"status": "ok", "description": "owls", "trigger": "owls", "promotes": None}
        ]
        for method in ("keywords", "max_act", "vocab_proj", "token_change")
    },
}


def changed(name: str, made: Config) -> set[str]:
    """The nodes whose digest another text of that name changes."""
    other = replace(INPUTS, prompts={**TEXTS, name: "other"})
    old, new = identity(made, AXES, INPUTS), identity(made, AXES, other)
    return {node for node in old if digest(old[node]) != digest(new[node])}


def steps(names: set[str]) -> set[str]:
    return {name.split("/")[0] for name in names}
