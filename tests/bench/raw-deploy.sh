#!/bin/bash
# What a Stack does, by hand: clone, bridge, rules, lxc-start, wait for dockerd, compose up, wait for HTTP 200.
# usage: raw-deploy.sh up|down FOLDER   (FOLDER/env names the rest; FOLDER/document.json is the compose document)
set -euo pipefail
folder=$2
# shellcheck disable=SC1091
. "$folder/env"
attach() { lxc-attach -P "$folder/lxc" -n "$NAME" --clear-env --keep-var postgresPassword -- "$@"; }

case $1 in
up)
    btrfs -q subvolume snapshot "$POOL/$TEMPLATE/rootfs" "$POOL/bench-rootfs"
    btrfs -q subvolume snapshot "$POOL/$TEMPLATE/docker" "$POOL/bench-docker"
    btrfs -q subvolume create "$POOL/bench-pgdata"
    ip link add "$BRIDGE" type bridge
    ip address add "$GATEWAY/24" dev "$BRIDGE"
    ip link set "$BRIDGE" up
    sysctl -qw "net.ipv4.conf.$BRIDGE.route_localnet=1"
    nft -f "$folder/rules.nft"
    lxc-start -P "$folder/lxc" -n "$NAME" -d
    until attach docker version -f '{{.Server.Version}}' >/dev/null 2>&1; do sleep 0.02; done
    attach docker compose -p app -f - up -d --wait --quiet-pull <"$folder/document.json" >"$folder/log" 2>&1
    until curl -fs -o /dev/null --max-time 1 "http://127.0.0.1:$PORT/"; do sleep 0.01; done
    ;;
down)
    lxc-stop -P "$folder/lxc" -n "$NAME" -k 2>/dev/null || true
    nft delete table inet "$NAME" 2>/dev/null || true
    ip link delete "$BRIDGE" 2>/dev/null || true
    for part in rootfs docker pgdata; do
        [ ! -d "$POOL/bench-$part" ] || btrfs -q subvolume delete "$POOL/bench-$part" >/dev/null
    done
    ;;
esac
