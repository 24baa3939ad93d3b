"""The plots of a report, drawn by matplotlib, as SVG text for a page in light or dark.

They are drawn in marker colours that become CSS variables, so that one drawing serves both.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, ACCENT, SECOND, WARN, BAD = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112"
_VARIABLES = {INK: "ink", MUTED: "muted", ACCENT: "accent", SECOND: "second", WARN: "warn", BAD: "bad"}
BINS = 60
SKEWED = 20  # p99 ÷ p50 from which an axis is logarithmic
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


def throughput(rows: pd.DataFrame, history: pd.DataFrame) -> str:
    """Rows finished over time; below it the window, with rate limits, errors and pauses marked."""
    at = np.sort(rows["finished_at"].dropna().to_numpy(dtype=float))
    start = float(at[0]) if len(at) else 0.0
    if len(history):
        start = min(start, float(history["at"].min())) if len(at) else float(history["at"].min())
    last = max([start, *at[-1:], *history["at"].tail(1)] if len(history) else [start, *at[-1:]])
    unit, divisor = _time_unit(last - start)
    both = len(history) > 0
    figure = _figure(9.0, 4.6 if both else 2.6)
    axes = figure.subplots(2, 1, sharex=True) if both else [figure.subplots()]
    counts, edges = np.histogram(at, bins=BINS, range=(start, max(last, start + 1)))
    width = edges[1] - edges[0]
    axes[0].stairs(counts / width, (edges - start) / divisor, fill=True, color=ACCENT, alpha=0.8)
    axes[0].set_ylabel("rows per second")
    _style(axes[0], "Rows finished")
    if both:
        _window(axes[1], history, start, divisor)
    axes[-1].set_xlabel(f"{unit} since the first request")
    return _svg(
        figure, "throughput", "Rows finished per second over time, and the window of requests in flight"
    )


def _window(axes: Axes, history: pd.DataFrame, start: float, divisor: float) -> None:
    at = (history["at"].to_numpy(dtype=float) - start) / divisor
    window = history["window"].to_numpy(dtype=float)
    axes.step(at, window, where="post", color=INK, linewidth=1.4, label="allowed (window)")
    axes.step(at, history["in_flight"].to_numpy(dtype=float), where="post", color=SECOND, linewidth=1.0,
              label="in flight")  # fmt: skip
    top = max(1.0, float(window.max()))
    paused = history["paused"].to_numpy(dtype=bool)
    if paused.any():
        axes.fill_between(at, 0, top * 1.18, where=paused, step="post", color=WARN, alpha=0.25, linewidth=0,
                          label="paused")  # fmt: skip
    for name, height, colour, marker, label in (
        ("limited", 1.11, WARN, "v", "rate limits (429)"),
        ("errors", 1.04, BAD, "x", "server errors"),
    ):
        hit = history[name].to_numpy(dtype=float) > 0
        if hit.any():
            axes.scatter(at[hit], np.full(int(hit.sum()), top * height), marker=marker, color=colour, s=22,
                         label=label, zorder=3)  # fmt: skip
    axes.set_ylim(0, top * 1.18)
    axes.set_ylabel("requests")
    _style(axes, "Requests in flight")
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False, labelcolor=INK, ncols=5,
        borderaxespad=0.2, columnspacing=1.2, handlelength=1.4,
    )  # fmt: skip


def distribution(values: pd.Series, title: str, unit: str, name: str) -> str:
    """How often each value occurs, with the median and the 90th and 99th percentile marked."""
    known = values.dropna().to_numpy(dtype=float)
    known = known[known >= 0]
    figure = _figure(4.4, 2.7)
    axes = figure.subplots()
    p50, p90, p99 = (float(one) for one in np.quantile(known, [0.5, 0.9, 0.99]))
    skewed = p50 > 0 and p99 / p50 > SKEWED
    low, high = float(known.min()), float(known.max())
    if skewed:
        low = max(low, p50 / 1_000, 1e-9)
        edges = np.geomspace(low, max(high, low * 1.01), BINS // 2)
        axes.set_xscale("log")
    else:
        edges = np.linspace(low, high if high > low else low + 1, BINS // 2)
    counts, edges = np.histogram(known.clip(low), bins=edges)
    axes.stairs(counts, edges, fill=True, color=ACCENT, alpha=0.8)
    top = max(1, int(counts.max()))
    for height, label, value in ((1.1, "p50", p50), (1.22, "p90", p90), (1.34, "p99", p99)):
        axes.plot([value, value], [0, top * height], color=INK, linewidth=1, linestyle="--")
        right = value > (edges[0] * edges[-1]) ** 0.5 if skewed else value > (low + high) / 2
        axes.text(value, top * height, f" {label} {_number(value)} ", color=INK, fontsize=8,
                  ha="right" if right else "left", va="center")  # fmt: skip
    axes.set_ylim(0, top * 1.45)
    axes.set_ylabel("rows")
    axes.set_xlabel(unit + (" (logarithmic)" if skewed else ""))
    _style(axes, title)
    said = f"median {_number(p50)}, p90 {_number(p90)}, p99 {_number(p99)} {unit}"
    return _svg(figure, name, f"{title}: {said}")


def cost_by(column: str, table: pd.DataFrame, name: str) -> str:
    """Cost of each value of a column, kept and wasted; tokens, else rows, where no cost is known."""
    table = table.iloc[::-1]
    priced = bool(table["kept_usd"].notna().any())
    tokens = table["prompt_tokens"].fillna(0) + table["completion_tokens"].fillna(0)
    if priced:
        kept, unit = table["kept_usd"].fillna(0), "USD"
    elif tokens.any():
        kept, unit = tokens, "tokens (no price is known)"
    else:
        kept, unit = table["rows"].astype("float64"), "rows (no tokens are known)"
    labels = [_shown(value) for value in table["value"]]
    figure = _figure(9.0, 0.9 + 0.3 * len(table))
    axes = figure.subplots()
    places = np.arange(len(table))
    axes.barh(places, kept, color=ACCENT, height=0.7, label="kept")
    if priced and table["wasted_usd"].fillna(0).any():
        axes.barh(
            places, table["wasted_usd"].fillna(0), left=kept, color=BAD, height=0.7, label="paid, not kept"
        )
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False, labelcolor=INK, ncols=2
        )
    if priced:  # a bar of no length would say that it cost nothing
        for place in places[table["kept_usd"].isna().to_numpy()]:
            axes.text(0, place, " ?", color=INK, fontsize=8, va="center")
    axes.set_yticks(places, labels, parse_math=False)
    axes.set_xlabel(unit)
    what = "Cost" if priced else "Use"
    _style(axes, f"{what} by {_shown(column)}")
    return _svg(figure, name, f"{what} by {_shown(column)} in {unit}")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK, parse_math=False)
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)


def _svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an element of a page: it scales, and its ids clash with no other figure's."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", transparent=True)
    text = _METADATA.sub("", _HEAD.sub("", stream.getvalue()))
    text = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', text)
    text = re.sub(r'="#([A-Za-z][^"]*)"', rf'="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(label)}">{rest}'


def _time_unit(seconds: float) -> tuple[str, float]:
    if seconds < 180:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds < 10_800 else ("hours", 3_600.0)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _shown(value: object, most: int = 32) -> str:
    """A label as plain text: short, on one line, without characters that steer a terminal or a page."""
    text = "".join(character if character.isprintable() else "\ufffd" for character in str(value)) or "(none)"
    return text if len(text) <= most else text[: most - 1] + "…"
