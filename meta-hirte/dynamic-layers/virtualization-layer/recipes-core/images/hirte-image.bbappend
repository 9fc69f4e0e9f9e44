# Containers as units (Quadlet), where the distribution wants virtualization.
IMAGE_INSTALL:append = " ${@bb.utils.contains('DISTRO_FEATURES', 'virtualization', 'podman', '', d)}"
