SUMMARY = "hirte: manager, agent and administrator's tools"
SUMMARY:${PN}-manager = "hirte on the computer of the manager"
SUMMARY:${PN}-agent = "hirte on a computer that is managed"
DESCRIPTION = "What belongs to hirte on the computer of the manager, and on every computer of the fleet."
SECTION = "base"

inherit packagegroup

PACKAGES = "${PN} ${PN}-manager ${PN}-agent"

RDEPENDS:${PN} = "${PN}-agent ${PN}-manager"
RDEPENDS:${PN}-manager = "hirte hirtectl"
RDEPENDS:${PN}-agent = "hirte-agent"
# A recommendation: PACKAGECONFIG may leave it out. The web page, which listens, is for who names it.
RRECOMMENDS:${PN}-manager = "hirtectl-top"
