"""Portraits: values as a notebook shows them, and as short text."""

from dgmmis.portrait.components import component_rows, components_drawing
from dgmmis.portrait.drawing import map_drawing
from dgmmis.portrait.portrait import Portrait, Portrayed
from dgmmis.portrait.text import number, numbers_text, table_text, with_error

__all__ = [
    "Portrait",
    "Portrayed",
    "component_rows",
    "components_drawing",
    "map_drawing",
    "number",
    "numbers_text",
    "table_text",
    "with_error",
]
