#!/usr/bin/env bash
set -euo pipefail

readonly VERSION="1.2"
export TARGET=production
name=app
declare -A hosts=([a]=1)

# Prints a message with the time.
log() {
  local level=$1 TEXT=$2
  echo "$(date) $level $TEXT" >&2
}

function deploy {
  local host
  for host in "${!hosts[@]}"; do
    log info "to $host"
    if ! rsync -a build/ "$host:/srv/$name"; then
      log error "could not reach $host"
      return 1
    fi
  done
}

function cleanup() ( rm -rf build )

case "$1" in
  deploy) deploy ;;
  *) cat <<EOF
usage() { not a function }
EOF
esac
