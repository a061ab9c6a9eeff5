"""medssl audit STUDY"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from medssl.audit.result import AuditResult

STUDY = Annotated[Path, typer.Argument(help="Folder of a label-efficiency study.")]
CLAIM = Annotated[
    Path | None, typer.Option("--claim", help="claim.yaml to judge in place of the plan's.")
]
STRICT = Annotated[bool, typer.Option("--strict", help="A warning counts as a failure.")]
EXPECT_ROOT = Annotated[
    str | None,
    typer.Option("--expect-root", help="Root of the ledger as known from elsewhere, in hex."),
]
STORE = Annotated[
    Path | None,
    typer.Option(help="Store with the study's volumes: checks that need voxels then run."),
]
RERUN = Annotated[
    Literal["auto"] | None,
    typer.Option(help="auto: train the cheapest cell of each arm again; needs --store."),
]
ENCODER = Annotated[
    Path | None,
    typer.Option(help="Pretraining run of the study's encoder, for --rerun of arms that use it."),
]

INTERNAL_ERROR = 5


def audit(
    study: STUDY,
    claim: CLAIM = None,
    strict: STRICT = False,
    expect_root: EXPECT_ROOT = None,
    store: STORE = None,
    rerun: RERUN = None,
    encoder: ENCODER = None,
) -> None:
    """Judge a study and its claim: 0 pass, 1 failed, 3 unsupported or vacuous, 4 inconclusive."""
    from medssl.errors import MedsslError

    try:
        from medssl.audit.anchor import record_verdict
        from medssl.audit.audit import audit as run_audit

        result = run_audit(
            study,
            claim,
            strict=strict,
            expect_root=expect_root,
            store=store,
            encoder=encoder,
            rerun=rerun is not None,
        )
        _show(result)
        for crash in result.crashes:
            print(crash, file=sys.stderr)
        print(f"mlflow:  {record_verdict(result)}")
        print(f"audit:   {result.audit_json} and {result.page}")
    except (MedsslError, KeyboardInterrupt):
        raise
    except OSError as error:
        print(f"medssl: the audit could not go on: {error.strerror}", file=sys.stderr)
        raise typer.Exit(2) from error
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(
            f"medssl: internal error: {type(error).__name__}; this says nothing of the study, "
            "please report it with the lines above",
            file=sys.stderr,
        )
        raise typer.Exit(INTERNAL_ERROR) from error
    raise typer.Exit(result.exit_code)


def _show(result: AuditResult) -> None:
    """A table of the checks, the verdict, and the ledger's root."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from medssl.audit.verdict import MEANINGS, Verdict

    styles = {
        "PASS": "green",
        "WARN": "yellow",
        "FAIL": "bold red",
        "VACUOUS": "magenta",
        "UNSUPPORTED": "magenta",
        "INCONCLUSIVE": "magenta",
        "ERROR": "bold red",
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("observed", overflow="fold")
    for check in result.checks:
        status = str(check.status)
        table.add_row(check.id, Text(status, styles.get(status, "")), Text(check.observed))
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(f"verdict: {result.verdict}", "bold"), end="")
    console.print(Text(f" ({MEANINGS[Verdict(result.verdict)]})"))
    console.print(Text(f"root:    {result.ledger_root or 'unknown'}"))
