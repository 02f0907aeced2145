"""Several candidates of one method: the label is the one that does best in choosing trials."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sometimes_right import WRONG

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]
CANDIDATES = ["max_act", "max_act_2", "max_act_3"]


def test_label_is_the_best_of_three_answers_to_one_prompt(
    planted_config: Planted, tmp_path: Path
) -> None:
    """The first, at temperature 0, is wrong for every latent, the others for half of them."""
    changes = {
        "llm": {"script": "sometimes_right:sometimes_right"},
        "describe": {"methods": CANDIDATES},
        "score": {"methods": CANDIDATES, "num_units": 0, "three_set_methods": []},
        "select": {"rule": "sample", "num_latents": 12, "panel": 8, "sample": 3, "controls": 0},
    }
    tables = Tables(label(planted_config(tmp_path, changes), run_local, Silent()))
    latents = list(tables.selection("planted"))
    labels = tables.row("labels", "planted", latents)
    candidates = {
        method: tables.row("descriptions", "planted", latents, method) for method in CANDIDATES
    }
    chosen_well = 0
    for latent in latents:
        rows = {method: candidates[method][latent] for method in CANDIDATES}
        assert len({row["prompt_digest"] for row in rows.values()}) == 1, "one prompt"
        right = {method for method, row in rows.items() if WRONG not in row["description"]}
        assert "max_act" not in right
        chosen_well += labels[latent]["method"] in right
        assert labels[latent]["method"] in right or not right
    assert chosen_well >= 6


@pytest.mark.parametrize("name", ["max_act_1", "keywords_2", "name_2", "summary_2", "max_act_2_2"])
def test_no_candidates_of_what_asks_about_no_evidence(name: str, planted_config: Planted) -> None:
    with pytest.raises(ConfigError, match=f"describe.methods has `{name}`, which is none of"):
        changes = {
            "describe": {"methods": [name]},
            "score": {"methods": [], "three_set_methods": []},
        }
        planted_config("runs", changes)
