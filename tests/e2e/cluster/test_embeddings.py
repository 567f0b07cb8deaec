"""Embeddings of a real sharded encoder: the golden's vectors, as floats and as base64, and what is refused."""
import array
import base64
import json
import pathlib
import struct
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import ROOT, Cluster  # noqa: E402

BERT = ROOT / "tests" / "golden" / "models" / "bert"


def golden_tensors():
    """{name: flat values} of the F32 and I32 tensors."""
    data = (BERT / "golden.safetensors").read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    out = {}
    for name, entry in json.loads(data[8:8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = array.array({"F32": "f", "I32": "i"}[entry["dtype"]])
        values.frombytes(data[8 + n + begin:8 + n + end])
        out[name] = values
    return out


class EmbeddingsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.golden = golden_tensors()
        cls.texts = [list(cls.golden[f"p{i}.ids"]) for i in range(5)]
        cls.cluster = Cluster(BERT, "--tp", 2, "--pp", 2, "--compute-dtype", "float32", "--served-model-name", "bert")
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def post(self, body, path="/v1/embeddings"):
        status, _, reply = self.cluster.post(path, {"model": "bert", **body})
        return status, reply

    def test_vectors_are_the_goldens(self):
        status, reply = self.post({"input": self.texts})
        self.assertEqual(status, 200, reply)
        self.assertEqual(reply["object"], "list")
        self.assertEqual(reply["model"], "bert")
        self.assertEqual([entry["index"] for entry in reply["data"]], list(range(5)))
        for i, entry in enumerate(reply["data"]):
            want = self.golden[f"p{i}.embedding"]
            self.assertEqual(len(entry["embedding"]), len(want))
            for got, expected in zip(entry["embedding"], want):
                self.assertAlmostEqual(got, expected, delta=1e-5)
        n_tokens = sum(map(len, self.texts))
        self.assertEqual(reply["usage"]["prompt_tokens"], n_tokens)
        self.assertEqual(reply["usage"]["total_tokens"], n_tokens)
        self.assertGreater(reply["usage"]["cost"]["nano_usd"], 0)

    def test_alone_again_and_in_base64_it_is_the_same_vector(self):
        _, together = self.post({"input": self.texts})
        for i, text in enumerate(self.texts):
            for _ in range(2):
                status, reply = self.post({"input": text, "encoding_format": "base64"})
                self.assertEqual(status, 200, reply)
                numbers = array.array("f", base64.b64decode(reply["data"][0]["embedding"]))
                self.assertEqual(array.array("f", together["data"][i]["embedding"]), numbers)

    def test_what_an_encoder_does_not_do(self):
        for path, body in (("/v1/completions", {"prompt": [5, 6], "max_tokens": 3}),
                           ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})):
            status, reply = self.post(body, path)
            self.assertEqual(status, 400, reply)
            self.assertIn("/v1/embeddings", reply["error"]["message"])

    def test_bad_input(self):
        cases = [
            ({}, "input", "missing"),
            ({"input": []}, "input", "must be"),
            ({"input": [[5, 6], []]}, "input", "empty"),
            ({"input": [5, 512]}, "input", "between 0 and 511"),
            ({"input": [5, "a"]}, "input", ""),
            ({"input": "a text"}, "input", "tokenizer"),
            ({"input": [5] * 257}, "input", "257"),
            ({"input": [[5]] * 2049}, "input", "2048"),
            ({"input": [5], "encoding_format": "hex"}, "encoding_format", "base64"),
            ({"input": [5], "dimensions": 8}, "dimensions", "one width"),
        ]
        for body, param, words in cases:
            status, reply = self.post(body)
            self.assertEqual(status, 400, (body, reply))
            self.assertIn(words, reply["error"]["message"])
            self.assertEqual(reply["error"]["param"], param, (body, reply))
        self.assertEqual(self.post({"input": [5]})[0], 200)


class DecoderTest(unittest.TestCase):
    def test_a_decoder_makes_no_embeddings(self):
        with Cluster(None, "--tp", 1, "--replicas", 1) as cluster:
            status, _, reply = cluster.post("/v1/embeddings", {"model": "trireme-demo", "input": "a text"})
            self.assertEqual(status, 400, reply)
            self.assertIn("no embeddings", reply["error"]["message"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
