"""Kills and stops real processes of a replica under 64 streams: no stream is lost or altered, and nothing stays behind."""
import json
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from cluster import DEMO_MODEL, Cluster  # noqa: E402

N_STREAMS = 64
ALL = os.environ.get("TRIREME_TEST_ALL") == "1"


def request_of(i, max_tokens):
    """Half greedy, half seeded; prompts of different lengths; token ids returned so that every token is compared."""
    prompt = f"Question {i}: " + "what is a token? " * (1 + i % 7)
    body = {"model": "trireme-demo", "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True,
            "return_token_ids": True, "temperature": 0 if i % 2 == 0 else 0.8, "seed": 1000 + i}
    return body


def token_ids(events):
    ids = []
    for event in events:
        if "error" in event:
            raise AssertionError(f"an error in the stream: {event}")
        for choice in event["choices"]:
            ids += choice.get("token_ids") or []
    return ids


class Load:
    """Concurrent streams, compared with what the same requests gave undisturbed."""

    def __init__(self, cluster, max_tokens, n_streams=N_STREAMS):
        self.cluster = cluster
        self.max_tokens = max_tokens
        self.ids = [None] * n_streams
        self.errors = []
        self.n_events = 0
        self.began = [False] * n_streams
        self.threads = []

    def _run(self, i):
        def count(_):
            self.n_events += 1
            self.began[i] = True
        try:
            self.ids[i] = token_ids(self.cluster.stream("/v1/completions", request_of(i, self.max_tokens), count))
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(f"stream {i}: {error!r}")

    def start(self):
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(len(self.ids))]
        for thread in self.threads:
            thread.start()
        return self

    def all_began(self):
        return all(self.began)

    def join(self):
        for thread in self.threads:
            thread.join()
        return self


class Strikes:
    """Two replicas under load, of which one is struck. Not a test case by itself."""
    MAX_TOKENS = 96

    @classmethod
    def start_cluster(cls):
        return Cluster(None, "--tp", 2, "--pp", 2, "--replicas", 2)

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.start_cluster()
        cls.cluster.__enter__()
        cls.expected = Load(cls.cluster, cls.MAX_TOKENS).start().join()
        assert not cls.expected.errors, cls.expected.errors
        assert all(len(ids) == cls.MAX_TOKENS for ids in cls.expected.ids)

    @classmethod
    def tearDownClass(cls):
        children = cls.cluster.descendants()
        cls.cluster.__exit__(None, None, None)
        cls.cluster.assert_gone(children)

    def wait_two_replicas(self):
        def two():
            status, _, health = self.cluster.get("/health")
            return status == 200 and health.get("replicas", {}).get("ready") == 2
        self.cluster.wait_until(two, "two replicas are ready")

    def strike(self, binary, signal_number, phase):
        self.wait_two_replicas()
        load = Load(self.cluster, self.MAX_TOKENS)
        victims = self.cluster.pids(binary, replica=0)
        self.assertTrue(victims, f"no {binary} of replica 0")
        if phase == "idle":
            os.kill(victims[-1], signal_number)
            load.start()
        else:
            load.start()
            threshold = 1 if phase == "prefill" else N_STREAMS * self.MAX_TOKENS // 4
            deadline = time.monotonic() + 120
            while load.n_events < threshold and time.monotonic() < deadline:
                time.sleep(0.002)
            os.kill(victims[-1], signal_number)
        load.join()
        self.assertEqual(load.errors, [])
        for i in range(N_STREAMS):
            self.assertEqual(load.ids[i], self.expected.ids[i], f"stream {i} after {signal_number} on {binary}")
        self.cluster.wait_until(lambda: not set(victims) & set(self.cluster.descendants()), "the old replica is gone")
        self.wait_two_replicas()
        self.check_ledger()

    def check_ledger(self):
        status, _, usage = self.cluster.get("/v1/pricing")
        self.assertEqual(status, 200)
        for replica in usage["replicas"]:
            parts = replica["ledger_nano_usd"]
            self.assertEqual(parts["total"], sum(v for k, v in parts.items() if k != "total"), json.dumps(usage))


class KillTest(Strikes, unittest.TestCase):
    def test_worker_killed_in_decode(self):
        self.strike("worker", signal.SIGKILL, "decode")

    def test_coordinator_killed_in_decode(self):
        self.strike("coordinator", signal.SIGKILL, "decode")

    def test_worker_stopped_in_decode(self):
        self.strike("worker", signal.SIGSTOP, "decode")

    @unittest.skipUnless(ALL, "the whole matrix runs with TRIREME_TEST_ALL=1")
    def test_matrix(self):
        for binary in ("worker", "coordinator", "mpirun"):
            for phase in ("prefill", "decode", "idle"):
                for signal_number in (signal.SIGKILL, signal.SIGSTOP):
                    if binary == "mpirun" and signal_number == signal.SIGSTOP:
                        continue  # a stopped mpirun harms nobody
                    with self.subTest(binary=binary, phase=phase, signal=signal_number.name):
                        self.strike(binary, signal_number, phase)

    def test_router_killed(self):
        """The router is back within a second, replicas announce themselves again, and lost clients' work is cancelled."""
        self.wait_two_replicas()
        load = Load(self.cluster, 600).start()
        deadline = time.monotonic() + 120
        while load.n_events < 200 and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(self.cluster.pids("router")[0], signal.SIGKILL)
        started = time.monotonic()

        def answers():
            try:
                return self.cluster.get("/liveness", timeout_s=1)[0] == 200
            except OSError:
                return False
        self.cluster.wait_until(answers, "the router is back", 20)
        back_s = time.monotonic() - started
        load.join()
        self.assertTrue(load.errors, "clients of a killed router see it")
        self.wait_two_replicas()

        def idle():
            _, _, health = self.cluster.get("/health")
            return health["replicas"]["running"] == 0 and health["replicas"]["waiting"] == 0
        self.cluster.wait_until(idle, "what the lost clients had asked for is cancelled")
        print(f"router back after {back_s:.2f} s")
        ids = token_ids(self.cluster.stream("/v1/completions", request_of(0, self.MAX_TOKENS)))
        self.assertEqual(ids, self.expected.ids[0])


class AheadKillTest(Strikes, unittest.TestCase):
    """The same where a step is sent before the one in flight has sampled."""

    @classmethod
    def start_cluster(cls):
        cls.folder = tempfile.TemporaryDirectory()
        config = pathlib.Path(cls.folder.name) / "ahead.yaml"
        config.write_text(f"model: {{path: '{DEMO_MODEL}', served_name: trireme-demo}}\nreplicas: {{tp: 2, count: 2}}\n"
                          "scheduler: {run_ahead: 'on'}\n")
        return Cluster(config)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.folder.cleanup()

    def test_worker_killed_in_decode(self):
        self.strike("worker", signal.SIGKILL, "decode")

    def test_coordinator_stopped_in_decode(self):
        self.strike("coordinator", signal.SIGSTOP, "decode")


class SupervisorTest(unittest.TestCase):
    def test_killed_serve_leaves_nothing(self):
        with Cluster(None, "--tp", 2, "--replicas", 1) as cluster:
            children = cluster.descendants()
            self.assertGreaterEqual(len(children), 4)
            cluster.process.kill()
            cluster.process.wait()
            cluster.assert_gone(children)

    def test_ctrl_c_drains_a_stream(self):
        with Cluster(None, "--replicas", 1) as cluster:
            load = Load(cluster, 400, n_streams=4).start()
            cluster.wait_until(load.all_began, "every stream has begun")
            cluster.stop()
            load.join()
            self.assertEqual(load.errors, [])
            self.assertEqual([len(ids) for ids in load.ids], [400] * 4)

    def test_ctrl_c_lets_ranks_leave_by_themselves(self):
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "cluster.yaml"
            config.write_text(f"model: {{path: {DEMO_MODEL}}}\nreplicas: {{tp: 2, pp: 2, collective: mpi}}\n"
                              "log: {level: debug}\n")
            with Cluster(config) as cluster:
                cluster.stop()
                # By the coordinator's word, and not by mpirun, which takes seconds to kill them.
                for rank in range(4):
                    self.assertIn(f"rank {rank} ends: the replica is shut down", cluster.log_text())

    def test_ctrl_c_ends_a_stopped_rank(self):
        with Cluster(None, "--tp", 2, "--replicas", 1) as cluster:
            os.kill(cluster.pids("worker")[1], signal.SIGSTOP)
            cluster.stop()

    def test_second_ctrl_c_stops_at_once(self):
        with Cluster(None, "--replicas", 1) as cluster:
            children = cluster.descendants()
            load = Load(cluster, 900).start()
            cluster.wait_until(load.all_began, "every stream has begun")
            cluster.process.send_signal(signal.SIGINT)
            cluster.wait_until(lambda: "draining" in cluster.log_text(), "the first Ctrl-C is seen")
            cluster.process.send_signal(signal.SIGINT)
            cluster.process.wait(25)  # less than a drain may take
            cluster.assert_gone(children)
            load.join()
            self.assertTrue(load.errors, "streams were cut")


if __name__ == "__main__":
    unittest.main(verbosity=2)
