"""The power of the two-set output score: how far steered, and how many texts to a set?

    .venv/bin/python jobs/benchmarks/output_power.py jobs/demo/demo.toml --latents 48
    .venv/bin/python jobs/benchmarks/output_power.py jobs/demo/demo.toml --model M --sae FOLDER

No LLM is asked. Two observers judge the sets of every pair of latents against every stranger. The
linear one knows the latent's whole mean logit diff, exact on the score side at the value that
steers, and adds it up over a set's tokens; the list judge knows the 20 tokens that JacobianProj
promotes and counts them. Prints a Markdown table of win rates with standard errors over latents,
and a JSON line. Not a race.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, stdev

import torch
from race import report
from steps import run_steps
from torch import Tensor

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.methods.output_ceiling import observed_win_rate
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.passes.exact_sums import exact_sums
from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.passes.text_sets import completions
from ray_autointerp.plan.units import Text
from ray_autointerp.prompts import judge
from ray_autointerp.runs.context import WorkerContext

STEPS = ("corpus", "max_act", "top_examples", "select", "calibrate", "steering")
STEPS += ("jacobian", "hub_stats", "jacobian_proj")
KL_TARGETS = (0.25, 0.5, 1.0, 2.0)
NUM_PROMPTS = 12
SIZES = (1, 2, 4, 8, 12)

DESCRIPTION = 'fires on "time", "when"; promotes "pauses", "clocks", "calendars", "timer"'
"""As long as a description is: it is read in every question."""


@dataclass(frozen=True)
class Power:
    """One observer at one KL target and size of a set."""

    kl_target: float
    observer: str
    texts_per_set: int
    win_rate: float
    error: float
    """Standard error over latents."""

    def __str__(self) -> str:
        """For the table."""
        return f"{self.win_rate:.2f} ± {self.error:.2f}"


@dataclass(frozen=True)
class Steered:
    """Texts of the latents that reach one KL target."""

    latents: Sequence[int]
    clamp_over_maximum: float
    """Median."""
    token_ids: Sequence[Sequence[Sequence[int]]]
    """By latent and prompt."""
    texts: Sequence[Sequence[str]]
    changes_LD: Tensor


def main() -> None:
    """Run the steps that are missing, then measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--model", help="in place of the config's subject")
    parser.add_argument("--sae", help="a folder, in place of the config's first SAE")
    parser.add_argument("--root", default="runs/output_power")
    parser.add_argument("--latents", type=int, default=48)
    parser.add_argument("--windows", type=int, default=16, help="behind the exact logit diffs")
    parser.add_argument("--jacobian-windows", type=int, default=32)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    context = run_steps(_config(asked), STEPS)
    (sae,) = context.run.saes
    latents = context.tables.panel(sae)
    lists = {
        latent: [entry["token"] for entry in row["promoted"]]
        for latent, row in context.tables.row("jacobian_proj", sae, latents).items()
    }
    by_target = {
        target: _steered(context, sae, latents, target, asked.windows) for target in KL_TARGETS
    }
    found = [
        power
        for target, steered in by_target.items()
        for power in _powers(context, target, steered, lists)
    ]
    tokens = {size: _tokens_read(context, by_target[1.0], size) for size in SIZES}
    print(_table(len(latents), by_target, found, tokens))
    report(
        latents=len(latents),
        reached={str(target): len(steered.latents) for target, steered in by_target.items()},
        powers=[asdict(power) for power in found],
        tokens_per_question=tokens,
    )


def _config(asked: argparse.Namespace) -> Config:
    """The config's subject, SAE and corpus; everything else as the table wants it."""
    config = read_config(asked.config)
    raw = config.model_dump(mode="json")
    raw["run"]["root"] = asked.root
    raw["sae"] = raw["sae"][:1]
    if asked.model:
        raw["subject"]["model"] = asked.model
    if asked.sae:
        raw["sae"][0] |= {
            "id": "given",
            "path": str(Path(asked.sae).resolve()),
            "release": None,
            "sae_id": None,
        }
    raw["evidence"]["jacobian_windows"] = asked.jacobian_windows
    raw["select"] |= {
        "rule": "sample",
        "num_latents": 0,
        "panel": asked.latents,
        "sample": 1,
        "controls": 0,
    }
    raw["steering"] |= {"kl_targets": KL_TARGETS, "num_prompts": NUM_PROMPTS}
    one_each = {"num_units": len(KL_TARGETS), "texts_per_set": NUM_PROMPTS}
    raw["score"] |= {**one_each, "three_set_methods": []}
    return parse_config(raw, Path(asked.config))


def _steered(
    context: WorkerContext, sae: str, latents: Sequence[int], target: float, windows: int
) -> Steered:
    texts = completions(context.tables, sae, latents)
    keys = [Text(prompt, 1, target, 0) for prompt in range(NUM_PROMPTS)]
    reached = [latent for latent in latents if (latent, keys[0]) in texts]
    values = [texts[latent, keys[0]]["clamp_value"] for latent in reached]
    scale = reference_activations(context.tables, sae)
    shown = [[texts[latent, key] for key in keys] for latent in reached]
    changes = exact_sums(
        context,
        sae,
        reached,
        torch.tensor(values, device=context.subject.device),
        change_windows(context.tables, "score", windows),
    )
    return Steered(
        reached,
        median(value / scale[i] for i, value in zip(reached, values, strict=True)),
        [[row["token_ids"] for row in rows] for rows in shown],
        [[row["text"] for row in rows] for rows in shown],
        changes.mean_BD.double(),
    )


def _powers(
    context: WorkerContext, target: float, steered: Steered, lists: dict[int, list[int]]
) -> list[Power]:
    W_U_DV = context.subject.W_U_DV
    listed = sorted({token for latent in steered.latents for token in lists[latent]})
    place = {token: i for i, token in enumerate(listed)}
    is_own_LF = torch.zeros(len(steered.latents), len(listed), dtype=torch.float64)
    for row, latent in enumerate(steered.latents):
        is_own_LF[row, [place[token] for token in lists[latent]]] = 1

    def counted(token_ids: Sequence[int]) -> Tensor:
        places = torch.tensor([place[t] for t in token_ids if t in place], dtype=torch.long)
        return torch.bincount(places, minlength=len(listed)).double()

    def added(token_ids: Sequence[int]) -> Tensor:
        return W_U_DV[:, [t for t in token_ids if t < W_U_DV.shape[1]]].double().sum(1)

    found = []
    for observer, knows_LF, seen in (
        ("linear observer", steered.changes_LD, added),
        ("list judge", is_own_LF, counted),
    ):
        texts_LPF = torch.stack(
            [torch.stack([seen(ids) for ids in prompts]) for prompts in steered.token_ids]
        )
        for size in SIZES:
            blocks = NUM_PROMPTS // size
            sets_LSF = texts_LPF[:, : blocks * size].unflatten(1, (blocks, size)).sum(2)
            rates = _win_rates(knows_LF, sets_LSF)
            error = stdev(rates) / len(rates) ** 0.5
            found.append(Power(target, observer, size, fmean(rates), error))
    return found


def _win_rates(knows_LF: Tensor, sets_LSF: Tensor) -> list[float]:
    """Of every latent, over all partners, strangers and sets."""
    rates = []
    for latent in range(len(knows_LF)):
        others = torch.arange(len(knows_LF)) != latent
        has_KS = torch.ones(len(knows_LF) - 1, sets_LSF.shape[1], dtype=torch.bool)
        rate = observed_win_rate(
            knows_LF[latent], sets_LSF[latent], knows_LF[others], sets_LSF[others], has_KS
        )
        assert rate is not None, "at least three latents must reach every KL target"
        rates.append(rate)
    return rates


def _tokens_read(context: WorkerContext, steered: Steered, size: int) -> int:
    """Tokens of a question of the judge, by the subject's tokenizer; a unit asks four."""
    one, other = (texts[:size] for texts in steered.texts[:2])
    asked = judge.ask_two(DESCRIPTION, one, other)
    return sum(len(context.tokenizer.encode(message.content)) for message in asked)


def _table(
    num_latents: int,
    by_target: dict[float, Steered],
    found: Sequence[Power],
    tokens: dict[int, int],
) -> str:
    sizes = [f"{size} text{'s' if size > 1 else ''}" for size in SIZES]
    header = [f"KL ({num_latents} latents)", "reached", "median clamp / maximum", "observer"]
    lines = [[*header, *sizes], ["---"] * (len(header) + len(sizes))]
    for target, steered in by_target.items():
        for observer in ("linear observer", "list judge"):
            cells = [
                str(power)
                for power in found
                if (power.kl_target, power.observer) == (target, observer)
            ]
            about = [f"{target}", f"{len(steered.latents)}", f"{steered.clamp_over_maximum:.1f}"]
            lines.append([*about, observer, *cells])
    lines.append(["", "", "", "tokens a question", *(str(tokens[size]) for size in SIZES)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
