"""medssl export FORMAT RUN --out FILE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Write a run's weights as other programs take them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FINETUNED = Annotated[Path, typer.Argument(help="Folder of a finished fine-tuning run.")]


@app.command("nnunet")
def nnunet(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run with model.name: resenc, or its weights.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Checkpoint to write, such as encoder.pth.")],
    plans: Annotated[
        Path | None,
        typer.Option(
            help="A plan that nnU-Net made for the target dataset; one for this network is "
            "written beside it."
        ),
    ] = None,
) -> None:
    """Write a checkpoint, and a plan, by which nnU-Net fine-tunes a pretrained encoder."""
    from medssl.export.nnunet import export_nnunet

    for line in export_nnunet(run, out, plans).lines():
        print(line)


@app.command("onnx")
def onnx(
    run: FINETUNED,
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    register: Annotated[
        str | None,
        typer.Option(help="Also log it to MLflow with its signature, registered under this name."),
    ] = None,
) -> None:
    """Write a classifier or segmenter as ONNX, checked against torch in onnxruntime."""
    from medssl.export.onnx_file import export_onnx

    lines = export_onnx(run, out).lines()
    if register is not None:
        from medssl.export.registered import register as register_model

        lines += register_model(run, out, register).lines()
    for line in lines:
        print(line)


@app.command("bundle")
def bundle(
    run: FINETUNED, out: Annotated[Path, typer.Option("--out", help="Folder to write.")]
) -> None:
    """Write a classifier or segmenter as a MONAI bundle, which runs without medssl."""
    from medssl.export.bundle import export_bundle

    for line in export_bundle(run, out).lines():
        print(line)


@app.command("card")
def card(
    run: FINETUNED,
    out: Annotated[Path, typer.Option("--out", help="File to write: .html or .md.")],
) -> None:
    """Write a model card from the run's own records: results, limits, data, origin."""
    from medssl.export.card import write_card

    print(f"card: {write_card(run, out)}")
