# shellcheck shell=bash
# Decides which role the live system has, and starts it. Every question can be answered on the kernel command
# line, so that machines can boot unattended:
#
#   daiic.role=worker|head|both|shell   otherwise it asks the person at the machine
#   daiic.heads=HOST:PORT[,HOST:PORT]   otherwise it finds heads by mDNS (_daiic._udp)
#   daiic.key=none                      do not ask for a cluster key
#
# The cluster key is the file cluster.key on a partition labelled DAIIC-KEY, or it can be typed in. The same
# partition can have authorized_keys for ssh. DAIIC_ROOT is a prefix of all paths, for tests.

root=${DAIIC_ROOT:-}
run=$root/run/daiic

# parameter NAME prints its value on the kernel command line.
parameter() {
  local word
  # shellcheck disable=SC2013 # The command line is words.
  for word in $(<"$root/proc/cmdline"); do
    if [[ $word == "$1="* ]]; then
      printf '%s' "${word#*=}"
    fi
  done
}

say() {
  printf 'DAIIC: %s\n' "$1"
}

ask_role() {
  local role
  echo "Which role should this machine have?" >&2
  PS3="Number: "
  select role in worker head both shell; do
    if [[ -n $role ]]; then
      printf '%s' "$role"
      return
    fi
  done
}

# copy_from_stick copies the keys from the partition labelled DAIIC-KEY.
copy_from_stick() {
  local device=$root/dev/disk/by-label/DAIIC-KEY stick=$run/stick
  [[ -e $device ]] || return 0
  mkdir -p "$stick"
  mount -o ro "$device" "$stick" || return 0
  if [[ -s $stick/cluster.key ]]; then
    install -m 600 "$stick/cluster.key" "$run/cluster-key"
  fi
  if [[ -s $stick/authorized_keys ]]; then
    # sshd reads it as the user who is logging in.
    install -m 644 "$stick/authorized_keys" "$run/authorized_keys"
  fi
  umount "$stick"
}

ask_key() {
  local typed
  read -rsp "Cluster key (paste it, or press Enter to continue without one): " typed
  echo >&2
  if [[ -n $typed ]]; then
    (umask 077 && printf '%s\n' "$typed" >"$run/cluster-key")
  fi
}

# find_heads waits until a head announces itself, and prints HOST:PORT,… of all that do.
find_heads() {
  local found
  while true; do
    found=$(
      avahi-browse --resolve --parsable --terminate _daiic._udp 2>/dev/null |
        awk -F ';' '$1 == "=" && $3 == "IPv4" && !seen[$8 ":" $9]++ { print $8 ":" $9 }' |
        paste -sd , -
    )
    if [[ -n $found ]]; then
      printf '%s' "$found"
      return
    fi
    say "no head on this network yet; boot one with daiic.role=head, or give its address with daiic.heads=HOST:PORT" >&2
    sleep 5
  done
}

# drop_in UNIT LINE... configures a unit with what was found.
drop_in() {
  local folder=$root/run/systemd/system/$1.service.d
  mkdir -p "$folder"
  {
    echo "[Service]"
    if [[ -s $run/cluster-key ]]; then
      echo "LoadCredential=cluster-key:/run/daiic/cluster-key"
      echo "Environment=DAIIC_CLUSTER_KEY_FILE=/run/credentials/$1.service/cluster-key"
    fi
    printf '%s\n' "${@:2}"
  } >"$folder/role.conf"
}

main() {
  local role heads
  mkdir -p "$run"
  role=$(parameter daiic.role)
  role=${role:-$(ask_role)}
  copy_from_stick
  if [[ $role != shell && ! -s $run/cluster-key && $(parameter daiic.key) != none ]]; then
    ask_key
  fi

  case $role in
    shell) say "this is a shell for developers; the source is in ~/daiic" ;;
    head)
      if [[ ! -s $run/cluster-key ]]; then
        daiic keygen "$run/cluster-key"
        say "created a cluster key; the other machines need it too: sudo cat /run/daiic/cluster-key"
      fi
      drop_in daiic-head
      systemctl daemon-reload
      systemctl start --no-block daiic-head.service
      ;;
    both)
      if [[ -s $run/cluster-key ]]; then
        drop_in daiic-head
      else
        say "without a key, this node serves this machine only"
        drop_in daiic-head "Environment=DAIIC_LISTEN=127.0.0.1:7717"
      fi
      drop_in daiic-worker "Environment=DAIIC_HEADS=127.0.0.1:7717"
      systemctl daemon-reload
      systemctl start --no-block daiic-head.service daiic-worker.service
      ;;
    worker)
      heads=$(parameter daiic.heads)
      heads=${heads:-$(find_heads)}
      say "worker for $heads"
      # Live systems have no host names by which to tell them apart.
      drop_in daiic-worker "Environment=DAIIC_HEADS=$heads" "Environment=DAIIC_LISTEN=0.0.0.0:7727" \
        "Environment=DAIIC_NAME=live-$(head -c 6 "$root/etc/machine-id")"
      systemctl daemon-reload
      systemctl start --no-block daiic-worker.service
      ;;
    *)
      say "daiic.role=$role is not a role; write worker, head, both or shell"
      exit 1
      ;;
  esac
}

main
