#!/usr/bin/env bash
# Runs a command where podman can work as root without systemd, and out of the way of the machine's own containers:
# with a network and a folder of running ones of its own, and with cgroup2 alone at /sys/fs/cgroup.
set -euo pipefail
exec unshare --mount --net bash -c '
  set -e
  ip link set lo up
  mkdir -p /run/containers
  mount -t tmpfs none /run/containers
  if [ "$(stat --file-system --format %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
  fi
  status=0
  "$@" || status=$?
  # The name server of the containers outlives them where one was killed.
  names=/run/containers/networks/aardvark-dns/aardvark.pid
  if [ -e "$names" ]; then kill "$(cat "$names")" || true; fi
  exit "$status"' - "$@"
