"""What has to be there before a page of a study can be made."""

from selectmm.errors import UserError
from selectmm.report.rows import Comparison


def check_rel(comparison: Comparison) -> None:
    """Whether Rel. of every run is known.

    Raises:
        UserError: of one it is not.
    """
    for outcome in (outcome for row in comparison.rows for outcome in row.outcomes):
        if outcome.rel is None:
            raise UserError(
                f"Record {outcome.record.name} has no Rel., because {outcome.why}; make that run again, or take its "
                f"record out."
            )
