"""Where the body is in a scan: a mask of coarse blocks, kept with the voxels.

It is for choosing where to look (patches that show more than air, losses that leave air out), not
for measuring: blocks are about 6 mm long, and the outermost ones lie round the skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.store.b2nd import damaged, open_array, read_attributes

Blocks = npt.NDArray[np.bool_]
Edge = tuple[int, int, int]


@dataclass(frozen=True)
class BodyMask:
    """Which blocks of a volume's voxels show body.

    Attributes:
        blocks: (d, h, w) bool along the stored axes.
        edge: voxels of a block along each axis. Block (i, j, k) begins at voxel
            (i, j, k) * edge; the last one along an axis may be cut.
    """

    blocks: Blocks
    edge: Edge

    @cached_property
    def number(self) -> int:
        """How many blocks show body."""
        return int(np.count_nonzero(self.blocks))

    @classmethod
    def whole(cls, shape: Edge) -> BodyMask:
        """All of a volume of `shape`, as one block: of scans whose body nobody looked for."""
        return cls(np.ones((1, 1, 1), dtype=bool), shape)

    def packed(self) -> dict[str, Any]:
        """As numbers and bytes."""
        bits = np.packbits(self.blocks).tobytes()
        return {"edge": list(self.edge), "blocks": list(self.blocks.shape), "bits": bits}

    @classmethod
    def unpacked(cls, packed: dict[str, Any]) -> BodyMask:
        """The inverse of `packed`; ValueError, KeyError or TypeError where it is none."""
        d, h, w = packed["blocks"]
        bits = np.frombuffer(packed["bits"], dtype=np.uint8)
        if bits.size != -(-d * h * w // 8):
            raise ValueError(f"{bits.size} bytes for {d} x {h} x {w} blocks")
        blocks = np.unpackbits(bits, count=d * h * w).view(bool).reshape(d, h, w)
        i, j, k = packed["edge"]
        return cls(blocks, (i, j, k))


def read_body(path: Path) -> BodyMask:
    """The body mask that lies in a file of voxels; the whole volume where it has none.

    Raises:
        StoreError: the file is missing or damaged.
    """
    packed = read_attributes(path, "body").get("body")
    if packed is None:
        return BodyMask.whole(open_array(path).shape)
    try:
        return BodyMask.unpacked(packed)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path) from error
