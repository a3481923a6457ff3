"""The page: sections as one HTML file that asks for nothing else."""

from collections.abc import Sequence
from importlib.resources import files

from dgmmis.report.section import Section


def page(title: str, lead: str, sections: Sequence[Section], *, footer: str = "") -> str:
    """HTML, with its style and its pictures in it; whatever the sections say is escaped."""
    from jinja2 import Environment, StrictUndefined

    here = files("dgmmis.report")
    # nothing but the template is markup: what comes from files is text, feature names and job files among it
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    style = (here / "page.css").read_text(encoding="utf-8")
    return template.render(title=title, lead=lead, sections=sections, footer=footer, style=style)
