"""Bad input, as a person meets it: one sentence, exit code 2, and nothing written."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ports import free_port
from safetensors.torch import load_file, save_file

from ray_autointerp.models.planted import HOOK_POINT, PlantedTruth

ConfigFile = Callable[..., Path]
Cli = Callable[..., Any]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_written(root: Path) -> Iterator[None]:
    """Whatever is refused leaves no trace."""
    yield
    assert not root.exists()


@pytest.mark.parametrize(
    ("section", "key", "said"),
    [
        ("evidence", "num_top_exampels", "Did you mean `num_top_examples`?"),
        ("sae", "hookpoint", "Did you mean `hook_point`?"),
        ("operations", "llm_gpu", "Did you mean `llm_gpus`?"),
        ("evidense", "num_top_examples", "Did you mean `evidence`?"),
    ],
)
def test_unknown_key_names_the_nearest(
    cli: Cli, config_file: ConfigFile, section: str, key: str, said: str
) -> None:
    path = config_file({section: {key: 3}})
    assert cli("plan", path).refuses(str(path), "unknown key", said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'[run]\nname = "a', "not valid TOML"),
        (b"\xff\xfe[run]", "not valid TOML"),
        (b"", "the key `run` is missing"),
        (b'run = "planted"', "run"),
    ],
)
def test_file_that_is_no_config_is_told(cli: Cli, tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(text)
    assert cli("label", path, "--local").refuses(str(path), said)


def test_config_that_is_not_there_or_a_folder_is_told(cli: Cli, tmp_path: Path) -> None:
    assert cli("plan", tmp_path / "none.toml").refuses("Cannot read", "No such file")
    assert cli("plan", tmp_path).refuses("Cannot read", "Is a directory")


def test_variable_that_is_not_set_is_named(
    cli: Cli, config_file: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_CACHE", raising=False)
    path = config_file({"subject": {"model": "$NO_SUCH_CACHE/model"}})
    assert cli("plan", path).refuses("NO_SUCH_CACHE", "not set")


@pytest.mark.parametrize("hook_point", ["blocks.9.hook_resid_post", "blocks.1.mlp", "nonsense"])
def test_hook_point_that_does_not_exist_is_told_which_do(
    cli: Cli, config_file: ConfigFile, hook_point: str
) -> None:
    said = cli("plan", config_file({"sae": {"hook_point": hook_point}}))
    assert said.refuses(hook_point, "blocks.0.hook_resid_pre", "blocks.3.hook_resid_post")


def write_sae(folder: Path, *, d_in: int, **changes: Any) -> Path:
    """An SAE of eight latents that says what a trained one says."""
    folder.mkdir()
    config = {
        "architecture": "standard",
        "d_in": d_in,
        "d_sae": 8,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"hook_name": HOOK_POINT},
    }
    (folder / "cfg.json").write_text(json.dumps(config | changes))
    tensors = {"W_enc": torch.zeros(d_in, 8), "W_dec": torch.zeros(8, d_in)}
    tensors |= {"b_enc": torch.zeros(8), "b_dec": torch.zeros(d_in)}
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def d_model(planted: PlantedTruth) -> int:
    return int(json.loads((planted.folder / "subject" / "config.json").read_text())["hidden_size"])


def test_sae_of_another_model_is_refused_with_both_shapes(
    cli: Cli, config_file: ConfigFile, planted: PlantedTruth, tmp_path: Path
) -> None:
    path = write_sae(tmp_path / "sae", d_in=17)
    said = cli("plan", config_file({"sae": {"path": str(path)}}))
    assert said.refuses(str(path), "17", str(d_model(planted)), HOOK_POINT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"d_sae": 9}, "set d_sae = 8"),
        ({"architecture": "jumprelu"}, "lack `threshold`"),
        ({"architecture": "transcoder"}, "set read_point and hook_point"),
        ({"architecture": "temporal"}, "`temporal`"),
        ({"architecture": "batchtopk"}, "topk_threshold"),
        ({"normalize_activations": "covariance_whitening"}, "`covariance_whitening`"),
        ({"metadata": {}}, "hook_point"),
        ({"d_in": None}, "d_in"),
    ],
)
def test_sae_that_cannot_be_clamped_is_refused(
    cli: Cli,
    config_file: ConfigFile,
    planted: PlantedTruth,
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
) -> None:
    path = write_sae(tmp_path / "sae", d_in=d_model(planted))
    config = json.loads((path / "cfg.json").read_text()) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    (path / "cfg.json").write_text(json.dumps(kept))
    assert cli("plan", config_file({"sae": {"path": str(path)}})).refuses(said)


@pytest.mark.parametrize("command", [("plan",), ("label", "--local")])
def test_sae_with_weights_that_are_not_finite_is_refused(
    cli: Cli,
    config_file: ConfigFile,
    planted: PlantedTruth,
    tmp_path: Path,
    command: tuple[str, ...],
) -> None:
    path = write_sae(tmp_path / "sae", d_in=d_model(planted))
    tensors = load_file(path / "sae_weights.safetensors")
    tensors["W_dec"][5, 3] = float("nan")
    save_file(tensors, path / "sae_weights.safetensors")
    said = "NaN or infinite, in W_dec at 1 of 8 latents (5)"
    config = config_file({"sae": {"path": str(path)}})
    assert cli(command[0], config, *command[1:]).refuses(str(path), said)


@pytest.mark.parametrize("broken", ["cfg.json", "sae_weights.safetensors", "folder"])
def test_sae_that_is_missing_or_cut_is_refused_by_name(
    cli: Cli, config_file: ConfigFile, planted: PlantedTruth, tmp_path: Path, broken: str
) -> None:
    path = write_sae(tmp_path / "sae", d_in=d_model(planted))
    if broken == "folder":
        shutil.rmtree(path)
    else:
        whole = (path / broken).read_bytes()
        (path / broken).write_bytes(whole[: len(whole) // 3])
    assert cli("plan", config_file({"sae": {"path": str(path)}})).refuses(str(path))


def empty_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)


def silent_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": ["", None, ""]}), path)


def other_parquet(path: Path) -> None:
    pq.write_table(pa.table({"body": ["some text"], "title": ["a title"]}), path)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("none.parquet", lambda path: None, "does not exist"),
        ("empty.parquet", empty_parquet, "holds no text"),
        ("silent.parquet", silent_parquet, "holds no text"),
        ("other.parquet", other_parquet, "it has: body, title"),
        ("cut.parquet", lambda path: path.write_bytes(b"PAR1 and no more"), "not readable Parquet"),
        ("folder.parquet", lambda path: path.mkdir(), "holds no text"),
        ("empty.jsonl", lambda path: path.write_text(""), "holds no text"),
        ("broken.jsonl", lambda path: path.write_text('{"text": "a"}\n{"text'), "Line 2"),
        ("list.jsonl", lambda path: path.write_text('["a"]\n'), "not a JSON object"),
        ("latin.jsonl", lambda path: path.write_bytes(b'{"text": "caf\xe9"}\n'), "UTF-8"),
        ("list.json", lambda path: path.write_text('[\n{"text": "a"}\n]'), "Line 1"),
        ("text.docx", lambda path: path.write_text("a"), "neither Parquet"),
        ("folder", lambda path: path.mkdir(), "holds no text"),
    ],
)
def test_corpus_that_cannot_be_read_is_refused_by_name(
    cli: Cli,
    config_file: ConfigFile,
    tmp_path: Path,
    name: str,
    write: Callable[[Path], object],
    said: str,
) -> None:
    path = tmp_path / name
    write(path)
    changes = {"corpus": {"path": str(path), "id_column": None}}
    assert cli("plan", config_file(changes)).refuses(said)


def test_corpus_file_that_is_not_utf8_is_refused_by_name(
    cli: Cli, config_file: ConfigFile, tmp_path: Path
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"caf\xe9")
    said = cli("plan", config_file({"corpus": {"path": str(folder), "id_column": None}}))
    assert said.refuses(str(folder / "a.txt"), "UTF-8")


def test_corpus_without_the_column_that_names_documents_is_refused(
    cli: Cli, config_file: ConfigFile
) -> None:
    said = cli("plan", config_file({"corpus": {"id_column": "documentid"}}))
    assert said.refuses("documentid", "document_id")


@pytest.mark.parametrize("latents", ["0:9999", "56:60", "7:7", "9:3"])
def test_latents_outside_the_sae_are_refused_with_those_it_has(
    cli: Cli, config_file: ConfigFile, latents: str
) -> None:
    assert cli("plan", config_file({"sae": {"latents": latents}})).refuses("0:56", latents)
    assert cli("plan", config_file(), "--latents", latents).refuses("0:56", latents)


def test_latents_that_are_no_range_are_refused(cli: Cli, config_file: ConfigFile) -> None:
    assert cli("plan", config_file(), "--latents", "12").refuses("--latents", "0:256", "12")
    assert cli("plan", config_file({"sae": {"latents": "all"}})).refuses("sae.0.latents")


def test_chosen_latent_outside_the_range_is_refused(cli: Cli, config_file: ConfigFile) -> None:
    changes = {"sae": {"latents": "0:20"}, "select": {"rule": "list", "latents": [3, 20]}}
    assert cli("plan", config_file(changes)).refuses("select.latents", "20", "0:20")


def test_window_longer_than_the_subjects_context_is_refused(
    cli: Cli, config_file: ConfigFile
) -> None:
    assert cli("plan", config_file({"corpus": {"window": 512}})).refuses("512", "256")
    assert cli("plan", config_file({"evidence": {"change_window_tokens": 250}})).refuses("250")


def test_store_that_does_not_answer_is_refused(
    cli: Cli, config_file: ConfigFile, aws_chain: pytest.MonkeyPatch
) -> None:
    aws_chain.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    said = cli("label", config_file(), "--local", "--root", "s3://bucket/runs")
    assert said.refuses("s3://bucket/runs", "cannot be reached")


@pytest.mark.usefixtures("bucket")
def test_bucket_that_is_not_there_is_named(cli: Cli, config_file: ConfigFile) -> None:
    said = cli("plan", config_file(), "--root", "s3://no-such-bucket/runs")
    assert said.refuses("there is no bucket 'no-such-bucket'")


def test_store_without_conditional_puts_is_refused(
    cli: Cli, config_file: ConfigFile, forgetful_store: str
) -> None:
    said = cli("label", config_file(), "--local", "--root", forgetful_store)
    assert said.refuses(forgetful_store, "does not honour conditional puts", "16 writers")


def test_root_that_is_no_store_is_refused(
    cli: Cli, config_file: ConfigFile, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert cli("plan", config_file(), "--root", tmp_path / "file").refuses("is a file")
    assert cli("plan", config_file(), "--root", tmp_path / "file" / "runs").refuses("file")
    assert cli("plan", config_file(), "--root", "gs://bucket/runs").refuses("s3://bucket/prefix")


@pytest.mark.parametrize(
    "section", [{"backend": "vllm", "model": "some/model"}, {"backend": "vllm", "model": "./here"}]
)
def test_vllm_that_is_not_installed_is_refused_with_the_way_to_it(
    cli: Cli, config_file: ConfigFile, monkeypatch: pytest.MonkeyPatch, section: dict[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert cli("plan", config_file({"llm": section})).refuses("vLLM is not installed", "jobs/env")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpu_that_is_not_there_is_refused_before_anything_waits_for_it(
    cli: Cli, config_file: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cli("plan", config_file({"subject": {"device": "cuda"}})).refuses("`cuda`", "no GPU")
    for name in ("subject_gpus", "llm_gpus"):
        said = cli("label", config_file({"operations": {name: 1}}))
        assert said.refuses(f"operations.{name}", "RAY_ADDRESS")
    vllm = {"backend": "vllm", "model": "some/model"}
    said = cli("plan", config_file({"operations": {"llm_gpus": 1}, "llm": vllm}))
    assert said.refuses("llm_gpus", "CPU build")


def test_model_folders_that_are_missing_are_refused_by_the_key_that_names_them(
    cli: Cli, config_file: ConfigFile, tmp_path: Path
) -> None:
    for key in ("./nowhere", str(tmp_path / "nowhere")):
        said = cli("plan", config_file({"subject": {"model": key}}))
        assert said.refuses(str(tmp_path / "nowhere"), "does not exist", "subject.model")
        said = cli("plan", config_file({"llm": {"backend": "vllm", "model": key}}))
        assert said.refuses(str(tmp_path / "nowhere"), "does not exist", "llm.model")
    (tmp_path / "empty").mkdir()
    said = cli("plan", config_file({"subject": {"model": str(tmp_path / "empty")}}))
    assert said.refuses(str(tmp_path / "empty"))


def test_model_that_the_hub_is_needed_for_is_refused_offline(
    cli: Cli, config_file: ConfigFile
) -> None:
    assert cli("plan", config_file({"subject": {"model": "nobody/nothing"}})).refuses(
        "nobody/nothing"
    )


def test_script_that_cannot_be_imported_is_refused(cli: Cli, config_file: ConfigFile) -> None:
    for script in ("no_such_module:answer", "json:no_such_function", "json"):
        assert cli("plan", config_file({"llm": {"script": script}})).refuses("llm.script", script)


def endpoints(*urls: str) -> dict[str, dict[str, Any]]:
    values = {"backend": "endpoint", "model": "some/model", "endpoints": list(urls)}
    return {"llm": {**values, "api_key_variable": "NO_SUCH_KEY"}}


def test_endpoint_whose_key_is_not_set_is_refused(
    cli: Cli, config_file: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    url = "https://llm.example.com/v1"
    for urls in ([url], ["http://localhost:8000/v1", url]):
        said = cli("plan", config_file(endpoints(*urls)))
        assert said.refuses(url, "NO_SUCH_KEY", "not set", "export")
    monkeypatch.setenv("NO_SUCH_KEY", " ")
    assert cli("plan", config_file(endpoints(url))).refuses("NO_SUCH_KEY")


@pytest.mark.parametrize("url", ["llm.example.com/v1", "ftp://host/v1", "https://", "http://a:b/"])
def test_endpoint_that_is_no_url_is_refused(cli: Cli, config_file: ConfigFile, url: str) -> None:
    assert cli("plan", config_file(endpoints(url))).refuses(f"`{url}`", "no URL", "endpoints")


@pytest.mark.parametrize("url", ["https://me:hush@host/v1", "https://host/v1?key=hush"])
def test_endpoint_that_holds_a_key_is_refused_without_telling_it(
    cli: Cli, config_file: ConfigFile, url: str
) -> None:
    said = cli("plan", config_file(endpoints(url)))
    assert said.refuses("host", "api_key_variable")
    assert "hush" not in said.err


def test_endpoints_and_their_backend_need_each_other(cli: Cli, config_file: ConfigFile) -> None:
    assert cli("plan", config_file(endpoints())).refuses("endpoints", "backend")
    alone = {"llm": {"endpoints": ["https://host/v1"]}}
    assert cli("plan", config_file(alone)).refuses("endpoints", "backend")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        [str(Path(sys.executable).with_name("ray-autointerp")), "plan"],
        [sys.executable, str(REPOSITORY / "jobs" / "label_sae.py")],
    ],
    ids=["console-script", "job"],
)
def test_process_ends_with_code_two_and_says_only_the_sentence(
    config_file: ConfigFile, command: list[str]
) -> None:
    path = config_file({"sae": {"hook_point": "blocks.9.hook_resid_post"}})
    done = subprocess.run(
        [*command, str(path)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("Hook point `blocks.9.hook_resid_post` is not one of")
