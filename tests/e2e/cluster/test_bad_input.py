"""Bad input to a real cluster gets the right status and one clear sentence; the cluster goes on serving."""
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import BIN, DEMO_MODEL, ROOT, Cluster  # noqa: E402

MODEL = "trireme-demo"


class BadRequestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(None, "--replicas", 1)
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def refuse(self, status, body, path="/v1/completions"):
        got, headers, reply = self.cluster.post(path, body)
        self.assertEqual(got, status, f"{str(body)[:200]} -> {reply}")
        self.assertIsInstance(reply, dict, reply)
        error = reply["error"]
        self.assertTrue(error["message"] and error["type"], reply)
        self.assertNotIn(str(ROOT), error["message"])
        return error

    def completion(self, **fields):
        return {"model": MODEL, "prompt": "hello", "max_tokens": 2, **fields}

    def test_sampling_values(self):
        for fields in ({"temperature": -1}, {"temperature": "hot"}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -5},
                       {"min_p": -0.1}, {"min_p": 2}, {"presence_penalty": 9}, {"frequency_penalty": -9},
                       {"repetition_penalty": 0}, {"n": 0}, {"n": 10**9}, {"max_tokens": -1}, {"max_tokens": 10**12},
                       {"logprobs": -2}, {"logprobs": 10**6}, {"stop": ["x" * 1_000_000]}, {"stop": ["a"] * 100},
                       {"logit_bias": {"99999999": 1}}, {"logit_bias": {"x": 1}}, {"seed": "seven"},
                       {"prompt": [1, 2, 10**7]}, {"prompt": [-1]}, {"prompt": []}, {"prompt": {"a": 1}},
                       {"suffix": "end"}, {"stream": "yes"}):
            with self.subTest(fields=str(fields)[:60]):
                self.refuse(400, self.completion(**fields))

    def test_context_is_exact(self):
        context = json.loads((DEMO_MODEL / "config.json").read_text())["max_position_embeddings"]
        error = self.refuse(400, self.completion(prompt=[5] * (context + 1), max_tokens=1))
        self.assertEqual(error["code"], "context_length_exceeded")
        self.refuse(400, self.completion(prompt=[5] * context, max_tokens=1))
        status, _, reply = self.cluster.post("/v1/completions", self.completion(prompt=[5] * (context - 1), max_tokens=1))
        self.assertEqual(status, 200, reply)

    def test_unknown_model_and_route(self):
        error = self.refuse(404, {"model": "gpt-9", "prompt": "x"})
        self.assertEqual(error["code"], "model_not_found")
        self.assertEqual(self.cluster.get("/v1/nothing")[0], 404)
        self.assertEqual(self.cluster.request("DELETE", "/v1/models")[0], 405)

    def test_broken_bodies(self):
        deep = b'{"model":"trireme-demo","prompt":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
        for body in (b"", b"{", b"[]", b"nul", deep, b'{"model":"trireme-demo","prompt":"a","temperature":1e400}',
                     b'{"model":"trireme-demo","prompt":"\xff\xfe"}', b'{"model":"trireme-demo","prompt":NaN}'):
            with self.subTest(body=body[:40]):
                self.refuse(400, body)

    def test_huge_body(self):
        with socket.create_connection((self.cluster.host, self.cluster.port), timeout=60) as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                               b"Content-Length: 104857600\r\n\r\n")
            self.assertIn(b" 413 ", connection.recv(4096).split(b"\r\n")[0])

    def test_slow_and_silent_clients_do_no_harm(self):
        slow = [socket.create_connection((self.cluster.host, self.cluster.port)) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"POST /v1/comp")
        greedy = socket.create_connection((self.cluster.host, self.cluster.port))
        body = json.dumps(self.completion(max_tokens=800, stream=True, ignore_eos=True)).encode()
        greedy.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
                       + str(len(body)).encode() + b"\r\n\r\n" + body)
        started = time.monotonic()
        status, _, _ = self.cluster.post("/v1/completions", self.completion())
        self.assertEqual(status, 200)
        self.assertLess(time.monotonic() - started, 60)
        for connection in slow:
            connection.sendall(b"l")
            connection.close()
        greedy.close()

    def test_garbage_on_the_socket(self):
        for garbage in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000, b"\r\n\r\n\r\n"):
            with socket.create_connection((self.cluster.host, self.cluster.port), timeout=60) as connection:
                try:
                    connection.sendall(garbage)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(4096)
                except OSError:
                    pass
        self.assertEqual(self.cluster.get("/health")[0], 200)


def run_serve(*arguments, timeout_s=300):
    with tempfile.TemporaryDirectory() as state:
        done = subprocess.run([BIN / "trireme", "serve", *map(str, arguments), "--state-dir", state], text=True,
                              capture_output=True, timeout=timeout_s, check=False)
    return done.returncode, done.stderr


def rewrite_header(change):
    """A change of a model folder: `change` edits the parsed header of its safetensors file."""
    def rewrite(folder):
        file = folder / "model.safetensors"
        data = file.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        change(header)
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
    return rewrite


class BadStartTest(unittest.TestCase):
    def refuse(self, code, words, *arguments):
        got, err = run_serve(*arguments, "--port", 0, "--admin-port", 0, "--wire-port", 0, "--replica-metrics-port", 0)
        self.assertEqual(got, code, err)
        self.assertEqual(err.count("error"), 1, err)  # one sentence, said once
        for word in words:
            self.assertIn(word, err)

    def refuse_once(self, words, change):
        """What is wrong with a checkpoint stays wrong: told once, never tried again."""
        got, err = run_serve(self.broken_model(change), "--port", 0, "--admin-port", 0, "--wire-port", 0, "--replica-metrics-port", 0)
        self.assertEqual(got, 1, err)
        for word in words:
            self.assertIn(word, err)
        self.assertNotIn("starting it again", err)

    def broken_model(self, change):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        target = pathlib.Path(folder) / "model"
        shutil.copytree(DEMO_MODEL, target)
        change(target)
        return target

    def test_arguments(self):
        self.assertEqual(run_serve("--no-such-flag")[0], 2)
        self.refuse(1, ["there is no"], "/nowhere")
        self.refuse(1, ["tp"], DEMO_MODEL, "--tp", 7)
        self.refuse(1, ["pp"], DEMO_MODEL, "--pp", 100)

    @unittest.skipIf(pathlib.Path("/dev/nvidiactl").exists(), "this machine has GPUs")
    def test_no_gpu(self):
        got, err = run_serve(DEMO_MODEL, "--backend", "cuda")
        self.assertEqual(got, 1, err)
        self.assertRegex(err, "^error: this (machine has no NVIDIA driver|build has no CUDA backend)")
        self.refuse(1, ["collective", "cuda"], DEMO_MODEL, "--collective", "nccl")
        self.refuse(1, ["collective", "nccl"], DEMO_MODEL, "--backend", "cuda", "--collective", "mpi")

    def test_config_typo(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(f"model:\n  path: {DEMO_MODEL}\nreplicaz:\n  count: 1\n")
            file.flush()
            self.refuse(1, ["line 3", "replicaz", "replicas"], file.name)

    def test_truncated_checkpoint(self):
        def cut(folder):
            file = folder / "model.safetensors"
            data = file.read_bytes()
            file.write_bytes(data[:len(data) // 2])
        self.refuse_once(["model.safetensors", "the file holds"], cut)

    def test_lying_checkpoint(self):
        def transpose(header):
            header["model.embed_tokens.weight"]["shape"].reverse()

        def double(header):
            header["model.norm.weight"]["shape"][0] *= 2
        self.refuse_once(["model.embed_tokens.weight", "config.json makes it"], rewrite_header(transpose))
        self.refuse_once(["model.norm.weight", "bytes of data"], rewrite_header(double))

    def test_a_surplus_tensor(self):
        """What only the whole checkpoint shows is still said once, before a rank starts."""
        def add(folder):
            file = folder / "model.safetensors"
            data = file.read_bytes()
            n = int.from_bytes(data[:8], "little")
            header = json.loads(data[8:8 + n])
            size = len(data) - 8 - n
            header["model.layers.0.rotten.weight"] = {"dtype": "BF16", "shape": [2], "data_offsets": [size, size + 4]}
            text = json.dumps(header).encode()
            file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + n:] + b"\0" * 4)
        self.refuse(1, ["model.layers.0.rotten.weight"], self.broken_model(add))

    def test_missing_checkpoint(self):
        self.refuse_once(["safetensors"], lambda folder: (folder / "model.safetensors").unlink())

    def test_absurd_config(self):
        def absurd(folder):
            file = folder / "config.json"
            config = json.loads(file.read_text())
            config["num_hidden_layers"] = 2**40
            file.write_text(json.dumps(config))
        self.refuse(1, ["num_hidden_layers"], self.broken_model(absurd))

    def test_taken_port(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            code, err = run_serve(DEMO_MODEL, "--port", taken.getsockname()[1], "--admin-port", 0, "--wire-port", 0, "--replica-metrics-port", 0)
            self.assertEqual(code, 1, err)
            self.assertIn(str(taken.getsockname()[1]), err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
