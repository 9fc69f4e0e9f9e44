SUMMARY = "Nothing, in the place of pseudo: tasks depend on it by name"
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
inherit native
PROVIDES = "virtual/fakeroot-native pseudo-native"
S = "${UNPACKDIR}"
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[noexec] = "1"
