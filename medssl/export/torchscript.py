"""A network's TorchScript, and the devices that its code names."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


def traced(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    """TorchScript of what `network` does with patches of the example's shape, in any number."""
    network(example)  # what it makes once for each grid is made outside of the trace
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of checks on shapes, which are the patch's here
        script: torch.jit.ScriptModule = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    return script


def named_devices(script: torch.jit.ScriptModule) -> tuple[str, ...]:
    """Devices that stand in the code, such as ("cpu",); none where it runs wherever it is moved.

    A trace writes down where a tensor was that the network makes itself; `map_location` and `to`
    move tensors, not code.
    """
    graph = script.inlined_graph  # held, since its nodes do not outlive it
    nodes = graph.findAllNodes("prim::Constant")  # type: ignore[attr-defined]  # not in its stub
    values = [node.output() for node in nodes]
    return tuple(sorted({str(v.toIValue()) for v in values if v.type().kind() == "DeviceObjType"}))
