"""A map of the cases: the two directions along which their embeddings differ most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from medssl.augment.config import PatchConfig
from medssl.models.encoder import Encoder
from medssl.report.figures import COLOURS, MARKERS, new_figure
from medssl.report.page import Part, figure
from medssl.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

_MOST = 500
_MOST_KINDS = len(MARKERS)


def embedding_map_parts(
    encoder: Encoder,
    store: Store,
    cases: pd.DataFrame,
    classes: tuple[str, ...] | None,
    patch: PatchConfig,
    channels: tuple[str, ...] | None = None,
) -> list[Part]:
    """One map by class, where there are classes, and one by modality, where there are several.

    Args:
        cases: volume_uid, split, y_true of all parts; five hundred of them are drawn at most.
        classes: names of the classes by y_true; None in segmentation.
    """
    from medssl.transfer.embedding import embed_volumes

    if len(cases) > _MOST:
        drawn = np.random.default_rng(0).choice(len(cases), _MOST, replace=False)
        cases = cases.iloc[np.sort(drawn)]
    if len(cases) < 3:
        return []
    uids = [str(uid) for uid in cases["volume_uid"]]
    embedded = embed_volumes(encoder, store, uids, patch, batch_size=8, channels=channels)
    points, shares = principal_components(embedded)
    tested = (cases["split"] == "test").to_numpy()
    told = (
        f"{len(cases)} scans by the first two principal components of their embeddings, which hold "
        f"{shares[0]:.0%} and {shares[1]:.0%} of the variance. Filled: the test part"
    )
    parts = []
    if classes is not None:
        names = [classes[int(y)] for y in cases["y_true"]]
        parts.append(figure(map_figure(points, names, tested), f"{told}. Marks: class."))
    modalities = [str(m) for m in store.manifest.loc[uids, "modality"]]
    if classes is None or len(set(modalities)) > 1:
        parts.append(figure(map_figure(points, modalities, tested), f"{told}. Marks: modality."))
    return parts


def principal_components(embedded: Floats) -> tuple[Floats, Floats]:
    """(N, 2) places and the (2,) shares of the variance that they show (scikit-learn's PCA).

    Directions are turned so that their largest weight is positive: a map does not flip by chance.
    """
    from sklearn.decomposition import PCA

    fitted = PCA(2, svd_solver="full").fit(embedded)
    largest = np.abs(fitted.components_).argmax(axis=1)
    signs = np.sign(fitted.components_[[0, 1], largest])
    return fitted.transform(embedded) * signs, np.asarray(fitted.explained_variance_ratio_)


def map_figure(points: Floats, kinds: Sequence[str], filled: npt.NDArray[np.bool_]) -> Figure:
    """A mark and a colour for each kind; filled or hollow. Beyond seven kinds the rest is one."""
    counts = pd.Series(kinds).value_counts()
    shown = sorted(counts.index[: _MOST_KINDS if len(counts) <= _MOST_KINDS else _MOST_KINDS - 1])
    named = np.array([kind if kind in shown else "other" for kind in kinds])
    drawn, axes = new_figure(6.6, 4.6)
    for number, kind in enumerate([*shown, "other"] if len(counts) > _MOST_KINDS else shown):
        colour = COLOURS[number % len(COLOURS)]
        for part, face in ((~filled, "none"), (filled, colour)):
            here = part & (named == kind)
            axes.scatter(
                points[here, 0], points[here, 1], marker=MARKERS[number], s=26, linewidths=0.9,
                edgecolors=colour, facecolors=face, alpha=0.85,
                label=None if face == "none" else kind,
            )  # fmt: skip
    axes.set_xlabel("first component")
    axes.set_ylabel("second component")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawn
