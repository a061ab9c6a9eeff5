"""What the path of a NIfTI file says of it: label or image, of which case, in which place.

Known without configuration: images/ beside labels/ (Decathlon and nnU-Net add Tr, Ts; nnU-Net adds
_0000 for a channel), masks beside their images (case_mask, seg_case, CT_image and CT_mask) and a
folder a case (image.nii, mask.nii).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from medssl.archive.find import stem_of

_LABEL_WORDS = (
    "label",
    "labels",
    "labelmap",
    "mask",
    "masks",
    "msk",
    "seg",
    "segs",
    "segmentation",
    "segmentations",
    "dseg",
    "annotation",
    "annotations",
    "groundtruth",
    "gt",
    "roi",
    "rois",
    "contour",
    "contours",
)
_IMAGE_WORDS = (
    "image",
    "images",
    "img",
    "imgs",
    "imaging",
    "volume",
    "volumes",
    "vol",
    "vols",
    "scan",
    "scans",
    "orig",
)
_SPLIT_ENDS = "(?P<end>tr|ts|va|_?train|_?test|_?val)?"
_LABEL_FOLDER = re.compile(rf"({'|'.join(_LABEL_WORDS)}){_SPLIT_ENDS}", re.IGNORECASE)
_IMAGE_FOLDER = re.compile(rf"({'|'.join(_IMAGE_WORDS)}){_SPLIT_ENDS}", re.IGNORECASE)
_WORD_BREAK = re.compile(r"[_.\- ]+")
_BIDS_LABEL_ENTITY = re.compile(r"_(label|desc|space|res|hemi)-[A-Za-z0-9]+")
_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


@dataclass(frozen=True)
class Name:
    """What the relative path of a NIfTI file says.

    scope: the folder, with an images/ or labels/ folder of it taken out; `role_folder` tells
    whether there was one. case: the stem without the words for image and label.
    """

    relative: str
    scope: str
    case: str
    stem: str
    is_label: bool
    role_folder: bool

    @property
    def parent(self) -> str | None:
        """The folder above an image's own; None where the folder says image, or there is none."""
        return None if self.role_folder or not self.scope else self.scope.rpartition("/")[0]

    @property
    def keys(self) -> list[str]:
        """What a label of this image may be called; a channel is also found by its case."""
        keys = [self.stem, self.case]
        for key in list(keys):
            found = _CHANNEL.match(key)
            if found:
                keys.append(found["case"])
        return list(dict.fromkeys(keys))

    @property
    def bids_key(self) -> str | None:
        """A BIDS name without its suffix (sub-01_T1w: sub-01); None for another name."""
        is_bids = self.stem.startswith("sub-") and "_" in self.stem
        return self.stem.rsplit("_", 1)[0] if is_bids else None

    @property
    def channel(self) -> str | None:
        """The four digits by which nnU-Net tells the images of a case apart."""
        found = _CHANNEL.match(self.stem)
        return found["channel"] if found else None


def parse_name(relative: str) -> Name:
    """Read role, scope and case from a path."""
    folder, _, name = relative.rpartition("/")
    scope, role = _place(folder)
    stem = stem_of(name)
    words = [w.lower() for w in _WORD_BREAK.split(stem)]
    by_name = words[-1] in _LABEL_WORDS or words[0] in _LABEL_WORDS
    is_label = bool(role) or (role is None and by_name)
    case = _strip(stem, _LABEL_WORDS if is_label else _IMAGE_WORDS)
    return Name(relative, scope, case, stem, is_label, role is not None)


def distant_key(label: Name) -> str | None:
    """What an image in another folder is called; None where the name has no number to tell by."""
    case = _BIDS_LABEL_ENTITY.sub("", label.case)
    return case if re.search(r"\d\d", case) else None


@lru_cache(maxsize=1024)
def _place(folder: str) -> tuple[str, bool | None]:
    """The scope of a folder, and whether it says label (True), image (False) or nothing (None)."""
    folders = list(PurePosixPath(folder).parts)
    for at in range(len(folders) - 1, -1, -1):
        for pattern, is_label in ((_LABEL_FOLDER, True), (_IMAGE_FOLDER, False)):
            found = pattern.fullmatch(folders[at])
            if found:
                folders[at] = f"*{(found['end'] or '').lower().lstrip('_')}"
                return "/".join(folders), is_label
    return "/".join(folders), None


def _strip(stem: str, words: tuple[str, ...]) -> str:
    """The stem without one leading or trailing word of `words`."""
    lower = stem.lower()
    if stem.isascii() and not (lower.startswith(words) or lower.endswith(words)):
        return stem
    at_end, at_start = _word_patterns(words)
    end = at_end.fullmatch(stem)
    if end:
        return end["rest"]
    start = at_start.fullmatch(stem)
    return start["rest"] if start else stem


@lru_cache(maxsize=2)
def _word_patterns(words: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    pattern = "|".join(words)
    return (
        re.compile(rf"(?P<rest>.*?)[_.\- ]*(?<![A-Za-z0-9])({pattern})", re.IGNORECASE),
        re.compile(rf"({pattern})(?![A-Za-z0-9])[_.\- ]*(?P<rest>.*)", re.IGNORECASE),
    )
