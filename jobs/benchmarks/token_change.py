"""TokenChange `all`, JacobianProj and the control variate against the notebook's procedure.

    MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=4000000000 \
        .venv/bin/python jobs/benchmarks/token_change.py [--rounds 5] [--model DIR --layer 19]

The plain side is the released notebook's procedure restated (methods 4.3): for one latent three
full passes over 32 windows x 32 tokens (clean, raised, lowered) with the SAE's reconstruction
spliced in and full logits; nothing is reloaded, which flatters it. Ours resumes above the hook
from a clean pass that all latents share. Prints one JSON line per race.

Sweeps of the Jacobian are alike, so `--directions` of them are timed and the rest is reckoned.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from race import machine, race, report
from torch import Tensor

from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.jacobian import jacobian_proj, linear_change
from ray_autointerp.methods.token_change import mean_logit_diff, token_change
from ray_autointerp.models.clamped_pass import clean_run, window_changes
from ray_autointerp.models.hook_point import entrance
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.models.subject import Subject

WINDOWS = TOKENS = 32
VALUE = 10.0
"""The notebook's constant: speed does not depend on it."""


class RandomSae:
    """A TopK SAE of random weights at any hook point, with what the passes need of one."""

    def __init__(self, d_model: int, d_sae: int, hook_point: str, k: int = 32) -> None:
        draws = torch.Generator().manual_seed(0)
        self.W_dec_LD = torch.nn.functional.normalize(
            torch.randn(d_sae, d_model, generator=draws), dim=-1
        )
        self.read_point = self.hook_point = hook_point
        self.d_sae, self.k = d_sae, k

    needs_subject = False
    later_points = ()

    def decoder_rows(self, latents: Sequence[int]) -> Tensor:
        """Of the one place that is written to, the residual stream itself."""
        return self.W_dec_LD[list(latents)][:, None]

    def added(self, change_X: Tensor, rows_XD: Tensor, _: Tensor | None) -> Tensor:
        """Along the decoder rows."""
        return change_X[..., None] * rows_XD

    def activations(self, h_XD: Tensor) -> Tensor:
        """Top k of the encoder's product."""
        acts_XL = torch.relu(h_XD @ self.W_dec_LD.T)
        top = acts_XL.topk(self.k, dim=-1)
        return torch.zeros_like(acts_XL).scatter(-1, top.indices, top.values)

    def activations_of(self, h_XD: Tensor, latents_B: Tensor) -> Tensor:
        """Of some latents."""
        return self.activations(h_XD)[..., latents_B]

    def decode(self, acts_XL: Tensor) -> Tensor:
        """The reconstruction."""
        return acts_XL @ self.W_dec_LD


class Notebook:
    """The plain side, one latent at a time."""

    def __init__(self, subject: Subject, sae: Any, windows_WT: Tensor) -> None:
        self.subject, self.sae, self.windows_WT = subject, sae, windows_WT
        self.site = subject.site(sae.hook_point)

    @torch.inference_mode()
    def one_latent(self, latent: int) -> tuple[Tensor, Tensor]:
        """Mean logit diffs raised and lowered, [V] each."""
        clean_WTV = self._logits(latent, None)
        raised, lowered = (self._logits(latent, value) for value in (VALUE, -VALUE))
        return tuple((x - clean_WTV).mean((0, 1)) for x in (raised, lowered))  # type: ignore[return-value]

    def _logits(self, latent: int, value: float | None) -> Tensor:
        def splice(h_WTD: Tensor) -> Tensor:
            acts_WTL = self.sae.activations(h_WTD)
            if value is not None:
                acts_WTL[..., latent] = value
            return self.sae.decode(acts_WTL)

        def hook(_: Any, arguments: Any, kwargs: Any) -> Any:
            if arguments:
                return (splice(arguments[0]), *arguments[1:]), kwargs
            return arguments, {**kwargs, "hidden_states": splice(kwargs["hidden_states"])}

        module = entrance(self.subject._parts, self.site)
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
        try:
            return self.subject._model(self.windows_WT, use_cache=False).logits
        finally:
            handle.remove()


def main() -> None:
    """All races at one hook point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    default = Path("~/.cache/ray_autointerp/SmolLM2-135M-Instruct").expanduser()
    parser.add_argument("--model", default=str(default))
    parser.add_argument("--layer", type=int, default=19)
    parser.add_argument("--sae", help="a folder; a random SAE of 4,608 latents otherwise")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directions", type=int, default=24)
    parser.add_argument("--cv-windows", type=float, default=4, help="mean windows per latent")
    parser.add_argument("--only", choices=("exact", "jacobian", "all"), default="all")
    asked = parser.parse_args()
    torch.set_num_threads(2)
    subject = Subject.load(asked.model)
    hook_point = f"blocks.{asked.layer}.hook_resid_post"
    sae: Any = RandomSae(subject.card.d_model, 4608, hook_point)
    draws = torch.Generator().manual_seed(0)
    windows_WT = torch.randint(subject.card.vocab_size, (WINDOWS, TOKENS), generator=draws)
    report(machine=machine(), model=Path(asked.model).name, hook_point=hook_point)
    plain = exact(subject, sae, windows_WT, asked)
    if asked.only != "exact":
        jacobian(subject, sae, windows_WT, asked, plain)


def exact(subject: Subject, sae: Any, windows_WT: Tensor, asked: argparse.Namespace) -> float:
    """Exact against plain; returns the plain side's seconds per latent."""
    notebook = Notebook(subject, sae, windows_WT)
    clean = clean_run(subject, sae, [3], windows_WT)
    values_B = torch.tensor([VALUE, -VALUE])

    def ours() -> None:
        sums_BWD = window_changes(subject, sae, clean, [3, 3], values_B, 1).sums_BWD
        mean_BD = sums_BWD.sum(1) / clean.num_positions
        token_change(mean_logit_diff(mean_BD, subject.W_U_DV), 20)

    matrix = torch.randn(2048, 2048)
    product = race({"matmul": lambda: matrix @ matrix}, 15)["matmul"].median
    sides = {"plain": lambda: notebook.one_latent(3), "ours": ours}
    times = race(sides, asked.rounds)
    full, tail = flops(subject, sae, clean.site)
    ratio = times["plain"].median / times["ours"].median
    report(
        race="TokenChange all, exact",
        plain=times["plain"],
        ours=times["ours"],
        ratio=ratio,
        flop_ratio=full / tail,
        ratio_over_flop_ratio=ratio / (full / tail),
        tail_rate_over_matmul=(tail / times["ours"].median) / (2 * 2048**3 / product),
    )
    return times["plain"].median


def flops(subject: Subject, sae: Any, site: int) -> tuple[float, float]:
    """Of the plain procedure and of ours, per latent, attention scores left out on both sides."""
    layers = subject._parts.layers
    weights = [sum(p.numel() for p in layer.parameters() if p.ndim == 2) for layer in layers]
    positions = 2 * WINDOWS * TOKENS
    unembed = subject.W_U_DV.numel()
    dictionary = 2 * sae.W_dec_LD.numel()
    return (
        3 * positions * (sum(weights) + unembed + dictionary),
        2 * positions * sum(weights[site:]),
    )


def jacobian(
    subject: Subject, sae: Any, windows_WT: Tensor, asked: argparse.Namespace, plain: float
) -> None:
    """What M costs, what applying it costs, and the rates that follow."""
    clean = clean_run(subject, sae, [3], windows_WT)
    few = range(asked.directions)

    def sweeps() -> None:
        window_jacobians(subject, clean.h_WTD, clean.mask_WT, clean.site, few)

    def forward_alone() -> None:
        window_jacobians(subject, clean.h_WTD, clean.mask_WT, clean.site, range(1))

    mean_DD = torch.randn(subject.card.d_model, subject.card.d_model) / 24

    def applied() -> None:
        change_LD = linear_change(sae.W_dec_LD[:512], mean_DD)
        jacobian_proj(change_LD, subject.W_U_DV, 20)

    def hub() -> None:
        hub_stats(linear_change(sae.W_dec_LD, mean_DD), subject.W_U_DV)

    few_windows = clean.windows(0, 8)
    values_B = torch.tensor([VALUE, -VALUE] * 4)

    def clamped() -> None:
        window_changes(subject, sae, few_windows, [3] * 8, values_B, 4)

    sides = {"sweeps": sweeps, "one": forward_alone, "applied": applied, "hub": hub}
    times = race({**sides, "clamped": clamped}, asked.rounds)
    sweep = (times["sweeps"].median - times["one"].median) / (asked.directions - 1)
    per_32 = times["one"].median + sweep * (subject.card.d_model - 1)
    apply_each = times["applied"].median / 512
    per_window = times["clamped"].median / (4 * 8 * 2) * 2  # both signs of one window
    report(
        seconds_of_32_windows=per_32,
        seconds_to_apply_per_latent=apply_each,
        seconds_of_hub_stats=times["hub"],
        seconds_per_window_both_signs=per_window,
    )
    for windows in (8, 32, 128):
        cost = per_32 * windows / 32 + times["hub"].median
        for width in (4608, 65_536):
            total = cost + apply_each * width
            report(
                race=f"JacobianProj from {windows} windows, {width} latents",
                seconds=total,
                ratio=plain * width / total,
            )
    for width in (4608, 65_536):
        each = asked.cv_windows * per_window + apply_each
        total = per_32 * 4 + each * width
        report(
            race=f"control variate, {asked.cv_windows} windows a latent, {width} latents",
            latents_per_second=width / total,
            ratio=plain * width / total,
        )


if __name__ == "__main__":
    main()
