"""What a classifier looks at: Grad-CAM and occlusion maps of single crops, by MONAI.

Selvaraju et al., Grad-CAM: Visual explanations from deep networks via gradient-based localization,
2017; Zeiler and Fergus, Visualizing and understanding convolutional networks, 2014.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.special import softmax

from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import PatchConfig
from medssl.augment.reader import Reader
from medssl.models.build import Classifier
from medssl.models.vit import ViTEncoder
from medssl.report.page import Part, figure, text
from medssl.store import Store
from medssl.transfer.channel_scans import channel_scans
from medssl.transfer.classification_metrics import targets_and_logits
from medssl.transfer.sources import centre_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Map = npt.NDArray[np.float32]

_BLOCKS = 4  # along each axis of the patch; blocks overlap by a half
_AT_ONCE = 8
_SHOWN = 2
_NOTHING = 0.01  # a change of probability that is not blown up to a full scale


def saliency_parts(
    network: Classifier,
    store: Store,
    test: pd.DataFrame,
    classes: tuple[str, ...],
    patch: PatchConfig,
    channels: tuple[str, ...] | None = None,
) -> list[Part]:
    """Pictures of the test cases that were answered most confidently, right and wrong.

    Of several channels the first is shown; a block is hidden in all of them.

    Args:
        network: in evaluation mode.
        test: predictions of the test part.
    """
    parts = [text(_told(network))]
    chosen = confident_cases(test)
    reader = Reader(store, CacheConfig(gigabytes=0))
    uids = test["volume_uid"].iloc[chosen].tolist()
    for place, case in zip(chosen, channel_scans(store, uids, channels), strict=True):
        y, logits = targets_and_logits(test.iloc[[place]])
        answer, truth = int(logits[0].argmax()), int(y[0])
        crop = centre_crop(reader, case, patch)
        scan = case[0]
        cam = grad_cam(network, crop, answer)
        drop = occlusion(network, crop, answer, [of.normaliser.background for of in case])
        spacing_mm = np.asarray(scan.patch_spacing(patch.spacing_mm))
        share = softmax(logits[0])[answer]
        verdict = "right" if answer == truth else f"wrong, it is {classes[truth]}"
        parts.append(
            figure(
                saliency_figure(crop[0], cam, drop, spacing_mm),
                f"Volume {scan.volume_uid[:8]}: {classes[answer]} with {share:.0%} ({verdict}). "
                f"Hiding a block takes at most {max(drop.max(), 0):.3f} of it, and adds at most "
                f"{max(-drop.min(), 0):.3f}.",
            )
        )
    return parts


def confident_cases(test: pd.DataFrame) -> list[int]:
    """Rows of the two most confident right answers, of different classes where there are any, and
    of the two most confident wrong ones."""
    y, logits = targets_and_logits(test)
    confidence, answer = softmax(logits, axis=1).max(axis=1), logits.argmax(axis=1)
    order = [int(row) for row in np.argsort(-confidence, kind="stable")]
    right = [row for row in order if answer[row] == y[row]]
    firsts = [next(row for row in right if y[row] == c) for c in dict.fromkeys(y[right])]
    others = [row for row in right if row not in firsts]
    wrong = [row for row in order if answer[row] != y[row]]
    return [*[*firsts, *others][:_SHOWN], *wrong[:_SHOWN]]


def grad_cam(network: Classifier, image: Map, answer: int) -> Map | None:
    """(D, H, W) Grad-CAM of the encoder's deepest map of a (C, D, H, W) crop for class `answer`.

    From 0 to 1.

    None where that map is tokens without a grid, or where nothing speaks for the class.
    """
    from monai.visualize import GradCAM

    if isinstance(network.encoder, ViTEncoder):
        return None
    deepest = network.encoder.layers()[-1]
    name = next(name for name, part in network.named_modules() if part is deepest)
    batch = _batch(network, image).requires_grad_(True)
    with torch.enable_grad():
        cam = GradCAM(nn_module=network, target_layers=name)
        # Without MONAI's own scaling, which would make evidence of noise where there is none.
        found = cam.compute_map(batch, class_idx=answer)
    raised = torch.nn.functional.interpolate(
        found.detach().float(), size=image.shape[1:], mode="trilinear"
    )[0, 0]
    top = float(raised.max())
    return None if top <= 0 else (raised / top).cpu().numpy()


def occlusion(network: Classifier, image: Map, answer: int, backgrounds: Sequence[float]) -> Map:
    """(D, H, W) by how much the probability of `answer` falls where a block is made background.

    Args:
        image: (C, D, H, W).
        backgrounds: of each channel.
    """
    from monai.visualize import OcclusionSensitivity

    raised = _Raised(network, backgrounds)
    batch = _batch(network, image) - raised.backgrounds
    block = [max(side // _BLOCKS, 1) for side in image.shape[1:]]
    occluded = OcclusionSensitivity(
        raised,
        mask_size=block,
        n_batch=_AT_ONCE,
        verbose=False,
        mode=0.0,
        overlap=0.5,
        activate=_softmax,  # MONAI's own choice is by the number of input channels: here a sigmoid
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how MONAI indexes, which torch will change
        whole = _softmax(raised(batch))[0, answer]
        probabilities, _ = occluded(batch)
    drop: Map = (whole - probabilities[0, answer]).float().cpu().numpy()
    return drop


class _Raised(torch.nn.Module):
    """A network of images whose background is 0 in every channel: MONAI hides by one number."""

    def __init__(self, network: Classifier, backgrounds: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        levels = torch.tensor(list(backgrounds), dtype=torch.float32)[None, :, None, None, None]
        self.backgrounds = levels.to(next(network.parameters()).device)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.network(batch + self.backgrounds)
        return answer


def saliency_figure(
    image: Map, cam: Map | None, drop: Map, spacing_mm: npt.NDArray[np.float64]
) -> Figure:
    """The axial plane where hiding changes most: plain, with Grad-CAM, with occlusion.

    Shown as radiologists look at it: from the feet, the patient's right on the left.

    Args:
        image, cam, drop: (D, H, W), axes to the right, front and top.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # Where hiding changes nothing: the plane with most to see.
    changes = np.abs(drop).max() >= _NOTHING
    k = int((np.abs(drop).sum(axis=(0, 1)) if changes else image.std(axis=(0, 1))).argmax())
    drawn, panels = plt.subplots(1, 3, figsize=(9.6, 3.6), layout="constrained")
    low, high = np.percentile(image, [0.5, 99.5])
    aspect = spacing_mm[1] / spacing_mm[0]
    shown: dict[str, Any] = {"origin": "lower", "aspect": aspect}
    titles = ("crop", "Grad-CAM" if cam is not None else "Grad-CAM: none", "occlusion")
    for panel, title in zip(panels, titles, strict=True):
        grey = {"vmin": low, "vmax": max(high, low + 1e-6)}
        panel.imshow(image[:, :, k].T, cmap="gray", **grey, **shown)
        panel.set_title(title, fontsize=9)
        panel.invert_xaxis()
        panel.set_axis_off()
    if cam is not None:
        plane = cam[:, :, k].T
        alpha = 0.65 * np.sqrt(plane)
        heat = panels[1].imshow(plane, cmap="inferno", vmin=0, vmax=1, alpha=alpha, **shown)
        _scale(drawn, heat, panels[1])
    plane, top = drop[:, :, k].T, max(float(np.abs(drop).max()), _NOTHING)
    alpha = 0.75 * np.sqrt(np.abs(plane) / top)
    heat = panels[2].imshow(plane, cmap="PuOr_r", vmin=-top, vmax=top, alpha=alpha, **shown)
    _scale(drawn, heat, panels[2])
    # Also told apart in grey: solid round what speaks for the answer, dashed against it.
    for side, style in ((plane, "solid"), (-plane, "dashed")):
        if side.max() > top / 2:
            panels[2].contour(side, [top / 2], colors="white", linestyles=style, linewidths=1.2)
    return drawn


def _scale(drawn: Figure, heat: Any, panel: Any) -> None:
    bar = drawn.colorbar(heat, ax=panel, fraction=0.046, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    if bar.solids is not None:
        bar.solids.set_alpha(1)


def _told(network: Classifier) -> str:
    told = (
        "Occlusion: by how much the probability of the answer falls where a block, a quarter of "
        "the crop along each axis, is made background; below 0 it rises. A solid line is round "
        "what takes more than half of the largest change, a dashed one round what adds it. "
    )
    if isinstance(network.encoder, ViTEncoder):
        return told + "A transformer of tokens has no map for Grad-CAM."
    return (
        told + "Grad-CAM: where the deepest map speaks for the answer, as a share of the highest. "
        "Both say what moved the answer, not that the reason is a sound one."
    )


def _softmax(logits_BK: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits_BK.float(), dim=1)


def _batch(network: Classifier, image: Map) -> torch.Tensor:
    device = next(network.parameters()).device
    return torch.from_numpy(image)[None].to(device)
