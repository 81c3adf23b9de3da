#!/usr/bin/env bash
# Runs a command where podman can work as root without systemd, and out of the way of the machine's own containers:
# with a network and a folder of running ones of its own, and with cgroup2 alone at /sys/fs/cgroup. The machine's network
# is at /run/containers/outside, for nsenter.
set -euo pipefail
exec unshare --mount bash -c '
  set -e
  mkdir -p /run/containers
  mount -t tmpfs none /run/containers
  touch /run/containers/outside
  mount --bind /proc/self/ns/net /run/containers/outside
  if [ "$(stat --file-system --format %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
  fi
  status=0
  unshare --net sh -c "ip link set lo up; exec \"\$@\"" - "$@" || status=$?
  # The name server of the containers outlives them where one was killed.
  names=/run/containers/networks/aardvark-dns/aardvark.pid
  if [ -e "$names" ]; then kill "$(cat "$names")" || true; fi
  exit "$status"' - "$@"
