"""The site contains all pages and all modules, and every link leads to a page that exists."""

import importlib.util
import pkgutil
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote

import pytest

import nnref

ROOT = Path(__file__).parent.parent
SITE = ROOT / "tutorials/site"
LOCAL = re.compile(r'<(?:a|img|link|script)\b[^>]*?\b(?:href|src)="(?![a-z]+:|//)([^"]+)"')
NAMES = re.compile(r'\bid="([^"]+)"')


def test_every_page_stands_in_the_contents():
    entries = (SITE / "contents.md").read_text().split()
    pages = [*ROOT.glob("tutorials/*.md"), *ROOT.glob("nnref/**/README.md")]
    names = [page.relative_to(ROOT).with_suffix("").as_posix() for page in pages]
    assert [name for name in names if not any(fnmatch(name, entry) for entry in entries)] == []


def test_every_module_stands_in_the_reference():
    listed = re.findall(r"^   nnref\.(\w+)$", (SITE / "reference.rst").read_text(), re.MULTILINE)
    there = {module.name for module in pkgutil.iter_modules(nnref.__path__)} - {"__main__"}
    assert sorted(listed) == sorted(there)


@pytest.mark.docs
@pytest.mark.skipif(not importlib.util.find_spec("sphinx"), reason="no Sphinx: -e .[docs]")
def test_the_site_is_built_without_a_warning_and_without_a_dead_link(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", SITE, ROOT]
    built = subprocess.run([*command, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert dead_links(tmp_path) == []


def dead_links(site: Path) -> list[str]:
    """All links of a folder of pages that lead to no file of it, or to no place in a page."""
    pages = {page: page.read_text() for page in site.rglob("*.html")}
    names = {page: {*NAMES.findall(text)} for page, text in pages.items()}
    dead = []
    for page, text in pages.items():
        for link in {*LOCAL.findall(text)}:
            path, _, name = unquote(link.split("?")[0]).partition("#")
            target = (page.parent / path).resolve() if path else page
            missing = name and target in names and name not in names[target]
            if missing or not target.is_file():
                dead.append(f"{page.relative_to(site)}: {link}")
    return dead
