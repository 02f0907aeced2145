"""A worker's context: the run's tables, and the models that the worker holds.

One for each worker, reused by its tasks. Models, and the slow libraries behind them, are loaded
when first asked for.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from ray_autointerp.llm.client import LLM
from ray_autointerp.records.flow import step_named
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.spending import Spending
from ray_autointerp.runs.tables import Tables

if TYPE_CHECKING:
    from ray_autointerp.models.sae import Sae
    from ray_autointerp.models.subject import Subject
    from ray_autointerp.models.tokenizer import SubjectTokenizer

_SAES_HELD = 2
"""SAEs kept in a worker's memory; the least recently used one is dropped."""


class WorkerContext(Tables):
    """The tables and models one worker needs."""

    def __init__(
        self,
        run: Run,
        *,
        llm: LLM | None = None,
        judge: LLM | None = None,
        spending: Spending | None = None,
    ) -> None:
        """`judge` is asked by steps of that pool; None is the `llm`."""
        super().__init__(run)
        self._llm = llm
        self._judge = judge or llm
        self.spending = spending or Spending(run.config)
        self._saes: OrderedDict[str, Sae] = OrderedDict()

    @property
    def halvings(self) -> int:
        """How often this worker's batches were halved for want of memory so far."""
        return self.subject.halving.times if "subject" in self.__dict__ else 0

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether a pass of the subject failed for want of memory, even row by row."""
        if "subject" not in self.__dict__:
            return False
        from ray_autointerp.models.halving import is_out_of_memory

        return is_out_of_memory(error)

    def write(
        self,
        task: Task,
        table: str,
        content: pa.Table | Sequence[Mapping[str, Any]],
        *,
        sae: str | None = None,
        metadata: Mapping[str, str] | None = None,
        row_groups: Sequence[int] | None = None,
    ) -> None:
        """As `Tables.write`; says so in the metadata where batches were halved."""
        halved = {"halved": str(self.halvings)} if self.halvings else {}
        told = {**halved, **(metadata or {})}
        super().write(task, table, content, sae=sae, metadata=told, row_groups=row_groups)

    @cached_property
    def subject(self) -> "Subject":
        """The language model under study, on this worker's device."""
        import torch

        from ray_autointerp.models.subject import Subject

        torch.set_num_threads(self.run.config.operations.threads)
        section = self.run.config.subject
        return Subject.load(
            section.model,
            device=section.device,
            dtype=section.dtype,
            model_kwargs=section.model_kwargs,
            revision=section.revision,
        )

    @cached_property
    def tokenizer(self) -> "SubjectTokenizer":
        """The subject's tokenizer alone: cpu steps need no weights."""
        from ray_autointerp.models.tokenizer import SubjectTokenizer

        section = self.run.config.subject
        return SubjectTokenizer.load(section.model, revision=section.revision)

    @property
    def llm(self) -> LLM:
        """Whom the stage asks."""
        assert self._llm is not None, "an llm step ran on a worker without an LLM"
        return self._llm

    def llm_of(self, task: Task) -> LLM:
        """The worker's LLM that answers a step of this pool: the explainer or the judge."""
        llm = self._judge if step_named(task.step).pool == "judge" else self._llm
        assert llm is not None, f"{task.name} ran on a worker without its LLM"
        return llm

    def asking(self, llm: LLM) -> Self:
        """This context with another LLM to ask, for one task."""
        context = copy.copy(self)
        context._llm = context._judge = llm
        return context

    def sae(self, sae_id: str) -> "Sae":
        """An SAE on the subject's device."""
        from ray_autointerp.models.sae import Sae

        if sae_id not in self._saes:
            section = self.run.section(sae_id)
            self._saes[sae_id] = Sae.load(
                section.path,
                release=section.release,
                sae_id=section.sae_id,
                hook_point=section.hook_point,
                read_point=section.read_point,
                device=self.subject.device,
                dtype=self.run.config.subject.dtype,
            )
            while len(self._saes) > _SAES_HELD:
                self._saes.popitem(last=False)
        self._saes.move_to_end(sae_id)
        return self._saes[sae_id]
