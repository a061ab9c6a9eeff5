"""The page builder: escaped, self-contained, and replaced whole."""

from __future__ import annotations

from pathlib import Path

from medssl.report.page import Section, code, figure, table, text, verdict, write_page


def written(tmp_path: Path, *parts: dict[str, object]) -> str:
    path = write_page(tmp_path / "page.html", "Title", "lead", [Section("Heading", parts)])
    return path.read_text(encoding="utf-8")


def test_text_is_escaped_everywhere(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    parts = [text(evil), verdict(evil), code(evil), table([evil], [[evil]]), figure(b"png", evil)]
    html = written(tmp_path, *parts)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 7  # the figure says it twice, the table too


def test_numbers_and_hashes_are_told_apart_from_words(tmp_path: Path) -> None:
    rows = [["a", 12345, 0.123456, None, "ab" * 32], ["b", 1, float("nan"), True, ""]]
    html = written(tmp_path, table(["name", "count", "share", "flag", "hash"], rows))
    assert '<td class="number">12,345</td>' in html
    assert '<td class="number">0.1235</td>' in html
    assert '<th class="number">count</th>' in html
    assert "<th>name</th>" in html
    assert f'<td class="hash">{"ab" * 32}</td>' in html
    assert "<td>yes</td>" in html


def test_verdict_carries_its_tone(tmp_path: Path) -> None:
    assert 'class="verdict good"' in written(tmp_path, verdict("fine", "good"))
    assert 'class="verdict open"' in written(tmp_path, verdict("who knows"))


def test_a_page_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    written(tmp_path, text("first " * 1000))
    assert "first" not in written(tmp_path, text("second"))
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
