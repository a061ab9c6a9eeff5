"""Which NIfTI files are labels, and of which images: by the names that data sets use.

Known without configuration: images/ beside labels/ (Decathlon and nnU-Net add Tr, Ts; nnU-Net adds
_0000 for a channel), masks beside their images (case_mask, seg_case, case_T1w and case_label,
CT_image and CT_mask), a folder a case (image.nii, mask.nii), and label maps of any name that
extends the name of an image and whose voxels look like labels.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medssl.archive.find import stem_of
from medssl.archive.reasons import Reason

_LABEL_WORDS = [
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
]
_IMAGE_WORDS = [
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
]
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


@dataclass
class Pairs:
    """The outcome: the images, each with its mask or none, and what found no partner."""

    images: dict[str, str | None] = field(default_factory=dict)
    unpaired_labels: dict[str, Reason] = field(default_factory=dict)
    unlabelled_images: set[str] = field(default_factory=set)


def extended_names(relatives: Iterable[str]) -> dict[str, str]:
    """Files that no word calls a label and whose stem extends another's, with that other file.

    Whether they are label maps their voxels must tell (case1 and case1_DLMUSE; but also case1 and
    case1_brain).
    """
    return _derived([n for n in map(parse_name, sorted(relatives)) if not n.is_label])


def pair_labels(relatives: Iterable[str], label_maps: Collection[str] = ()) -> Pairs:
    """Sort NIfTI files into images and labels, and give each image its label.

    Args:
        relatives: archive-relative paths.
        label_maps: those of `extended_names` whose voxels are labels.
    """
    names = [parse_name(r) for r in sorted(relatives)]
    images = [n for n in names if not n.is_label]
    labels = [n for n in names if n.is_label]
    masks = {r: owner for r, owner in _derived(images).items() if r in label_maps}
    images = [n for n in images if n.relative not in masks]
    pairs = Pairs(images={n.relative: None for n in images})
    claims: dict[str, list[str]] = defaultdict(list)
    for mask, owner in masks.items():
        claims[owner].append(mask)
    lookup = _Lookup(images)
    distant = []
    for label in labels:
        partners, reason = lookup.partners(label)
        if reason is Reason.LABEL_WITHOUT_IMAGE:
            distant.append(label)
        elif reason is not None:
            pairs.unpaired_labels[label.relative] = reason
        for partner in partners:
            claims[partner].append(label.relative)
    near = frozenset(claims)
    for label in distant:
        partner_or_none = lookup.distant_partner(label)
        if partner_or_none is None or partner_or_none in near:
            pairs.unpaired_labels[label.relative] = Reason.LABEL_WITHOUT_IMAGE
        else:
            claims[partner_or_none].append(label.relative)
    for image, claimants in claims.items():
        if image in masks:  # a label map of a label map
            pairs.unpaired_labels.update(dict.fromkeys(claimants, Reason.LABEL_WITHOUT_IMAGE))
        elif len(claimants) == 1:
            pairs.images[image] = claimants[0]
        else:
            pairs.unpaired_labels.update(dict.fromkeys(claimants, Reason.LABEL_AMBIGUOUS))
    _release_partly_claimed(pairs)
    pairs.unlabelled_images = _unlabelled(images, pairs.images)
    return pairs


def parse_name(relative: str) -> Name:
    """Read role, scope and case from a path."""
    path = PurePosixPath(relative)
    folders = list(path.parts[:-1])
    stem = stem_of(path.name)
    role: bool | None = None
    for at in range(len(folders) - 1, -1, -1):
        for pattern, is_label in ((_LABEL_FOLDER, True), (_IMAGE_FOLDER, False)):
            found = pattern.fullmatch(folders[at])
            if found and role is None:
                role = is_label
                folders[at] = f"*{(found['end'] or '').lower().lstrip('_')}"
    words = [w.lower() for w in _WORD_BREAK.split(stem)]
    by_name = words[-1] in _LABEL_WORDS or words[0] in _LABEL_WORDS
    is_label = bool(role) or (role is None and by_name)
    case = _strip(stem, _LABEL_WORDS if is_label else _IMAGE_WORDS)
    return Name(relative, "/".join(folders), case, stem, is_label, role is not None)


class _Lookup:
    """Images by their names, to answer which of them a label is for."""

    def __init__(self, images: list[Name]) -> None:
        self.by_scope: dict[str, list[Name]] = defaultdict(list)
        self.by_key: dict[tuple[str, str], list[Name]] = defaultdict(list)
        self.anywhere: dict[str, list[Name]] = defaultdict(list)
        for image in images:
            self.by_scope[image.scope].append(image)
            for key in _keys(image):
                self.by_key[image.scope, key].append(image)
                self.anywhere[key].append(image)
            if image.stem.startswith("sub-") and "_" in image.stem:
                self.anywhere[image.stem.rsplit("_", 1)[0]].append(image)

    def partners(self, label: Name) -> tuple[list[str], Reason | None]:
        """The images of a label in its own place; or none, and why."""
        for key in dict.fromkeys((label.stem, label.case)):
            there = self.by_key.get((label.scope, key), [])
            if there:
                return self._one_or_channels(there, key)
        scope = self.by_scope.get(label.scope, [])
        if not label.case:
            if len(scope) == 1:
                return [scope[0].relative], None
            return [], Reason.LABEL_AMBIGUOUS if scope else Reason.LABEL_WITHOUT_IMAGE
        longer = [n for n in scope if re.match(re.escape(label.case) + r"[_.\- ]", n.stem)]
        if longer and not label.role_folder:
            return [n.relative for n in longer], None
        return [], Reason.LABEL_WITHOUT_IMAGE

    def distant_partner(self, label: Name) -> str | None:
        """The one image in another folder whose name, one with a number in it, is the label's."""
        case = _BIDS_LABEL_ENTITY.sub("", label.case)
        elsewhere = self.anywhere.get(case, [])
        if len(elsewhere) != 1 or not re.search(r"\d\d", case):
            return None
        image = elsewhere[0]
        # labelsTr/x is not for imagesTs/x, nor a/labels/x for b/images/x.
        apart = label.role_folder and image.role_folder
        return None if apart else image.relative

    @staticmethod
    def _one_or_channels(there: list[Name], key: str) -> tuple[list[str], Reason | None]:
        exact = [n for n in there if key in (n.stem, n.case)]
        chosen = exact or there
        channels = {m["channel"] for n in chosen if (m := _CHANNEL.match(n.stem))}
        if len(chosen) > 1 and len(channels) != len(chosen):
            return [], Reason.LABEL_AMBIGUOUS
        return [n.relative for n in chosen], None


def _keys(image: Name) -> list[str]:
    keys = [image.stem, image.case]
    for key in list(keys):
        channel = _CHANNEL.match(key)
        if channel:
            keys.append(channel["case"])
    return list(dict.fromkeys(keys))


def _strip(stem: str, words: list[str]) -> str:
    """The stem without one leading or trailing word of `words`."""
    pattern = "|".join(words)
    end = re.fullmatch(rf"(?P<rest>.*?)[_.\- ]*(?<![A-Za-z0-9])({pattern})", stem, re.IGNORECASE)
    if end:
        return end["rest"]
    start = re.fullmatch(rf"({pattern})(?![A-Za-z0-9])[_.\- ]*(?P<rest>.*)", stem, re.IGNORECASE)
    return start["rest"] if start else stem


def _derived(images: list[Name]) -> dict[str, str]:
    """Files whose stem extends that of exactly one other file: the longest such one."""
    by_stem: dict[str, list[Name]] = defaultdict(list)
    for image in images:
        by_stem[image.stem].append(image)
    owners = {}
    for image in images:
        for cut in sorted((m.start() for m in re.finditer(r"[_.\- ]", image.stem)), reverse=True):
            there = by_stem.get(image.stem[:cut], [])
            near = [n for n in there if n.scope == image.scope] or there
            if len(near) == 1:
                owners[image.relative] = near[0].relative
                break
    return owners


def _release_partly_claimed(pairs: Pairs) -> None:
    """A label that was refused for one image is not used for another."""
    refused = {r for r, why in pairs.unpaired_labels.items() if why is Reason.LABEL_AMBIGUOUS}
    for image, label in pairs.images.items():
        if label in refused:
            pairs.images[image] = None


def _unlabelled(images: list[Name], paired: Mapping[str, str | None]) -> set[str]:
    """Images without a label where others of the same folder, or folders like it, have one."""
    labelled_scopes = {n.scope for n in images if paired[n.relative] is not None}
    siblings = {
        str(PurePosixPath(n.scope).parent)
        for n in images
        if paired[n.relative] is not None and not n.role_folder and n.scope
    }
    return {
        n.relative
        for n in images
        if paired[n.relative] is None
        and (
            n.scope in labelled_scopes
            or (not n.role_folder and n.scope and str(PurePosixPath(n.scope).parent) in siblings)
        )
    }
