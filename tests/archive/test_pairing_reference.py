"""Pairing by name in plain lists and dicts, to hold the one in SQLite against."""

from __future__ import annotations

import os
import random
import re
from collections import defaultdict
from collections.abc import Collection
from contextlib import closing
from pathlib import PurePosixPath

from medssl.archive.names import Name, distant_key, parse_name
from medssl.archive.pairing import Pairing
from medssl.archive.reasons import Reason

_WITHOUT, _AMBIGUOUS = Reason.LABEL_WITHOUT_IMAGE, Reason.LABEL_AMBIGUOUS
FOLDERS = [
    "", "a/", "b/", "a/p1/", "a/p2/", "images/", "labels/", "imagesTr/", "labelsTr/", "imagesTs/",
    "labelsTs/", "a/images/", "a/labels/", "b/masks/", "images/p1/", "labels/p1/",
    "sub-01/anat/", "derivatives/m/sub-01/anat/",
]  # fmt: skip
STEMS = [
    "", "x", "x1", "x_01", "x_01_b", "y_02", "c", "c_0000", "c_0001", "c_c", "case-1", "case-1.b",
    "sub-01", "sub-01_T1w", "sub-01_label-les", "\udce9k_01", "\u00e9_11",
]  # fmt: skip
BEFORE = ["", "", "", "", "mask_", "image_", "seg-"]
AFTER = ["", "", "", "", "_mask", "_seg", "-label", "_image", "_t1", "_0000", "_0001", " b"]
ENDS = [".nii", ".nii", ".nii", ".nii.gz", ".hdr"]


def random_names(rng: random.Random) -> set[str]:
    """A few names, most of which have to do with each other."""
    folders = rng.sample(FOLDERS, rng.randint(1, 4))
    stems = rng.sample(STEMS, rng.randint(1, 3))

    def name() -> str:
        stem = rng.choice(BEFORE) + rng.choice(stems) + rng.choice(AFTER)
        return rng.choice(folders) + (stem or "mask") + rng.choice(ENDS)

    return {name() for _ in range(rng.randint(1, 14))}


def test_any_names_pair_as_in_plain_lists() -> None:
    rng = random.Random(0)
    for _ in range(1000):
        names = random_names(rng)
        label_maps = {name for name in names if rng.random() < 0.4}
        images, unpaired, unlabelled = pairs_of(names, label_maps)
        with closing(Pairing()) as pairing:
            pairing.add(rng.sample(sorted(names), len(names)))
            pairing.index()
            assert dict(pairing.extended_names()) == owners_of(names)
            pairing.pair(label_maps)
            assert list(pairing.images()) == [
                (name, images[name], name in unlabelled) for name in sorted(images, key=os.fsencode)
            ]
            assert dict(pairing.unpaired_labels()) == unpaired, names
            assert set(pairing.paired_labels()) == {label for label in images.values() if label}


def owners_of(relatives: Collection[str]) -> dict[str, str]:
    """Each file whose stem extends that of exactly one other file, with the longest such one."""
    images = [n for n in map(parse_name, relatives) if not n.is_label]
    owners = {}
    for image in images:
        for cut in sorted((m.start() for m in re.finditer(r"[_.\- ]", image.stem)), reverse=True):
            there = [n for n in images if n.stem == image.stem[:cut]]
            near = [n for n in there if n.scope == image.scope] or there
            if len(near) == 1:
                owners[image.relative] = near[0].relative
                break
    return owners


def pairs_of(
    relatives: Collection[str], label_maps: Collection[str]
) -> tuple[dict[str, str | None], dict[str, Reason], set[str]]:
    """Images with their labels, labels without an image, images without a label beside others."""
    names = [parse_name(r) for r in relatives]
    masks = {r: owner for r, owner in owners_of(relatives).items() if r in label_maps}
    images = [n for n in names if not n.is_label and n.relative not in masks]
    unpaired: dict[str, Reason] = {}
    claims: dict[str, list[str]] = defaultdict(list)
    for mask, owner in masks.items():
        claims[owner].append(mask)
    distant = []
    for label in (n for n in names if n.is_label):
        partners, reason = _near(label, images)
        if reason is _WITHOUT:
            distant.append(label)
        elif reason is not None:
            unpaired[label.relative] = reason
        for partner in partners:
            claims[partner.relative].append(label.relative)
    taken = frozenset(claims)
    for label in distant:
        found = _distant(label, images)
        if found is None or found.relative in taken:
            unpaired[label.relative] = _WITHOUT
        else:
            claims[found.relative].append(label.relative)
    paired: dict[str, str | None] = {n.relative: None for n in images}
    for image, claimants in claims.items():
        if image in masks:
            unpaired.update(dict.fromkeys(claimants, _WITHOUT))
        elif len(claimants) > 1:
            unpaired.update(dict.fromkeys(claimants, _AMBIGUOUS))
        else:
            paired[image] = claimants[0]
    for image, chosen in paired.items():
        if chosen is not None and unpaired.get(chosen) is _AMBIGUOUS:
            paired[image] = None
    return paired, unpaired, _unlabelled(images, paired)


def _near(label: Name, images: list[Name]) -> tuple[list[Name], Reason | None]:
    scope = [n for n in images if n.scope == label.scope]
    for key in (label.stem, label.case):
        there = [n for n in scope if key in n.keys]
        if there:
            chosen = [n for n in there if key in (n.stem, n.case)] or there
            channels = {n.channel for n in chosen if n.channel is not None}
            one_case = len(chosen) == 1 or len(channels) == len(chosen)
            return (chosen, None) if one_case else ([], _AMBIGUOUS)
    if not label.case:
        if len(scope) == 1:
            return scope, None
        return [], _AMBIGUOUS if scope else _WITHOUT
    longer = [n for n in scope if re.match(re.escape(label.case) + r"[_.\- ]", n.stem)]
    if longer and not label.role_folder:
        return longer, None
    return [], _WITHOUT


def _distant(label: Name, images: list[Name]) -> Name | None:
    key = distant_key(label)
    if key is None:
        return None
    found = [n for n in images for known in (*n.keys, n.bids_key) if known == key]
    if len(found) != 1 or (label.role_folder and found[0].role_folder):
        return None
    return found[0]


def _unlabelled(images: list[Name], paired: dict[str, str | None]) -> set[str]:
    def above(name: Name) -> str | None:
        plain = not name.role_folder and name.scope
        return str(PurePosixPath(name.scope).parent) if plain else None

    labelled = [n for n in images if paired[n.relative] is not None]
    scopes, parents = {n.scope for n in labelled}, {above(n) for n in labelled} - {None}
    return {
        n.relative
        for n in images
        if paired[n.relative] is None and (n.scope in scopes or above(n) in parents)
    }
