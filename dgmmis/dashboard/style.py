"""What the plots have in common: tools and colours, on the page's own background."""

TOOLS = "pan,wheel_zoom,box_zoom,reset,save"

BLUE, ORANGE, GREY, RED = "#1f77b4", "#e08a2e", "#b5b5b5", "#c0392b"
