SUMMARY = "The C library of Debian's cross compiler, as packages for the target"
DESCRIPTION = "With it, packages get the dependencies that they get from glibc and libgcc of openembedded-core."
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
PROVIDES = "virtual/libc virtual/libintl virtual/libiconv"
S = "${UNPACKDIR}"

do_install() {
    install -d ${D}${base_libdir}
    for library in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libgcc_s.so.1; do
        install -m 0755 /usr/aarch64-linux-gnu/lib/$library ${D}${base_libdir}/
    done
}

PACKAGES = "glibc libgcc"
FILES:glibc = "${base_libdir}/ld-linux-aarch64.so.1 ${base_libdir}/libc.so.6 ${base_libdir}/libm.so.6"
FILES:libgcc = "${base_libdir}/libgcc_s.so.1"
RDEPENDS:libgcc = "glibc"
DEBIAN_NOAUTONAME:glibc = "1"
DEBIAN_NOAUTONAME:libgcc = "1"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_SYSROOT_STRIP = "1"
INSANE_SKIP:${PN} = "already-stripped"
INSANE_SKIP:glibc = "already-stripped ldflags usrmerge libdir dev-so"
INSANE_SKIP:libgcc = "already-stripped ldflags usrmerge libdir dev-so"
