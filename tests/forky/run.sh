#!/bin/sh
# Run a program of another Debian release, whose tree is in a folder (build.sh makes one). It needs root.
#
#   run.sh [--bind FOLDER]... [--chdir FOLDER] ROOT COMMAND [ARGUMENT...]
#
# The program sees ROOT as `/`, with this machine's /dev and processes, and each FOLDER at the path that it has outside.
# The mounts are made in a mount namespace of the program's own and end with it: nothing stays mounted in ROOT, not even
# when the program is killed. The program takes this process over, so that signals sent to its id reach it.
set -eu

if [ "${1:-}" = --in-namespace ]; then
    shift
else
    exec unshare --mount --propagation private "$0" --in-namespace "$@"
fi

binds="" chdir=/
while :; do
    case "$1" in
    --bind) binds="$binds$2
" && shift 2 ;;
    --chdir) chdir=$2 && shift 2 ;;
    *) break ;;
    esac
done
root=$1
shift

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while read -r folder; do
    if [ -n "$folder" ]; then
        mkdir -p "$root$folder"
        mount --bind "$folder" "$root$folder"
    fi
done <<FOLDERS
$binds
FOLDERS
# What is first on this machine's PATH is not in the tree.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
exec chroot "$root" env --chdir="$chdir" "$@"
