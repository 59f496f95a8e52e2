"""One error tree, split by what the caller can do about it.

`exit_code` is what the command line returns: 2 the input must change, 3 refused, 1 anything else.
"""

from __future__ import annotations


class TimestoreError(Exception):
    """Base of every error this project raises on purpose; its text is one clear sentence."""

    exit_code = 1


class InputError(TimestoreError):
    """The caller's input is wrong; the message says what, where and what to write instead."""

    exit_code = 2


class DeclarationError(InputError):
    """A dataset's declaration is wrong.

    Attributes: `file`, `line` (1-based, None when unknown), `key` (dotted path inside `attributes`), `problem`.
    """

    def __init__(self, problem: str, *, key: str = "", file: str = "", line: int | None = None) -> None:
        self.problem, self.key, self.file, self.line = problem, key, file, line
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(f"{where}{key}: {problem}" if key else f"{where}{problem}")

    def located(self, *, file: str, line: int | None) -> DeclarationError:
        """The same error, with the place it was found at."""
        return DeclarationError(self.problem, key=self.key, file=file, line=line)


class MissingExtraError(InputError):
    """A package that only an extra brings is not installed; the message has the command."""


class BadFileError(InputError):
    """A whole file cannot be landed (truncated, wrong format, unreadable); it is quarantined with this reason.

    Attributes: `code` (stable, snake_case), `reason` (one sentence).
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(reason)


class FrozenSchemaError(BadFileError):
    """Records ask for another schema, and the dataset's contract is `freeze`: nothing of the batch lands, see `model.contract`.

    `reason`: names the column and never a value.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("schema_frozen", reason)


class RefusedError(TimestoreError):
    """A policy, a conflict or an access rule forbids it."""

    exit_code = 3


class RetiredError(RefusedError):
    """Nothing lands in a dataset that is retired; what it has can be read, built and dropped."""

    def __init__(self, dataset: str) -> None:
        super().__init__(f"dataset {dataset!r} is retired, so nothing lands in it; `timestore retire {dataset} --undo` ends that")


class UnreadableVersionError(RefusedError):
    """A version of a dataset that can't be read: it was collected or erased, or there is none of that number yet.

    Attributes: `never_was`, whether it is the latter.
    """

    def __init__(self, problem: str, *, never_was: bool = False) -> None:
        self.never_was = never_was
        super().__init__(problem)


class OwnershipError(RefusedError):
    """What lies in a storage target is another warehouse's, or of a younger catalog than this one."""


class ConflictError(RefusedError):
    """Somebody else moved the checkpoint or replaced the segments first; nothing was written. Plan again."""


class LeaseLostError(ConflictError):
    """What is being done is somebody else's by now: our lease expired, and they hold it."""


class StaleVersionError(ConflictError):
    """What should be changed has another version than the one that was looked at."""


class TimeLimitError(RefusedError):
    """It was stopped because it took longer than it may."""


class UnavailableError(TimestoreError):
    """A service, disk or lock is not there now; trying again later can help."""


class CatalogReplacedError(UnavailableError):
    """The catalog is not the one that this process opened any more; only a restart mends that, so nobody waits for it."""


class MissingObjectError(UnavailableError):
    """An object that the catalog named is not in the storage: it was moved or collected meanwhile, or is lost."""


class CredentialsError(UnavailableError):
    """A service refuses our credentials, or we have none; waiting does not mend that."""


class UnreachableError(UnavailableError):
    """A service does not answer, or breaks off the connection."""


class UnwritableError(UnavailableError):
    """The catalog can be read and takes no writes now: its disk is mounted read-only, or its server is a standby."""


class StorageFullError(UnavailableError):
    """The storage has no room left; nothing of the unfinished step was published."""


class DamagedError(TimestoreError):
    """An object's bytes are not those that were committed. Trying again does not mend it; a copy of the object does.

    Attributes: `object` (its name).
    """

    def __init__(self, object: str, problem: str) -> None:
        self.object = object
        super().__init__(problem)


class ForgottenError(TimestoreError, KeyError):
    """An id that the catalog doesn't know, or no longer: what it stood for was collected or dropped meanwhile."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "the catalog doesn't know it"


class DroppedError(ForgottenError):
    """The dataset was dropped, or has another name by now."""

    exit_code = 3


class UnknownOutcomeError(TimestoreError):
    """A commit may or may not have happened; the catalog has to be read to find out."""
