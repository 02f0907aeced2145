"""A TOML file read into a Config: a sentence for what is wrong with it, absolute paths."""

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ray_autointerp.config import Config, LLMSection, SuiteSection
from ray_autointerp.errors import ConfigError
from ray_autointerp.models.sae_registry import releases
from ray_autointerp.plan.evidence import DESCRIPTION_METHODS, is_method, missing_method
from ray_autointerp.plan.suites import expand


def read_config(path: str | Path) -> Config:
    """Read a TOML file; paths of inputs in it become absolute, relative to the file's folder.

    Raises ConfigError with one sentence: missing file, broken TOML, unknown key (names the
    nearest one), impossible value.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    return parse_config(raw, path)


def parse_config(raw: dict[str, Any], path: Path) -> Config:
    """The validated config of an already parsed TOML file that lies at `path`, its suites of SAEs
    expanded.
    """
    try:
        config = Config.model_validate(_expanded_suites(raw, path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {_sentence(error)}") from error
    for method in config.describe.methods:
        if not is_method(method):
            raise ConfigError(
                f"{path}: describe.methods has `{method}`, which is none of "
                f"{', '.join(DESCRIPTION_METHODS)} or a further candidate (`max_act_2`)."
            )
    if missing := missing_method(config.describe.methods):
        raise ConfigError(
            f"{path}: describe.methods has `{missing[0]}`, which is made of the descriptions by "
            f"`{missing[1]}`: name that method there too."
        )
    return _with_absolute_inputs(config, path.resolve().parent)


def _expanded_suites(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The config with one [[sae]] table for each SAE; the registry is read only if it is named."""
    tables = raw.get("sae")
    if not isinstance(tables, list) or not any(map(_is_suite, tables)):
        return raw
    sections = []
    for number, table in enumerate(tables):
        try:
            sections.append(SuiteSection.model_validate(table) if _is_suite(table) else table)
        except ValidationError as error:
            sentence = _sentence(error, ("sae", str(number)), SuiteSection)
            raise ConfigError(f"{path}: {sentence}") from error
    try:
        return {**raw, "sae": expand(sections, releases())}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _is_suite(table: Any) -> bool:
    return isinstance(table, dict) and "sae_ids" in table


def with_llm(section: LLMSection, name: str, served_model: str | None) -> LLMSection:
    """The section with another LLM: a hub name, a folder (relative to where the command is given),
    or a server's URL with the name of the model that it serves. All else stays.

    Raises ConfigError where a URL has no such name, or something else has one.
    """
    is_url = "://" in name
    if is_url != (served_model is not None):
        raise ConfigError(
            f"--llm-model names the model that a server serves: give it with a URL as --llm "
            f"(https://host/v1), and only then; --llm is `{name}`."
        )
    changes: dict[str, Any] = {"script": "", "backend": "vllm", "endpoints": ()}
    if is_url:
        changes |= {"backend": "endpoint", "endpoints": (name,), "model": served_model}
    else:
        changes["model"] = _model_name(name, Path.cwd()) if name else ""
    try:
        return LLMSection.model_validate({**section.model_dump(), **changes})
    except ValidationError as error:
        raise ConfigError(f"--llm: {_sentence(error)}") from error


def _sentence(
    error: ValidationError, parents: tuple[str, ...] = (), root: type[BaseModel] = Config
) -> str:
    """The first error; `parents` name the place of the section `root` in the file."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    name = ".".join([*parents, *where])
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(where[-1], _keys_beside(where, root), n=1, cutoff=0.5)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        return f"unknown key `{name}`.{hint}"
    if first["type"] == "missing":
        return f"the key `{name}` is missing."
    return f"{name + ': ' if name else ''}{first['msg'].removeprefix('Value error, ')}."


def _keys_beside(where: list[str], root: type[BaseModel]) -> list[str]:
    """The keys allowed in the section that holds the last part of `where`."""
    section = root
    for part in where[:-1]:
        if part.isdigit():
            continue
        annotation = section.model_fields[part].annotation
        inner = getattr(annotation, "__args__", (annotation,))[0]
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        section = inner
    return list(section.model_fields)


def _expanded(text: str) -> str:
    text = os.path.expandvars(os.path.expanduser(text))
    if unset := re.search(r"\$(\w+|\{\w+\})", text):
        name = unset[1].strip("{}")
        raise ConfigError(f"`{text}` names the variable {name}, which is not set: export {name}.")
    return text


def _local(text: str, folder: Path) -> str:
    """An input's path made absolute; remote URIs stay as they are."""
    text = _expanded(text)
    return text if "://" in text else str((folder / text).resolve())


def _model_name(text: str, folder: Path) -> str:
    """A hub name stays; a path, or the name of a folder beside the config, becomes absolute."""
    text = _expanded(text)
    looks_local = text.startswith((".", "/")) or (folder / text).is_dir()
    return str((folder / text).resolve()) if looks_local else text


def _file_or_name(text: str, folder: Path) -> str:
    """The same of a file beside the config."""
    text = _expanded(text)
    looks_local = text.startswith((".", "/")) or (folder / text).is_file()
    return str((folder / text).resolve()) if looks_local else text


def _with_absolute_inputs(config: Config, folder: Path) -> Config:
    saes = tuple(
        sae.model_copy(
            update={
                name: _local(value, folder)
                for name in ("path", "checkpoints")
                if (value := getattr(sae, name))
            }
        )
        for sae in config.sae
    )
    corpus = config.corpus
    if corpus.path:
        corpus = corpus.model_copy(update={"path": _local(corpus.path, folder)})
    subject = config.subject.model_copy(update={"model": _model_name(config.subject.model, folder)})
    evidence = config.evidence
    if (lens := evidence.jacobian.removeprefix("lens:")) != evidence.jacobian:
        named = f"lens:{_file_or_name(lens, folder)}"
        evidence = evidence.model_copy(update={"jacobian": named})
    return config.model_copy(
        update={
            "evidence": evidence,
            "sae": saes,
            "corpus": corpus,
            "subject": subject,
            "llm": _with_model(config.llm, folder),
            "judge": config.judge and _with_model(config.judge, folder),
        }
    )


def _with_model(llm: LLMSection, folder: Path) -> LLMSection:
    if llm.backend != "vllm":
        return llm
    return llm.model_copy(update={"model": _model_name(llm.model, folder)})
