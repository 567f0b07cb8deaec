"""The golden models through a real sharded cluster over MPI: greedy ids, and the requests that evaluation harnesses score with.

The folders hold no tokenizer, so prompts are token ids. `echo` + `logprobs` gives the log-likelihood of every prompt token,
which must be what the golden's logits say.
"""
import array
import json
import math
import os
import pathlib
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import ROOT, Cluster  # noqa: E402

MODELS = ROOT / "tests" / "golden" / "models"
GGUF = ROOT / "tests" / "golden" / "formats" / "gguf"
ALL = os.environ.get("TRIREME_TEST_ALL") == "1"


def read_safetensors(path):
    """{name: (shape, flat values)} of F32 and I32 tensors."""
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    out = {}
    for name, entry in json.loads(data[8:8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = array.array({"F32": "f", "I32": "i"}[entry["dtype"]])
        values.frombytes(data[8 + n + begin:8 + n + end])
        out[name] = (entry["shape"], values)
    return out


def log_softmax(row):
    top = max(row)
    total = math.log(sum(math.exp(x - top) for x in row)) + top
    return [x - total for x in row]


class GoldenClusterTest(unittest.TestCase):
    def check(self, model, *arguments, models=MODELS, config=None):
        golden = read_safetensors(models / model / "golden.safetensors")
        with Cluster(config or models / model, "--compute-dtype", "float32", "--served-model-name", "golden", *arguments) as cluster:
            for i in range(5):
                ids = list(golden[f"p{i}.ids"][1])
                greedy = list(golden[f"p{i}.greedy"][1])
                _, _, reply = cluster.post("/v1/completions", {
                    "model": "golden", "prompt": ids, "max_tokens": len(greedy), "temperature": 0, "return_token_ids": True,
                    "logprobs": 5, "return_tokens_as_token_ids": True})
                choice = reply["choices"][0]
                self.assertEqual(choice["token_ids"], greedy, f"{model} prompt {i}")
                for got, want in zip(choice["logprobs"]["token_logprobs"], golden[f"p{i}.greedy_logprob"][1]):
                    self.assertAlmostEqual(got, want, delta=1e-3)
            self.check_echo(cluster, golden)

    def check_echo(self, cluster, golden):
        shape, logits = golden["p2.logits"]
        ids = list(golden["p2.ids"][1])
        _, _, reply = cluster.post("/v1/completions", {
            "model": "golden", "prompt": ids, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1,
            "return_tokens_as_token_ids": True})
        logprobs = reply["choices"][0]["logprobs"]
        self.assertEqual(logprobs["tokens"][:len(ids)], [f"token_id:{t}" for t in ids])
        self.assertIsNone(logprobs["token_logprobs"][0])
        for position in range(1, len(ids)):
            row = logits[(position - 1) * shape[1]:position * shape[1]]
            want = log_softmax(row)[ids[position]]
            self.assertAlmostEqual(logprobs["token_logprobs"][position], want, delta=2e-3)

    def test_llama3_tp2_pp2(self):
        self.check("llama3", "--tp", 2, "--pp", 2)

    def test_a_step_sent_ahead(self):
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "ahead.yaml"
            config.write_text(f"model: {{path: '{MODELS / 'llama3'}'}}\nreplicas: {{tp: 2}}\nscheduler: {{run_ahead: 'on'}}\n")
            self.check("llama3", config=config)

    def test_a_folder_with_a_gguf_file(self):
        self.check("llama_q2_k", models=GGUF)

    def test_bundled_model(self):
        """The bundled model's answers are those of another implementation: template, tokenizer, forward pass, decoding."""
        lines = (ROOT / "tools" / "demo_model" / "golden.jsonl").read_text().splitlines()
        with Cluster(None, "--compute-dtype", "float32", "--tp", 2) as cluster:
            for line in lines:
                golden = json.loads(line)
                _, _, reply = cluster.post("/v1/chat/completions", {
                    "model": "trireme-demo", "messages": golden["messages"], "temperature": 0, "return_token_ids": True,
                    "max_completion_tokens": len(golden["greedy_ids"])})
                self.assertEqual(reply["usage"]["prompt_tokens"], len(golden["prompt_ids"]), golden["messages"])
                self.assertEqual(reply["choices"][0]["message"]["content"], golden["text"], golden["messages"])

    def test_text_for_a_model_without_tokenizer(self):
        with Cluster(MODELS / "llama", "--served-model-name", "golden") as cluster:
            status, _, reply = cluster.post("/v1/completions", {"model": "golden", "prompt": "text", "max_tokens": 1})
            self.assertEqual(status, 400, reply)
            self.assertIn("tokenizer", reply["error"]["message"])

    @unittest.skipUnless(ALL, "the whole matrix runs with TRIREME_TEST_ALL=1")
    def test_matrix(self):
        for model in ("llama", "llama_f32", "llama_f16", "llama3"):
            for tp, pp in ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 2)):
                for collective in ("mpi", "inproc"):
                    with self.subTest(model=model, tp=tp, pp=pp, collective=collective):
                        self.check(model, "--tp", tp, "--pp", pp, "--collective", collective)


if __name__ == "__main__":
    unittest.main(verbosity=2)
