#!/bin/sh
# Start PostgreSQL, making the database first if there is none. Understands the environment of the official image:
# POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB (each also as ..._FILE), POSTGRES_INITDB_ARGS,
# POSTGRES_HOST_AUTH_METHOD, PGDATA, and *.sh, *.sql, *.sql.gz in /docker-entrypoint-initdb.d.
set -eu

fail() { echo "postgres: $*" >&2; exit 1; }

# from_file NAME: take the value of NAME from the file named by NAME_FILE
from_file() {
    eval "file=\${$1_FILE:-} value=\${$1:-}"
    [ -z "$file" ] && return
    [ -z "$value" ] || fail "both $1 and $1_FILE are set"
    export "$1=$(cat "$file")"
    unset "$1_FILE"
}

# A database is made aside and moved into place with PG_VERSION last: whoever is killed on the way begins again, and never
# starts on half a database. (initdb itself writes PG_VERSION first.)
finish_move() {
    for entry in "$PGDATA"/.initialised/* ; do
        [ "${entry##*/}" = PG_VERSION ] || mv "$entry" "$PGDATA/"
    done
    mv "$PGDATA/.initialised/PG_VERSION" "$PGDATA/"
    rmdir "$PGDATA/.initialised"
}

run_init_scripts() {
    new=$1
    set -- /docker-entrypoint-initdb.d/*
    [ -e "$1" ] || return 0
    pg_ctl -D "$new" -w -s -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
    export PGHOST=/tmp PGUSER="$POSTGRES_USER" PGDATABASE="$POSTGRES_DB" PGPASSWORD="${POSTGRES_PASSWORD:-}"
    for script; do
        case $script in
        *.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
        *.sql) psql -v ON_ERROR_STOP=1 --no-psqlrc -q -f "$script" ;;
        *.sql.gz) gunzip -c "$script" | psql -v ON_ERROR_STOP=1 --no-psqlrc -q ;;
        *) echo "postgres: ignoring $script" ;;
        esac
    done
    unset PGHOST PGUSER PGDATABASE PGPASSWORD
    pg_ctl -D "$new" -w -s -m fast stop
}

initialise() {
    for name in POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB; do from_file "$name"; done
    POSTGRES_USER=${POSTGRES_USER:-postgres}
    POSTGRES_DB=${POSTGRES_DB:-$POSTGRES_USER}
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    [ -n "${POSTGRES_PASSWORD:-}" ] || [ "$method" = trust ] || fail "POSTGRES_PASSWORD is needed to make a database"
    others=$(ls -A "$PGDATA" | grep -v -x -e lost+found -e .initialising || true)
    [ -z "$others" ] || fail "$PGDATA holds other files and no database; not touching it"

    new=$PGDATA/.initialising
    rm -rf "$new"
    umask 077
    # Nothing is synced on the way, all of it once at the end: a crash before that leaves only what is begun anew.
    # POSTGRES_INITDB_ARGS is a list of words, as in the official image.
    printf '%s\n' "${POSTGRES_PASSWORD:-}" | initdb -D "$new" -U "$POSTGRES_USER" --no-sync \
        ${POSTGRES_PASSWORD:+--pwfile=/dev/stdin} --auth-local=trust --auth-host=scram-sha-256 \
        -E UTF8 --locale=C.UTF-8 ${POSTGRES_INITDB_ARGS:-} > /dev/null
    printf 'host all all all %s\n' "$method" >> "$new/pg_hba.conf"
    if [ "$POSTGRES_DB" != postgres ]; then
        printf 'CREATE DATABASE "%s" STRATEGY file_copy;\n' "$(printf %s "$POSTGRES_DB" | sed 's/"/""/g')" \
            | postgres --single -D "$new" -c fsync=off postgres > /dev/null
    fi
    run_init_scripts "$new"
    initdb -D "$new" --sync-only --sync-method=syncfs > /dev/null
    mv "$new" "$PGDATA/.initialised"
}

case ${1:-postgres} in
-*) set -- postgres "$@" ;;
esac
if [ "$1" != postgres ]; then exec "$@"; fi
for word; do
    case $word in
    -V | --version | --help | -\? | --describe-config) exec "$@" ;;
    esac
done

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    # A volume may come with any owner; what is the server's already is left alone.
    find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
    chmod 0700 "$PGDATA"
    exec gosu postgres "$0" "$@"
fi

[ -w "$PGDATA" ] || fail "uid $(id -u) cannot write to $PGDATA; start as root, or give it that owner"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -d "$PGDATA/.initialised" ] || initialise
    finish_move
fi
unset POSTGRES_PASSWORD
shift
exec postgres -c listen_addresses='*' "$@"
