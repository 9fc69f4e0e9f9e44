SUMMARY = "Control of systemd services across several computers: the manager"
SUMMARY:${PN}-agent = "Control of systemd services across several computers: the agent of a node"
SUMMARY:hirtectl = "Control of systemd services across several computers: the administrator's tool"
SUMMARY:hirtectl-top = "Control of systemd services across several computers: a live view for terminals"
SUMMARY:${PN}-dashboard = "Control of systemd services across several computers: a web page"
DESCRIPTION = "hirte controls the systemd services of several computers from one place: a manager (hirte), an agent on each computer (hirte-agent) and the administrator's tool (hirtectl)."

require hirte.inc

inherit cargo-update-recipe-crates features_check systemd useradd

# The install step puts units below /usr/lib, as systemd demands it, too.
REQUIRED_DISTRO_FEATURES = "systemd usrmerge"

# Stripped by do_package, which keeps symbols and lines for ${PN}-dbg.
export CARGO_PROFILE_RELEASE_STRIP = "none"
export CARGO_PROFILE_RELEASE_DEBUG = "line-tables-only"

# Each is an executable and a package of its own; the others stay as they are.
PACKAGECONFIG ??= "dashboard top"
PACKAGECONFIG[dashboard] = "--features dashboard"
PACKAGECONFIG[top] = "--features top"

# One install step for all ways to install, instead of the class's, which knows executables only.
do_install() {
    ${S}/data/install --destdir ${D} --prefix ${prefix} \
        --bindir-from ${B}/target/${CARGO_TARGET_SUBDIR} \
        ${@bb.utils.contains('PACKAGECONFIG', 'dashboard', '--with-dashboard', '', d)} \
        ${@bb.utils.contains('PACKAGECONFIG', 'top', '--with-top', '', d)}
}

PACKAGE_BEFORE_PN = "${PN}-agent ${PN}-dashboard hirtectl hirtectl-top"

# Complete lists: what the install step puts elsewhere is an error of package QA (installed-vs-shipped).
FILES:${PN} = "\
    ${bindir}/hirte \
    ${systemd_system_unitdir}/hirte.service \
    ${systemd_system_unitdir}/hirte.socket \
    ${datadir}/dbus-1/system.d/org.containers.hirte.conf \
    ${datadir}/dbus-1/interfaces/org.containers.hirte.Counters.xml \
    ${datadir}/dbus-1/interfaces/org.containers.hirte.Job.xml \
    ${datadir}/dbus-1/interfaces/org.containers.hirte.Manager.xml \
    ${datadir}/dbus-1/interfaces/org.containers.hirte.Metrics.xml \
    ${datadir}/dbus-1/interfaces/org.containers.hirte.Monitor.xml \
    ${datadir}/dbus-1/interfaces/org.containers.hirte.Node.xml \
    ${datadir}/dbus-1/interfaces/org.containers.hirte.Stream.xml \
    ${datadir}/hirte/config/hirte.conf \
    ${nonarch_libdir}/firewalld/services/hirte.xml \
    ${nonarch_libdir}/sysusers.d/hirte.conf \
    ${nonarch_libdir}/tmpfiles.d/hirte.conf \
    ${sysconfdir}/hirte/hirte.conf.d \
"
FILES:${PN}-agent = "\
    ${bindir}/hirte-agent \
    ${libexecdir}/hirte-proxy \
    ${systemd_system_unitdir}/hirte-agent.service \
    ${systemd_system_unitdir}/hirte-dep@.service \
    ${systemd_system_unitdir}/hirte-proxy@.service \
    ${systemd_user_unitdir}/hirte-agent.service \
    ${systemd_user_unitdir}/hirte-dep@.service \
    ${systemd_user_unitdir}/hirte-proxy@.service \
    ${datadir}/dbus-1/system.d/org.containers.hirte.Agent.conf \
    ${datadir}/dbus-1/interfaces/org.containers.hirte.Agent.xml \
    ${datadir}/hirte-agent/config/agent.conf \
    ${nonarch_libdir}/sysusers.d/hirte-agent.conf \
    ${sysconfdir}/hirte/agent.conf.d \
"
FILES:hirtectl = "\
    ${bindir}/hirtectl \
    ${datadir}/bash-completion/completions/hirtectl \
    ${datadir}/fish/vendor_completions.d/hirtectl.fish \
    ${datadir}/zsh/site-functions/_hirtectl \
"
FILES:hirtectl-top = "${bindir}/hirtectl-top"
FILES:${PN}-dashboard = "\
    ${bindir}/hirte-dashboard \
    ${systemd_system_unitdir}/hirte-dashboard.service \
    ${nonarch_libdir}/sysusers.d/hirte-dashboard.conf \
"
# With compress_doc the pages have a further extension.
FILES:${PN}-doc = "\
    ${mandir}/man1/hirte-agent.1* \
    ${mandir}/man1/hirte-dashboard.1* \
    ${mandir}/man1/hirte-proxy.1* \
    ${mandir}/man1/hirte.1* \
    ${mandir}/man1/hirtectl-top.1* \
    ${mandir}/man1/hirtectl.1* \
    ${mandir}/man5/agent.conf.5* \
    ${mandir}/man5/hirte-state.5* \
    ${mandir}/man5/hirte.conf.5* \
    ${datadir}/licenses/hirte/LICENSE-APACHE \
    ${datadir}/licenses/hirte/LICENSE-MIT \
"

HIRTE_DASHBOARD = "${@bb.utils.contains('PACKAGECONFIG', 'dashboard', '${PN}-dashboard', '', d)}"
SYSTEMD_PACKAGES = "${PN} ${PN}-agent ${HIRTE_DASHBOARD}"
SYSTEMD_SERVICE:${PN} = "hirte.service hirte.socket"
SYSTEMD_SERVICE:${PN}-agent = "hirte-agent.service"
SYSTEMD_SERVICE:${PN}-dashboard = "hirte-dashboard.service"
# What starts on which computer is said by the state file of hirte-initial-state, or by an administrator.
SYSTEMD_AUTO_ENABLE = "disable"

# As sysusers.d says it: a root file system that is read-only can not get them at boot.
USERADD_PACKAGES = "${PN} ${PN}-agent ${HIRTE_DASHBOARD}"
GROUPADD_PARAM:${PN} = "--system hirte"
GROUPADD_PARAM:${PN}-agent = "--system hirte"
GROUPADD_PARAM:${PN}-dashboard = "--system hirte"
USERADD_PARAM:${PN}-agent = "--system --user-group --no-create-home --home-dir / --shell /sbin/nologin hirte-agent"
USERADD_PARAM:${PN}-dashboard = "--system --user-group --no-create-home --home-dir / --shell /sbin/nologin hirte-dashboard"

RDEPENDS:${PN} = "${VIRTUAL-RUNTIME_dbus}"
RDEPENDS:${PN}-agent = "${VIRTUAL-RUNTIME_dbus}"
RRECOMMENDS:${PN} = "hirtectl"
RRECOMMENDS:${PN}-dashboard = "${PN}"
