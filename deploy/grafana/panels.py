"""The kinds of panel that the dashboards are made of."""

from collections.abc import Mapping
from string import ascii_uppercase

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
COLORS = {
    "edge": "green",
    "edge only": "light-green",
    "cloud": "blue",
    "cloud only": "orange",
    "hybrid": "purple",
}
"""By the name of a series, the same on every panel."""
PER_SECOND = "suffix: /s"
WHOLE, HALF, SIXTH = 24, 12, 4
"""Widths."""
DEVICE = (
    "/d/tidegate-device?var-site=${__data.fields.site}&var-node=${__data.fields.node}&${__url_time_range}"
)


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
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(_target(query, letter))
    for name, color in COLORS.items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_name(name, [_property("color", fixed)])
    return panel


def stacked(title: str, about: str, unit: str, query: Query) -> Panel:
    """Parts of a whole over time."""
    panel = curves(title, about, unit, query).fill_opacity(30)
    return panel.stacking(StackingConfig().mode(StackingMode.NORMAL))


def magnitudes(title: str, about: str, unit: str, *queries: Query) -> Panel:
    """Values over time, on a scale that shows the very small and the very large alike."""
    panel = curves(title, about, unit, *queries)
    return panel.scale_distribution(ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10))


def durations(title: str, about: str, *queries: Query) -> Panel:
    """Seconds over time."""
    return magnitudes(title, about, "s", *queries)


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


def states(title: str, about: str, off: str, on: str, *queries: Query) -> Panel:
    """What is 0 or 1, over time."""
    return levels(title, about, {"0": (off, "red"), "1": (on, "green")}, *queries)


def levels(title: str, about: str, words: Mapping[str, tuple[str, str]], *queries: Query) -> Panel:
    """What has few values, each with a word and a colour, over time."""
    panel = statetimeline.Panel().title(title).description(about).datasource(SOURCE).span(HALF).height(8)
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(_target(query, letter))
    return panel.mappings([_mapping(words)])


def rows(title: str, about: str, query: Query) -> Panel:
    """Labels, as a table."""
    panel = table.Panel().title(title).description(about).datasource(SOURCE).span(HALF).height(8)
    return panel.with_target(_table_target(query))


def nodes_table(title: str, about: str, columns: Mapping[str, tuple[Query, str]]) -> Panel:
    """A line a node, which leads to its page; a query and a unit by heading."""
    panel = table.Panel().title(title).description(about).datasource(SOURCE).span(WHOLE).height(10)
    names = {}
    for letter, (heading, (query, unit)) in zip(ascii_uppercase, columns.items(), strict=False):
        panel = panel.with_target(_table_target(query, letter))
        panel = panel.override_by_name(heading, [_property("unit", unit)])
        names[f"Value #{letter}"] = heading
    tidy = {"excludeByName": {"Time": True}, "renameByName": names}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=tidy))
    link = _property("links", [{"title": "Open ${__value.text}", "url": DEVICE}])
    return panel.override_by_name("node", [link])


def _property(name: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=name, value=value)


def _mapping(words: Mapping[str, tuple[str, str]]) -> model.ValueMap:
    shown = {
        value: model.ValueMappingResult(text=text, color=color) for value, (text, color) in words.items()
    }
    return model.ValueMap(options=shown)


def _table_target(query: Query, letter: str = "A") -> prometheus.Dataquery:
    return _target(query, letter).instant().format(PromQueryFormat.TABLE)


def _target(query: Query, letter: str = "A") -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
    return target.datasource(SOURCE).ref_id(letter)
