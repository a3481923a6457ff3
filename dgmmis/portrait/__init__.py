"""Portraits: values as a notebook shows them, and as short text."""

from dgmmis.portrait.components import component_rows, components_drawing
from dgmmis.portrait.drawing import map_drawing
from dgmmis.portrait.portrait import Portrait, Portrayed
from dgmmis.portrait.text import numbers_text, table_text

__all__ = ["Portrait", "Portrayed", "component_rows", "components_drawing", "map_drawing", "numbers_text", "table_text"]
