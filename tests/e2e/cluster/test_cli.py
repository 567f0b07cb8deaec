"""`trireme plan`, `inspect` and `chat` as a user runs them: real processes, their output, their exit codes."""
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import BIN, DEMO_MODEL, ROOT, Cluster  # noqa: E402

CONFIGS = ROOT / "tests" / "golden" / "configs"
BIG = CONFIGS / "llama-3.1-405b.json"


def run(*arguments, text=""):
    """(exit code, stdout, stderr) of one command."""
    done = subprocess.run([BIN / "trireme", *map(str, arguments)], input=text, capture_output=True, text=True,
                          timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


class CommandTest:
    def json_of(self, *arguments):
        code, out, err = run(*arguments, "--json")
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def refuse(self, code, words, *arguments):
        got, out, err = run(*arguments)
        self.assertEqual(got, code, err)
        self.assertEqual(out, "")
        self.assertTrue(err.startswith("error: "), err)
        for word in words:
            self.assertIn(word, err)


class HelpTest(unittest.TestCase):
    def test_help_has_an_example(self):
        for command in ("plan", "inspect", "chat"):
            code, out, _ = run(command, "--help")
            self.assertEqual(code, 0)
            self.assertIn(f"Example: trireme {command}", out)

    def test_every_command_names_its_help_where_the_usage_is_wrong(self):
        for command in ("serve", "replica", "chat", "plan", "inspect", "tokenize", "render", "bench engine",
                        "bench serve", "bench ops"):
            code, out, err = run(*command.split(), "--no-such-option")
            self.assertEqual((code, out), (2, ""), command)
            self.assertRegex(err, rf"^error: .*; see trireme {command} --help\n$")


class NoModelTest(CommandTest, unittest.TestCase):
    def test_what_is_no_model_is_named(self):
        for command in ("serve", "plan", "inspect", "tokenize", "render"):
            self.refuse(1, ["no file or folder 'nowhere'"], command, "nowhere")
            self.refuse(1, ["hf download meta-llama/Llama-3.1-8B --local-dir"], command, "meta-llama/Llama-3.1-8B")
        for command in ("serve", "plan", "inspect"):
            self.refuse(1, ["README.md' is no model"], command, ROOT / "README.md")
        self.refuse(1, ["cannot read", "nowhere.yaml"], "serve", "nowhere.yaml")

    def test_a_state_folder_that_cannot_be(self):
        self.refuse(1, ["/proc/trireme", "--state-dir"], "serve", DEMO_MODEL, "--state-dir", "/proc/trireme")


class PlanTest(CommandTest, unittest.TestCase):
    def test_the_405b_on_sixteen_gpus(self):
        plan = self.json_of("plan", BIG, "--nodes", 2, "--gpus-per-node", 8, "--gpu", "h100", "--price", 3.5)
        self.assertEqual(plan["model"]["parameters"], 405_853_388_800)
        self.assertEqual(plan["model"]["kv_bytes_per_token"], 516_096)
        self.assertEqual(plan["model"]["kv_dtype"], "bf16")
        self.assertEqual(plan["model"]["weight_bytes"], 2 * 405_853_388_800)
        best = plan["plans"][0]
        self.assertEqual((best["tp"], best["pp"]), (8, 2))
        for entry in plan["plans"]:
            self.assertEqual(sum(entry["stage_layers"]), 126)
            self.assertLessEqual(entry["tp"] * entry["pp"] * entry["replicas"], 16)
            self.assertLess(entry["weight_bytes_per_rank"] + entry["activation_bytes_per_rank"], 80e9)
            # What it costs is what the devices cost over what they make.
            devices = 16
            usd = devices * 3.5 / 3600 / entry["tokens_per_s"] * 1e6
            self.assertAlmostEqual(entry["usd_per_million_tokens"] / usd, 1, delta=0.01)

    def test_the_table_says_what_the_json_says(self):
        arguments = ("plan", BIG, "--nodes", 2, "--gpus-per-node", 8, "--gpu", "h100")
        code, out, _ = run(*arguments)
        self.assertEqual(code, 0)
        plan = self.json_of(*arguments)
        self.assertIn("405,853,388,800 parameters", out)
        best = next(line for line in out.splitlines() if line.startswith("best "))
        self.assertIn(f"{plan['plans'][0]['tp']} x {plan['plans'][0]['pp']}", best)
        self.assertIn(f"{plan['plans'][0]['kv_tokens_per_replica']:,}", best)
        self.assertIn("--price", out)
        code, out, _ = run(*arguments, "--max-plans", 1)
        self.assertEqual(len([line for line in out.splitlines() if " x " in line and "GB" in line]), 2, out)

    def test_what_does_not_fit_is_said_with_numbers(self):
        self.refuse(1, ["does not fit", "1 x 1 h100", "GB"], "plan", BIG, "--gpu", "h100")

    def test_wrong_usage(self):
        self.refuse(2, ["h100"], "plan", BIG, "--gpu", "abacus")
        self.refuse(2, ["--nodes"], "plan", BIG, "--nodes", 0)
        self.refuse(2, ["131072"], "plan", BIG, "--context", 10**6)
        self.refuse(2, ["model"], "plan")
        self.refuse(1, ["/nowhere"], "plan", "/nowhere")


    def test_a_cache_of_a_byte_each_holds_twice_the_tokens(self):
        asked = (BIG, "--nodes", 2, "--gpus-per-node", 8, "--gpu", "h100")
        wide = self.json_of("plan", *asked)
        narrow = self.json_of("plan", *asked, "--kv-cache-dtype", "fp8_e4m3")
        self.assertEqual(narrow["model"]["kv_dtype"], "e4m3")
        self.assertEqual(narrow["model"]["kv_bytes_per_token"], 516_096 // 2)
        self.assertEqual(2 * narrow["workload"]["kv_bytes_of_sequence"], wide["workload"]["kv_bytes_of_sequence"])
        tokens = {(p["tp"], p["pp"]): p["kv_tokens_per_replica"] for p in wide["plans"]}
        for entry in narrow["plans"]:
            if (entry["tp"], entry["pp"]) in tokens:
                ratio = entry["kv_tokens_per_replica"] / tokens[entry["tp"], entry["pp"]]
                self.assertTrue(1.99 < ratio < 2.1, ratio)
        self.refuse(2, ["--kv-cache-dtype"], "plan", BIG, "--kv-cache-dtype", "fp8_e5m2")


class InspectTest(CommandTest, unittest.TestCase):
    def test_known_models(self):
        for name, parameters, kv in (("llama-3.1-405b", 405_853_388_800, 516_096), ("llama-3.1-8b", 8_030_261_248, 131_072)):
            facts = self.json_of("inspect", CONFIGS / f"{name}.json")
            self.assertEqual(facts["parameters"], parameters)
            self.assertEqual(facts["kv_bytes_per_token"], kv)
            code, out, _ = run("inspect", CONFIGS / f"{name}.json")
            self.assertEqual(code, 0)
            self.assertIn(f"{parameters:,}", out)
            self.assertIn(f"{kv:,} bytes per token in bf16", out)
            code, out, _ = run("inspect", CONFIGS / f"{name}.json", "--kv-cache-dtype", "fp8_e4m3")
            self.assertEqual(code, 0)
            self.assertIn(f"{kv // 2:,} bytes per token in e4m3", out)

    def test_known_mixtures_of_experts(self):
        for name, parameters, active, kv in (("mixtral-8x7b", 46_702_792_704, 12_748_853_248, 131_072),
                                             ("mixtral-8x22b", 140_620_634_112, 38_955_423_744, 229_376),
                                             ("qwen3-235b-a22b", 235_093_634_560, 21_568_433_664, 192_512),
                                             ("gpt-oss-120b", 116_829_156_672, 5_132_849_472, 73_728),
                                             ("grok-1", 315_684_820_992, 83_756_587_008, 262_144)):
            facts = self.json_of("inspect", CONFIGS / f"{name}.json")
            self.assertEqual(facts["parameters"], parameters)
            self.assertEqual(facts["active_parameters"], active)
            self.assertEqual(facts["kv_bytes_per_token"], kv)
            code, out, _ = run("inspect", CONFIGS / f"{name}.json")
            self.assertEqual(code, 0)
            self.assertIn(f"{parameters:,}", out)
            self.assertIn(f"{active:,}", out)

    def test_the_fewest_devices_hold_the_weights(self):
        facts = self.json_of("inspect", BIG)
        memory = {"a100": 80e9, "h100": 80e9, "h200": 141e9}
        for kind, size in memory.items():
            need = facts["fewest_devices"][kind]
            self.assertEqual(need["devices"], need["tp"] * need["pp"])
            self.assertGreater(need["devices"] * size, facts["weight_bytes"])

    def test_a_folder_and_a_file_are_the_same_model(self):
        folder, file = self.json_of("inspect", DEMO_MODEL), self.json_of("inspect", DEMO_MODEL / "config.json")
        beside = folder.pop("folder")
        self.assertIsNone(file.pop("folder"))
        self.assertEqual(folder, file)
        self.assertGreater(beside["tensors"], 0)
        self.assertGreater(beside["tokens"], 0)
        self.assertIsNone(beside["wrong"])

    def test_wrong_usage(self):
        self.refuse(2, ["model"], "inspect")
        self.refuse(1, ["/nowhere"], "inspect", "/nowhere")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write('{"architectures": ["LlamaForCausalLM"], "hidden_size": -1}')
            file.flush()
            code, out, err = run("inspect", file.name)
            self.assertEqual((code, out), (1, ""))
            self.assertTrue(err.startswith("error: "), err)


class HostTest(unittest.TestCase):
    def test_hosts_by_name_and_of_either_family(self):
        for host, family in (("localhost", socket.AF_INET), ("::1", socket.AF_INET6)):
            try:
                socket.create_server((host, 0), family=family).close()
            except OSError:
                continue  # no such address on this machine
            with Cluster(None, "--host", host, "--replicas", 1) as cluster:
                self.assertEqual(cluster.get("/readiness")[0], 200)
                code, out, err = run("chat", "--url", cluster.url, "-m", "Hello!")
                self.assertEqual(code, 0, err)
                self.assertTrue(out.strip())


class ChatTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(None, "--replicas", 1)
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def answer(self, messages, **fields):
        body = {"messages": messages, "temperature": 0, "max_completion_tokens": 24, **fields}
        return self.cluster.post("/v1/chat/completions", body)[2]

    def chat(self, *arguments, text=""):
        return run("chat", "--url", self.cluster.url, "--temperature", 0, "--max-tokens", 24, *arguments, text=text)

    def test_one_question(self):
        want = self.answer([{"role": "user", "content": "What is Trireme?"}])
        code, out, err = self.chat("-m", "What is Trireme?")
        self.assertEqual(code, 0, err)
        self.assertEqual(out, want["choices"][0]["message"]["content"] + "\n")
        self.assertIn(f"[{want['usage']['completion_tokens']} tokens, ", err)
        self.assertIn(" tokens/s, $ 0.0", err)

    def test_json_line(self):
        want = self.answer([{"role": "user", "content": "What is a token?"}])
        code, out, err = self.chat("--json", "-m", "What is a token?")
        self.assertEqual(code, 0, err)
        line = json.loads(out)
        self.assertEqual(line["text"], want["choices"][0]["message"]["content"])
        self.assertEqual(line["tokens"], want["usage"]["completion_tokens"])
        self.assertGreater(line["tokens_per_s"], 0)
        self.assertGreater(line["cost_usd"], 0)

    def test_a_conversation_is_remembered(self):
        messages = [{"role": "system", "content": "You are helpful."}]
        code, out, err = self.chat("--system", "You are helpful.", "--json", text="Hello!\nWhat is Trireme?\n\nnever read\n")
        self.assertEqual(code, 0, err)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(len(lines), 2, "an empty line ends the chat")
        for question, line in zip(("Hello!", "What is Trireme?"), lines):
            messages.append({"role": "user", "content": question})
            want = self.answer(messages)["choices"][0]["message"]["content"]
            self.assertEqual(line["text"], want)
            messages.append({"role": "assistant", "content": want})

    def test_errors_are_one_sentence(self):
        for code, words, arguments in ((1, "127.0.0.1:1", ("--url", "http://127.0.0.1:1", "-m", "x")),
                                       (1, "http://", ("--url", "ftp://x", "-m", "x")),
                                       (2, "--temperature", ("--temperature", 9, "-m", "x"))):
            got, out, err = run("chat", *arguments)
            self.assertEqual(got, code, err)
            self.assertEqual(out, "")
            self.assertIn(words, err)
        got, _, err = self.chat("-m", "word " * 2000)
        self.assertEqual(got, 1)
        self.assertIn("context", err)


def event(**fields):
    """One event in an HTTP chunk of its own."""
    data = b"data: " + json.dumps(fields).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


class SlowServer(threading.Thread):
    """Begins an answer and waits until its client hangs up; answers the next question at once."""
    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.hung_up = False

    def read_request(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        while len(body) < length:
            body += connection.recv(65536)
        return json.loads(body)

    def run(self):
        with self.listener:
            connection, _ = self.listener.accept()
            with connection:
                self.read_request(connection)
                connection.sendall(self.HEAD + event(choices=[{"index": 0, "delta": {"content": "one "}}]))
                self.hung_up = connection.recv(1) == b""
            connection, _ = self.listener.accept()
            with connection:
                self.asked = self.read_request(connection)
                connection.sendall(self.HEAD + event(choices=[{"index": 0, "delta": {"content": "two"}}])
                                   + event(choices=[], usage={"completion_tokens": 7}) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


class InterruptTest(unittest.TestCase):
    def test_ctrl_c_ends_an_answer_and_not_the_chat(self):
        server = SlowServer()
        server.start()
        process = subprocess.Popen([BIN / "trireme", "chat", "--url", server.url], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        timer = threading.Timer(120, process.kill)
        timer.start()
        try:
            process.stdin.write(b"first\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.read(4), b"one ")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(b"second\n")
            self.assertEqual(process.returncode, 0, err)
            self.assertTrue(server.hung_up, "which cancels what is left")
            self.assertEqual(out, b"\ntwo\n")
            self.assertIn(b"[7 tokens", err)
            self.assertEqual([message["content"] for message in server.asked["messages"]], ["first", "one ", "second"])
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
            process.stderr.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
