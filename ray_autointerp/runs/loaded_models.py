"""The models that a worker holds: the subject, its tokenizer, a few SAEs. Loaded when asked for."""

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

from ray_autointerp.config import Config, SaeSection
from ray_autointerp.plan.weights import BYTES
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.local_copy import local_folder

if TYPE_CHECKING:
    from ray_autointerp.models.sae import Sae
    from ray_autointerp.models.subject import Subject
    from ray_autointerp.models.tokenizer import SubjectTokenizer

SAES_HELD = 2
"""SAEs kept in a worker's memory; the least recently used one is dropped."""


def _in_parameters(num_weights: int, dtype: str) -> int:
    """What encoders and decoders take at most, as a number of the subject's parameters."""
    from ray_autointerp.models.sae import weights_dtype

    return num_weights * BYTES[weights_dtype(dtype)] // BYTES[dtype]


class LoadedModels:
    """One for each worker, shared by all its tasks."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._saes: OrderedDict[str, Sae] = OrderedDict()

    @property
    def has_subject(self) -> bool:
        """Whether the subject was loaded."""
        return "subject" in self.__dict__

    @cached_property
    def subject(self) -> "Subject":
        """The language model under study, on this worker's devices."""
        import torch

        from ray_autointerp.models.subject import Subject

        torch.set_num_threads(self._run.config.operations.threads)
        section, axes = self._run.config.subject, self._run.axes
        excluded = self._run.config.corpus.exclude_special_tokens
        widest = max(latents.stop for latents in axes.latents.values())
        by_layer = sorted(
            len(axes.write_points(sae)) * axes.latents[sae].stop for sae in axes.later_hook_points
        )[-SAES_HELD:]
        num_rows = SAES_HELD * 2 * widest + sum(by_layer)
        return Subject.load(
            section.model,
            device=section.device,
            dtype=section.dtype,
            model_kwargs=section.model_kwargs,
            revision=section.revision,
            compile_layers=self._run.config.operations.compile_layers,
            num_gpus=max(1, int(self._run.config.operations.subject_gpus)),
            beside=_in_parameters(num_rows * axes.d_model, section.dtype),
            exclude_special_tokens=True if excluded is None else excluded,
        )

    @cached_property
    def tokenizer(self) -> "SubjectTokenizer":
        """The subject's tokenizer alone: cpu steps need no weights."""
        from ray_autointerp.models.tokenizer import SubjectTokenizer

        section = self._run.config.subject
        return SubjectTokenizer.load(section.model, revision=section.revision)

    def sae(self, sae_id: str) -> "Sae":
        """An SAE on the subject's device."""
        config = self._run.config
        return self._loaded(sae_id, config, self._run.section(sae_id))

    @cached_property
    def earlier_run(self) -> Run:
        """The run's parent."""
        parent = self._run.config.run.parent
        assert parent is not None, "there is no earlier run"
        return load_run(self._run.sibling(parent))

    def earlier_sae(self, sae_id: str) -> "Sae":
        """The parent's SAE with which the latents of this one are matched."""
        earlier = self.earlier_run
        section = earlier.section(self._run.config.earlier_id(sae_id))
        return self._loaded(f"earlier {sae_id}", earlier.config, section)

    def _loaded(self, name: str, config: Config, section: SaeSection) -> "Sae":
        from ray_autointerp.models.cross_layer import not_needed
        from ray_autointerp.models.random_weights import random_seed
        from ray_autointerp.models.sae import Sae

        if name not in self._saes:
            source = config.source_of(section)
            self._saes[name] = Sae.load(
                local_folder(source.path, not_needed(source.layer)) if source.path else None,
                release=source.release,
                sae_id=source.sae_id,
                layer=source.layer,
                hook_point=section.hook_point,
                read_point=section.read_point,
                device=self.subject.device,
                dtype=self._run.config.subject.dtype,
                random_seed=random_seed(config.run.seed, section.id)
                if section.random_like
                else None,
            ).bound_to(self.subject)
            while len(self._saes) > SAES_HELD:
                self._saes.popitem(last=False)
        self._saes.move_to_end(name)
        return self._saes[name]
