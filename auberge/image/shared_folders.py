"""What the first process of our guests does about folders that the host shares by 9P."""

MOUNT_FOLDERS = r"""
# Folders of the host. The tag of a 9p device says where its folder belongs in the guest, with
# `:ro` after it if it can only be read. The guest's root is /, or `$1`.
mount_folders() {
    new_root=$1
    for tag in $new_root/sys/bus/virtio/devices/*/mount_tag; do
        [ -e "$tag" ] || return 0
        tag=$(tr -d '\0' < "$tag")
        target=${tag%:ro}
        [ "$target" = "$tag" ] && access=rw || access=ro
        inside mkdir -p "$target"
        # systemd would hide what is under these two
        case $(inside readlink -f "$target")/ in
        /run/*) mount_tmpfs /run 755 ;;
        /tmp/*) mount_tmpfs /tmp 1777 ;;
        esac
        # Files are read and written past the guest's cache, so that both sides see the same;
        # cache=mmap lets programs map them.
        inside mkdir -p "$target" && inside mount -t 9p -o "$access,nosuid,nodev,trans=virtio,\
version=9p2000.L,msize=512000,cache=mmap" "$tag" "$target" ||
            echo "init: $target: the host's folder cannot be mounted here"
    done
}

mount_tmpfs() {
    inside mountpoint -q "$1" || inside mount -t tmpfs -o "mode=$2,nosuid,nodev" tmpfs "$1"
}

inside() {
    if [ "$new_root" ]; then
        chroot "$new_root" "$@"
    else
        "$@"
    fi
}
"""
