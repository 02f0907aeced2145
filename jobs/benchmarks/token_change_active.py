"""TokenChange `active` against `all`: latents per second at equal standard error.

    .venv/bin/python jobs/benchmarks/token_change_active.py RUN [--latents 12] [--rounds 5]

RUN is a finished run (the demo's will do): its top examples say where latents fire. `all` is exact
on 32 shared windows at every position, `active` on each latent's own examples where it fires, the
clean pass over them included; both raise and lower. A standard error is the mean over a latent's
20 most promoted tokens; both modes' windows are independent, so seconds at equal standard error
are seconds times the squared ratio of errors. Errors are given in logits and, since a clamp does
more where it is active, as a share of the mean change of those tokens. Prints JSON lines.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from race import machine, race, report

from ray_autointerp.methods.control_variate import standard_errors
from ray_autointerp.methods.token_change import mean_logit_diff
from ray_autointerp.passes.change_modes import Measured, Pair, measure_active, measure_all
from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.manifest import load_run

TOP = 20

Measure = Callable[[WorkerContext, str, Mapping[Pair, float]], dict[Pair, Measured]]


def main() -> None:
    """Both modes on the same latents."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--latents", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=16)
    asked = parser.parse_args()
    run = load_run(asked.run)
    evidence = run.config.evidence.model_copy(
        update={"change_examples": asked.examples, "change_estimator": "exact"}
    )
    context = WorkerContext(
        replace(run, config=run.config.model_copy(update={"evidence": evidence}))
    )
    (sae,) = run.saes
    scale = reference_activations(context.tables, sae)
    chosen = sorted(context.tables.selection(sae))[: asked.latents]
    values = {(latent, sign): sign * scale[latent] for latent in chosen for sign in (1, -1)}
    found: dict[str, dict[Pair, Measured]] = {}

    def side(name: str, measure: Measure) -> Callable[[], None]:
        def once() -> None:
            found[name] = measure(context, sae, values)

        return once

    sides = {"all": side("all", measure_all), "active": side("active", measure_active)}
    times = race(sides, asked.rounds)
    errors = {name: _errors(context, measured) for name, measured in found.items()}
    for name, measured in found.items():
        latents = len({latent for latent, _ in measured})
        report(
            mode=name,
            latents=latents,
            signs=2,
            windows_per_latent=sum(m.num_windows for m in measured.values()) / len(measured),
            positions_per_latent=sum(m.num_positions for m in measured.values()) / len(measured),
            seconds=times[name],
            latents_per_second=latents / times[name].median,
            standard_error=errors[name][0],
            share_of_change=errors[name][1],
        )
    rates = {name: len({f for f, _ in found[name]}) / times[name].median for name in found}
    for i, what in enumerate(("in logits", "as a share of the change")):
        worth = (errors["all"][i] / errors["active"][i]) ** 2
        report(
            race=f"TokenChange active against all, at equal standard error {what}",
            machine=machine(),
            ratio=rates["active"] / rates["all"] * worth,
        )


def _errors(context: WorkerContext, measured: Mapping[Pair, Measured]) -> tuple[float, float]:
    """Median over latents and signs of the top tokens' standard error, and of its share."""
    W_U_DV = context.subject.W_U_DV
    errors, shares = [], []
    for one in measured.values():
        if one.num_windows < 2:
            continue
        change_V = mean_logit_diff(one.mean_D[None], W_U_DV)[0]
        ids_K = change_V.topk(TOP).indices
        columns_DK = W_U_DV[:, ids_K].float()
        error_K = standard_errors((one.scattered_ND.float() @ columns_DK)[None], None, 0)[0]
        errors.append(error_K.mean())
        shares.append((error_K / change_V[ids_K].abs()).mean())
    return float(torch.stack(errors).median()), float(torch.stack(shares).median())


if __name__ == "__main__":
    main()
