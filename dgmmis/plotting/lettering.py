"""Names as they are: matplotlib takes what stands between two dollars for mathematics."""


def literal(text: str) -> str:
    """Text for a picture that is shown as it is: names come from other people's tables."""
    return text.replace("$", r"\$")


def axis_label(name: str, unit: str) -> str:
    """Name and unit of a feature; "": the unit is not known."""
    return literal(f"{name} [{unit}]" if unit else name)
