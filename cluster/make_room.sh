#!/usr/bin/env bash
# Makes room for decoded images: in /dev/shm, which a container or fstab may keep at 64 MB, and on
# the disk for what memory can't hold. After a reboot as well, so before each start of Ray.
set -euo pipefail
mkdir -p "$SPILL"
if [ "$(df --output=size --block-size=1 /dev/shm | tail -1)" -lt "$STORE" ]; then
    $([ "$(id -u)" = 0 ] || echo sudo -n) mount -o remount,size=50% /dev/shm
fi
