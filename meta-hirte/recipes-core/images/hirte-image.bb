SUMMARY = "A small image with hirte that boots into a fixed initial state"
DESCRIPTION = "systemd, the message bus and hirte on a root file system that is read-only: each boot begins with the same files, and with exactly the units that the state file of hirte-initial-state names."
SECTION = "base"
LICENSE = "MIT"

inherit core-image features_check hirte_exact_presets

REQUIRED_DISTRO_FEATURES = "systemd usrmerge"

IMAGE_FEATURES += "read-only-rootfs"
IMAGE_LINGUAS = ""
IMAGE_INSTALL = "\
    packagegroup-core-boot \
    packagegroup-hirte \
    hirte-initial-state \
    ${CORE_IMAGE_EXTRA_INSTALL} \
"
