"""The curve of agreement as people see it: whole words in a narrow terminal, denominators told."""

import io
import re

import pytest
from rich.console import Console

from ray_autointerp.passes.agreement_curve import Point
from ray_autointerp.reports import agreement_table
from ray_autointerp.runs.run import Run


def shown(run: Run) -> str:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(agreement_table.agreement_table(run, "planted"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def point(strength: str, estimator: str, num_latents: int) -> Point:
    return Point(strength, estimator, 128, num_latents, 0.875, 0.9, 0.01, 0.95)


def test_table_of_a_run_fits_eighty_columns(quick_run: Run) -> None:
    text = shown(quick_run)
    assert "\u2026" not in text, "nothing is cut"
    for name in ("exact, two halves", "VocabProj", "JacobianProj", "TokenChange as run"):
        assert name in text


def test_every_strength_tells_its_own_number_of_latents(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At steering strength fewer latents may be measured: they do not all reach its KL."""
    points = [point("maximum", "exact", 48), point("steering", "exact", 41)]
    points += [point("steering", "token_change", 40)]
    monkeypatch.setattr(agreement_table, "agreement_curve", lambda *_: points)
    text = shown(quick_run)
    assert re.search(r"at its maximum \(48\)", text)
    assert re.search(r"at steering \(40-41\)", text)
    assert "\u2026" not in text


def test_run_in_which_nothing_could_be_measured_has_an_empty_table(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement_table, "agreement_curve", lambda *_: [])
    assert "Spearman" in shown(quick_run)
