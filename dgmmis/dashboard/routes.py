"""Routes: where the page, its bare plots and the JSON are among those of a scheduler that is running."""

from typing import Any

from distributed.http.scheduler.info import IndividualPlots
from distributed.http.utils import RequestHandler

from dgmmis.dashboard.shown import Shown

PAGE = "dgmmis"

BARE = {"components": "Components", "convergence": "Convergence", "tasks": "Tasks"}
"""The bare plots, in the menu "More..." and in JupyterLab: /individual-dgmmis-components ..."""


def open_routes(scheduler: Any, shown: Shown) -> tuple[str, str]:
    """Add them to those of a scheduler: the path of the page, or "" and what it lacks."""
    application = scheduler.http_application
    applications = [one for one in application.applications if hasattr(one, "app_paths")]
    prefix = applications[0].prefix.strip("/") if applications else ""
    at = f"/{prefix}/" if prefix else "/"

    class Told(RequestHandler):
        """The runs as JSON; ?run=ID: one of them."""

        def get(self) -> None:
            self.write(shown.document(self.get_query_argument("run", "")))

    application.add_handlers(r".*", [(f"{at}{PAGE}.json", Told, {"dask_server": scheduler})])
    if not applications:
        return "", "it is switched off, or its scheduler has no bokeh"
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    from dgmmis.dashboard.page import bare_document, page_document

    documents = {f"/{PAGE}": page_document(shown)}
    documents |= {f"/individual-{PAGE}-{name}": bare_document(shown, name) for name in BARE}
    menu = template_variables(scheduler)  # one dict for the menus of all pages
    ours = BokehApplication(documents, scheduler, prefix=prefix, template_variables=menu)
    application.add_application(ours)
    ours.initialize(IOLoop.current())
    ours.start()
    menu["pages"].append(PAGE)
    menu["plots"].extend({"url": f"individual-{PAGE}-{name}", "name": f"{PAGE} {of}"} for name, of in BARE.items())
    menu["plots"].sort(key=lambda plot: plot["name"].lower())
    plots = {f"Individual {PAGE} {of}": f"/individual-{PAGE}-{name}" for name, of in BARE.items()}

    class Plots(IndividualPlots):
        """The list that JupyterLab asks for, which is of the first application only, with ours."""

        def write(self, chunk: Any) -> None:
            super().write({**chunk, **plots})

    application.add_handlers(r".*", [(f"{at}individual-plots.json", Plots, {"dask_server": scheduler})])
    return f"{at}{PAGE}", ""
