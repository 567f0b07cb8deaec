"""Starts a real cluster (`trireme serve`) for a test and ends it again, and speaks plain HTTP to it.

Standard library only. Everything listens on loopback, on free ports, with a state folder of its own.
"""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("TRIREME_BIN_DIR", ROOT / "build" / "bin"))
DEMO_MODEL = ROOT / "configs" / "models" / "trireme-demo"


def process_table():
    """{pid: (parent pid, command name, command line)} of this machine."""
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        name = stat[stat.index("(") + 1:stat.rindex(")")]
        state, parent = stat[stat.rindex(")") + 2:].split()[:2]
        if state != "Z":
            table[int(entry)] = (int(parent), name, line.strip())
    return table


class Cluster:
    """One `trireme serve`, as a context manager. `arguments` are those of the command line."""

    def __init__(self, source=None, *arguments, wait_ready=True, timeout_s=300):
        self.state = tempfile.TemporaryDirectory(prefix="trireme-test-")
        self.log_path = pathlib.Path(self.state.name) / "log"
        self.timeout_s = timeout_s
        self.url = None
        self.host = self.port = None
        command = [str(BIN / "trireme"), "serve", str(source or DEMO_MODEL), "--port", "0", "--admin-port", "0",
                   "--wire-port", "0", "--replica-metrics-port", "0", "--state-dir", self.state.name, *map(str, arguments)]
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, start_new_session=True)
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_stdout, daemon=True)
        self._reader.start()
        if wait_ready:
            self.wait_ready()

    def _read_stdout(self):
        for line in self.process.stdout:
            if line.startswith(b"ready http"):
                self.url = line.split()[1].decode()
                host, port = self.url.split("//")[1].rsplit(":", 1)
                self.host, self.port = host.strip("[]"), int(port)
                self._ready.set()

    def wait_ready(self):
        deadline = time.monotonic() + self.timeout_s
        while not self._ready.wait(0.1):
            if self.process.poll() is not None:
                raise AssertionError(f"serve ended with {self.process.returncode}:\n{self.log_text()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"serve was not ready in {self.timeout_s} s:\n{self.log_text()}")

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def admin_port(self):
        for line in self.log_text().splitlines():
            if line.strip().startswith("metrics"):
                return int(re.search(r":\[?(\d+)", line).group(1))  # the first router's
        raise AssertionError("no metrics line in the log")

    # -- processes ------------------------------------------------------------------------------------------------

    def descendants(self):
        """{pid: command line} of every process that serve started, directly or not."""
        table = process_table()
        found = {}
        frontier = [self.process.pid]
        while frontier:
            parent = frontier.pop()
            for pid, (ppid, _, line) in table.items():
                if ppid == parent and pid not in found:
                    found[pid] = line
                    frontier.append(pid)
        return found

    def pids(self, binary, replica=None):
        """Process ids of "router", "coordinator", "worker" or "mpirun", lowest first."""
        wanted = "mpirun" if binary == "mpirun" else f"trireme-{binary}"
        out = []
        for pid, line in self.descendants().items():
            if os.path.basename(line.split(" ")[0]) != wanted:
                continue
            if replica is not None and f"--replica {replica}" not in line:
                continue
            out.append(pid)
        return sorted(out)

    def stop(self, expect=0, timeout_s=120):
        """Ctrl-C, then wait; checks that nothing is left running."""
        children = self.descendants()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"serve did not end in {timeout_s} s:\n{self.log_text()}") from error
        if code != expect:
            raise AssertionError(f"serve ended with {code}:\n{self.log_text()}")
        self.assert_gone(children)

    def assert_gone(self, pids, timeout_s=30):
        deadline = time.monotonic() + timeout_s
        while True:
            table = process_table()
            left = {pid: line for pid, line in pids.items() if pid in table and table[pid][2] == line}
            if not left:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"still running: {left}")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            children = self.descendants()
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            try:
                self.assert_gone(children)
            except AssertionError:
                for pid in children:  # only what this cluster started
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                if exc[0] is None:
                    raise
        if exc[0] is not None:
            print(f"--- log of serve ---\n{self.log_text()[-6000:]}")
        self.process.stdout.close()
        self.log.close()
        log = self.log_text()
        self.state.cleanup()
        # A process that a sanitizer ended was started again, and the test may not have noticed.
        for report in ("Sanitizer: ", "runtime error: "):
            if report in log and exc[0] is None:
                raise AssertionError(f"a sanitizer's report in the log of serve:\n{log[-20000:]}")

    # -- HTTP -----------------------------------------------------------------------------------------------------

    def request(self, method, path, body=None, headers=None, timeout_s=180, port=None):
        """(status, headers, parsed JSON or text)."""
        connection = http.client.HTTPConnection(self.host, port or self.port, timeout=timeout_s)
        try:
            data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
            all_headers = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, path, data, {**all_headers, **(headers or {})})
            response = connection.getresponse()
            raw = response.read()
            try:
                parsed = json.loads(raw)
            except ValueError:
                parsed = raw.decode(errors="replace")
            return response.status, dict((k.lower(), v) for k, v in response.getheaders()), parsed
        finally:
            connection.close()

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body, **kwargs):
        return self.request("POST", path, body, **kwargs)

    def stream(self, path, body, on_event=None, timeout_s=300):
        """The parsed events of an SSE answer; ends at [DONE]. `on_event` may return True to hang up early."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        try:
            connection.request("POST", path, json.dumps({**body, "stream": True}).encode(),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise AssertionError(f"HTTP {response.status}: {response.read()!r}")
            events = []
            for line in response:
                line = line.strip()
                if not line.startswith(b"data: "):
                    continue
                if line == b"data: [DONE]":
                    return events
                events.append(json.loads(line[6:]))
                if on_event and on_event(events[-1]):
                    return events
            raise AssertionError(f"the stream ended without [DONE] after {len(events)} events")
        finally:
            connection.close()

    def wait_until(self, condition, what, timeout_s=120):
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s} s: {what}\n{self.log_text()[-4000:]}")
            time.sleep(0.05)

    def metrics(self):
        """{series with labels: value} of the router's admin port."""
        _, _, text = self.get("/metrics", port=self.admin_port())
        return parse_metrics(text)


def parse_metrics(text):
    out = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            out[name] = float(value)
    return out
