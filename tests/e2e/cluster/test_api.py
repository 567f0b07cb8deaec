"""The OpenAI API of a real cluster, asked over plain HTTP: streams, choices, log-probabilities, usage, money."""
import pathlib
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import Cluster  # noqa: E402

MODEL = "trireme-demo"


def chat(text, **fields):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0,
            "max_completion_tokens": 48, **fields}


class ApiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(None, "--tp", 2, "--pp", 2, "--replicas", 2)
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def test_models_and_health(self):
        status, _, models = self.cluster.get("/v1/models")
        self.assertEqual(status, 200)
        self.assertEqual([model["id"] for model in models["data"]], [MODEL])
        for path in ("/health", "/readiness", "/liveness", "/version"):
            self.assertEqual(self.cluster.get(path)[0], 200, path)

    def test_chat_stream_equals_whole(self):
        body = chat("What is Trireme?", stream_options={"include_usage": True})
        _, _, whole = self.cluster.post("/v1/chat/completions", chat("What is Trireme?"))
        events = self.cluster.stream("/v1/chat/completions", body)
        self.assertEqual(events[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        text = "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])
        self.assertEqual(text, whole["choices"][0]["message"]["content"])
        self.assertGreater(len(text), 5)
        finishes = [choice["finish_reason"] for event in events for choice in event["choices"]
                    if choice["finish_reason"]]
        self.assertEqual(finishes, [whole["choices"][0]["finish_reason"]])
        self.assertEqual(events[-1]["choices"], [])
        usage = events[-1]["usage"]
        self.assertEqual(usage["prompt_tokens"], whole["usage"]["prompt_tokens"])
        self.assertEqual(usage["completion_tokens"], whole["usage"]["completion_tokens"])
        for event in events[1:-1]:
            self.assertTrue(event["choices"][0]["delta"] or event["choices"][0]["finish_reason"], "an empty delta")

    def test_usage_has_cost_and_cache(self):
        prompt = "Tell me what a KV cache is. " * 8
        body = {"model": MODEL, "prompt": prompt, "max_tokens": 4, "temperature": 0}
        self.cluster.post("/v1/completions", body)
        # A second time on the replica that has it: the balancer prefers a matching prefix.
        _, _, reply = self.cluster.post("/v1/completions", body)
        usage = reply["usage"]
        self.assertGreater(usage["cost"]["usd"], 0)
        self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])

    def test_seed_n_and_logprobs(self):
        body = {"model": MODEL, "prompt": "A list of colours:", "max_tokens": 8, "temperature": 1, "seed": 7, "n": 3,
                "logprobs": 2, "return_token_ids": True}
        _, _, first = self.cluster.post("/v1/completions", body)
        _, _, second = self.cluster.post("/v1/completions", body)
        self.assertEqual([c["text"] for c in first["choices"]], [c["text"] for c in second["choices"]])
        self.assertEqual(sorted(c["index"] for c in first["choices"]), [0, 1, 2])
        self.assertGreater(len({c["text"] for c in first["choices"]}), 1)
        for choice in first["choices"]:
            logprobs = choice["logprobs"]
            n = len(choice["token_ids"])
            self.assertEqual(len(logprobs["tokens"]), n)
            self.assertEqual(len(logprobs["token_logprobs"]), n)
            self.assertTrue(all(value <= 0 for value in logprobs["token_logprobs"]))
            self.assertTrue(all(2 <= len(top) <= 3 for top in logprobs["top_logprobs"]))

    def test_echo_logprobs_scores_a_prompt(self):
        body = {"model": MODEL, "prompt": "The router balances requests.", "max_tokens": 0, "echo": True, "logprobs": 1}
        _, _, reply = self.cluster.post("/v1/completions", body)
        logprobs = reply["choices"][0]["logprobs"]
        self.assertIsNone(logprobs["token_logprobs"][0])
        self.assertEqual(reply["choices"][0]["text"], body["prompt"])
        self.assertTrue(all(value <= 0 for value in logprobs["token_logprobs"][1:]))

    def test_stop_string_across_tokens(self):
        _, _, free = self.cluster.post("/v1/completions", {"model": MODEL, "prompt": "Count to ten:", "max_tokens": 40,
                                                           "temperature": 0, "ignore_eos": True})
        text = free["choices"][0]["text"]
        stop = text[7:12]
        _, _, cut = self.cluster.post("/v1/completions", {"model": MODEL, "prompt": "Count to ten:", "max_tokens": 40,
                                                          "temperature": 0, "ignore_eos": True, "stop": [stop]})
        self.assertEqual(cut["choices"][0]["text"], text[:text.index(stop)])
        self.assertEqual(cut["choices"][0]["finish_reason"], "stop")
        self.assertEqual(cut["choices"][0]["stop_reason"], stop)

    def test_same_tokens_alone_and_in_a_crowd(self):
        body = {"model": MODEL, "prompt": "What is prefill?", "max_tokens": 32, "temperature": 0.7, "seed": 3,
                "ignore_eos": True, "return_token_ids": True}
        _, _, alone = self.cluster.post("/v1/completions", body)
        results = [None] * 32

        def run(i):
            other = dict(body, prompt=f"{i} " + "words and words " * i) if i % 4 else body
            results[i] = self.cluster.post("/v1/completions", other)[2]
        threads = [threading.Thread(target=run, args=(i,)) for i in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(0, 32, 4):
            self.assertEqual(results[i]["choices"][0]["token_ids"], alone["choices"][0]["token_ids"])

    def test_tokenize_round_trip(self):
        for text in ("hello world", "Grüße, 世界! 🙂", "  spaces\n\ttabs "):
            _, _, tokens = self.cluster.post("/tokenize", {"model": MODEL, "prompt": text, "add_special_tokens": False})
            _, _, back = self.cluster.post("/detokenize", {"model": MODEL, "tokens": tokens["tokens"]})
            self.assertEqual(back["prompt"], text)

    def test_hang_up_cancels(self):
        seen = []
        self.cluster.stream("/v1/completions", {"model": MODEL, "prompt": "Go on:", "max_tokens": 900, "ignore_eos": True},
                            on_event=lambda event: seen.append(event) or len(seen) >= 3)

        def idle():
            replicas = self.cluster.get("/health")[2]["replicas"]
            return replicas["running"] == 0 and replicas["waiting"] == 0
        self.cluster.wait_until(idle, "the request is cancelled")
        cancelled = f'trireme_requests_total{{model="{MODEL}",outcome="cancelled"}}'
        self.cluster.wait_until(lambda: self.cluster.metrics().get(cancelled, 0) >= 1, "it is counted as cancelled")

    def test_money_adds_up(self):
        for _ in range(5):
            self.cluster.post("/v1/chat/completions", chat("What is a ledger?"))
        def reported():  # ledgers come once a second
            replicas = self.cluster.get("/v1/pricing")[2]["replicas"]
            return len(replicas) == 2 and all(replica["ledger_nano_usd"]["total"] > 0 for replica in replicas)
        self.cluster.wait_until(reported, "both replicas have sent their ledger")
        for replica in self.cluster.get("/v1/pricing")[2]["replicas"]:
            parts = dict(replica["ledger_nano_usd"])
            total = parts.pop("total")
            self.assertEqual(total, sum(parts.values()))
            self.assertGreater(total, 0)
        self.assertEqual(self.cluster.get("/v1/usage")[0], 200)

    def test_metrics(self):
        self.cluster.post("/v1/chat/completions", chat("Hello!"))
        metrics = self.cluster.metrics()
        self.assertTrue(any(name.startswith("trireme_router_requests_total") for name in metrics), list(metrics)[:20])
        self.assertTrue(any(name.startswith("trireme_time_to_first_token_seconds_count") for name in metrics))


if __name__ == "__main__":
    unittest.main(verbosity=2)
