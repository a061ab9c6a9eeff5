"""The pages say what the code does, as far as a machine can tell."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medssl.audit.checks import CHECKS
from medssl.store import schema

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "make_reference.py"))


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `medssl ...` line in the page's code blocks."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            _, found, rest = line.partition("medssl ")
            if found and not line.startswith(("#", "|")):
                yield shlex.split(rest)


def test_generated_pages_are_in_step(reference: dict[str, Any]) -> None:
    for name, text in reference["pages"]().items():
        written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
        assert written == text, f"docs/reference/{name} is out of date; run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert not target.startswith("http")
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_commands_in_pages_exist(reference: dict[str, Any]) -> None:
    known = {
        words: {p.shown.split(" ")[0] for p in reference["_parameters"](function)}
        for words, function in reference["_commands"](reference["app"])
    }
    seen = 0
    for page in PAGES:
        for words in commands(page):
            name = next((n for n in known if tuple(words[: len(n)]) == n), None)
            assert name, f"{page.name}: there is no medssl {words[0]}"
            options = {w for w in words if w.startswith("--")}
            assert options <= known[name] | {"--help"}, f"{page.name}: medssl {' '.join(words)}"
            seen += 1
    assert seen > 10


def test_configurations_in_pages_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"configs/[\w/]+\.yaml", page.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file(), f"{page.name} names {name}"


def test_every_column_of_a_store_is_described() -> None:
    text = (ROOT / "docs/reference/store.md").read_text(encoding="utf-8")
    for table in (schema.MANIFEST, schema.INSTANCES, schema.REJECTED, schema.LABELS):
        for name in table.names:
            # shape_0 ... and affine_00 ... are told as ranges.
            plain = re.sub(r"^(shape|spacing|affine|foreground)_\d.*", r"\1_", name)
            assert f"`{plain}" in text, f"store.md does not describe {name}"


def test_every_check_of_the_audit_is_described() -> None:
    text = (ROOT / "docs/reference/audit-checks.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| ([A-Z]\d) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert described == [(check.id, check.rule, check.otherwise) for check in CHECKS]
