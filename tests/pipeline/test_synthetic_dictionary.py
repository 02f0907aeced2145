"""A second, independent truth: features, activations and SAE by SAELens' synthetic data.

Each word's embedding is a sparse sum of more features than there are dimensions; which words carry
which feature is known from SAELens' generator. Its SAE, in its own format, reads those features.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.synthetic import (
    ActivationGenerator,
    FeatureDictionary,
    init_sae_to_match_feature_dict,
)
from safetensors.torch import load_file, save_file

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import HOOK_POINT, write_planted
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.pipeline import label
from ray_autointerp.runs.tables import Row, Tables

FEATURES = 64
MAGNITUDE, THRESHOLD = 3.0, 1.5


@dataclass(frozen=True)
class Synthetic:
    """A finished run, and what SAELens made."""

    tables: Tables
    tokenizer: SubjectTokenizer
    carries_VF: np.ndarray
    """Which token carries which feature."""
    read_VF: np.ndarray
    """How far each token's embedding lies along each feature."""
    features_FD: np.ndarray

    def rows(self, table: str, method: str | None = None) -> list[Row]:
        found: list[Row] = self.tables.read(table, "planted", method).to_pylist()
        return found


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    root = tmp_path_factory.mktemp("synthetic")
    truth = write_planted(root / "planted", num_latents=8, num_dead=0)
    torch.manual_seed(0)
    weights = truth.folder / "subject/model.safetensors"
    tensors = load_file(weights)
    vocab_size, width = tensors["model.embed_tokens.weight"].shape
    assert width < FEATURES, "in superposition"
    features = FeatureDictionary(FEATURES, width, seed=0)
    activations_VF = ActivationGenerator(FEATURES, 0.03, mean_firing_magnitudes=MAGNITUDE).sample(
        vocab_size
    )
    tensors["model.embed_tokens.weight"] = features(activations_VF).detach().contiguous()
    save_file(tensors, weights, metadata={"format": "pt"})
    _write_sae(truth.folder / "sae", features, width)
    raw = read_config(truth.config).model_dump(mode="json")
    raw["run"]["root"] = str(root)
    raw["evidence"] |= {"change_modes": ["all"], "num_neighbours": 5}
    raw["select"] |= {"rule": "sample", "num_latents": 2, "panel": 3, "sample": 2, "controls": 0}
    raw["describe"]["methods"] = ["keywords"]
    raw["score"] |= {"methods": ["keywords"], "num_units": 1, "num_draws": 1, "texts_per_set": 1}
    raw["score"] |= {"three_set_methods": [], "num_unseen_trials": 0}
    raw["steering"] |= {"num_prompts": 3, "new_tokens": 2}
    raw["operations"] |= {"latents_per_shard": FEATURES, "selected_per_shard": 8}
    run = label(parse_config(raw, truth.config), run_local, Silent())
    return Synthetic(
        Tables(run),
        SubjectTokenizer.load(str(truth.folder / "subject")),
        (activations_VF > 0).numpy(),
        (tensors["model.embed_tokens.weight"] @ features.feature_vectors.T).detach().numpy(),
        features.feature_vectors.detach().numpy(),
    )


def _write_sae(folder: Path, features: FeatureDictionary, width: int) -> None:
    metadata = SAEMetadata(
        model_name="planted", hook_name=HOOK_POINT, context_size=32, prepend_bos=True
    )
    sae = StandardSAE(
        StandardSAEConfig(width, FEATURES, apply_b_dec_to_input=False, metadata=metadata)
    )
    init_sae_to_match_feature_dict(sae, features)
    sae.W_dec.data = sae.W_dec.data.contiguous()
    sae.b_enc.data.fill_(-THRESHOLD)
    for old in folder.iterdir():
        old.unlink()
    sae.save_model(folder)


def test_firing_counts_are_those_of_the_words_that_carry_the_feature(synthetic: Synthetic) -> None:
    counts: Counter[int] = Counter()
    for window in synthetic.tables.read("tokens", None).to_pylist():
        counts.update(t for t in window["token_ids"] if t != synthetic.tokenizer.bos_id)
    counts_V = np.array([counts[token] for token in range(len(synthetic.carries_VF))])
    stats = synthetic.rows("latent_stats")
    found = [row["num_active_explain"] + row["num_active_score"] for row in stats]
    assert found == (counts_V @ synthetic.carries_VF).tolist()
    assert [row["is_dead"] for row in stats] == [number == 0 for number in found]
    most_F = synthetic.read_VF[counts_V > 0].max(0) - THRESHOLD
    for row in stats:
        if not row["is_dead"]:
            assert row["max_activation"] == pytest.approx(most_F[row["latent"]], abs=0.1)


def test_keywords_are_words_that_carry_the_feature_and_foretell_it(synthetic: Synthetic) -> None:
    texts = [text.strip() for text in synthetic.tokenizer.texts(range(len(synthetic.carries_VF)))]
    scored = {row["latent"]: row for row in synthetic.rows("keyword_scores")}
    true, shuffled, num_whole = [], [], 0
    for row in synthetic.rows("keyword_lists", "keywords"):
        carriers = {
            texts[token] for token in np.flatnonzero(synthetic.carries_VF[:, row["latent"]])
        }
        assert set(row["fired"]) <= carriers
        score = scored[row["latent"]]
        if score["status"] == "ok":
            assert score["precision"] == 1
            true.append(score["f1"])
            shuffled.append(score["f1_shuffled"])
            if set(row["fired"]) == carriers:
                num_whole += 1
                assert score["recall"] == 1
    assert len(true) > FEATURES / 2 and num_whole > 5
    assert fmean(true) > 0.5 and fmean(shuffled) < 0.1, "words carry more than one feature"


def test_neighbours_are_those_of_the_dictionary(synthetic: Synthetic) -> None:
    cosines_FF = synthetic.features_FD @ synthetic.features_FD.T
    np.fill_diagonal(cosines_FF, -1)
    for row in synthetic.rows("neighbours"):
        found = [entry["cosine"] for entry in row["neighbours"]]
        own_F = cosines_FF[row["latent"]]
        assert found == pytest.approx(np.sort(own_F)[::-1][:5].tolist(), abs=1e-5)
        at_F = [own_F[entry["latent"]] for entry in row["neighbours"]]
        assert found == pytest.approx(at_F, abs=1e-5)
