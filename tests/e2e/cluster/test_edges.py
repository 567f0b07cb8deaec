"""What lies between a client and its answer on a real cluster: browsers, proxies that look for two requests in one, silence."""
import http.client
import json
import os
import pathlib
import signal
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import DEMO_MODEL, Cluster  # noqa: E402

MODEL = "trireme-demo"
PAGE = {"Origin": "https://chat.example.com"}
KEY = {"Authorization": "Bearer trireme-example-alice"}  # as configs/keys_limits_prices.yaml has it
# A rank may be stopped for a while without being taken for dead.
CONFIG = f"""
model: {{path: '{DEMO_MODEL}', served_name: {MODEL}}}
replicas: {{tp: 2, collective: mpi}}
scheduler: {{rank_dead: 120s, step_deadline: 240s}}
router: {{allowed_origins: ['{PAGE["Origin"]}'], stream_ping: 1s}}
keys:
  - {{name: alice, sha256: 0ea8a3d5bf2eecc55faec687b0318fa8b0cf5e91c854d5e72e231b9db8ac6e5e, rpm: 1000}}
"""


class EdgeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        config = pathlib.Path(cls.folder.name) / "cluster.yaml"
        config.write_text(CONFIG)
        cls.cluster = Cluster(config)
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)
        cls.folder.cleanup()

    def open_stream(self, body, headers):
        connection = http.client.HTTPConnection(self.cluster.host, self.cluster.port, timeout=180)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": MODEL, "stream": True, **body}),
                           {"Content-Type": "application/json", **headers})
        return connection.getresponse()

    # -- browsers -------------------------------------------------------------------------------------------------

    def test_a_page_asks_before_it_posts(self):
        status, headers, _ = self.cluster.request("OPTIONS", "/v1/chat/completions", headers={
            **PAGE, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os"})
        self.assertEqual(status, 204)
        self.assertEqual(headers["access-control-allow-origin"], PAGE["Origin"])
        self.assertIn("POST", headers["access-control-allow-methods"])
        self.assertEqual(headers["access-control-allow-headers"], "authorization,content-type,x-stainless-os")

    def test_a_page_reads_streams_errors_and_limits(self):
        response = self.open_stream({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}, {**PAGE, **KEY})
        self.assertEqual(response.status, 200)
        self.assertEqual(response.getheader("access-control-allow-origin"), PAGE["Origin"])
        self.assertIn("Origin", response.getheader("vary"))
        exposed = response.getheader("access-control-expose-headers").split(", ")
        for name in ("x-request-id", "x-ratelimit-remaining-requests"):
            self.assertIn(name, exposed)
            self.assertIsNotNone(response.getheader(name))
        self.assertIn(b"[DONE]", response.read())
        status, headers, _ = self.cluster.get("/v1/models", headers=PAGE)  # without a key
        self.assertEqual((status, headers["access-control-allow-origin"]), (401, PAGE["Origin"]))

    def test_other_pages_and_the_admin_port_are_closed(self):
        for port, origin in ((None, "https://evil.example"), (self.cluster.admin_port(), PAGE["Origin"])):
            _, headers, _ = self.cluster.get("/liveness", headers={"Origin": origin}, port=port)
            self.assertNotIn("access-control-allow-origin", headers)

    # -- heads ----------------------------------------------------------------------------------------------------

    def test_a_request_that_reads_in_two_ways_is_refused(self):
        for head in ("", "Host: x\r\nHost: x\r\n", "Host: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                     "Host: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n"):
            with self.subTest(head=head), socket.create_connection((self.cluster.host, self.cluster.port), 60) as raw:
                raw.sendall(f"POST /v1/completions HTTP/1.1\r\n{head}\r\n".encode())
                text = b""
                while piece := raw.recv(4096):
                    text += piece
                self.assertTrue(text.startswith(b"HTTP/1.1 400 "), text)
                error = json.loads(text[text.index(b"\r\n\r\n") + 4:])["error"]
                self.assertEqual(error["type"], "invalid_request_error")

    # -- silence --------------------------------------------------------------------------------------------------

    def test_a_silent_stream_is_kept_alive(self):
        body = {"messages": [{"role": "user", "content": "What is a token?"}], "temperature": 0, "max_tokens": 20}
        whole = self.open_stream(body, KEY).read()
        worker = self.cluster.pids("worker")[0]
        os.kill(worker, signal.SIGSTOP)
        try:
            response = self.open_stream(body, KEY)  # returns with the first comment: nothing else can come
            self.assertEqual(response.readline(), b": ping\n")
        finally:
            os.kill(worker, signal.SIGCONT)
        pieces = [b"".join(choice["delta"].get("content", "").encode() for line in text.splitlines()
                           if line.startswith(b"data: {") for choice in json.loads(line[6:])["choices"])
                  for text in (whole, response.read())]
        self.assertTrue(pieces[0])
        self.assertEqual(pieces[0], pieces[1])

    def test_a_stream_of_hidden_tokens(self):
        _, _, end = self.cluster.post("/tokenize", {"prompt": "<|reserved_0|>", "parse_special_tokens": True,
                                                    "add_special_tokens": False}, headers=KEY)
        hidden = end["tokens"][-1]
        text = self.open_stream({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "ignore_eos": True,
                                 "allowed_token_ids": [hidden]}, KEY).read()
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith(b"data: {")]
        self.assertEqual(events[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "length")
        self.assertEqual([e for e in events[1:-1] if e["choices"][0]["delta"]], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
