"""How the pages are built: `make docs`. A reference that leads nowhere is an error (-W -n)."""

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

import dgmmis

project = "dgmmis"
author = copyright = "The dgmmis developers"
version = release = dgmmis.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

smartquotes_action = "D"  # dashes alone: quotes are to be copied
html_theme = "furo"
html_title = f"dgmmis {release}"
html_static_path = ["_static"]
html_css_files = ["guide.css"]
html_copy_source = html_show_sourcelink = html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
nitpicky = True
# of annotations: classes of other libraries, and those of dgmmis that are not public
nitpick_ignore_regex = [("py:(class|exc|obj|data)", r".*")]

SHAPE = re.compile(r"(?:Float|Int|Bool|Shaped)\[ndarray, '([^']*)'\]")
ARRAY_LIKE = re.compile(r"_Buffer.*?_NestedSequence\[complex \| bytes \| str\]")
MODULE = re.compile(r"~?\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])")
ANY = re.compile(r": Any(?= = |, |\))")
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)]*)\)")
SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")
ENTRY = re.compile(r"    (\S[^:]*): (.*)")


def readable(annotation: str) -> str:
    """Of types: an array by its shape, a class by its name, and nothing for what may be anything."""
    short = MODULE.sub("", ARRAY_LIKE.sub("ArrayLike", annotation))
    return ANY.sub("", SHAPE.sub(lambda found: f"array[{', '.join(found[1].split()) or 'scalar'}]", short))


def readable_signature(
    app: Any, what: str, name: str, of: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    del app, what, name, of, options
    if signature == "(*args, **kwargs)":  # of a protocol, which nobody makes
        return "", returns
    return signature and readable(signature), returns and readable(returns)


def readable_types(app: Any, doctree: nodes.document) -> None:
    """Those of properties, which are not part of a signature."""
    del app
    for node in doctree.findall(addnodes.desc_annotation):
        text = node.astext()
        if "ndarray" in text:
            node.children = [nodes.Text(readable(text))]


def plainly(text: str) -> str:
    """A line of a docstring, which is plain text with `code` in it, as reStructuredText."""
    words = CODE.split(text)
    words[::2] = [re.sub(r"([\\*|]|_\b)", r"\\\1", plain) for plain in words[::2]]
    words[1::2] = [f"``{code}``" for code in words[1::2]]
    return "".join(words)


def restructured(lines: Sequence[str]) -> Iterator[str]:
    """A docstring in Google's manner as reStructuredText; several names may share an entry."""
    section = ""
    for line in lines:
        heading, entry = SECTION.match(line), ENTRY.match(line)
        if heading:
            section = heading[1]
            yield from ("", "" if section == "Raises" else f"**{'Arguments' if section == 'Args' else section}**", "")
        elif section and line and not line.startswith(" "):
            section = ""
            yield from ("", plainly(line))
        elif section == "Raises" and entry:
            yield f":raises {entry[1]}: {plainly(entry[2])}"
        elif section and entry:
            names = ", ".join(f"``{name.strip()}``" for name in entry[1].split(","))
            yield f"* {names}: {plainly(entry[2])}"
        elif section and line.startswith(" " * 8):
            yield f"  {plainly(line.strip())}"
        elif section and line.strip():
            yield plainly(line.strip())
        else:
            yield line if line.lstrip().startswith(">>>") else plainly(line)


def readable_docstring(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    del app, what, name, of, options
    lines[:] = restructured(lines)


def within(app: Any, name: str, source: list[str]) -> None:
    """A link that leaves the pages, to a file of the sources, is the file's name: the pages may stand alone."""
    folder, pages = Path(app.env.doc2path(name)).parent, Path(app.srcdir)

    def named(found: re.Match[str]) -> str:
        file = (folder / found[2].partition("#")[0]).resolve()
        if file == pages or pages in file.parents:
            return found[0]
        path = file.relative_to(pages.parent).as_posix()
        return f"`{path}`" if found[1] == file.name else f"{found[1]} (`{path}` in the sources)"

    source[0] = LINK.sub(named, source[0])


def skip(app: Any, what: str, name: str, of: Any, skipped: bool, options: Any) -> bool | None:
    """What scikit-learn writes into each class is left out, and what has no word of its own."""
    del app, what, options
    if name.endswith("_request") or name in ("get_metadata_routing", "set_params", "get_params"):
        return True
    return True if inspect.isfunction(of) and not of.__doc__ else skipped or None


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", readable_signature)
    app.connect("autodoc-process-docstring", readable_docstring)
    app.connect("autodoc-skip-member", skip)
    app.connect("source-read", within)
    app.connect("doctree-read", readable_types)
