"""Report: what a run of `reprocess` did, and the exit code that it stands for."""

from dataclasses import asdict, dataclass
from typing import Any

from dgmmis import ending
from dgmmis.reprocess.gate import Finding
from dgmmis.reprocess.intake import Intake

PUBLISHED, REFUSED, NOT_CONVERGED, NOTHING_NEW = "published", "refused", "not converged", "nothing new"

EXIT_CODES = {PUBLISHED: 0, NOTHING_NEW: 0, REFUSED: ending.FAILED, NOT_CONVERGED: ending.NOT_CONVERGED}


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What was done.

    Args:
        outcome: "published", "refused", "not converged" or "nothing new".
        sentence: a line that says so.
        intake: what became of the sources.
        version: that holds now; None where none was ever published.
        findings: of the gate.
        left_out: names of the sources that were set aside this time.
    """

    outcome: str
    sentence: str
    intake: Intake
    version: str | None = None
    findings: tuple[Finding, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """What a scheduler should be told."""
        code = EXIT_CODES[self.outcome] or int(len(self.left_out) > 0)
        codes = [problem.error.exit_code for problem in self.intake.problems]
        # a column that a file lacks is no fault of who gave the command
        return code or max((ending.BAD_DATA if one == ending.USAGE else one for one in codes), default=0)

    @property
    def is_success(self) -> bool:
        """Whether the model that holds is of all that came, but for what was set aside."""
        return self.outcome in (PUBLISHED, NOTHING_NEW) and not self.intake.problems

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        intake = self.intake
        return {
            "outcome": self.outcome,
            "sentence": self.sentence,
            "version": self.version,
            "taken": [asdict(taken) for taken in intake.taken],
            "problems": [{"source": str(one.path), "error": str(one.error)} for one in intake.problems],
            "set_aside": [*intake.set_aside, *self.left_out],
            "set_aside_now": list(self.left_out),
            "gate": [finding.document() for finding in self.findings],
        }
