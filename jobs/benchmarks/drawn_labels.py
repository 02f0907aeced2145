"""Labels of a run drawn by seed, beside their evidence and scores, as a Markdown table.

.venv/bin/python jobs/benchmarks/drawn_labels.py RUN [--number 20] [--seed 0]
"""

import argparse

import pyarrow.compute as pc

from ray_autointerp.records.keys import hash_order
from ray_autointerp.reports.label_table import label_line, labels
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.tables import Row, Tables

SCORES = ("input_auroc", "detection_auroc", "unseen_win_rate", "output_win_rate")
AROUND = 4
"""Tokens shown before the peak of an example, and after it."""


def main() -> None:
    """Draw among the latents that an LLM described."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    run = load_run(asked.run)
    print("| latent | strongest examples | promotes | label | by | in / det / unseen / out |")
    print("| --- " * 6 + "|")
    for sae in run.saes:
        table = labels(run, sae).filter(pc.field("chosen"))
        rows = {row["latent"]: row for row in table.to_pylist()}
        drawn = hash_order(rows, asked.seed, "drawn labels")[: asked.number]
        examples = Tables(run).rows("top_examples", sae, drawn)
        for latent in drawn:
            explain = next(row for row in examples[latent] if row["split"] == "explain")
            print(_line(rows[latent], explain["examples"] or []))


def _line(row: Row, examples: list[Row]) -> str:
    shown = "; ".join(map(_around_peak, examples[:3]))
    promoted = ", ".join(dict.fromkeys(token.strip() for token in row["promotes"] or ()))
    scores = " / ".join("" if row[name] is None else f"{row[name]:.2f}" for name in SCORES)
    cells = (str(row["latent"]), shown, promoted, label_line(row), row["method"] or "", scores)
    return f"| {' | '.join(_cell(text) for text in cells)} |"


def _around_peak(example: Row) -> str:
    texts, at = list(example["texts"]), example["peak"]
    before, after = texts[max(0, at - AROUND) : at], texts[at + 1 : at + 1 + AROUND]
    return f"{''.join(before)}**{texts[at].strip()}**{''.join(after)}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    main()
