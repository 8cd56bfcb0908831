"""Every error that raypipe raises on purpose, split by what the one who catches it does.

Retry: the same work may succeed later. Fix: the person changes the configuration, the data or the call.
Stop: this process may not go on. Each has a stable `code`; the text says what, where, got, expected, what to do.
"""

from __future__ import annotations


class RaypipeError(Exception):
    """The root of the tree; `code` is stable and `exit_code` is what the command line returns for it."""

    code = "error"
    exit_code = 1


# ---- retry ------------------------------------------------------------------------------------------------


class RetryableError(RaypipeError):
    """The same work may succeed when it is done again."""

    code = "retryable"


class InputChanged(RetryableError):
    """An input file changed between its listing and the end of its reading: list and read again."""

    code = "input_changed"


class OutOfMemory(RetryableError):
    """A shard needed more than its share of `run.memory`."""

    code = "out_of_memory"


class WorkerDied(RetryableError):
    """The process of a worker ended in the middle of a task: killed, for its memory perhaps, or a crash inside an engine."""

    code = "worker_died"


class StagedDamaged(RetryableError):
    """Staged files are gone, or are not those that their manifest was written for: the work is done again."""

    code = "staged_damaged"


class DestinationBusy(RetryableError):
    """Another process holds the destination; the text names it where it is known."""

    code = "destination_busy"


class CommitUnknown(RetryableError):
    """COMMIT gave an error: it may have happened. The ledger is asked before anything else is done."""

    code = "commit_unknown"


# ---- fix --------------------------------------------------------------------------------------------------


class FixableError(RaypipeError):
    """A person has to change something before the work can succeed."""

    code = "fixable"


class ConfigurationError(FixableError):
    """The configuration is wrong; `problems` holds one text for each mistake, all that were found."""

    code = "configuration"
    exit_code = 2

    def __init__(self, problems: str | list[str] | tuple[str, ...]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[tuple[str, ...]], dict[str, object]]:
        return (type(self), (self.problems,), self.__dict__)


class UsageError(FixableError):
    """The command or call was given something that makes no sense; nothing was run."""

    code = "usage"
    exit_code = 2


class ShardError(FixableError):
    """The data of one shard cannot be loaded as the pipeline says; it is not retried. The others go on."""

    code = "shard"


class SourceUnreadable(ShardError):
    """A file is truncated, corrupt or gone; the text names it."""

    code = "source_unreadable"


class SourceShrunk(ShardError):
    """The source has less than the live range was made from; nothing is emptied silently."""

    code = "source_shrunk"


class SchemaDrift(ShardError):
    """A file's columns are not those of the contract and `on_drift` is `fail`."""

    code = "schema_drift"


class RuleBroken(ShardError):
    """A rule or check with `otherwise: fail` was broken; the text names it and shows a row."""

    code = "rule_broken"


class TooManyQuarantined(ShardError):
    """More rows of the shard were quarantined than `quality.max_quarantined` allows."""

    code = "too_many_quarantined"


class TransformFailed(ShardError):
    """A step or an output's SQL failed on this shard; the text names the step and the engine's reason."""

    code = "transform_failed"


class AccountsDontBalance(ShardError):
    """Rows read are not rows loaded, filtered, duplicate and quarantined: a bug, or a step broke its promise."""

    code = "accounts"


# ---- stop -------------------------------------------------------------------------------------------------


class StopError(RaypipeError):
    """This process may not go on with the run."""

    code = "stop"


class Fenced(StopError):
    """The run was taken over, cancelled or closed: nothing of this process may commit any more."""

    code = "fenced"
    exit_code = 3


class RunIsAlive(StopError):
    """The same run is being done by another process that is alive."""

    code = "run_is_alive"
    exit_code = 3


class ClusterLost(StopError):
    """The local Ray of the run has ended under it; what is committed and staged is kept: run again to resume."""

    code = "cluster_lost"


class InDoubt(StopError):
    """The outcome of the last commit is not known because the destination cannot be reached: run again."""

    code = "in_doubt"
    exit_code = 4


class StateFormat(StopError):
    """The state in the destination was written by another format version of raypipe."""

    code = "state_format"
    exit_code = 2


class Interrupted(StopError):
    """The run was stopped by a signal; what is staged is kept and the next run resumes."""

    code = "interrupted"
    exit_code = 130
