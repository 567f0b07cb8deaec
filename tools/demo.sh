#!/usr/bin/env bash
# `make demo`: starts the bundled cluster on free ports, asks it a few things as a client would, and shuts it down.
# Exits 0 only if every step worked. Needs curl.
#
# Usage: tools/demo.sh build/bin/trireme
set -euo pipefail

trireme=$1
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
serve_pid=

stop() {
  [ -n "$serve_pid" ] && kill -KILL "$serve_pid" 2>/dev/null
  rm -rf "$work"
}
trap stop EXIT

fail() { echo "demo: FAILED: $*" >&2; [ -s "$work/log" ] && tail -40 "$work/log" >&2; exit 1; }

# A proxy of this machine is not asked for what listens on loopback.
export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
command -v curl >/dev/null || fail "curl is not installed"

echo "demo: starting the cluster (1 router, 2 replicas of tensor parallel 2 x pipeline parallel 2)"
"$trireme" serve "$root/configs/demo.yaml" --port 0 --admin-port 0 --wire-port 0 --replica-metrics-port 0 --state-dir "$work/state" \
  >"$work/out" 2>"$work/log" &
serve_pid=$!
url=
for _ in $(seq 600); do
  kill -0 "$serve_pid" 2>/dev/null || fail "the server ended while it started"
  url=$(sed -n 's/^ready //p' "$work/out")
  [ -n "$url" ] && break
  sleep 0.2
done
[ -n "$url" ] || fail "the server was not ready after 120 s"
echo "demo: ready at $url"
sed 's/^/  /' "$work/log" | head -8

ask() {  # question
  curl -sS --fail-with-body --max-time 60 "$url/v1/chat/completions" -H 'Content-Type: application/json' \
    -d "{\"model\":\"trireme-demo\",\"temperature\":0,\"max_completion_tokens\":96,\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]}"
}

for question in "Hello!" "What is Trireme?" "What is 7 + 5?"; do
  reply=$(ask "$question") || fail "\"$question\": $reply"
  text=$(printf '%s' "$reply" | sed -n 's/.*"content":"\(\([^"\\]\|\\.\)*\)".*/\1/p')
  cost=$(printf '%s' "$reply" | sed -n 's/.*"usd":\([0-9.e-]*\).*/\1/p')
  [ -n "$text" ] || fail "no answer to \"$question\": $reply"
  echo "  you      $question"
  echo "  trireme  $text   [cost \$ ${cost:-?}]"
done

echo "demo: a streamed answer"
curl -sSN --max-time 60 "$url/v1/chat/completions" -H 'Content-Type: application/json' \
  -d '{"model":"trireme-demo","temperature":0,"stream":true,"max_completion_tokens":48,"messages":[{"role":"user","content":"What is a token?"}]}' \
  >"$work/stream" || fail "the stream broke"
grep -q '^data: \[DONE\]' "$work/stream" || fail "the stream had no end"
events=$(grep -c '^data: {' "$work/stream")
[ "$events" -ge 3 ] || fail "the stream had only $events events"
echo "  $events events, then [DONE]"

for path in /v1/models /v1/pricing /health; do
  curl -sS --fail --max-time 10 -o /dev/null "$url$path" || fail "GET $path"
done
echo "demo: models, pricing and health answer"

echo "demo: shutting down"
kill -INT "$serve_pid"
for _ in $(seq 200); do kill -0 "$serve_pid" 2>/dev/null || break; sleep 0.1; done
kill -0 "$serve_pid" 2>/dev/null && fail "the server was still there 20 s after Ctrl-C"
wait "$serve_pid" && code=0 || code=$?
serve_pid=
[ "$code" -eq 0 ] || fail "the server ended with exit code $code"
echo "demo: all of it worked"
