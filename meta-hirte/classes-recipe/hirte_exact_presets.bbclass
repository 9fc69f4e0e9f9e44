# For an image with hirte-initial-state: what is enabled in its root file system is exactly what the state
# file names.
#
# The image classes only enable what presets enable. They leave what packages have enabled while they were
# installed, and what an enabled unit brings along (Also=).

ROOTFS_POSTPROCESS_COMMAND:append = " hirte_exact_presets"

HIRTE_EXACT_PRESETS = "${HIRTE_LAYERDIR}/scripts/exact-presets"
do_rootfs[file-checksums] += "${HIRTE_EXACT_PRESETS}:True"

hirte_exact_presets[doc] = "Enables and disables the units of the root file system exactly as its presets say"
hirte_exact_presets() {
    ${HIRTE_EXACT_PRESETS} ${IMAGE_ROOTFS} || bbfatal "The root file system is not what its presets say"
}
