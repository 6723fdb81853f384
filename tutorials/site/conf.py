"""The site: all pages and a reference of the modules, made by Sphinx (see README.md beside this).

The folder of sources is the repository, so that links between pages lead on the site where they
lead on GitHub. A link to a module leads to its source among the pages of viewcode.
"""

import posixpath
import re
import shutil
import sys
from pathlib import Path
from textwrap import indent

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MOVING = "tutorials/alignment.html"  # goes to the site as it is
sys.path.insert(0, str(ROOT))

project = "nnref"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax itself, so that formulas need no network
]
root_doc = "README"
include_patterns = ["README.md", "tutorials/*.md", "nnref/**README.md", "tests/CAMPAIGN.md"]
include_patterns += ["tutorials/site/reference.rst", "tutorials/site/api/*.rst"]
templates_path = [str(HERE / "templates")]
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
autodoc_mock_imports = ["cupyx"]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
html_theme = "furo"
html_title = "nnref"
html_copy_source = False
html_show_copyright = False
html_theme_options = {"light_css_variables": {"code-font-size": "75%"}}  # 100 columns


def add_contents(app, name, source):
    """The front page gets the table of contents, which GitHub's README does not need."""
    if name == root_doc:
        source[0] += (HERE / "contents.md").read_text()


def link_to_sources(app, doctree):
    """A file that a page links to is downloaded, unless it is a module or the moving page.

    A folder, which GitHub shows and a site cannot, stays text.
    """
    folder = posixpath.dirname(app.env.docname)
    for link in list(doctree.findall(download_reference)):
        target = posixpath.normpath(posixpath.join(folder, link["reftarget"]))
        if target == "nnref/__init__.py":
            target = "tutorials/site/reference.html"
        elif target.startswith("nnref/") and target.endswith(".py"):
            target = f"_modules/{target[:-3]}.html"
        elif target != MOVING:
            continue
        uri = posixpath.relpath(target, folder or ".")
        link.replace_self(nodes.reference("", "", *link.children, refuri=uri, internal=True))
    for link in list(doctree.findall(pending_xref)):
        if (ROOT / folder / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def as_rst(app, what, name, thing, options, lines):
    """Docstrings are plain text: stars and bars are no markup, what is set in is shown as it is."""
    paragraphs = "\n".join(lines).strip().split("\n\n")
    lines[:] = "\n\n".join(map(paragraph_as_rst, paragraphs)).split("\n")


def paragraph_as_rst(text):
    if re.search(r"^\s", text, re.MULTILINE) and not text.startswith("- "):
        return "::\n\n" + indent(text, "    ")
    words = text.split("`")  # every second one is code, which RST wants to stand apart
    words[::2] = [re.sub(r"([\\*_|])", r"\\\1", word) for word in words[::2]]
    words[1::2] = [r"\ ``" + " ".join(word.split()) + r"``\ " for word in words[1::2]]
    return "".join(words)


def finish(app, error):
    """The front page under the name that a server looks for, and the moving page."""
    if not error:
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")
        shutil.copy(ROOT / MOVING, app.outdir / MOVING)


def setup(app):
    app.connect("source-read", add_contents)
    app.connect("doctree-read", link_to_sources, priority=400)  # before files to download are noted
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("build-finished", finish)
