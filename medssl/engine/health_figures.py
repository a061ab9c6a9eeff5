"""What a look says of the embeddings, in numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from medssl.engine.health_probe import KINDS, Probe
from medssl.methods.representation import alignment, feature_deviation, rank_me, uniformity

_NEIGHBOURS = 5
_FEWEST = 10

Labels = npt.NDArray[np.object_]


def figures_of(embedded: Tensor, probe: Probe) -> dict[str, float]:
    """A look's figures, named health/*; one that the probe cannot tell is not there.

    Args:
        embedded: (V, 2, K) float32, the probe's volumes by their two views.
    """
    first, second = F.normalize(embedded, dim=2).unbind(1)
    figures = {
        "rank": float(rank_me(embedded.flatten(0, 1))),
        "deviation": float(feature_deviation(embedded[:, 0])),
        "alignment": float(alignment(first, second)),
        "uniformity": float(uniformity(first)),
    }
    unit = first.numpy()
    for kind in KINDS:
        told = recognised(unit, probe.kinds[kind].to_numpy(dtype=object), probe.patient)
        if told is not None:
            figures[f"knn_{kind}"], figures[f"majority_{kind}"] = told
    return {f"health/{name}": value for name, value in figures.items()}


def recognised(
    unit: npt.NDArray[np.float32], labels: Labels, patient: npt.NDArray[np.int64]
) -> tuple[float, float] | None:
    """Share of volumes whose label the five nearest of other patients tell, and the majority's.

    Cosine distance, a plain vote. Volumes without a label, and those whose label no other patient
    has, are left out; None where fewer than two labels or ten volumes are left.

    Args:
        unit: (V, K), of unit length.
        labels: (V,), empty where not known.
        patient: (V,) codes.
    """
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    patients_with = {label: len(set(patient[labels == label])) for label in set(labels)}
    counted = np.array([bool(label) and patients_with[label] > 1 for label in labels])
    unit, labels, patient = unit[counted], labels[counted], patient[counted]
    classes, sizes = np.unique(labels.astype(str), return_counts=True)
    if len(classes) < 2 or len(patient) < _FEWEST:
        return None
    fewest = len(patient) - int(np.unique(patient, return_counts=True)[1].max())
    vote = KNeighborsClassifier(min(_NEIGHBOURS, fewest), metric="cosine")
    named = labels.astype(str)
    predicted = cross_val_predict(vote, unit, named, groups=patient, cv=LeaveOneGroupOut())
    return float((predicted == named).mean()), float(sizes.max() / sizes.sum())
