"""The Ray runner: the same schedule as run_local, executed by pools of actors.

The driver holds a bounded number of tasks in flight per actor, waits for receipts, and replaces
actors that die; what they held is tried again, a bounded number of times, then the run stops
with the task's name (Ray's own retries are off: see platform notes on poison work).
"""

import logging
import os
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from ray_autointerp.cluster.pool import Pool
from ray_autointerp.cluster.workers import LLMWorker, SubjectWorker, environment
from ray_autointerp.config import bounds
from ray_autointerp.errors import TaskError
from ray_autointerp.records.flow import LLM_POOLS, step_named
from ray_autointerp.records.task import Task
from ray_autointerp.stages.run import Run
from ray_autointerp.stages.worklist import Observer, Receipt, Worklist, now

_OBJECT_STORE_BYTES = 200 * 2**20
"""Only tasks and receipts pass through Ray's object store on a local start."""

_TASKS_IN_FLIGHT = 4
"""Tasks an engine works on at once, so that continuous batching never starves."""

_DETAIL_CHARACTERS = 2000
"""Of an error kept in the ledger; the whole of it is in Ray's logs."""


def run_ray(run: Run, observer: Observer) -> None:
    """Execute every missing task of the run on Ray. Raises what Worklist.failed raises.

    Uses the cluster that is already connected or that RAY_ADDRESS names, else starts a local one
    and stops it again.
    """
    worklist = Worklist(run, observer)
    if worklist.finished():
        return
    started_here = _connect(run)
    try:
        _work(run, worklist)
    finally:
        worklist.close()
        if started_here:
            ray.shutdown()


def _connect(run: Run) -> bool:
    if ray.is_initialized():
        return False
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING)
        return True
    operations = run.config.operations
    ray.init(
        # Logical CPUs: enough that every pool fits, since the pools share the real ones.
        num_cpus=operations.cpu_workers
        + operations.subject_workers
        + bounds(operations.llm_workers)[1]
        + (bounds(operations.judge_workers)[1] if run.config.judge else 0),
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    return True


def _pools(run: Run) -> dict[str, Pool]:
    operations, env = run.config.operations, environment(run)
    shared: dict[str, Any] = {
        "num_cpus": 1,
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": env,
    }
    cpu = ray.remote(SubjectWorker).options(**shared)
    subject = ray.remote(SubjectWorker).options(**shared, num_gpus=operations.subject_gpus)
    llm = ray.remote(LLMWorker).options(
        **shared, num_gpus=operations.llm_gpus, max_concurrency=_TASKS_IN_FLIGHT + 4
    )
    return {
        "cpu": Pool(cpu, operations.cpu_workers, 1, run),
        "subject": Pool(subject, operations.subject_workers, 1, run),
        "llm": Pool(llm, bounds(operations.llm_workers)[0], _TASKS_IN_FLIGHT, run),
    }


def _work(run: Run, worklist: Worklist) -> None:
    pools = _pools(run)
    in_flight: dict[Any, tuple[Task, Any]] = {}
    for engine in pools["llm"].actors():
        # Engines start slowly, and the first tasks are the subject's. A failure is not lost: the
        # first question meets it again.
        engine.warm.remote()
    try:
        while not worklist.finished():
            for task in worklist.ready():
                pool = pools[_pool_of(task)]
                if pool.has_room():
                    worklist.start(task)
                    in_flight[pool.submit(task)] = (task, now())
            assert in_flight, "nothing is ready and nothing runs: the flow has a hole"
            answered, _ = ray.wait(list(in_flight), num_returns=1)
            for reference in answered:
                task, asked = in_flight.pop(reference)
                _settle(reference, task, asked, pools[_pool_of(task)], worklist)
    finally:
        for pool in pools.values():
            pool.close()


def _pool_of(task: Task) -> str:
    name = step_named(task.step).pool
    return "llm" if name in LLM_POOLS else name


def _settle(reference: Any, task: Task, asked: Any, pool: Pool, worklist: Worklist) -> None:
    try:
        receipt: Receipt = ray.get(reference)
    except (ActorDiedError, ActorUnavailableError) as error:
        pool.replace(reference)
        pool.settle(reference)
        worklist.failed(_lost(task, asked, "worker died", error), error, worker_died=True)
    except RayTaskError as error:
        pool.settle(reference)
        cause = error.cause if isinstance(error.cause, Exception) else TaskError(str(error))
        worklist.failed(_lost(task, asked, "failed", cause), cause, worker_died=False)
    else:
        pool.settle(reference)
        worklist.done(receipt)


def _lost(task: Task, asked: Any, outcome: str, error: BaseException) -> Receipt:
    started, clock = asked
    detail = f"{type(error).__name__}: {error}"[:_DETAIL_CHARACTERS]
    return Receipt(task, started, now()[1] - clock, outcome, "unknown", detail)
