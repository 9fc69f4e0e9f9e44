SUMMARY = "Empty packages for what hirte and its image need at run time"
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
S = "${UNPACKDIR}"
PROVIDES += "virtual/kernel rpi-bootfiles"

PACKAGES = "dbus packagegroup-core-boot run-postinsts meta-environment-extsdk-${MACHINE}"
python () {
    for package in d.getVar('PACKAGES').split():
        d.setVar('ALLOW_EMPTY:' + package, '1')
}

do_install() {
    # By its presence the image classes see that units are to be enabled.
    install -d ${D}${systemd_unitdir} ${D}${systemd_system_unitdir} ${D}${systemd_unitdir}/system-preset
    touch ${D}${systemd_unitdir}/systemd
    # A unit as openembedded-core has it, with units that come along; and the last of its presets.
    printf '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlso=systemd-networkd.socket\n' \
        > ${D}${systemd_system_unitdir}/systemd-networkd.service
    printf '[Socket]\nListenStream=/run/stand-in\n[Install]\nWantedBy=sockets.target\n' \
        > ${D}${systemd_system_unitdir}/systemd-networkd.socket
    echo 'disable *' > ${D}${systemd_unitdir}/system-preset/99-default.preset
    # A unit that its package enables by itself, as the image's maker may not know.
    printf '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n' \
        > ${D}${systemd_system_unitdir}/stray.service
}
FILES:packagegroup-core-boot = "${systemd_unitdir}"
RDEPENDS:packagegroup-core-boot = "volatile-binds base-passwd"

pkg_postinst:packagegroup-core-boot() {
    systemctl --root="$D" enable stray.service
}

do_deploy() {
    :
}
addtask deploy after do_install before do_build
