"""Python's HTTP clients as they are by default; prints one status a line."""
# ruff: noqa: T201

import http.client
import json
import sys
import urllib.request
from urllib.parse import urlsplit

import httpx2
import openai
import requests

url = sys.argv[1]
base = url.removesuffix("/classify")
body = json.dumps({"text": "help"}).encode()
chat = [
    {"role": "system", "content": "Say it."},
    {"role": "user", "content": "Message: help\nUrgent?"},
]
session, pool = requests.Session(), httpx2.Client()
plain = http.client.HTTPConnection(urlsplit(url).netloc)
client = openai.OpenAI(base_url=base, api_key="none", max_retries=0)
for _ in range(3):
    print(session.post(url, json={"text": "help"}).status_code)
    print(session.post(url, data=iter([body[:5], body[5:]])).status_code)
    print(pool.post(url, json={"text": "help"}).status_code)
    with urllib.request.urlopen(urllib.request.Request(url, data=body)) as response:
        print(response.status)
    plain.request("POST", "/v1/classify", body)
    answer = plain.getresponse()
    answer.read()
    print(answer.status)
    said = client.chat.completions.create(model="big", messages=chat)
    print(200 if said.choices[0].message.content == "YES" else said)
