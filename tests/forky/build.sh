#!/bin/sh
# Build the tree of Debian forky in which the tests find RabbitMQ 4, CPython 3.14 and 3.15, and Docker Compose. It needs root,
# and Debian.
#
#   build.sh [ROOT]        ROOT is $STOMP_WEB_FORKY or /var/cache/stomp-web/forky; about 670 MB, half a minute
#
# A tree that is complete is left as it is, and one that an earlier version of this script made gets the packages that it
# lacks. ROOT should be outside of the checkout and of temporary folders. Nothing is
# mounted in it when this ends; to remove it, delete the folder.
set -eu

ROOT=${1:-${STOMP_WEB_FORKY:-/var/cache/stomp-web/forky}}
SUITE=forky
PACKAGES="rabbitmq-server python3.14-venv python3.15-venv docker-compose"
COMPLETE=etc/stomp-web-tree # names what was installed, and is written last
BUILDING=$ROOT.building     # becomes ROOT when it is complete
LIMIT=600                   # seconds for each step that uses the network

if [ "$(cat "$ROOT/$COMPLETE" 2>/dev/null)" = "$SUITE $PACKAGES" ]; then
    echo "$ROOT: complete ($SUITE, $PACKAGES)"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "build.sh: only root can make $ROOT (debootstrap and chroot need it)." >&2
    exit 1
fi
here=$(cd "$(dirname "$0")" && pwd)
export DEBIAN_FRONTEND=noninteractive
if [ -e "$ROOT" ]; then
    case "$(cat "$ROOT/$COMPLETE" 2>/dev/null)" in
    "$SUITE "*) ;;
    *)
        echo "build.sh: $ROOT is there, and was not made by this script as it is now. Remove it, or name another folder." >&2
        exit 1
        ;;
    esac
    timeout "$LIMIT" "$here/run.sh" "$ROOT" apt-get -q update
    # What is there stays as it is: it may be running.
    # shellcheck disable=SC2086 # the packages are words of their own
    timeout "$LIMIT" "$here/run.sh" "$ROOT" apt-get -q install -y --no-install-recommends --no-upgrade $PACKAGES
    "$here/run.sh" "$ROOT" apt-get -q clean
    echo "$SUITE $PACKAGES" >"$ROOT/$COMPLETE"
    echo "$ROOT: completed"
    exit 0
fi

timeout "$LIMIT" apt-get -q -o DPkg::Lock::Timeout=120 update || echo "build.sh: going on with the old lists of packages"
if ! command -v debootstrap >/dev/null; then
    timeout "$LIMIT" apt-get -q -o DPkg::Lock::Timeout=120 install -y --no-install-recommends debootstrap
fi
# The mirror of Debian from which this machine itself installs.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
if [ -z "$mirror" ]; then
    echo "build.sh: this machine does not install from a mirror of Debian (see: apt-get indextargets)." >&2
    exit 1
fi
# An older debootstrap knows no forky; how the last release that it does know is built serves as well.
for script in "$SUITE" trixie sid; do
    script=/usr/share/debootstrap/scripts/$script
    if [ -e "$script" ]; then break; fi
done

mkdir -p "$(dirname "$ROOT")"
# What an earlier call did not finish. rm stays on this file system, so that it removes nothing that is mounted in there.
if [ -e "$BUILDING" ]; then rm -rf --one-file-system "$BUILDING"; fi
# debootstrap mounts /proc and /sys in there. In a mount namespace of its own they cannot outlive it, also if it is killed;
# what stayed mounted could not be removed by the next call.
timeout "$LIMIT" unshare --mount --propagation private \
    debootstrap --variant=minbase --no-check-gpg "$SUITE" "$BUILDING" "$mirror" "$script"

# The network as this machine has it: names, the index of pip, the certificates that it trusts.
take() { if [ -e "$1" ]; then mkdir -p "$BUILDING$(dirname "$1")" && cp -L "$1" "$BUILDING$1"; fi; }
take /etc/resolv.conf
take /etc/hosts
take /etc/pip.conf
# No service starts in there, and a mirror whose lists have passed their date will do.
printf '#!/bin/sh\nexit 101\n' >"$BUILDING/usr/sbin/policy-rc.d"
chmod 755 "$BUILDING/usr/sbin/policy-rc.d"
echo 'Acquire::Check-Valid-Until "false";' >"$BUILDING/etc/apt/apt.conf.d/99no-valid-until"

timeout "$LIMIT" "$here/run.sh" "$BUILDING" apt-get -q update
# shellcheck disable=SC2086 # the packages are words of their own
timeout "$LIMIT" "$here/run.sh" "$BUILDING" apt-get -q install -y --no-install-recommends $PACKAGES
"$here/run.sh" "$BUILDING" apt-get -q clean
take /etc/ssl/certs/ca-certificates.crt # after the packages, as one of them writes the file anew
echo "$SUITE $PACKAGES" >"$BUILDING/$COMPLETE"
mv "$BUILDING" "$ROOT"
echo "$ROOT: built"
