#!/bin/sh
# Make one cluster of the servers given, three primaries with a replica each; once only.
set -eu
REDISCLI_AUTH=$(cat "${ADMIN_PASSWORD_FILE:-/run/secrets/redis_admin_password}")
export REDISCLI_AUTH
PORT=${PORT:-6379}
ask() { redis-cli --user admin --no-auth-warning "$@"; }

if ask -h "$1" -p "$PORT" cluster info | grep -q '^cluster_state:ok'; then
    echo "the cluster is there"
    exit 0
fi
members=""
for host in "$@"; do
    members="$members $host:$PORT"
done
# shellcheck disable=SC2086 # one word per member
ask --cluster create $members --cluster-replicas 1 --cluster-yes
tries=0
until ask -h "$1" -p "$PORT" cluster info | grep -q '^cluster_state:ok'; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { echo "no cluster after 60 s" >&2; exit 1; }
    sleep 1
done
