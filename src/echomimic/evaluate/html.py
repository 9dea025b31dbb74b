"""The report as a page that opens from disk: no script, nothing fetched, pictures beside it."""

import json
from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from echomimic.evaluate.catalogue import metrics

_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.15rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}
details{margin:.5rem 0;border:1px solid #ddd;padding:.4rem .8rem}
summary{cursor:pointer;font-weight:600}img{max-width:100%}pre{background:#f6f6f6;padding:.8rem;overflow:auto}
.note{color:#8a4b00}.error{color:#b00020}
"""


def page(report: Mapping[str, object], keys: list[str]) -> str:
    """A report as one HTML page; `keys` name the clips' pictures in the folder `clips`."""
    clips = report["clips"]
    assert isinstance(clips, list)
    lone = len(clips) == 1
    return document(
        "echomimic evaluate",
        [
            f"<h1>Evaluation of {len(clips)} clip{'' if lone else 's'}</h1>",
            *([] if lone else [_summary(report), "<h2>Clips</h2>"]),
            *(_clip(clip, key, " open" if lone else "") for clip, key in zip(clips, keys, strict=True)),
            "<h2>Run card</h2>",
            f"<pre>{escape(json.dumps(report['card'], indent=1, ensure_ascii=False))}</pre>",
        ],
    )


def document(title: str, body: list[str]) -> str:
    """A whole page."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return "\n".join(["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', *body, "</body></html>", ""])


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of text; what looks like a number stands to the right."""
    top = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = ["".join(f"<td{_side(cell)}>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table><tr>{top}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def number(value: object) -> str:
    """A figure for people: four digits; a dash for none."""
    return f"{value:.4g}" if isinstance(value, (int, float)) else "–"


def _side(cell: str) -> str:
    return ' class="n"' if cell.strip("-+.0123456789e") in ("", "–") else ""


def _summary(report: Mapping[str, object]) -> str:
    found, sets = report["summary"], report["sets"]
    assert isinstance(found, dict) and isinstance(sets, dict)
    rows = [
        [name, *(number(found[name][kind]) for kind in ("mean", "spread", "least", "most")), metric.unit, metric.better]
        for name, metric in metrics().items()
        if name in found
    ]
    parts = [table(["metric", "mean", "spread", "least", "most", "unit", "better"], rows)]
    if sets:
        parts += [
            "<h2>Distances between all clips and all references</h2>",
            table(["metric", "distance"], [[name, number(value)] for name, value in sets.items()]),
        ]
    return "".join(parts)


def _clip(clip: Mapping[str, object], key: str, opened: str) -> str:
    name = escape(str(clip["path"]))
    if "error" in clip:
        return f'<details{opened}><summary>{name}</summary><p class="error">{escape(str(clip["error"]))}</p></details>'
    figures, notes = clip["metrics"], clip["notes"]
    assert isinstance(figures, dict) and isinstance(notes, list)
    rows = [[n, number(value), metrics()[n].unit] for n, value in figures.items() if n in metrics()]
    said = "".join(f'<p class="note">{escape(str(text))}</p>' for text in notes)
    pictures = "".join(
        f'<p><img loading="lazy" alt="{what} of {name}" src="clips/{quote(key)}{suffix}"></p>'
        for what, suffix in (("frames", ".jpg"), ("curves", ".svg"))
    )
    shown = table(["metric", "value", "unit"], rows)
    return f"<details{opened}><summary>{name}</summary>{said}{pictures}{shown}</details>"
