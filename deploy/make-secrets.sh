#!/bin/sh
# Make what is not there yet of deploy/secrets: passwords, keys, and the files built from them.
# Nothing is replaced: to rotate one, see docs/operations.md.
#
# The folder is for its owner alone (0700). The files are readable by all (0444), because users of
# other numbers read them inside the containers, where the folder's mode does not reach.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
mkdir -p "$folder"
chmod 0700 "$folder"
cd "$folder"
umask 0333

keep() { # NAME: standard input becomes the secret, unless there is one
    if [ -e "$1" ]; then cat >/dev/null; else cat >".$1.new" && mv ".$1.new" "$1"; fi
}
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

for name in token_keys pepper badge_key turn_secrets postgres_password postgres_owner_password \
    postgres_app_password postgres_report_password redis_password redis_replication_password \
    redis_admin_password grafana_password; do
    random | keep "$name"
done
hash_of() { tr -d '\n' <"$1" | sha256sum | cut -d ' ' -f 1; }

printf 'postgresql://peyk_app:%s@postgres:5432/peyk' "$(cat postgres_app_password)" |
    keep database_url
printf 'postgresql://peyk_owner:%s@postgres:5432/peyk' "$(cat postgres_owner_password)" |
    keep owner_url
printf 'redis+cluster://peyk:%s@redis:6379' "$(cat redis_password)" | keep redis_url
printf 'masteruser replica\nmasterauth %s\n' "$(cat redis_replication_password)" |
    keep redis_replication
sed -e "s/PEYK_SHA256/$(hash_of redis_password)/" \
    -e "s/REPLICATION_SHA256/$(hash_of redis_replication_password)/" \
    -e "s/ADMIN_SHA256/$(hash_of redis_admin_password)/" "$here/redis/users.acl" | keep redis_acl
{
    cat "$here/coturn/turnserver.conf"
    tr ',' '\n' <turn_secrets | sed 's/^/static-auth-secret=/'
    echo
} | keep turnserver_conf
if [ -e tls ]; then
    :
elif command -v openssl >/dev/null; then # self-signed, for a trial: put certificate and key of your name here instead
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout .tls.key -out .tls.crt \
        2>/dev/null
    cat .tls.crt .tls.key | keep tls
    rm -f .tls.crt .tls.key
else
    echo "no openssl: put certificate and key, in this order, into $folder/tls" >&2
fi
echo "secrets are in $folder"
