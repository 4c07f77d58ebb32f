#!/bin/bash
# Prepares the lab's own namespaces, then becomes their PID 1 ("$@").
set -eu
mount --make-rprivate /
mount -t sysfs sysfs /sys
mount -t tmpfs -o size=2G,mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/images /run/hosts
name=lab-$LAB_NAME
while [[ $name == *- ]]; do name=${name%-}; done # which no hostname may end with
hostname "$name"
ip link set lo up
exec "$@"
