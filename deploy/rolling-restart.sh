#!/usr/bin/env bash
# Restarts replicas one after the other without losing a request: nginx stops sending to one, its open streams
# finish, it is restarted, and it gets requests again when it is ready.
#
#     deploy/rolling-restart.sh 8011 8012 8013
#
# REPLICAS_FILE  what nginx includes         (default: /etc/nginx/soloist-replicas.conf)
# RELOAD         makes nginx read it again   (default: nginx -s reload)
# RESTART        restarts a replica; the port is put behind it and it waits (default: systemctl restart soloist@)
# DRAIN_SECONDS  longest wait for open streams before the restart, which then ends them in order (default: 60)
# READY_SECONDS  longest wait for a restarted replica (default: 60)
set -euo pipefail

REPLICAS_FILE=${REPLICAS_FILE:-/etc/nginx/soloist-replicas.conf}
RELOAD=${RELOAD:-nginx -s reload}
RESTART=${RESTART:-systemctl restart soloist@}
DRAIN_SECONDS=${DRAIN_SECONDS:-60}
READY_SECONDS=${READY_SECONDS:-60}

say() { printf 'rolling-restart: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

ready() { curl --silent --max-time 3 --noproxy '*' "http://127.0.0.1:$1/api/v1/ready" || true; }

is_ready() { [[ $(ready "$1") == *'"status":"ready"'* ]]; }

is_idle() { [[ $(ready "$1") == *'"open_streams":0,'* ]]; }

# wait_for SECONDS COMMAND...: tries five times a second.
wait_for() {
    local tries=$(($1 * 5))
    shift
    until "$@"; do
        tries=$((tries - 1))
        if [ "$tries" -le 0 ]; then return 1; fi
        sleep 0.2
    done
}

# Nothing reads the file but a reload, which comes after it is whole.
rewrite() {
    sed -E "$1" "$REPLICAS_FILE" >"$REPLICAS_FILE.new"
    cat "$REPLICAS_FILE.new" >"$REPLICAS_FILE"
    rm "$REPLICAS_FILE.new"
    $RELOAD
}

take_out() { rewrite "s/^(server 127\.0\.0\.1:$1 .*[^n]);\$/\1 down;/"; }
put_back() { rewrite "s/^(server 127\.0\.0\.1:$1 .*) down;\$/\1;/"; }

[ $# -gt 0 ] || die "name the ports of the replicas"
for port in "$@"; do
    grep -q "^server 127\.0\.0\.1:$port " "$REPLICAS_FILE" || die "$REPLICAS_FILE has no replica on port $port"
done

for port in "$@"; do
    take_out "$port"
    # Old workers of nginx may still hand the replica what they had accepted.
    sleep 1
    wait_for "$DRAIN_SECONDS" is_idle "$port" || say "$port: streams are still open after $DRAIN_SECONDS s"
    # shellcheck disable=SC2086  # a command with its arguments, the port behind it
    $RESTART$port
    wait_for "$READY_SECONDS" is_ready "$port" || die "$port is not ready; it stays out, the others serve"
    put_back "$port"
    say "$port is back"
done
