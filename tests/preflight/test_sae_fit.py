"""What `plan --fit` measures is what the run writes, and nothing else is left of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError
from ray_autointerp.preflight import worker_memory
from ray_autointerp.preflight.check import Checked, check
from ray_autointerp.preflight.sae_fit import sae_fits
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


@pytest.fixture
def checked(quick_config: Callable[..., Config], tmp_path: Path) -> Checked:
    return check(quick_config(tmp_path / "runs"))


@pytest.mark.parametrize("num_tokens", [None, 1000])
def test_row_is_the_one_that_the_run_writes(
    checked: Checked, quick_run: Run, tmp_path: Path, num_tokens: int | None
) -> None:
    """Of the first shard at most, whatever `num_tokens` says."""
    (row,) = (fit.row for fit in sae_fits(with_tokens(checked, num_tokens)))
    (written,) = Tables(quick_run).read("sae_fit", "planted").to_pylist()
    if num_tokens is None:
        assert row == written
    else:
        assert num_tokens * 0.8 < row["num_tokens"] < written["num_tokens"]
    assert not (tmp_path / "runs").exists()


def test_layers_next_to_its_own_are_looked_at_too(
    checked: Checked, quick_config: Callable[..., Config], tmp_path: Path
) -> None:
    """As by an SAE that is moved there, but for which positions are sinks."""
    (fit,) = sae_fits(checked)
    assert list(fit.elsewhere) == ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]
    config = quick_config(tmp_path / "moved")
    for point, unexplained in fit.elsewhere.items():
        moved = config.sae[0].model_copy(update={"hook_point": point})
        (there,) = sae_fits(check(config.model_copy(update={"sae": (moved,)})))
        assert there.row["unexplained"] == pytest.approx(unexplained, rel=0.02)
        assert there.elsewhere[checked.config.sae[0].hook_point or ""] == pytest.approx(
            fit.row["unexplained"], rel=0.02
        )


def with_tokens(checked: Checked, num_tokens: int | None) -> Checked:
    if num_tokens is None:
        return checked
    section = checked.config.sae_fit.model_copy(update={"num_tokens": num_tokens})
    return replace(checked, config=checked.config.model_copy(update={"sae_fit": section}))


def test_subject_that_this_machine_has_no_room_for_is_not_loaded(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_memory, "_host_memory", lambda: 1000)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"and this machine has 1e-06 GB and no GPU"):
        next(sae_fits(checked))
