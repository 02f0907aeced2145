"""A subject that does not fit is refused with the number of GPUs it needs; more GPUs hold more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError
from ray_autointerp.models.sae_card import SaeCard
from ray_autointerp.models.subject_card import SubjectCard
from ray_autointerp.preflight.worker_memory import check_weights, fitting_micro_batch

Planted = Callable[..., Config]
GEMMA_27B = SubjectCard("gemma", "gemma2", 4608, 46, 256_000, 8192, 27_227_128_320, "", 4096)
"""54 GB in bfloat16."""


@dataclass(frozen=True)
class Gpu:
    total_memory: int


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """machine(num_gpus=4, gb=24)."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def make(num_gpus: int, gb: float = 24) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Gpu(int(gb * 1e9)))

    return make


def configured(planted_config: Planted, **operations: Any) -> Config:
    subject = {"dtype": "bfloat16"}
    if "device" in operations:
        subject["device"] = operations.pop("device")
    corpus = {"window": 1024}
    changes = {"subject": subject, "operations": operations, "corpus": corpus}
    return planted_config("x", changes)


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ({"subject_gpus": 1}, "and a GPU here has 24 GB: set operations.subject_gpus = 3."),
        ({}, "and a GPU here has 24 GB: set operations.subject_gpus = 3."),
        ({"subject_gpus": 2}, "has 24 GB for each of 2 GPUs: set operations.subject_gpus = 3."),
        ({"subject_gpus": 0.5}, "of which a worker takes 0.5: set operations.subject_gpus = 3."),
        (
            {"subject_gpus": 1, "memory_gb": 16},
            "operations.memory_gb is 16: set operations.subject_gpus = 4.",
        ),
        ({"device": "cpu", "memory_gb": 16}, "operations.memory_gb is 16: raise it"),
    ],
)
def test_weights_larger_than_the_worker_are_one_sentence(
    planted_config: Planted, machine: Callable[..., None], operations: dict[str, Any], said: str
) -> None:
    machine(4)
    with pytest.raises(ConfigError) as caught:
        check_weights(configured(planted_config, **operations), GEMMA_27B)
    assert said in str(caught.value)
    assert str(caught.value).startswith("The subject's weights take 54 GB in bfloat16 and ")


def test_weights_that_fit_or_of_which_nothing_is_known_pass(
    planted_config: Planted, machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(4)
    check_weights(configured(planted_config, subject_gpus=3), GEMMA_27B)
    check_weights(configured(planted_config, subject_gpus=1, memory_gb=64), GEMMA_27B)
    check_weights(configured(planted_config, device="cpu"), GEMMA_27B)
    machine(4, gb=80)
    check_weights(configured(planted_config, subject_gpus=1), GEMMA_27B)
    machine(1)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    check_weights(configured(planted_config, subject_gpus=1), GEMMA_27B)
    with pytest.raises(ConfigError, match="memory_gb"):
        check_weights(configured(planted_config, subject_gpus=1, memory_gb=24), GEMMA_27B)


def test_more_gpus_leave_room_for_more_windows(
    planted_config: Planted, machine: Callable[..., None]
) -> None:
    machine(8)
    card = SaeCard.__new__(SaeCard)
    object.__setattr__(card, "d_sae", 16_384)

    def fits(**operations: Any) -> int:
        return fitting_micro_batch(configured(planted_config, **operations), GEMMA_27B, [card])

    assert fits(subject_gpus=3) < fits(subject_gpus=8)
    assert fits(subject_gpus=4) == fits(subject_gpus=4, memory_gb=24e9 / 2**30)


@pytest.mark.parametrize("gpus", [1.5, 2.01])
def test_fraction_above_one_gpu_is_one_sentence(planted_config: Planted, gpus: float) -> None:
    with pytest.raises(ConfigError, match=f"subject_gpus is {gpus}: give a whole number of GPUs"):
        configured(planted_config, subject_gpus=gpus)
