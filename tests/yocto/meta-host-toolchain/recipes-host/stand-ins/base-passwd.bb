SUMMARY = "Users and groups to which recipes add theirs"
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
PROVIDES = "base-files base-passwd shadow shadow-sysroot"
S = "${UNPACKDIR}"

do_install() {
    install -d ${D}${sysconfdir}
    echo "root:x:0:0:root:/root:/bin/sh" > ${D}${sysconfdir}/passwd
    echo "root:x:0:" > ${D}${sysconfdir}/group
    # Where useradd and groupadd take ids from.
    printf 'SYS_UID_MIN 101\nSYS_UID_MAX 999\nSYS_GID_MIN 101\nSYS_GID_MAX 999\n' > ${D}${sysconfdir}/login.defs
}
SYSROOT_DIRS += "${sysconfdir}"
# As openembedded-core does it: the files are nobody's, and stay where the package is removed again.
FILES:${PN} = ""
ALLOW_EMPTY:${PN} = "1"
FILES:${PN}-dev = "${sysconfdir}"

pkg_preinst:${PN}() {
    mkdir -p "$D${sysconfdir}"
    echo "root:x:0:0:root:/root:/bin/sh" > "$D${sysconfdir}/passwd"
    echo "root:x:0:" > "$D${sysconfdir}/group"
    printf 'SYS_UID_MIN 101\nSYS_UID_MAX 999\nSYS_GID_MIN 101\nSYS_GID_MAX 999\n' > "$D${sysconfdir}/login.defs"
}
RPROVIDES:${PN} = "base-files shadow"
