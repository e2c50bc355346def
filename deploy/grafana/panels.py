"""The kinds of panel that the dashboard is made of."""

from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, ScaleDistributionConfig, StackingConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    HeatmapCellLayout,
    ScaleDistribution,
    StackingMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.queries import Query

Panel = Builder[model.Panel]

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${source}")
COLORS = {"edge": "green", "cloud": "blue", "cloud-only would send": "orange"}
"""By the name of a series, the same on every panel."""
HALF, SIXTH = 12, 4
"""Widths."""


def figure(title: str, about: str, unit: str, query: Query) -> Panel:
    """One number, and how it went."""
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .no_value("none yet")
        .span(SIXTH)
        .height(4)
        .graph_mode(BigValueGraphMode.AREA)
        .color_mode(BigValueColorMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(query))
    )


def curves(title: str, about: str, unit: str, *queries: Query) -> timeseries.Panel:
    """Values over time."""
    panel = timeseries.Panel().title(title).description(about).datasource(SOURCE)
    panel = panel.unit(unit).span(HALF).height(8)
    for letter, query in zip("ABCDEF", queries, strict=False):
        panel = panel.with_target(_target(query).ref_id(letter))
    for name, color in COLORS.items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_name(name, [model.DynamicConfigValue(id_val="color", value=fixed)])
    return panel


def stacked(title: str, about: str, unit: str, query: Query) -> Panel:
    """Parts of a whole over time."""
    panel = curves(title, about, unit, query).fill_opacity(30)
    return panel.stacking(StackingConfig().mode(StackingMode.NORMAL))


def durations(title: str, about: str, *queries: Query) -> Panel:
    """Seconds over time, on a scale that shows microseconds and seconds alike."""
    panel = curves(title, about, "s", *queries)
    return panel.scale_distribution(ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10))


def buckets(title: str, about: str, query: Query) -> Panel:
    """A histogram over time."""
    return (
        heatmap.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .span(HALF)
        .height(8)
        .rows_frame(heatmap.RowsHeatmapOptions().layout(HeatmapCellLayout.LE))
        .with_target(_target(query).format(PromQueryFormat.HEATMAP))
    )


def states(title: str, about: str, off: str, on: str, query: Query) -> Panel:
    """What is 0 or 1, over time."""
    words = {
        "0": model.ValueMappingResult(text=off, color="red"),
        "1": model.ValueMappingResult(text=on, color="green"),
    }
    return (
        statetimeline.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .span(HALF)
        .height(8)
        .mappings([model.ValueMap(options=words)])
        .with_target(_target(query))
    )


def rows(title: str, about: str, query: Query) -> Panel:
    """Labels, as a table."""
    panel = table.Panel().title(title).description(about).datasource(SOURCE).span(HALF).height(8)
    return panel.with_target(_target(query).instant().format(PromQueryFormat.TABLE))


def _target(query: Query) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend).datasource(SOURCE)
