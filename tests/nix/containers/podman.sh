#!/usr/bin/env bash
# Runs a command where podman can work as root without systemd: with cgroup2 alone at /sys/fs/cgroup.
set -euo pipefail
if [ "$(stat --file-system --format %T /sys/fs/cgroup)" = cgroup2fs ]; then
  exec "$@"
fi
exec unshare --mount bash -c 'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' - "$@"
