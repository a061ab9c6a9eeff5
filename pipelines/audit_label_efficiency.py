"""The journey of an auditor of a label-efficiency experiment.

    python pipelines/audit_label_efficiency.py CONFIG STUDY

Plan, grid, curve, verdict. The plan is frozen before anything is trained, and the audit believes
nothing that it can compute itself. Exit code: 0 supported, 1 a check failed, 3 sound but
unsupported or vacuous, 4 inconclusive.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medssl.audit.audit import audit
from medssl.cli.terminal import TerminalProgress
from medssl.config import load_config
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.plan import plan_study
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study


def main(config: Path, study: Path) -> int:
    """Run the study that `config` describes in the folder `study`, and audit it."""
    progress = TerminalProgress()
    settings = load_config(StudyConfig, config)

    # Who tests, who is labelled in which draw, what would count as success: decided first.
    planned = plan_study(settings, study, progress)
    print(f"plan frozen, SHA-256 {planned.plan_sha256}")

    # Arms x fractions x draws; killed at any moment, it goes on with the cell that it was at.
    run_study(settings, study, progress)

    # The curve and its intervals, from the predictions on disk.
    analysed = analyse_study(settings, study)
    print(analysed.headline)

    # Keep the root elsewhere: it is what a rewritten study cannot reproduce.
    audited = audit(study)
    print(f"ledger root {audited.ledger_root}")
    print(f"verdict {audited.verdict}; evidence in {study / 'audit.json'}")
    return audited.exit_code


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
