"""Draw deploy/monitoring/dashboard.json with the data of a running Prometheus, where Grafana cannot be installed.

.venv/bin/python -m tests.support.dashboard_picture http://127.0.0.1:9090 docs/dashboard.png --minutes 10
"""

from __future__ import annotations

import argparse
import asyncio
import html
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from tests.support.browser import browser

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy/monitoring/dashboard.json"
WIDTH, HEIGHT = 330, 110
COLUMNS = 3
COLORS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0")
STYLE = """body{margin:12px;background:#111217;color:#ccccdc;font:11px sans-serif;display:grid;gap:8px;
grid-template-columns:repeat(3,auto);width:max-content}figure{margin:0;padding:8px;background:#181b1f}
figcaption{font-weight:600;margin-bottom:4px}p{margin:4px 0 0;width:330px;line-height:1.4}
i{display:inline-block;width:8px;height:8px}"""


class Line(NamedTuple):
    """One series: its name in the legend, and its points, each a time and a value."""

    name: str
    points: list[tuple[float, float]]


async def lines(client: httpx2.AsyncClient, panel: dict[str, Any], seconds: float) -> list[Line]:
    """Query what a panel shows for the last `seconds`."""
    now = time.time()
    found: list[Line] = []
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", "30s")
        asked = {"query": query, "start": now - seconds, "end": now, "step": seconds / 120}
        answer = (await client.get("/api/v1/query_range", params=asked)).json()
        for series in answer["data"]["result"]:
            labels = series["metric"]
            name = target["legendFormat"]
            for label in re.findall(r"\{\{(\w+)\}\}", name):
                name = name.replace("{{" + label + "}}", labels.get(label, ""))
            points = [(float(at), float(value)) for at, value in series["values"] if value not in {"NaN", "+Inf"}]
            found.append(Line(name, points))
    return [line for line in found if line.points]


def shown(value: float, unit: str) -> str:
    """Write a value with its unit."""
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value / 2**20:.3g} MiB" if unit == "bytes" else f"{value:.3g}"


def figure(panel: dict[str, Any], found: Sequence[Line], seconds: float) -> str:
    """Draw one panel as SVG."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    most = max((value for line in found for _, value in line.points), default=0) * 1.1 or 1
    end = time.time()

    def place(at: float, value: float) -> str:
        return f"{WIDTH * (1 - (end - at) / seconds):.1f},{HEIGHT * (1 - value / most):.1f}"

    grid = "".join(
        f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT * part}" y2="{HEIGHT * part}" stroke="#2c3235"/>'
        f'<text x="2" y="{HEIGHT * part + 10}" fill="#8e8e9e" font-size="9">{shown(most * (1 - part), unit)}</text>'
        for part in (0, 0.25, 0.5, 0.75)
    )
    drawn, legend = "", []
    for number, line in enumerate(found):
        color = COLORS[number % len(COLORS)]
        points = " ".join(place(*point) for point in line.points)
        drawn += f'<polyline fill="none" stroke="{color}" stroke-width="1.4" points="{points}"/>'
        legend.append(f'<i style="background:{color}"></i> {html.escape(line.name)}')
    head = f"<figure><figcaption>{html.escape(panel['title'])}</figcaption>"
    picture = f'<svg width="{WIDTH}" height="{HEIGHT}">{grid}{drawn}</svg>'
    return f"{head}{picture}<p>{' &nbsp; '.join(legend)}</p></figure>"


async def draw(prometheus: str, picture: Path, seconds: float) -> None:
    """Draw all panels into a PNG."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    async with httpx2.AsyncClient(base_url=prometheus, trust_env=False) as client:
        figures = [figure(panel, await lines(client, panel, seconds), seconds) for panel in panels]
    page = f"<!doctype html><style>{STYLE}</style>{''.join(figures)}"
    viewport = {"width": COLUMNS * (WIDTH + 24) + 24, "height": 600}
    async with browser() as chromium:
        context = await chromium.context(viewport=viewport)
        tab = await context.page("about:blank")
        await tab.call("setContent", page)
        await tab.call("screenshot", {"path": str(picture.resolve()), "fullPage": True})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prometheus")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    asyncio.run(draw(given.prometheus, given.picture, given.minutes * 60))


if __name__ == "__main__":
    main()
