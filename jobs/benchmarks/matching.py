"""Are latents found again after drift, births and deaths, and what does a wide dictionary cost?

    .venv/bin/python jobs/benchmarks/matching.py [--settings WIDTH:DRIFT:BIRTHS:CORRELATION ...]

An old dictionary of random directions; in the new one a share of births has replaced as many old
latents; the others are shuffled and moved by noise of DRIFT times their length (to a cosine near
1 / sqrt(1 + DRIFT^2)). With a CORRELATION, directions come in groups of about 8 with that cosine
within them, births too. Prints one JSON line per setting, measured in a process of its own:
precision (pairs made that are true), recall (true pairs made), seconds (and those of processor
time), the process's peak memory and what it was before matching, in MB; precision and recall of the
clear matches alone, which lead by 0.1 in cosine; and of the nearest old latent of each new one,
which is not one to one.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import numpy.typing as npt
import torch
from race import machine, report
from torch import Tensor
from torch.nn.functional import normalize

from ray_autointerp.methods.match import NONE, match

D_MODEL, GROUP, BLOCK, MARGIN = 256, 8, 2048, 0.1
SETTINGS = [
    *(f"4096:{drift}:0.1:0" for drift in (0.3, 0.5, 0.75, 0.9, 1.0, 1.2)),
    *(f"4096:{drift}:0.1:{c}" for c in (0.6, 0.8, 0.9) for drift in (0.1, 0.3, 0.5, 0.75)),
    "4096:0.3:0.5:0.8",
    "16384:0.3:0.1:0",
    "65536:0.3:0.1:0",
]

Latents = npt.NDArray[np.int64]


def main() -> None:
    """Every setting in a process of its own, so that each has its own peak."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--settings", nargs="+", default=SETTINGS)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--only", help="this setting, in this process")
    asked = parser.parse_args()
    if asked.only:
        report(**measured(asked.only, asked.threshold))
        return
    for setting in asked.settings:
        rest = ["--only", setting, "--threshold", str(asked.threshold)]
        subprocess.run([sys.executable, __file__, *rest], check=True)


def measured(setting: str, threshold: float) -> dict[str, object]:
    """Both ways on the same two dictionaries."""
    width, drift, births, correlation = (float(part) for part in setting.split(":"))
    W_new_ND, W_old_MD, truth_N = planted(int(width), drift, births, correlation)
    before_mb, started, cpu_started = peak_mb(), time.perf_counter(), time.process_time()
    found = match(W_new_ND, W_old_MD, threshold, block_size=BLOCK)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    matched_mb, started = peak_mb(), time.perf_counter()
    nearest_N = nearest(W_new_ND, W_old_MD, threshold)
    nearest_seconds = time.perf_counter() - started
    return {
        "width": int(width),
        "drift": drift,
        "births": births,
        "correlation": correlation,
        **precision_and_recall(found.olds_N, truth_N),
        "clear": precision_and_recall(
            np.where(found.margins_N >= MARGIN, found.olds_N, NONE), truth_N
        ),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": matched_mb,
        "before_mb": before_mb,
        "nearest": {**precision_and_recall(nearest_N, truth_N), "seconds": nearest_seconds},
        "machine": machine(),
    }


def planted(
    width: int, drift: float, births: float, correlation: float
) -> tuple[Tensor, Tensor, Latents]:
    """The new and the old dictionary, and the old latent of each new one."""
    draws = torch.Generator().manual_seed(0)
    centres_GD = _directions(-(-width // GROUP), draws)

    def dictionary(count: int) -> Tensor:
        group_L = torch.randint(len(centres_GD), (count,), generator=draws)
        own_LD = (1 - correlation) ** 0.5 * _directions(count, draws)
        return own_LD + correlation**0.5 * centres_GD[group_L]

    W_old_MD, num_births = normalize(dictionary(width)), round(births * width)
    olds_N = torch.randperm(width, generator=draws)
    W_new_ND = W_old_MD[olds_N] + drift * _directions(width, draws)
    is_birth_N = torch.randperm(width, generator=draws) < num_births
    W_new_ND[is_birth_N] = dictionary(num_births)
    olds_N[is_birth_N] = NONE
    return W_new_ND, W_old_MD, olds_N.numpy()


def _directions(count: int, draws: torch.Generator) -> Tensor:
    return normalize(torch.randn(count, D_MODEL, generator=draws))


def nearest(W_new_ND: Tensor, W_old_MD: Tensor, threshold: float) -> Latents:
    """The baseline: of each new latent the nearest old one above the threshold."""
    unit_MD, size = normalize(W_old_MD), BLOCK * BLOCK // len(W_old_MD) + 1
    # Made once: small results between large buffers keep the allocator from giving these back.
    olds_N = torch.empty(len(W_new_ND), dtype=torch.long)
    for first in range(0, len(W_new_ND), size):
        rows = slice(first, first + size)
        largest = (normalize(W_new_ND[rows]) @ unit_MD.T).max(dim=1)
        olds_N[rows] = torch.where(largest.values > threshold, largest.indices, NONE)
    return olds_N.numpy()


def precision_and_recall(found_N: Latents, truth_N: Latents) -> dict[str, float | None]:
    """Of the pairs; no precision where none was made."""
    num_right = int(((found_N == truth_N) & (truth_N != NONE)).sum())
    num_made, num_true = int((found_N != NONE).sum()), int((truth_N != NONE).sum())
    precision = num_right / num_made if num_made else None
    return {"precision": precision, "recall": num_right / num_true}


def peak_mb() -> int:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
