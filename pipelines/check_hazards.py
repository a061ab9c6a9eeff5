"""Check on your own machine what medssl does with every hazard of a hospital archive.

    medssl sample HAZARDS --hazards
    python pipelines/check_hazards.py HAZARDS

Ingests the folders that the first command wrote, compares the end of every series and file with
HAZARDS/hazards.csv and every voxel that was taken with HAZARDS/truth, in its place in space.
Exit code: 0 where all is as the table says, 1 on any difference.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from medssl.cli.terminal import TerminalProgress
from medssl.sample.hazards.check import check_hazards


def main(hazards: Path) -> int:
    """Print a line for each folder: expected, found, ok."""
    with tempfile.TemporaryDirectory(prefix="medssl_hazards_") as work:
        checked = check_hazards(hazards, Path(work), TerminalProgress())
    for row in checked:
        setting = f" [{row.setting}]" if row.setting else ""
        print(f"{'ok' if row.ok else 'WRONG':<6}{row.folder}{setting}: {row.found}")
        if row.found != row.expected:
            print(f"      expected: {row.expected}")
        if row.wrong:
            print(f"      {row.wrong}")
    wrong = sum(not row.ok for row in checked)
    print(f"{len(checked) - wrong} of {len(checked)} end as they must")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
