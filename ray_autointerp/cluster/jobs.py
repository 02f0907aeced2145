"""Runs as jobs of a Ray cluster: submitted as `<run>-a<k>`, the run's k-th attempt there.

The current directory travels with the job, without what .gitignore names, and so does this package
where it lies elsewhere. Credentials do not: the cluster's nodes have their own.
"""

import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

import ray_autointerp
from ray_autointerp.config import Config
from ray_autointerp.errors import ClusterError, ConfigError, RunIsDriven
from ray_autointerp.execution import event_loop
from ray_autointerp.runs.manifest import run_uri

_RUN = "ray_autointerp_run"
"""The job's metadata that names its run."""

_READY_S = 60.0
"""The longest that a cluster is waited for whose nodes have just begun."""

_STOP_S = 60.0
"""The longest that a stopped job is waited for."""


class Jobs:
    """The jobs of one Ray cluster."""

    def __init__(self, address: str | None) -> None:
        """`address`: of its dashboard (http://host:8265), or None for the one that RAY_ADDRESS or
        RAY_API_SERVER_ADDRESS names, or this machine's. Raises ClusterError where none answers.
        """
        try:
            self._client = JobSubmissionClient(address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(
                f"No Ray cluster answers at {address or 'the default address'} "
                f"({str(error).splitlines()[0].rstrip('.')}): give --address http://HEAD:8265, "
                "where HEAD is the head node or a forwarded port."
            ) from error

    def submit(self, path: Path, config: Config, arguments: Sequence[str] = ()) -> str:
        """Submit `ray-autointerp label PATH` with these further arguments; the job's id.

        Raises ConfigError where the job could not read its config or keep its results, RunIsDriven
        where a job of the run is already at work.
        """
        uri = _kept_uri(config)
        config_path = _travelling(path)
        if (job := self._at_work(uri)) is not None:
            raise RunIsDriven(
                f"The run {uri} is being driven by the job {job.submission_id}: see it with "
                f"`ray-autointerp status {uri}`, end it with `ray-autointerp stop {uri}`."
            )
        package = Path(ray_autointerp.__file__).resolve().parent
        environment: dict[str, object] = {"working_dir": str(Path.cwd())}
        if package.parent != Path.cwd().resolve():
            environment["py_modules"] = [str(package)]
        command = ["python", "-m", "ray_autointerp.cli", "label", config_path, *arguments]
        return self._submitted(
            entrypoint=shlex.join(command),
            submission_id=self._next_id(config.run.name),
            runtime_env=environment,
            metadata={_RUN: uri},
        )

    def stop(self, uri: str) -> str | None:
        """End the run's job and wait until it has; its id, or None where none is at work."""
        job = self._at_work(uri.rstrip("/"))
        if job is None or job.submission_id is None:
            return None
        self._client.stop_job(job.submission_id)
        until = time.monotonic() + _STOP_S
        while not self._client.get_job_status(job.submission_id).is_terminal():
            if time.monotonic() > until:
                raise ClusterError(
                    f"The job {job.submission_id} was told to stop {_STOP_S:.0f} s ago and has not."
                )
            time.sleep(0.5)
        return job.submission_id

    def follow(self, submission_id: str) -> bool:
        """Print the job's log until it ends; whether it ended well."""

        async def printed() -> None:
            async for lines in self._client.tail_job_logs(submission_id):
                sys.stdout.write(lines)
                sys.stdout.flush()

        event_loop.run(printed())
        return self._client.get_job_status(submission_id) == JobStatus.SUCCEEDED

    def _submitted(self, **job: Any) -> str:
        """As JobSubmissionClient.submit_job; a cluster that has just begun is given a minute."""
        until = time.monotonic() + _READY_S
        while True:
            try:
                return self._client.submit_job(**job)
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > until:
                    raise ClusterError(f"The Ray cluster takes no job: {error}") from error
            time.sleep(1.0)

    def _at_work(self, uri: str) -> JobDetails | None:
        """The run's job that has not ended."""
        for job in self._client.list_jobs():
            if (job.metadata or {}).get(_RUN) == uri and not job.status.is_terminal():
                return job
        return None

    def _next_id(self, name: str) -> str:
        taken = [
            int(found[1])
            for job in self._client.list_jobs()
            if (found := re.fullmatch(rf"{re.escape(name)}-a(\d+)", job.submission_id or ""))
        ]
        return f"{name}-a{max(taken, default=0) + 1}"


def _kept_uri(config: Config) -> str:
    """The run's folder, where it outlives the job."""
    uri = run_uri(config)
    if not uri.startswith(("s3://", "/", "~")):
        raise ConfigError(
            f"run.root is `{config.run.root}`, which on a cluster lies in the job's own folder and "
            "is deleted with it: give s3://bucket/prefix, or an absolute path that every node sees."
        )
    return uri


def _travelling(path: Path) -> str:
    """The config's path as the job sees it."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        raise ConfigError(
            f"{path} does not lie in the current directory, which is what travels with the job: "
            "submit from a folder that holds it."
        ) from None
