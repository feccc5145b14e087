"""Code blocks in the documentation run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- test: (?P<needs>.*?) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
BLOCKS = [
    pytest.param(match["needs"], match["code"], id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, match in enumerate(BLOCK.finditer(page.read_text()))
]


def test_there_are_blocks():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize(("needs", "code"), BLOCKS)
def test_code_block(needs, code, live, phantom, capsys):
    assert needs == "live server with one series; uid and url are given"
    (outcome, *_) = live.archive.ingest.run([phantom / "dicom"], collection="c")
    exec(compile(code, "block", "exec"), {"url": live.url, "uid": outcome.series})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_reference_is_what_the_code_says():
    script = ROOT / "scripts" / "make_reference.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_placeholders(page):
    assert not re.search(r"\b(TODO|TBD|FIXME|[Tt]o be filled|INGEST|LOWRES)\b", page.read_text())
