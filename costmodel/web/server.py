"""The what-if page: sliders, the closed form at once, the simulator right after.

`WhatIf.respond(path, query)` is the whole application, so any server can mount it; `serve` is a
small one on loopback. Nothing is stored: the address holds the answer's inputs and can be shared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from costmodel.errors import BadProjection, CostModelError
from costmodel.inputs.deployment import Deployment
from costmodel.inputs.scenario import Scenario
from costmodel.plan.pareto import ParetoPoint, pareto_points
from costmodel.report.tables import ms, percent, usd
from costmodel.uncertainty.draws import quantify
from costmodel.web.sliders import moved, sliders_of
from costmodel.whatif import project_deployment, verdict

SIMULATED_REQUESTS = 400_000
"""Enough for a p99 within a percent or so, few enough for an answer within two seconds."""
DAY_S = 86_400.0


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
        """Answer `/`, `/project`, `/simulate` or `/report`; a bad query is one sentence, 400."""
        pages = {
            "": self._page,
            "project": self._project,
            "simulate": self._simulate,
            "report": self._report,
        }
        page = pages.get(path.strip("/").rpartition("/")[2])
        if page is None:
            return _json({"error": f"there is no page {path!r}"}, 404)
        try:
            return page({name: values[-1] for name, values in parse_qs(query).items()})
        except CostModelError as error:
            return _json({"error": str(error)}, 400)

    def _page(self, query: Mapping[str, str]) -> Response:
        from costmodel.report.page import environment

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
            )
        )
        return Response(200, "text/html; charset=utf-8", text.encode())

    def _project(self, query: Mapping[str, str]) -> Response:
        deployment = moved(self.deployment, query)
        projection = project_deployment(deployment)
        pays, sentence = verdict(deployment, projection)
        points = pareto_points(projection, deployment.risk_coverage)
        certified = self._certified(points)
        return _json(
            {
                "pays": pays,
                "verdict": sentence,
                "projection": projection.model_dump(mode="json"),
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
        from costmodel.report.money import money_page

        deployment = moved(self.deployment, query)
        projection = project_deployment(deployment)
        uncertain = quantify(projection, deployment.doubt, seed=self.seed)
        html = money_page(deployment, projection, uncertain).html()
        return Response(200, "text/html; charset=utf-8", html.encode())

    def _simulate(self, query: Mapping[str, str]) -> Response:
        from costmodel.bill.simulated import month_bill, prices_of
        from costmodel.engine.run import simulate

        scenario = scenario_of(moved(self.deployment, query))
        prices = prices_of(scenario)
        result = simulate(scenario, self.seed)
        bill = month_bill(result, prices)
        everyone, student = result.routes["all"], result.routes["student"]
        rows = [
            ("cascade, per month", usd(bill.cascade)),
            ("teacher only, per month", usd(bill.teacher_only)),
            ("escalated", percent(result.escalation_rate, 2)),
            ("degraded / refused",
             f"{percent(result.degraded_rate, 3)} / {percent(result.refused_rate, 3)}"),
            ("p50 / p99, all answers",
             f"{ms(everyone.p50_s)} / {ms(everyone.p99_s)}"),
            ("p50 / p99, student", f"{ms(student.p50_s)} / {ms(student.p99_s)}"),
            ("student busy", percent(result.student_utilisation)),
            ("teacher's slots busy", percent(result.teacher_utilisation)),
            ("teacher's mean latency, assumed", f"{scenario.teacher.latency_s:g} s"
             if scenario.teacher.kind == "api" else "–"),
        ]  # fmt: skip
        counts = result.counts["requests"]
        return _json({"rows": rows, "requests": counts, "wall_s": result.wall_s})


def scenario_of(deployment: Deployment) -> Scenario:
    """A deployment as the simulator takes it: Poisson traffic at the mean rate, measured student.

    Raises:
        BadScenario: the student is not rented by the hour, or a price is missing.
    """
    counts, usage = deployment.evaluation, deployment.usage
    profile = deployment.profile
    tokens = profile.mean_tokens if profile else 1.0
    per_second = deployment.student.price.requests_per_second or 1.0
    student: dict[str, Any] = {
        "replicas": deployment.student.min_machines,
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
        "latency_s": deployment.teacher.latency_s,
        "price": deployment.teacher.price.model_dump(exclude_none=True),
    }
    if usage is not None and usage.input_tokens:
        teacher["tokens_per_student_token"] = usage.input_tokens / tokens
        teacher["output_tokens"] = {"mean": usage.output_tokens}
    return Scenario.model_validate(
        {
            "name": deployment.name,
            "workload": {"per_day": per_day, "tokens": {"mean": tokens, "cv": 0.0}},
            "days": seconds / DAY_S,
            "student": student,
            "quality": {
                "kept_disagreement": counts.disagreements / kept if kept else 0.0,
                "rows": counts.n,
            },
            "policy": {
                "escalation_rate": counts.escalated / counts.n,
                "audit_rate": deployment.audit_rate,
            },
            "teacher": teacher,
        }
    )


def serve(deployment: Deployment, *, port: int = 8090, seed: int = 0) -> None:
    """Serve the page on loopback until interrupted."""
    from threading import Thread

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
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
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
