"""Builds ``dashboards/*.json``: ``python -m deploy.grafana.build``."""

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType, VariableRefresh

from deploy.grafana.board import Board
from deploy.grafana.boards import comparison, device, fleet, server
from deploy.grafana.panels import SOURCE

OUTPUT = Path(__file__).parent / "dashboards"
BOARDS = comparison.BOARD, fleet.BOARD, device.BOARD, server.BOARD
CHOICES = {
    "site": "label_values(tidegate_samples_total, site)",
    "node": 'label_values(tidegate_samples_total{site=~"$site"}, node)',
    "server": 'label_values(tidegate_build_info{site=""}, instance)',
}
"""What each variable offers."""


def variables(board: Board) -> Iterator[DatasourceVariable | QueryVariable]:
    yield DatasourceVariable("source").label("Data source").type("prometheus")
    for name in board.variables:
        chosen = QueryVariable(name).query(CHOICES[name]).datasource(SOURCE)
        chosen = chosen.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        if board.several:
            chosen = chosen.multi(multi=True).include_all(include_all=True).all_value(".*")
        yield chosen


def build(board: Board) -> str:
    """The dashboard as JSON."""
    dashboard = Dashboard(board.title).uid(f"tidegate-{board.slug}").tags(["tidegate"])
    dashboard.time("now-1h", "now").refresh("10s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    others = DashboardLink("Tidegate").type(DashboardLinkType.DASHBOARDS).tags(["tidegate"])
    dashboard.link(others.keep_time(keep_time=True).include_vars(include_vars=True))
    for variable in variables(board):
        dashboard.with_variable(variable)
    for title, panels in board.sections().items():
        if title:
            dashboard.with_row(Row(title))
        for panel in panels:
            dashboard.with_panel(panel)
    built = dashboard.build()
    for number, placed in enumerate(built.panels or [], 1):
        placed.id_val = number
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


def files() -> dict[Path, str]:
    """What is in each file."""
    return {OUTPUT / f"{board.slug}.json": build(board) for board in BOARDS}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
