SUMMARY = "Nothing, in the place of programs on which tasks depend by name: the machine has them, or needs none"
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
inherit native
PROVIDES = "virtual/fakeroot-native pseudo-native shadow-native"
S = "${UNPACKDIR}"
do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${HOST_TOOLCHAIN_LAYERDIR}/scripts/no-fakeroot ${D}${bindir}/pseudo
}
