# With VIRTUAL-RUNTIME_dbus = "dbus-broker" the bus is a unit to be enabled, so the state file names it.
FILESEXTRAPATHS:prepend := "${@'${THISDIR}/files/dbus-broker:' if d.getVar('VIRTUAL-RUNTIME_dbus') == 'dbus-broker' else ''}"
