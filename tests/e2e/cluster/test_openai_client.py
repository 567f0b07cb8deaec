"""The `openai` package against a real cluster: sync, async, streaming, log-probabilities, n, stop, errors.

Runs in a venv with tests/e2e/requirements.txt; skipped, with its reason, where the package index is not reached.
"""
import asyncio
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import Cluster  # noqa: E402

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


if __name__ == "__main__":
    unittest.main(verbosity=2)
