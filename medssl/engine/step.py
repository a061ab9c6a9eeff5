"""Forward and backward over a batch, in one piece or in parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medssl.augment.batch import Batch, rows_of
from medssl.engine.distributed import gradients_kept_apart
from medssl.engine.precision import Precision, autocast
from medssl.errors import ConfigError


def check_parts(batch_size: int, processes: int, accumulate: int) -> None:
    """Raise a ConfigError unless every process's share of a batch can be cut into equal parts."""
    if batch_size % (processes * accumulate):
        over = [f"{processes} processes"] if processes > 1 else []
        over += [f"{accumulate} parts each (optim.accumulate)"] if accumulate > 1 else []
        raise ConfigError(
            f"batch_size {batch_size} does not divide over {' of '.join(over)}; set it to a "
            f"multiple of {processes * accumulate}"
        )


def backward(
    parallel: nn.Module, batch: Batch, step: int, accumulate: int, precision: Precision
) -> tuple[dict[str, Tensor], Tensor]:
    """Add the gradient of the batch's loss to the parameters'.

    The loss is the mean over parts, and so are the figures. Processes talk about gradients during
    the last part alone. Precision bf16 computes in it under autocast; weights, their gradients and
    the optimiser stay in fp32 and bf16 has fp32's range, so that no loss has to be scaled.

    Args:
        batch: this process's share, whose size divides by `accumulate`.

    Returns:
        Scalar figures (float32, detached), "loss" among them; and the parts' losses (accumulate,).
    """
    size = len(next(iter(batch.values()))) // accumulate
    losses: list[Tensor] = []
    sums: dict[str, Tensor] = {}
    for number in range(accumulate):
        part = rows_of(batch, slice(number * size, (number + 1) * size))
        if number < accumulate - 1:
            with gradients_kept_apart(parallel):
                output = _one_part(parallel, part, step, accumulate, precision)
        else:
            output = _one_part(parallel, part, step, accumulate, precision)
        losses.append(output["loss"])
        for name, value in output.items():
            sums[name] = sums[name] + value if name in sums else value
    return {name: total / accumulate for name, total in sums.items()}, torch.stack(losses)


def _one_part(
    parallel: nn.Module, part: Batch, step: int, parts: int, precision: Precision
) -> dict[str, Tensor]:
    device = next(parallel.parameters()).device
    with autocast(precision, device):
        output: dict[str, Tensor] = parallel(part, step)
    (output["loss"] / parts).backward()  # type: ignore[no-untyped-call]
    return {name: value.detach().float() for name, value in output.items()}
