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


class BadFileError(InputError):
    """A whole file cannot be landed (truncated, wrong format, unreadable); it is quarantined with this reason.

    Attributes: `code` (stable, snake_case), `reason` (one sentence).
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(reason)


class RefusedError(TimestoreError):
    """A policy, a conflict or an access rule forbids it."""

    exit_code = 3


class ConflictError(RefusedError):
    """Somebody else moved the checkpoint or replaced the segments first; nothing was written. Plan again."""


class StaleVersionError(ConflictError):
    """What should be changed has another version than the one that was looked at."""


class TimeLimitError(RefusedError):
    """It was stopped because it took longer than it may."""


class UnavailableError(TimestoreError):
    """A service, disk or lock is not there now; trying again later can help."""


class MissingObjectError(UnavailableError):
    """An object that the catalog named is not in the storage: it was moved or collected meanwhile, or is lost."""


class CredentialsError(UnavailableError):
    """A service refuses our credentials, or we have none; waiting does not mend that."""


class UnreachableError(UnavailableError):
    """A service does not answer, or breaks off the connection."""


class StorageFullError(UnavailableError):
    """The storage has no room left; nothing of the unfinished step was published."""


class UnknownOutcomeError(TimestoreError):
    """A commit may or may not have happened; the catalog has to be read to find out."""
