"""The `openai` package against a real cluster: sync, async, streaming, log-probabilities, n, stop, errors.

Runs in a venv with tests/e2e/requirements.txt; skipped, with its reason, where the package index is not reached.
"""
import asyncio
import os
import pathlib
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import DEMO_MODEL, Cluster  # noqa: E402
from test_golden import MODELS, log_softmax, read_safetensors  # noqa: E402

try:
    import openai
except ImportError:
    openai = None

MODEL = "trireme-demo"
# A proxy of this machine is not asked for what listens on loopback.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


@unittest.skipIf(openai is None, "the openai package is not installed (tests/e2e/requirements.txt)")
class OpenAiClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(None, "--tp", 2, "--replicas", 2)
        cls.cluster.__enter__()
        cls.client = openai.OpenAI(base_url=cls.cluster.url + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.cluster.__exit__(None, None, None)

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL])

    def test_chat(self):
        reply = self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "What is Trireme?"}], temperature=0, max_completion_tokens=60)
        self.assertIn(reply.choices[0].finish_reason, ("stop", "length"))
        self.assertGreater(len(reply.choices[0].message.content), 5)
        self.assertEqual(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens)

    def test_stream(self):
        arguments = dict(model=MODEL, messages=[{"role": "user", "content": "What is a token?"}], temperature=0,
                         max_completion_tokens=40)
        whole = self.client.chat.completions.create(**arguments).choices[0].message.content
        chunks = list(self.client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        self.assertEqual(text, whole)
        self.assertIsNotNone(chunks[-1].usage)

    def test_logprobs_n_and_stop(self):
        reply = self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "List three colours."}], n=2, seed=5, logprobs=True,
            top_logprobs=3, max_completion_tokens=12, temperature=1.0)
        self.assertEqual(len(reply.choices), 2)
        for choice in reply.choices:
            for entry in choice.logprobs.content:
                self.assertLessEqual(entry.logprob, 0)
                self.assertEqual(len(entry.top_logprobs), 3)
        reply = self.client.completions.create(model=MODEL, prompt="a b c", max_tokens=30, temperature=0, stop=["e"])
        self.assertNotIn("e", reply.choices[0].text)

    def test_errors(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "x"}])
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(model=MODEL, messages=[], max_completion_tokens=1)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.completions.create(model=MODEL, prompt="x " * 50_000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")

    def test_async(self):
        async def ask(client, i):
            stream = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": f"What is {i} + 1?"}], stream=True, max_completion_tokens=16)
            return [chunk async for chunk in stream]

        async def run():
            async with openai.AsyncOpenAI(base_url=self.cluster.url + "/v1", api_key="none") as client:
                return await asyncio.gather(*(ask(client, i) for i in range(16)))
        for chunks in asyncio.run(run()):
            self.assertTrue(any(choice.finish_reason for chunk in chunks for choice in chunk.choices))


@unittest.skipIf(openai is None, "the openai package is not installed (tests/e2e/requirements.txt)")
class SilentStreamTest(unittest.TestCase):
    def test_comments_are_no_chunks(self):
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "cluster.yaml"
            config.write_text(f"model: {{path: '{DEMO_MODEL}', served_name: {MODEL}}}\nreplicas: {{tp: 2, collective: mpi}}\n"
                              "scheduler: {rank_dead: 120s, step_deadline: 240s}\nrouter: {stream_ping: 1s}\n")
            with Cluster(config) as cluster, openai.OpenAI(base_url=cluster.url + "/v1", api_key="none", max_retries=0) as client:
                arguments = dict(model=MODEL, messages=[{"role": "user", "content": "What is a token?"}], temperature=0,
                                 max_completion_tokens=40)
                whole = client.chat.completions.create(**arguments).choices[0].message.content
                worker = cluster.pids("worker")[0]
                os.kill(worker, signal.SIGSTOP)
                try:
                    # Returns with the head, and that with the first comment: nothing else can come.
                    stream = client.chat.completions.create(**arguments, stream=True)
                finally:
                    os.kill(worker, signal.SIGCONT)
                chunks = list(stream)
        self.assertEqual("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices), whole)
        self.assertTrue(all(chunk.choices for chunk in chunks))


@unittest.skipIf(openai is None, "the openai package is not installed (tests/e2e/requirements.txt)")
class HarnessScoringTest(unittest.TestCase):
    """What lm-eval's local-completions sends for a log-likelihood, and what it makes of the reply: batches of context and
    continuation as ids, `echo`, `logprobs: 1`, one token more than is asked about. The sums and the greedy flags are the golden's.
    (The package itself brings a hundred others along and wants a tokenizer that the golden folders have not.)"""

    def score(self, client, requests):
        """[(log-likelihood, whether greedy decoding says the same)] of [(context ids, continuation ids)]."""
        reply = client.completions.create(
            model="golden", prompt=[context + continuation for context, continuation in requests], temperature=0, max_tokens=1,
            logprobs=1, seed=1234, echo=True, extra_body={"return_tokens_as_token_ids": True})
        scores = []
        for choice, (context, _) in zip(sorted(reply.choices, key=lambda c: c.index), requests):
            logprobs = choice.logprobs
            told = slice(len(context), -1)
            greedy = all(token == max(top, key=top.get)
                         for token, top in zip(logprobs.tokens[told], logprobs.top_logprobs[told]))
            scores.append((sum(logprobs.token_logprobs[told]), greedy))
        return scores

    def test_loglikelihood_is_the_goldens(self):
        golden = read_safetensors(MODELS / "llama3" / "golden.safetensors")
        requests, expected = [], []
        for name, (shape, logits) in golden.items():
            if not name.endswith(".logits"):
                continue
            ids = list(golden[name.replace(".logits", ".ids")][1])
            if shape[0] < len(ids):
                continue
            rows = [list(logits[i * shape[1]:(i + 1) * shape[1]]) for i in range(shape[0])]
            # The prompt's own end, and what greedy decoding says in its place.
            for cut in sorted({1, len(ids) // 2, len(ids) - 1} - {0}):
                best = max(range(shape[1]), key=rows[cut - 1].__getitem__)
                for continuation in (ids[cut:], [best]):
                    want = sum(log_softmax(rows[cut - 1 + i])[token] for i, token in enumerate(continuation))
                    greedy = all(token == max(range(shape[1]), key=rows[cut - 1 + i].__getitem__)
                                 for i, token in enumerate(continuation))
                    requests.append((ids[:cut], continuation))
                    expected.append((want, greedy))
        self.assertGreater(len(requests), 5)
        with Cluster(MODELS / "llama3", "--compute-dtype", "float32", "--served-model-name", "golden", "--tp", 2) as cluster:
            client = openai.OpenAI(base_url=cluster.url + "/v1", api_key="none", max_retries=0)
            scores = self.score(client, requests)
            client.close()
        for (got, got_greedy), (want, want_greedy), (context, continuation) in zip(scores, expected, requests):
            self.assertAlmostEqual(got, want, delta=2e-3 * max(1, len(continuation)), msg=f"{context} + {continuation}")
            self.assertEqual(got_greedy, want_greedy, f"{context} + {continuation}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
