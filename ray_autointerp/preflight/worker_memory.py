"""What a subject worker's memory holds: the subject's weights, and windows of text beside them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray_autointerp.config import Config, bounds
from ray_autointerp.errors import ConfigError
from ray_autointerp.models.sae_card import SaeCard
from ray_autointerp.models.subject_card import SubjectCard
from ray_autointerp.plan.batch import micro_batch
from ray_autointerp.plan.weights import gpus_needed, in_gb, weight_bytes
from ray_autointerp.runs.loaded_models import SAES_HELD


def check_weights(config: Config, subject: SubjectCard) -> None:
    """Refuse a subject that does not fit into its worker, where the worker's memory is known."""
    operations = config.operations
    known, gpus = _known(config), _num_gpus(config)
    if known is None or (os.environ.get("RAY_ADDRESS") and operations.memory_gb is None):
        return  # the cluster's GPUs may be others than this machine's
    weights = weight_bytes(subject.num_parameters, config.subject.dtype)
    if weights < gpus * known.num_bytes:
        return
    if operations.subject_gpus or operations.memory_gb is None:
        whole = int(known.num_bytes / _share(config))
        way = f"set operations.subject_gpus = {gpus_needed(weights, whole)}"
    else:
        way = "raise it, or run on GPUs with operations.subject_gpus"
    spread = f" for each of {gpus} GPUs" if gpus > 1 else ""
    raise ConfigError(
        f"The subject's weights take {in_gb(weights)} in {config.subject.dtype} and "
        f"{known.words}{spread}: {way}."
    )


def require_weights_here(config: Config, subject: SubjectCard) -> None:
    """Refuse to load a subject into this process where this machine has no room for it."""
    import torch

    weights = weight_bytes(subject.num_parameters, config.subject.dtype)
    is_on_cpu = config.subject.device == "cpu" or not torch.cuda.is_available()
    if is_on_cpu and weights >= _host_memory():
        raise ConfigError(
            f"The subject's weights take {in_gb(weights)} in {config.subject.dtype}, and this "
            f"machine has {in_gb(_host_memory())} and no GPU to use: measure the fit on one of "
            "the machines that are to run it."
        )


def fitting_micro_batch(config: Config, subject: SubjectCard, saes: Sequence[SaeCard]) -> int:
    """Windows in one pass, by the memory that is there, not the memory that is free: that would
    change by the hour.
    """
    window, known = config.corpus.window, _known(config)
    assert window is not None, "the config was not completed"
    return micro_batch(
        known.num_bytes if known else _host_memory() // _num_workers(config),
        config.subject.dtype,
        subject.d_model,
        subject.num_layers,
        window,
        max(card.d_sae for card in saes),
        num_parameters=subject.num_parameters,
        num_gpus=_num_gpus(config),
        decoder_bytes=sum(sorted(card.decoder_bytes for card in saes)[-SAES_HELD:]),
    )


@dataclass(frozen=True)
class _Known:
    """What a worker may take of each of its GPUs, or of its machine, and why."""

    num_bytes: int
    words: str


def _known(config: Config) -> _Known | None:
    """By the config or by this machine's GPU, which the workers' are taken to be like."""
    import torch

    limit = config.operations.memory_gb
    if limit is not None:
        return _Known(int(limit * 2**30), f"operations.memory_gb is {limit:g}")
    if config.subject.device == "cpu" or not torch.cuda.is_available():
        return None
    whole, share = torch.cuda.get_device_properties(0).total_memory, _share(config)
    part = f", of which a worker takes {share:g}" if share < 1 else ""
    return _Known(int(share * whole), f"a GPU here has {in_gb(whole)}{part}")


def _share(config: Config) -> float:
    """Of a GPU that a worker may take."""
    return min(config.operations.subject_gpus, 1) or 1


def _num_gpus(config: Config) -> int:
    """GPUs that the layers of one worker's subject are spread over; 1 on a CPU too."""
    return 1 if config.subject.device == "cpu" else max(1, int(config.operations.subject_gpus))


def _num_workers(config: Config) -> int:
    operations = config.operations
    sizes = [operations.cpu_workers, operations.subject_workers, operations.llm_workers]
    sizes += [operations.judge_workers] if config.judge else []
    by_threads = max(1, (os.cpu_count() or 1) // operations.threads)
    return sum(bounds(size)[1] or by_threads for size in sizes)


def _host_memory() -> int:
    """Bytes of this machine, or of the control group it runs in where that allows less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup") / limit
        if file.is_file() and (limit_text := file.read_text().strip()).isdigit():
            found.append(int(limit_text))
    return min(found)
