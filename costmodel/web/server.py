"""The what-if page: sliders, the closed form at once, the simulator right after.

`WhatIf.respond(path, query)` is the whole application, so any server can mount it; `serve` is a
small one on loopback. Nothing is stored: the address holds the answer's inputs and can be shared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import yaml

from costmodel.bill.baselines import UsdBand
from costmodel.bill.feasibility import (
    assumed_latency,
    certifies,
    evaluated_agreement,
    feasible_deployment,
    feasible_run,
)
from costmodel.bill.simulated import month_bill, prices_of
from costmodel.bill.verdict import Verdict
from costmodel.errors import BadProjection, CostModelError
from costmodel.inputs.deployment import Deployment
from costmodel.inputs.scenario import Scenario
from costmodel.plan.pareto import ParetoPoint, pareto_points
from costmodel.report.money import chart_blocks, money_page
from costmodel.report.page import environment
from costmodel.report.tables import ms, percent, savings, usd
from costmodel.report.tasks import place_records, places
from costmodel.uncertainty.draws import quantify
from costmodel.units import DAY_S
from costmodel.web.sliders import moved, sliders_of
from costmodel.whatif import project_deployment, verdict, verdict_of

if TYPE_CHECKING:
    from costmodel.bill.simulated import MonthBill
    from costmodel.engine.result import Result

SCRIPT = Path(__file__).with_name("page.js")
SIMULATED_REQUESTS = 400_000
"""Enough for a p99 within a percent or so, few enough for an answer within two seconds."""
NOTHING = 1e-9
"""A rate of nothing where the simulator wants a rate."""


@dataclass(frozen=True, slots=True)
class Response:
    """What to send back."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True)
class WhatIf:
    """One deployment behind sliders."""

    deployment: Deployment
    seed: int = 0

    def respond(self, path: str, query: str) -> Response:
        """Answer the page, its script and what it asks for; a bad query is one sentence, 400."""
        pages = {
            "": self._page,
            "project": self._project,
            "charts": self._charts,
            "simulate": self._simulate,
            "report": self._report,
            "scenario.yaml": self._scenario,
            "figures.csv": self._figures,
        }
        page = pages.get(path.strip("/").rpartition("/")[2])
        if page is None:
            return _json({"error": f"there is no page {path!r}"}, 404)
        try:
            asked = parse_qs(query, keep_blank_values=True)
            return page({name: values[-1] for name, values in asked.items()})
        except CostModelError as error:
            return _json({"error": str(error)}, 400)

    def _page(self, query: Mapping[str, str]) -> Response:
        del query  # the page itself reads it from its address
        bundle = self.deployment.bundle or "none"
        text = (
            environment()
            .get_template("whatif.html.jinja")
            .render(
                name=self.deployment.name,
                subtitle=f"Bundle {bundle}; closed form at once, the simulator right after; "
                "a month has 730 hours",
                sliders=sliders_of(self.deployment),
                script=SCRIPT.read_text(encoding="utf-8"),
            )
        )
        return Response(200, "text/html; charset=utf-8", text.encode())

    def _charts(self, query: Mapping[str, str]) -> Response:
        """The report's own figures: one way to draw them."""
        deployment = moved(self.deployment, query)
        projection = project_deployment(deployment)
        return _json(chart_blocks(deployment, projection))

    def _scenario(self, query: Mapping[str, str]) -> Response:
        """What the simulator is asked, as a file that `raisehand whatif` takes."""
        scenario = scenario_of(moved(self.deployment, query))
        raw = scenario.model_dump(mode="json", exclude_unset=True)
        text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)
        return Response(200, "application/yaml; charset=utf-8", text.encode())

    def _figures(self, query: Mapping[str, str]) -> Response:
        from costmodel.report.export import csv_of

        rows = place_records(places(moved(self.deployment, query), {}))
        return Response(200, "text/csv; charset=utf-8", csv_of(rows).encode())

    def _project(self, query: Mapping[str, str]) -> Response:
        deployment = moved(self.deployment, query)
        projection = project_deployment(deployment)
        found = verdict(deployment, projection)
        points = pareto_points(projection, deployment.risk_coverage)
        certified = self._certified(points)
        return _json(
            {
                **shown(found),
                "feasibility": feasible_deployment(deployment, projection).model_dump(mode="json"),
                "projection": projection.model_dump(mode="json"),
                "savings": [row[:5] for row in savings(projection).rows],
                "pareto": [{**asdict(point), "certified": point is certified} for point in points],
            }
        )

    def _certified(self, points: tuple[ParetoPoint, ...]) -> ParetoPoint | None:
        """The measured point at the certified threshold, or the first above it."""
        threshold = self.deployment.certified_threshold
        if threshold is None:
            return None
        above = [point for point in points if point.threshold >= threshold]
        return min(above, key=lambda point: point.threshold, default=None)

    def _report(self, query: Mapping[str, str]) -> Response:
        deployment = moved(self.deployment, query)
        projection = project_deployment(deployment)
        uncertain = quantify(projection, deployment.doubt, seed=self.seed)
        html = money_page(deployment, projection, uncertain).html()
        return Response(200, "text/html; charset=utf-8", html.encode())

    def _simulate(self, query: Mapping[str, str]) -> Response:
        from costmodel.engine.run import simulate

        deployment = moved(self.deployment, query)
        scenario = scenario_of(deployment)
        prices = prices_of(scenario)
        result = simulate(scenario, self.seed)
        bill = month_bill(result, prices)
        feasible = feasible_run(result).model_copy(
            update={
                "assumed": assumed_latency(deployment),
                "agreement_answered": evaluated_agreement(deployment),
                "certified": certifies(deployment.certified, deployment.promise),
            }
        )
        projection = project_deployment(deployment)
        closed = projection.savings
        moves = bill.teacher_only - bill.cascade - closed.mid
        saving = UsdBand(low=closed.low + moves, mid=closed.mid + moves, high=closed.high + moves)
        # "Once it does" it pays for the calls that this run could not make.
        judged = closed if feasible.answers is None else saving
        found = verdict_of(deployment, projection, judged, feasible)
        everyone = result.routes["all"]
        return _json(
            {
                **shown(found),
                "feasibility": feasible.model_dump(mode="json"),
                "saving": saving.model_dump(mode="json"),
                "cascade_usd": float(bill.cascade),
                "cost_ratio": float(bill.cascade / bill.teacher_only),
                "agreement": result.agreement,
                "escalation_rate": result.escalation_rate,
                "p99_s": everyone.p99_s,
                "rows": _rows(result, bill),
                "requests": result.counts["requests"],
                "wall_s": result.wall_s,
            }
        )


def shown(found: Verdict) -> dict[str, Any]:
    """A verdict as the page takes it; `alert` is what nobody may miss."""
    return {
        "verdict": found.sentence,
        **found.flags,
        "tone": found.tone,
        "saved": found.saved,
        "alert": "" if found.works else found.sentence,
    }


def _rows(result: Result, bill: MonthBill) -> list[tuple[str, str]]:
    """What the simulation says beyond the verdict."""
    everyone, student = result.routes["all"], result.routes["student"]
    teacher = result.scenario.teacher
    return [
        ("cascade, per month", usd(bill.cascade)),
        ("teacher only, per month", usd(bill.teacher_only)),
        ("escalated", percent(result.escalation_rate, 2)),
        ("degraded / refused",
         f"{percent(result.degraded_rate, 3)} / {percent(result.refused_rate, 3)}"),
        ("p50 / p99, all answers", f"{ms(everyone.p50_s)} / {ms(everyone.p99_s)}"),
        ("p50 / p99, student", f"{ms(student.p50_s)} / {ms(student.p99_s)}"),
        ("student busy", percent(result.student_utilisation)),
        ("teacher's slots busy", percent(result.teacher_utilisation)),
        ("teacher's mean latency", f"{teacher.latency_s:g} s" if teacher.kind == "api" else "–"),
    ]  # fmt: skip


def scenario_of(deployment: Deployment) -> Scenario:
    """A deployment as the simulator takes it: Poisson traffic at the mean rate, measured student.

    Raises:
        BadScenario: the student is not rented by the hour, or a price is missing.
    """
    counts, usage = deployment.evaluation, deployment.usage
    projection = project_deployment(deployment)
    profile = deployment.profile
    tokens = profile.mean_tokens if profile else 1.0
    per_second = deployment.student.price.requests_per_second or 1.0
    student: dict[str, Any] = {
        "replicas": projection.student.machines or deployment.student.min_machines,
        "price": deployment.student.price.model_dump(exclude_none=True),
    }
    if profile is not None:
        student |= {"fixed_s": profile.fixed_s, "per_token_s": profile.per_token_s}
    else:
        student |= {"fixed_s": 0.0, "per_request_s": 1 / per_second, "per_token_s": 0.0}
    kept = counts.n - counts.escalated
    per_day = deployment.traffic.requests_per_day
    seconds = min(max(SIMULATED_REQUESTS / per_day * DAY_S, 1.0), DAY_S * 30)
    teacher: dict[str, Any] = {
        "kind": "api",
        "prompt_tokens": 0.0,
        "max_concurrency": deployment.teacher.max_concurrency,
        "timeout_s": deployment.teacher.timeout_s,
        "latency_s": deployment.teacher.mean_latency_s,
        "asking": {"hedge": deployment.teacher.hedge},
        "price": deployment.teacher.price.model_dump(exclude_none=True),
        "machines": {
            "min_machines": deployment.teacher.min_machines,
            "peak_to_mean": deployment.fleet.peak_to_mean,
            "max_utilisation": deployment.fleet.max_utilisation,
        },
    }
    if usage is not None and usage.input_tokens:
        teacher["tokens_per_student_token"] = usage.input_tokens / tokens
        teacher["output_tokens"] = {"mean": usage.output_tokens}
    quality = {"kept_disagreement": counts.disagreements / kept if kept else 0.0, "rows": counts.n}
    if deployment.unsure_disagreement is not None:
        quality["unsure_disagreement"] = deployment.unsure_disagreement
    policy: dict[str, Any] = {
        "escalation_rate": counts.escalated / counts.n,
        "audit_rate": deployment.audit_rate,
        "on_failure": deployment.teacher.on_failure,
    }
    terms = deployment.teacher
    for name, limit in (
        ("budget_per_s", terms.max_requests_per_second),
        ("budget_usd_per_hour", terms.max_usd_per_hour),
    ):
        if limit is not None:
            # The router's bucket holds what comes in during a minute; none at all admits nothing.
            policy[name] = max(float(limit), NOTHING)
    return Scenario.model_validate(
        {
            "name": deployment.name,
            "workload": {"per_day": per_day, "tokens": {"mean": tokens, "cv": 0.0}},
            "days": seconds / DAY_S,
            "student": student,
            "quality": quality,
            "policy": policy,
            "teacher": teacher,
            "promise": deployment.promise.model_dump(),
            "limits": deployment.limits.model_dump(),
            "cost_of_refusal": deployment.cost_of_refusal,
            "cost_of_wrong_answer": deployment.cost_of_wrong_answer,
        }
    )


def serve(deployment: Deployment, *, port: int = 8090, seed: int = 0) -> None:
    """Serve the page on loopback until interrupted."""
    import click

    app = WhatIf(deployment, seed)
    server = make_server(app, port)
    # The simulator is compiled on its first use: before the first reader, not for them.
    Thread(target=app.respond, args=("simulate", ""), daemon=True).start()
    click.echo(f"What-if page: http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C ends it)")
    try:
        server.serve_forever()
    finally:
        server.server_close()


def make_server(app: WhatIf, port: int) -> Any:
    """A threading HTTP server on 127.0.0.1; port 0 takes a free one.

    Raises:
        BadProjection: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            named = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            # Another name that leads here is a page elsewhere that wants to read this one.
            if named not in ("127.0.0.1", "localhost"):
                reply = _json({"error": "this page answers to 127.0.0.1 and localhost only"}, 421)
            elif address.path == "/favicon.ico":
                reply = Response(204, "image/x-icon", b"")
            else:
                reply = app.respond(address.path, address.query)
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing on the terminal for each request."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise BadProjection(f"port {port} cannot be used ({error.strerror}); use --port") from None


def _json(value: object, status: int = 200) -> Response:
    return Response(status, "application/json", json.dumps(value, allow_nan=False).encode())
