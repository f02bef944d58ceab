"""Writes examples/monitoring/dashboard.json, a dashboard for Grafana, from the panels listed here.

    python tools/make_dashboard.py            writes the file
    python tools/make_dashboard.py --check    exit status 1 when the file differs

A test runs the check, and that each expression names metrics and labels that the server has.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "examples" / "monitoring" / "dashboard.json"
_MODEL = 'model_name=~"$model"'
_SOURCE = {"type": "prometheus", "uid": "$datasource"}
_TOKENS = "suffix: tokens/s"
_COLUMNS, _HEIGHT = 24, 8      # of Grafana's grid, and of a panel in it


@dataclass(frozen=True)
class Panel:
    """One graph. lines: {legend: expression}. unit: Grafana's name of it."""

    title: str
    lines: dict[str, str]
    unit: str = "short"
    text: str = ""
    width: int = field(default=8)


def _rate(name: str, by: str = "", labels: str = _MODEL) -> str:
    selector = f"{{{labels}}}" if labels else ""
    return f"sum{f' by ({by}) ' if by else ''}(rate({name}{selector}[$__rate_interval]))"


def _gauge(name: str, by: str = "", labels: str = _MODEL) -> str:
    selector = f"{{{labels}}}" if labels else ""
    return f"sum{f' by ({by}) ' if by else ''}({name}{selector})"


def _quantiles(name: str) -> dict[str, str]:
    buckets = _rate(f"{name}_bucket", "le")
    return {f"p{share}": f"histogram_quantile({share / 100}, {buckets})" for share in (50, 95, 99)}


def _mean(name: str) -> str:
    return f"{_rate(f'{name}_sum')} / {_rate(f'{name}_count')}"


ROWS: dict[str, list[Panel]] = {
    "Requests": [
        Panel("In the engine", {"running": _gauge("weft:num_requests_running"),
                                "waiting: {{reason}}": _gauge("weft:num_requests_waiting_by_reason", "reason")},
              text="capacity: for a place or blocks. deferred: for a grammar, or a prefix that another one computes."),
        Panel("Ended, by reason", {
            "{{finished_reason}}": _rate("weft:request_success_total", "finished_reason")}, "reqps"),
        Panel("Refused", {"{{status}}": _rate("http_requests_refused_total", "status", ""),
                          "queue: {{reason}}": _rate("weft:admission_rejections_total", "reason")}, "reqps",
              "weft.audit in the log says who and why."),
        Panel("HTTP responses", {
            "{{handler}} {{status}}": _rate("http_requests_total", "handler, status", "")}, "reqps", width=12),
        Panel("Prompt and answer, mean tokens", {
            "prompt": _mean("weft:request_prompt_tokens"),
            "answer": _mean("weft:request_generation_tokens")}, width=12),
    ],
    "Latency": [
        Panel("Time to first token", _quantiles("weft:time_to_first_token_seconds"), "s"),
        Panel("Between tokens of a stream", _quantiles("weft:inter_token_latency_seconds"), "s"),
        Panel("Whole request", _quantiles("weft:e2e_request_latency_seconds"), "s"),
        Panel("Where the time goes, mean", {
            part: _mean(f"weft:request_{part}_time_seconds") for part in ("queue", "prefill", "decode")
        }, "s", width=24),
    ],
    "Throughput": [
        Panel("Tokens generated", {"generated": _rate("weft:generation_tokens_total")}, _TOKENS),
        Panel("Prompt tokens", {"{{source}}": _rate("weft:prompt_tokens_by_source_total", "source")}, _TOKENS),
        Panel("Tokens of a step", {"mean": _mean("weft:iteration_tokens_total")}),
    ],
    "Memory and caches": [
        Panel("KV blocks in use", {"share": f"max(weft:kv_cache_usage_perc{{{_MODEL}}})"}, "percentunit"),
        Panel("Prompt tokens found cached", {"share": f"{_rate('weft:prefix_cache_hits_total')} / "
                                                      f"{_rate('weft:prefix_cache_queries_total')}"}, "percentunit"),
        Panel("Preemptions and deaths", {"sequences put back": _rate("weft:num_preemptions_total"),
                                         "engine processes that died": _rate("weft:engine_deaths_total")}, "ops"),
        Panel("Caches, share of their limits", {
            "prefixes": f"{_gauge('weft:prefix_cache_bytes')} / {_gauge('weft:prefix_cache_limit_bytes')}",
            "grammars": f"{_gauge('weft:grammar_cache_bytes')} / {_gauge('weft:grammar_cache_limit_bytes')}",
            "chat templates": "sum(weft:chat_template_cache_bytes) / sum(weft:chat_template_cache_limit_bytes)",
            "responses": "sum(weft:responses_store_bytes) / sum(weft:responses_store_limit_bytes)",
        }, "percentunit", width=24),
    ],
    "Speculation": [
        Panel("Drafts accepted", {"share": f"{_rate('weft:spec_decode_num_accepted_tokens_total')} / "
                                           f"{_rate('weft:spec_decode_num_draft_tokens_total')}"}, "percentunit",
              "Nothing without --speculative-config.", 12),
        Panel("Accepted tokens by their place among the drafts", {
            "{{position}}": _rate("weft:spec_decode_num_accepted_tokens_per_pos_total", "position"),
        }, _TOKENS, width=12),
    ],
    "HTTP process": [
        Panel("Processor time", {"cores": _rate("process_cpu_seconds_total", labels="")}),
        Panel("Memory", {"resident": _gauge("process_resident_memory_bytes", labels="")}, "bytes"),
        Panel("Open files", {
            "open": _gauge("process_open_fds", labels=""), "limit": _gauge("process_max_fds", labels="")}),
    ],
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1}})
        top, left = top + 1, 0
        for panel in row:
            if left + panel.width > _COLUMNS:
                top, left = top + _HEIGHT, 0
            panels.append(_panel(panel, len(panels) + 1, left, top))
            left += panel.width
        top += _HEIGHT
    return {"title": "weft", "uid": "weft", "schemaVersion": 39, "version": 1, "editable": True, "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"}, "tags": ["weft"], "panels": panels,
            "templating": {"list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                {"name": "model", "type": "query", "label": "Model", "datasource": _SOURCE, "multi": True,
                 "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "refresh": 2,
                 "query": "label_values(weft:num_requests_running, model_name)"}]}}


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    return {"id": number, "type": "timeseries", "title": panel.title, "description": panel.text, "datasource": _SOURCE,
            "gridPos": {"x": left, "y": top, "w": panel.width, "h": _HEIGHT},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "options": {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list", "placement": "bottom"}},
            "targets": [{"refId": chr(ord("A") + i), "expr": expression, "legendFormat": legend, "datasource": _SOURCE}
                        for i, (legend, expression) in enumerate(panel.lines.items())]}


def main() -> int:
    """Write or check."""
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        return int(not FILE.exists() or FILE.read_text() != text)
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text)
    print(FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
