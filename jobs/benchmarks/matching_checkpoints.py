"""Two checkpoints of an SAE: how many latents match, and whether those that do fire alike.

    .venv/bin/python jobs/benchmarks/matching_checkpoints.py [CONFIG] [--earlier FOLDER]

Matches the first SAE of the config (the demo's) with an earlier one on the same hook point, and
correlates their activations on the first tokens of the config's corpus. Checkpoints of one training
keep their latents' places, so a match with another place is counted as moved. Prints JSON lines: by
threshold the shares matched, born, lost, moved and ambiguous; by cosine the correlations.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from race import machine, report

from ray_autointerp.config import Config
from ray_autointerp.config_file import read_config
from ray_autointerp.methods.activation_correlation import ActivationCorrelation, SparseActivations
from ray_autointerp.methods.match import NONE, Latents, Matches, match
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.sae import Sae
from ray_autointerp.preflight.check import check
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.manifest import open_run
from ray_autointerp.stages import corpus

DEMO = Path(__file__).parents[1] / "demo"
Correlations = npt.NDArray[np.float32]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def main() -> None:
    """Matchings at every threshold, then the lowest one's correlations."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", nargs="?", type=Path, default=DEMO / "demo.toml")
    parser.add_argument("--earlier", default=str(DEMO / "sae_earlier"))
    parser.add_argument("--tokens", type=int, default=20_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        context = opened(read_config(asked.config), asked.tokens, root)
        (new, *_) = (context.sae(name) for name in context.run.saes)
        old = Sae.load(asked.earlier, hook_point=new.hook_point, read_point=new.read_point)
        report(machine=machine(), latents=new.d_sae, earlier=old.d_sae, tokens=asked.tokens)
        for threshold in THRESHOLDS:
            matches = match(new.W_dec_LD, old.W_dec_LD, threshold)
            report(threshold=threshold, **shares(matches, old.d_sae))
        matches = match(new.W_dec_LD, old.W_dec_LD, THRESHOLDS[0])
        matched_sums = ActivationCorrelation(matches.olds_N, old.d_sae)
        shuffled_sums = ActivationCorrelation(shuffled(matches.olds_N), old.d_sae)
        for both, num_tokens in pieces(context, new, old):
            matched_sums.add(*both, num_tokens)
            shuffled_sums.add(*both, num_tokens)
        report_correlations(matches, matched_sums.correlations_N(), shuffled_sums.correlations_N())


def opened(config: Config, num_tokens: int, root: str) -> WorkerContext:
    """A run of which only the tokens are made, in one shard."""
    tokens = {"num_tokens": num_tokens, "tokens_per_shard": num_tokens}
    update = {
        "run": config.run.model_copy(update={"root": root}),
        "corpus": config.corpus.model_copy(update=tokens),
    }
    checked = check(config.model_copy(update=update))
    run = open_run(checked.config, checked.axes, checked.inputs, checked.micro_batch)
    context = WorkerContext(run)
    corpus.run(Task("corpus", None, None, 0, 1), context)
    return context


def shares(matches: Matches, num_old: int) -> dict[str, float]:
    """Of new latents, of old ones (lost) and of matches (moved, ambiguous).

    A match is ambiguous if either latent is nearly as near (0.1) to a third.
    """
    (matched,) = np.nonzero(matches.olds_N != NONE)
    return {
        "matched": len(matched) / len(matches.olds_N),
        "born": 1 - len(matched) / len(matches.olds_N),
        "lost": len(matches.lost) / num_old,
        "moved": float((matches.olds_N[matched] != matched).mean()) if len(matched) else 0.0,
        "ambiguous": float((matches.margins_N[matched] < 0.1).mean()),
    }


def shuffled(olds_N: Latents) -> Latents:
    """The same latents matched with each other's partners: the floor of a correlation."""
    draws, others_N = np.random.default_rng(0), olds_N.copy()
    others_N[olds_N != NONE] = draws.permutation(olds_N[olds_N != NONE])
    return others_N


def pieces(
    context: WorkerContext, new: Sae, old: Sae
) -> Iterator[tuple[tuple[SparseActivations, SparseActivations], int]]:
    """Both SAEs' non-zeros, some windows at a time, without special tokens and sinks."""
    subject = context.subject
    site, place = subject.site(new.hook_point), subject.place(new.read_point)
    windows = [row["token_ids"] for row in context.tables.read("tokens", None).to_pylist()]
    by_length: dict[int, list[list[int]]] = {}
    for window in windows:
        by_length.setdefault(len(window), []).append(window)
    for alike in by_length.values():
        for tokens_WT in torch.split(torch.tensor(alike), 32):
            seen = subject.residuals(tokens_WT, [site, place])
            mask_WT = position_mask(subject, tokens_WT, seen[site], site)
            place_WT = mask_WT.flatten().cumsum(0).reshape(mask_WT.shape) - 1
            both = []
            for sae in (new, old):
                found = sae.active_entries(seen[place], mask_WT, slice(0, sae.d_sae))
                tokens_E = place_WT[found.rows_N, found.positions_N]
                arrays = (tokens_E, found.latents_N, found.values_N)
                both.append(SparseActivations(*(one.numpy() for one in arrays)))
            yield (both[0], both[1]), int(mask_WT.sum())


def report_correlations(
    matches: Matches, correlations_N: Correlations, shuffled_N: Correlations
) -> None:
    """By cosine of the match: how many, how many of them fire, and quartiles of the correlation."""
    edges = (*THRESHOLDS, 1.01)
    for low, high in zip(edges, edges[1:], strict=False):
        is_here_N = (matches.cosines_N > low) & (matches.cosines_N <= high)
        report(
            cosine=f"{low} to {min(high, 1)}",
            latents=int(is_here_N.sum()),
            fire=int((~np.isnan(correlations_N[is_here_N])).sum()),
            correlation_quartiles=quartiles(correlations_N[is_here_N]),
            shuffled_quartiles=quartiles(shuffled_N[is_here_N]),
        )


def quartiles(values: Correlations) -> list[float] | None:
    """Of those that are known."""
    known = values[~np.isnan(values)]
    return np.quantile(known, [0.25, 0.5, 0.75]).round(3).tolist() if len(known) else None


if __name__ == "__main__":
    main()
