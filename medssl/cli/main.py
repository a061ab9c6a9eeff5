"""`medssl`: the list of commands, and how errors end.

Nothing heavy is imported here or at the top of a command's file: `medssl --help` must answer at
once.
"""

from __future__ import annotations

import sys

import typer

from medssl.cli.anomaly import anomaly
from medssl.cli.audit import audit
from medssl.cli.check import check
from medssl.cli.export import app as export
from medssl.cli.finetune import finetune
from medssl.cli.ingest import ingest
from medssl.cli.keygen import keygen
from medssl.cli.label_efficiency import app as label_efficiency
from medssl.cli.leaks import app as leaks
from medssl.cli.predict import predict
from medssl.cli.pretrain import pretrain
from medssl.cli.quickstart import quickstart
from medssl.cli.sample import sample
from medssl.cli.show import show
from medssl.cli.withdraw import withdraw
from medssl.errors import NO_ROOM, MedsslError

app = typer.Typer(
    name="medssl",
    help="Self-supervised pretraining for 3D medical images: from an unsorted archive to an "
    "audited claim of saved labels.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("quickstart")(quickstart)
app.command("sample")(sample)
app.command("keygen")(keygen)
app.command("ingest")(ingest)
app.command("withdraw")(withdraw)
app.command("show")(show)
app.command("check")(check)
app.command("pretrain")(pretrain)
app.command("finetune")(finetune)
app.command("predict")(predict)
app.command("anomaly")(anomaly)
app.add_typer(label_efficiency, name="label-efficiency")
app.add_typer(leaks, name="leaks")
app.command("audit")(audit)
app.add_typer(export, name="export")
_STOPPED = "stopped; run the same command again to resume"


def main() -> None:
    """Run the command line; a MedsslError ends in one line on stderr and its exit code."""
    try:
        app()
    except MedsslError as error:
        _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        _end(_STOPPED, 130)
    except SystemExit as end:  # what typer makes of the keyboard's interrupt, without a word
        if end.code == 130:
            _end(_STOPPED, 130)
        raise
    except OSError as error:
        if error.errno in NO_ROOM:
            _end(
                "the disk is full, or a quota is used up; free some space and run the same command "
                "again",
                2,
            )
        raise


def _end(message: str, code: int) -> None:
    print(f"medssl: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
