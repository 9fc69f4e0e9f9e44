SUMMARY = "Settings with which Debian's own apt fills a root file system, in the place of apt-native"
LICENSE = "CLOSED"
INHIBIT_DEFAULT_DEPS = "1"
inherit native
PROVIDES = "apt-native"
S = "${UNPACKDIR}"
do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${sysconfdir}/apt ${D}${localstatedir}/lib/dpkg
    touch ${D}${localstatedir}/lib/dpkg/status
    # The image classes fill in #ROOTFS# and #APTCONF#. Without --root dpkg would aim at the host.
    cat > ${D}${sysconfdir}/apt/apt.conf.sample <<'END'
Dir "/";
Dir::State "var/lib/apt/";
Dir::State::Lists "#APTCONF#/lists/";
Dir::State::status "#ROOTFS#/var/lib/dpkg/status";
Dir::Cache "${TOPDIR}/apt-cache/";
Dir::Cache::Archives "archives/";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Bin::methods "/usr/lib/apt/methods/";
Dir::Bin::gzip "/bin/gzip";
Dir::Bin::dpkg "dpkg";
Dir::Bin::apt-get "apt-get";
Dir::Bin::apt-cache "apt-cache";
Dir::Etc "#APTCONF#";
Dir::Etc::Preferences "preferences";
Dir::Log "${TOPDIR}/apt-cache";
APT::Install-Recommends "true";
APT::Immediate-Configure "false";
APT
{
  Architecture "arm64";
};
APT::Get::Assume-Yes "true";
APT::Sandbox::User "root";
Acquire::AllowInsecureRepositories "true";
DPkg::Options {"--root=#ROOTFS#";"--admindir=#ROOTFS#/var/lib/dpkg";"--force-all";"--no-force-overwrite"};
DPkg::Path "";
END
}
