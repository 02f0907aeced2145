"""Which folders are checkpoints, which of them are whole, and which is older."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from ray_autointerp.errors import StoreError
from ray_autointerp.runs.checkpoints import checkpoints

WEIGHTS = {"W_dec": torch.zeros(3, 4), "b_dec": torch.zeros(4)}


def write(folder: Path, weights: str = "sae_weights.safetensors") -> Path:
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text("{}")
    save_file(WEIGHTS, folder / weights, metadata={"format": "pt"})
    return folder


def test_checkpoints_are_in_the_order_of_the_numbers_in_their_names(tmp_path: Path) -> None:
    for name in ("step_1000", "step_900", "final_2000", "run/step_20"):
        write(tmp_path / name)
    write(tmp_path / "layers.3" / "7", "sae.safetensors")
    found = checkpoints(str(tmp_path))
    assert [one.name for one in found] == [
        *("layers.3/7", "run/step_20", "step_900", "step_1000", "final_2000")
    ]
    assert {one.missing for one in found} == {None}
    assert found[0].uri == f"{tmp_path}/layers.3/7"


def test_every_beginning_of_a_weights_file_is_a_part(tmp_path: Path) -> None:
    folder, whole = write(tmp_path / "1"), save(WEIGHTS)
    for length in (0, 4, 8, 20, len(whole) - 1, len(whole) + 1):
        (folder / "sae_weights.safetensors").write_bytes((whole + b"x")[:length])
        (one,) = checkpoints(str(tmp_path))
        assert one.missing == "its sae_weights.safetensors is not whole yet", length
    (folder / "sae_weights.safetensors").write_bytes(whole)
    assert checkpoints(str(tmp_path))[0].missing is None


def test_configuration_that_is_cut_off_or_not_there_is_missing(tmp_path: Path) -> None:
    config = write(tmp_path / "1") / "cfg.json"
    config.write_text('{"d_in": 5')
    assert checkpoints(str(tmp_path))[0].missing == "its cfg.json is not whole yet"
    config.unlink()
    assert checkpoints(str(tmp_path))[0].missing == "it has no cfg.json yet"
    config.write_text("{}")
    (tmp_path / "1" / "sae_weights.safetensors").unlink()
    assert checkpoints(str(tmp_path))[0].missing == "it has no sae_weights.safetensors yet"


def test_layer_of_a_cross_layer_transcoder_is_whole_without_other_layers(tmp_path: Path) -> None:
    folder = tmp_path / "step_7"
    folder.mkdir()
    (folder / "config.yaml").write_text("feature_input_hook: [")
    assert checkpoints(str(tmp_path), 1)[0].missing == "its config.yaml is not whole yet"
    (folder / "config.yaml").write_text("feature_input_hook: hook_mlp_in")
    files = ("W_enc_1.safetensors", "W_dec_1.safetensors")
    for file in files:
        assert checkpoints(str(tmp_path), 1)[0].missing == f"it has no {file} yet"
        (folder / file).write_bytes(save(WEIGHTS)[:-1])
        assert checkpoints(str(tmp_path), 1)[0].missing == f"its {file} is not whole yet"
        save_file(WEIGHTS, folder / file)
    (one,) = checkpoints(str(tmp_path), 1)
    assert (one.name, one.missing) == ("step_7", None)
    with pytest.raises(StoreError, match=r"cfg\.json .* set `layer` in the \[\[sae\]\]"):
        checkpoints(str(tmp_path))


def test_folder_without_checkpoints_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for prefix in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match="There is no checkpoint below"):
            checkpoints(str(prefix))
