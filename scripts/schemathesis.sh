#!/usr/bin/env bash
# Runs Schemathesis (https://schemathesis.io) on a new nexusd with an empty database. Exits with 0 if it finds nothing,
# 1 if it finds something or nexusd does not start, 77 if Python or PyPI is missing. Expects a build in dist/.
set -uo pipefail
cd "$(dirname "$0")/.."

version=4.32.5
cache="${XDG_CACHE_HOME:-$HOME/.cache}/nexus/schemathesis-$version"
work="$(mktemp -d)"
pid=
stop() {
  if [ -n "$pid" ]; then
    kill "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
  fi
  rm -rf "$work"
}
trap stop EXIT

skip() {
  echo "skipped: Schemathesis ($1)"
  exit 77
}

if [ ! -x "$cache/bin/schemathesis" ]; then
  command -v python3 >/dev/null || skip "python3 is missing"
  # An interrupted install leaves a folder without bin/schemathesis.
  rm -rf "$cache"
  python3 -m venv "$cache" >"$work/venv.log" 2>&1 || { rm -rf "$cache"; skip "python3 -m venv fails"; }
  "$cache/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" >"$work/pip.log" 2>&1 || {
    rm -rf "$cache"
    skip "PyPI can't be reached"
  }
fi

env -u NEXUS_DATABASE_URL -u NEXUS_API_TOKEN_FILE -u NEXUS_API_ALLOWED_HOSTS \
  NEXUS_API_LISTEN=127.0.0.1:0 NEXUS_LOG_LEVEL=info XDG_CONFIG_HOME="$work" \
  node dist/nexusd.cjs --db "$work/nexus.db" 2>"$work/nexusd.log" &
pid=$!
url=
for _ in $(seq 300); do
  url="$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$work/nexusd.log" | head -n 1)"
  [ -n "$url" ] && break
  kill -0 "$pid" 2>/dev/null || break
  sleep 0.1
done
if [ -z "$url" ]; then
  cat "$work/nexusd.log" >&2
  exit 1
fi

# Schemathesis keeps its example database in the working directory.
scripts="$PWD/scripts"
cd "$work" || exit 1
SCHEMATHESIS_HOOKS=schemathesis_hooks PYTHONPATH="$scripts" PYTHONDONTWRITEBYTECODE=1 NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 "$cache/bin/schemathesis" --config-file "$scripts/schemathesis.toml" \
  run "$url/openapi.json" \
  --checks all --max-examples 100 --seed 1 --request-timeout 60 --no-color >"$work/report" 2>&1
status=$?
if [ "$status" -ne 0 ]; then
  cat "$work/report" "$work/nexusd.log" >&2
  exit 1
fi
grep -E 'generated,|No issues found' "$work/report"
# nexusd must still run.
kill -0 "$pid" 2>/dev/null || { cat "$work/nexusd.log" >&2; exit 1; }
