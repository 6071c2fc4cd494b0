"""Behind a real nginx that forwards offers to upgrade, no client gets another one's answer."""

import asyncio
import json
import shutil
import subprocess

import aiohttp
import pytest
from aiohttp import web

from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 128; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream router {{ server {router}; keepalive 4; }}
  server {{
    listen {bind};
    location / {{
      proxy_pass http://router; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }}
  }}
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
}}
"""
CHAT = {"model": "big", "messages": [{"role": "user", "content": "of the attacker"}]}


@pytest.fixture
def nginx(tmp_path, free_port_of):
    """Start an nginx in front of a router, with connections that are kept; return its address."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("no nginx is installed")
    started = []

    def start(router):
        bind = f"127.0.0.1:{free_port_of()}"
        config = tmp_path / "nginx.conf"
        config.write_text(CONFIG.format(folder=tmp_path, router=router, bind=bind))
        started.append(subprocess.Popen([program, "-p", tmp_path, "-c", config]))
        return bind

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE_S)


def _attack(path):
    """A body that would be a whole request of the attacker's, were it read as one."""
    body = json.dumps(CHAT).encode()
    inner = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: SMUGGLED\r\n"
    inner += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    body = b"\r\n" * 100_000 + inner
    head = b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: foo\r\n" % path.encode()
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("path", ["/v1/classify", "/healthz", "/nowhere", "/v1/chat/completions"])
async def test_the_next_client_of_a_connection_gets_its_own_answer(
    nginx, upstream, folder_of, serve, tmp_path, path
):
    """The attacker's body is a body: nothing of it is asked, and no victim sees its answer."""
    asked = []

    async def teacher(request):
        asked.append((await request.read()).decode())
        return web.json_response({"model": "big", "choices": []})

    at = folder_of({"base_url": await upstream(teacher)})
    router = await asyncio.to_thread(serve, "--ledger", str(tmp_path / "l.sqlite"), at=at)
    bind = nginx(router.url.removeprefix("http://"))
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            try:
                async with session.get(f"http://{bind}/readyz") as response:
                    assert response.status == 200
                break
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
        for turn in range(3):
            reader, writer = await asyncio.open_connection(*bind.split(":"))
            writer.write(_attack(path))
            await asyncio.wait_for(reader.read(100), PATIENCE_S)
            for victim in range(4):  # each of the connections that nginx keeps
                name = f"victim-{turn}-{victim}"
                url = f"http://{bind}/v1/classify"
                headers = {"x-request-id": name}
                async with session.post(url, json={"text": "help"}, headers=headers) as response:
                    assert (response.status, response.headers["x-request-id"]) == (200, name)
                    assert (await response.json())["label"] == "urgent"
            writer.close()
    assert await asyncio.to_thread(router.stop) == 0
    assert not any("of the attacker" in body for body in asked)
