"""The ready configs: each names SAEs that SAELens' registry has, and can be planned."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sae_lens.loading import pretrained_sae_loaders
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ray_autointerp.config import Config
from ray_autointerp.config_file import read_config
from ray_autointerp.models.sae_registry import releases
from ray_autointerp.plan.estimate import estimate, expected_selection
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.schedule import Schedule
from ray_autointerp.plan.shards import tasks_of
from ray_autointerp.preflight.check import check

FOLDER = Path(__file__).parents[2] / "jobs" / "configs"
LLAMA_SHAPE = {"num_attention_heads": 32, "num_key_value_heads": 8}


@dataclass(frozen=True)
class Suite:
    """What a config is about, by the publications of its subject and SAEs."""

    subject: str
    num_saes: int
    d_sae: int
    hook_points: tuple[str, str]
    """The first and the last."""
    card: dict[str, Any]
    """The subject's configuration, as far as it decides shapes."""
    cfg: Callable[[str], dict[str, Any]] | None = None
    """The hub's file of one SAE, by its folder there; None where SAELens needs none."""

    @property
    def d_model(self) -> int:
        return int(self.card.get("n_embd") or self.card["hidden_size"])


def lens_cfg(d_in: int, d_sae: int, model: str) -> Callable[[str], dict[str, Any]]:
    """As SAELens wrote them before version 6."""

    def make(folder: str) -> dict[str, Any]:
        hook = folder.replace("-res-sm", "")
        if hook == "e":
            hook = "blocks.0.hook_resid_pre"
        elif hook.isdigit():
            hook = f"blocks.{hook}.hook_resid_post"
        return {
            "model_name": model,
            "hook_point": hook,
            "d_in": d_in,
            "d_sae": d_sae,
            "context_size": 128,
            "dtype": "torch.float32",
        }

    return make


def llama_scope_cfg(folder: str) -> dict[str, Any]:
    layer = int(folder.rpartition("Base-L")[2].partition("R")[0])
    return {
        "d_model": 4096,
        "d_sae": 32768,
        "hook_point_in": f"blocks.{layer}.hook_resid_post",
        "jump_relu_threshold": 0.5,
        "dataset_average_activation_norm": {"in": 10.0},
    }


def post(last: int) -> tuple[str, str]:
    return "blocks.0.hook_resid_post", f"blocks.{last}.hook_resid_post"


GEMMA = {"model_type": "gemma2", "hidden_size": 2304, "num_hidden_layers": 26}
SUITES = {
    "gpt2-small-res-jb": Suite(
        "gpt2-small",
        13,
        24576,
        ("blocks.0.hook_resid_pre", "blocks.11.hook_resid_post"),
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_positions": 1024},
        lens_cfg(768, 24576, "gpt2-small"),
    ),
    "pythia-70m-res-sm": Suite(
        "pythia-70m-deduped",
        7,
        32768,
        ("blocks.0.hook_resid_pre", "blocks.5.hook_resid_post"),
        {"model_type": "gpt_neox", "hidden_size": 512, "num_hidden_layers": 6},
        lens_cfg(512, 32768, "pythia-70m-deduped"),
    ),
    "gemma-2-2b-res-16k": Suite("gemma-2-2b", 26, 16384, post(25), GEMMA),
    "gemma-2-2b-res-65k": Suite("gemma-2-2b", 26, 65536, post(25), GEMMA),
    "llama-3.1-8b-res-32k": Suite(
        "meta-llama/Llama-3.1-8B",
        32,
        32768,
        post(31),
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "max_position_embeddings": 8192,
            **LLAMA_SHAPE,
        },
        llama_scope_cfg,
    ),
    "qwen3-1.7b-res-32k": Suite(
        "Qwen/Qwen3-1.7B-Base",
        28,
        32768,
        post(27),
        {"model_type": "qwen3", "hidden_size": 2048, "num_hidden_layers": 28},
    ),
}


@pytest.fixture(params=sorted(SUITES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def suite(name: str) -> Suite:
    return SUITES[name]


@pytest.fixture
def config(name: str) -> Config:
    return read_config(FOLDER / f"{name}.toml")


def test_every_config_is_known_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(SUITES)


def test_saes_are_those_of_the_registry(name: str, suite: Suite, config: Config) -> None:
    assert config.run.name == name
    assert len(config.sae) == suite.num_saes
    for sae in config.sae:
        release = releases()[str(sae.release)]
        assert release.subject == suite.subject
        assert sae.sae_id in release.sae_ids
    # The registry's name of GPT-2 small is TransformerLens' own.
    subject = suite.subject.replace("gpt2-small", "gpt2").rpartition("/")[2]
    assert config.subject.model.rpartition("/")[2] == subject


@pytest.fixture
def planned(
    config: Config, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Config:
    """The config with a subject's folder that holds no weights, on a machine without a GPU."""
    subject = tmp_path / "subject"
    words = {"<s>": 0, "</s>": 1, "a": 2}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="a"
    ).save_pretrained(subject)
    (subject / "config.json").write_text(json.dumps({"vocab_size": 3, **suite.card}))
    (tmp_path / "corpus.jsonl").write_text('{"text": "a b c"}\n')

    def hub_file(repo_id: str = "", filename: str = "", **_: Any) -> str:
        assert suite.cfg is not None, f"{repo_id} was asked for {filename}"
        assert not filename.endswith((".safetensors", ".npz")), "a plan needs no weights"
        path = tmp_path / "hub" / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(suite.cfg(filename.partition("/")[0])))
        return str(path)

    monkeypatch.setattr(
        pretrained_sae_loaders, "hf_hub_download", lambda *a, **k: hub_file(*a, **k)
    )
    raw = config.model_dump(mode="json")
    raw["run"]["root"] = str(tmp_path / "runs")
    raw["subject"]["model"] = str(subject)
    raw["corpus"] |= {"path": str(tmp_path / "corpus.jsonl"), "dataset": None}
    raw["operations"] |= {"subject_gpus": 0, "llm_gpus": 0}
    return Config.model_validate(raw)


def test_plan_is_made_without_weights(planned: Config, suite: Suite) -> None:
    checked = check(planned, fetch_saes=False)
    axes = checked.axes
    assert {len(latents) for latents in axes.latents.values()} == {suite.d_sae}
    assert axes.d_model == suite.d_model
    hooks = list(axes.hook_points.values())
    assert (hooks[0], hooks[-1]) == suite.hook_points
    assert len(set(hooks)) == suite.num_saes

    selected = {sae: expected_selection(checked.config, suite.d_sae) for sae in axes.latents}
    for step, number in {
        "max_act": axes.num_token_shards,  # one pass over the corpus serves every SAE
        "top_examples": suite.num_saes * -(-suite.d_sae // 512),
        "jacobian": suite.num_saes * -(-suite.d_model // 256),
    }.items():
        tasks = tasks_of(step_named(step), checked.config, axes, selected)
        assert tasks is not None
        assert len(tasks) == number, step
    schedule = Schedule(checked.config, axes)
    assert schedule.num_ready("cpu", "subject") > 0
    lines = estimate(checked.config, axes, checked.subject.num_layers, checked.layer)
    assert sum(line.llm_requests for line in lines) > 0
    window = checked.config.corpus.window or 0
    assert checked.micro_batch * window >= 2048, "memory_gb holds a batch worth a GPU"
