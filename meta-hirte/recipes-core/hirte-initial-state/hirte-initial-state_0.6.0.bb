SUMMARY = "The fixed initial state of a node: its state file, and the presets made of it"
DESCRIPTION = "Turns an exact state file of hirte into systemd presets, and tells hirte-agent its name and its manager. The image carries the file, so that 'hirtectl state diff' can hold the booted node against it."
SECTION = "base"
LICENSE = "MIT"
# nooelint: oelint.var.licenseremotefile - nothing is fetched: what is under this licence is the layer
LIC_FILES_CHKSUM = "file://${HIRTE_LAYERDIR}/COPYING.MIT;md5=241d6f1e6d08fa969c9db798b97999a8"
DEPENDS = "hirtectl-native"

# A file beside the recipe, in a folder of a bbappend's FILESEXTRAPATHS, or with an absolute path.
HIRTE_STATE_FILE ?= "initial-state.toml"
# Which node of the file this computer is.
HIRTE_NODE ?= "rpi4"
# Where its agent finds the manager: a name or an address, and the TCP port on both sides.
HIRTE_MANAGER_HOST ?= "127.0.0.1"
HIRTE_MANAGER_PORT ?= "842"
# Nodes that may register with the manager of this computer, separated by commas; empty for a computer
# without a manager.
HIRTE_ALLOWED_NODES ?= "${HIRTE_NODE}"

SRC_URI = "file://${HIRTE_STATE_FILE}"

S = "${UNPACKDIR}"
B = "${WORKDIR}/build"

inherit features_check

REQUIRED_DISTRO_FEATURES = "systemd usrmerge"

do_configure[noexec] = "1"
do_compile[cleandirs] = "${B}"

do_compile() {
    cp ${S}/${HIRTE_STATE_FILE} initial-state.toml
    hirtectl state presets initial-state.toml --node ${HIRTE_NODE} > 00-hirte-initial-state.preset

    printf '[hirte-agent]\nNodeName=%s\nManagerHost=%s\nManagerPort=%s\n' \
        "${HIRTE_NODE}" "${HIRTE_MANAGER_HOST}" "${HIRTE_MANAGER_PORT}" > agent.conf
    printf '[hirte]\nManagerPort=%s\nAllowedNodeNames=%s\n' \
        "${HIRTE_MANAGER_PORT}" "${HIRTE_ALLOWED_NODES}" > hirte.conf
}

do_install() {
    # Read before all other presets, of which the first that fits decides.
    install -d ${D}${systemd_unitdir}/system-preset ${D}${datadir}/hirte
    install -m 0644 00-hirte-initial-state.preset ${D}${systemd_unitdir}/system-preset/
    install -m 0644 initial-state.toml ${D}${datadir}/hirte/

    install -D -m 0644 agent.conf ${D}${sysconfdir}/hirte/agent.conf.d/00-initial-state.conf
    if [ -n "${HIRTE_ALLOWED_NODES}" ]; then
        install -D -m 0644 hirte.conf ${D}${sysconfdir}/hirte/hirte.conf.d/00-initial-state.conf
    fi
}

PACKAGE_ARCH = "${MACHINE_ARCH}"

FILES:${PN} = "\
    ${systemd_unitdir}/system-preset/00-hirte-initial-state.preset \
    ${datadir}/hirte/initial-state.toml \
    ${sysconfdir}/hirte/agent.conf.d/00-initial-state.conf \
    ${sysconfdir}/hirte/hirte.conf.d/00-initial-state.conf \
"
