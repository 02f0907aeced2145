"""A worker's context: the run's tables, the models that the worker holds, and whom it asks.

One for each worker; each task gets a view of it, with the config that its step declares.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from ray_autointerp.llm.client import LLMClient
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.step import Input, Step
from ray_autointerp.records.task import Task
from ray_autointerp.runs.declared_config import declared_config
from ray_autointerp.runs.loaded_models import LoadedModels
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.spending import Spending
from ray_autointerp.runs.tables import Tables

if TYPE_CHECKING:
    from ray_autointerp.models.sae import Sae
    from ray_autointerp.models.subject import Subject
    from ray_autointerp.models.tokenizer import SubjectTokenizer


class WorkerContext:
    """The tables and models one worker needs."""

    def __init__(
        self,
        run: Run,
        *,
        llm: LLMClient | None = None,
        judge: LLMClient | None = None,
        spending: Spending | None = None,
    ) -> None:
        """`judge` is asked by steps of that pool; None is the `llm`."""
        self.tables = Tables(run)
        self._llm = llm
        self._judge = judge or llm
        self.spending = spending or Spending(run.config)
        self._models = LoadedModels(run)
        self._step: Step | None = None
        self._left: list[Callable[[], None]] = []
        self.num_not_finite = 0
        """Rows that a task's view wrote as `failed` because of NaN or infinity."""

    def for_task(self, task: Task, llm: LLMClient | None = None) -> Self:
        """This context as the task's stage sees it: with what its step declares, and whom to ask.

        Reading an undeclared config field raises UndeclaredConfigError.
        """
        view = copy.copy(self)
        view._step = step_named(task.step)
        config = declared_config(self.run.config, view._step)
        view.tables = self.tables.seen_by(replace(self.run, config=config))
        view._left = []
        view.num_not_finite = 0
        if llm is not None:
            view._llm = view._judge = llm
        return view

    @property
    def run(self) -> Run:
        """The run; in a task's view, with the config that its step declares."""
        return self.tables.run

    @property
    def halvings(self) -> int:
        """How often this worker's batches were halved for want of memory so far."""
        return self._models.subject.halving.times if self._models.has_subject else 0

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether a pass of the subject failed for want of memory, even row by row."""
        if not self._models.has_subject:
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
    ) -> int:
        """As `Tables.write`; the metadata says where batches were halved."""
        halved = {"halved": str(self.halvings)} if self.halvings else {}
        metadata = {**halved, **(metadata or {})}
        num_failed = self.tables.write(
            task, table, content, sae=sae, metadata=metadata, row_groups=row_groups
        )
        self.num_not_finite += num_failed
        return num_failed

    def afterwards(self, work: Callable[[], None]) -> None:
        """Leave work that needs no model for the end of the task.

        On a GPU the worker's next task uses the models meanwhile.
        """
        self._left.append(work)

    def do_what_is_left(self) -> None:
        """The work that the task's stage left, in its order; what it holds is freed one by one."""
        while self._left:
            self._left.pop(0)()

    @property
    def subject(self) -> "Subject":
        """The language model under study, on this worker's device."""
        self._require("subject")
        return self._models.subject

    @property
    def tokenizer(self) -> "SubjectTokenizer":
        """The subject's tokenizer alone: cpu steps need no weights."""
        self._require("tokenizer", "subject")
        return self._models.tokenizer

    def sae(self, sae_id: str) -> "Sae":
        """An SAE on the subject's device."""
        self._require("sae")
        return self._models.sae(sae_id)

    @property
    def earlier(self) -> Tables:
        """The tables of the parent run."""
        self._require("earlier_sae")
        run = self._models.earlier_run
        return self.tables.kept(("run", run.folder), lambda: Tables(run))

    def earlier_sae(self, sae_id: str) -> "Sae":
        """The parent's SAE with which the latents of this one are matched."""
        self._require("earlier_sae")
        return self._models.earlier_sae(sae_id)

    @property
    def llm(self) -> LLMClient:
        """Whom the stage asks."""
        assert self._llm is not None, "an llm step ran on a worker without an LLM"
        return self._llm

    def llm_of(self, task: Task) -> LLMClient:
        """The worker's LLM that answers a step of this pool: the explainer or the judge."""
        llm = self._judge if step_named(task.step).pool == "judge" else self._llm
        assert llm is not None, f"{task.name} ran on a worker without its LLM"
        return llm

    def _require(self, *inputs: Input) -> None:
        """A task's stage may use what its step declares as an input."""
        declared = inputs if self._step is None else self._step.inputs
        assert set(inputs) & set(declared), (
            f"step {self._step and self._step.name} uses {inputs[0]}: declare it in the step's "
            "`inputs` in plan/flow.py"
        )
