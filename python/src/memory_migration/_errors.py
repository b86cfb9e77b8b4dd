"""How a migration fails."""

from typing import Optional

from ._report import Report

#: The exit code of the command for a run that ends with the same arguments once the cause is gone.
INTERRUPTED = 4


class MigrationFailed(Exception):
    """The migration did not succeed. The text says what happened and what to do.

    report
        The whole outcome. None if there was no run to report: wrong arguments, or the program was killed.
    exit_code
        What the command `memory-migration` ended with: 1 a bug, 2 wrong arguments, 3 refused before the first write,
        4 interrupted or something outside failed, 5 verification found differences, 6 a conflict. Negative: the signal
        that killed it.
    """

    def __init__(self, message: str, exit_code: int, report: Optional[Report] = None) -> None:
        # all three, so that the exception survives pickling, as between processes of a pool
        super().__init__(message, exit_code, report)
        self.message = message
        self.exit_code = exit_code
        self.report = report

    def __str__(self) -> str:
        return self.message

    @property
    def resumable(self) -> bool:
        """Whether the same call goes on where this one ended, once the cause is gone."""
        return self.exit_code == INTERRUPTED or self.exit_code < 0
