"""How far the cheap evidence can be believed: runs a config's steps up to `agreement` alone.

    .venv/bin/python jobs/benchmarks/agreement.py jobs/demo/demo.toml --root runs/agreement \
        --jacobian-windows 128 --agreement-windows 256 --sample 48

No LLM is asked. Prints the curve of agreement against windows; the run can be continued by
`ray-autointerp label` with the same settings. Not a race: timings are those of the ledger.
"""

import argparse
import logging

from rich.console import Console
from steps import run_steps

from ray_autointerp.config_file import read_config
from ray_autointerp.reports.agreement_table import agreement_table

STEPS = ("corpus", "max_act", "top_examples", "hub_stats", "vocab_proj", "free_scores", "select")
STEPS += ("calibrate", "jacobian", "jacobian_proj", "agreement")


def main() -> None:
    """Run the steps that are missing, then print the table of every SAE."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--root", default="runs/agreement")
    parser.add_argument("--jacobian-windows", type=int, default=128)
    parser.add_argument("--agreement-windows", type=int, default=256)
    parser.add_argument("--sample", type=int, default=48)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    config = read_config(asked.config)
    windows = {
        "jacobian_windows": asked.jacobian_windows,
        "agreement_windows": asked.agreement_windows,
    }
    config = config.model_copy(
        update={
            "run": config.run.model_copy(update={"root": asked.root}),
            "evidence": config.evidence.model_copy(update=windows),
            "select": config.select.model_copy(
                update={"sample": asked.sample, "panel": 3, "num_latents": 0}
            ),
        }
    )
    run = run_steps(config, STEPS).run
    for sae in run.saes:
        Console(width=120).print(agreement_table(run, sae))


if __name__ == "__main__":
    main()
