"""The error tree. Every error says what to do, and knows whether a retry can help.

AutointerpError
├── UserError            what was given cannot work: printed as one sentence, exit code 2
│   ├── ConfigError      the TOML file, or a value in it
│   ├── SubjectError     the language model under study
│   ├── SaeError         a sparse autoencoder
│   ├── CorpusError      the text
│   ├── StoreError       the folder or bucket
│   ├── LLMError         the explainer and judge
│   ├── ClusterError     the Ray cluster
│   ├── RunMismatch      the run on the store was made with another identity
│   └── RunIsDriven      another driver is at work on the run
├── OverBudget           the run's ceiling is reached: it stops, and can be continued
│   └── OutOfCredit      an endpoint's account has no money left
├── DriverReplaced       another driver took the run over: this one stops
└── TaskError            a task failed, and will fail again
    └── TransientError   a task failed, and may succeed when tried again
        └── EngineDied   the LLM engine that worked on it died or hung
"""

from typing import ClassVar


class AutointerpError(Exception):
    """Everything this package raises on purpose."""

    can_retry: ClassVar[bool] = False


class UserError(AutointerpError):
    """What the person gave cannot work. The message is one sentence that says what to do."""


class ConfigError(UserError):
    """The configuration file is missing, unreadable, or holds an impossible value."""


class SubjectError(UserError):
    """The subject cannot be loaded, resumed, or has no such hook point."""


class SaeError(UserError):
    """The SAE cannot be loaded, does not fit the subject, or cannot be clamped."""


class CorpusError(UserError):
    """The corpus is missing, empty, unreadable, or lacks the named column."""


class StoreError(UserError):
    """The store cannot be reached, is corrupt, or ignores conditional puts."""


class LLMError(UserError):
    """The explainer and judge model cannot be loaded or served."""


class ClusterError(UserError):
    """The Ray cluster cannot be reached, or does not obey."""


class RunMismatch(UserError):
    """A run of that name exists, made with settings that decide other results."""


class RunIsDriven(UserError):
    """Another driver is at work on the run."""


class DriverReplaced(AutointerpError):
    """Another driver took the run over. Nothing is lost."""


class OverBudget(AutointerpError):
    """The ceiling on tokens or money is reached. Nothing is lost; a higher one continues."""


class OutOfCredit(OverBudget):
    """An endpoint wants to be paid. What it answered is kept; with credit, the run continues."""


class TaskError(AutointerpError):
    """A task failed for a reason that trying again will not mend."""


class TransientError(TaskError):
    """A task failed for a reason that may pass: a time-out, a refused connection, a busy store."""

    can_retry: ClassVar[bool] = True


class EngineDied(TransientError):
    """The LLM engine died or hung with the task's requests in flight; one of them may be why."""
