"""Locust as it is usually written, a closed loop: it hides a stall. Shown beside the open loop.

Ten users, each at most 20 requests per second, so 200 in all as long as the server keeps up:

    python -m loadtests.servers.freezing --port 8091 &
    locust -f examples/loadtests/closed_loop.py --headless -u 10 -r 10 -t 30s \
        --host http://127.0.0.1:8091
    raisehand loadtest --url http://127.0.0.1:8091 --inputs data.csv --rate 200 --duration 30
"""

from locust import FastHttpUser, constant_throughput, task


class ClosedLoopUser(FastHttpUser):
    """Sends the next request only when the last one was answered."""

    wait_time = constant_throughput(20)

    @task
    def ask(self) -> None:
        """Ask and wait."""
        self.client.post("/v1/classify", json={"text": "is anybody there?"})
