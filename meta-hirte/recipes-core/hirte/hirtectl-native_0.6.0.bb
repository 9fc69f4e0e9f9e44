SUMMARY = "Makes presets of state files while an image is built"
DESCRIPTION = "hirtectl for the build itself, where 'hirtectl state presets' needs no manager. A recipe of its own, so that a build of the whole of hirte for the build host, which nobody needs, is left out."

require hirte.inc

inherit_defer native

# Stripped by the staging of the build, which warns where it has nothing to do.
export CARGO_PROFILE_RELEASE_STRIP = "none"
# It runs for milliseconds and is never shipped: what shortens the build is worth more.
export CARGO_PROFILE_RELEASE_LTO = "off"
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS = "16"

do_compile() {
    oe_cargo_build --bin hirtectl
}

do_install() {
    install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/hirtectl ${D}${bindir}/hirtectl
}
