"""Identity: what decides results stops a resumed run, and nothing else does."""

from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.identity import Inputs, first_difference, identity
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
        ("evidence__change_windows", 3, "agreement"),
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
        ("llm__engine_args", {"enforce_eager": True}),
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
